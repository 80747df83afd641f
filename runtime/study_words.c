// Lists of numbers and of parameterizations as people write them.
#include "runtime/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 256 };

// A number as every field reads it (2^-7, 10k), through a table of one row.
typedef struct one_number {
  double value;
} one_number;
static const field number_row = {.key = "value", .type = FIELD_F64, .min = -1e30, .max = 1e30, .default_text = "0"};
static const field_table number_table = {"", "", &number_row, 1, sizeof(one_number)};

static bool read_number(const char *key, const char *word, double *ret, status *st) {
  one_number n = {0};
  if (!field_parse(&number_table, &number_row, &n, word, key, st)) return false;
  *ret = n.value;
  return true;
}

static bool add_octaves(double from, double to, study_list *out) {
  if (!(from > 0) || !(to >= from)) return false;
  for (double v = from; v <= to * 1.001 && out->count < LIST_MAX; v *= 2) out->values[out->count++] = v;
  return true;
}

static bool read_item(const char *key, char *word, study_list *out, status *st) {
  char *dots = strstr(word, "..");
  if (!dots) return out->count < LIST_MAX && read_number(key, word, &out->values[out->count++], st);
  double from = 0, to = 0;
  *dots = 0;
  if (!read_number(key, word, &from, st) || !read_number(key, dots + 2, &to, st)) return false;
  return add_octaves(from, to, out) ||
         status_fail(st, CODE_CONFIG, "%s: a range of octaves goes from a positive number to one not below it", key);
}

bool study_list_read(const char *key, const char *words, double min, arena *a, study_list *ret, status *st) {
  study_list out = {arena_array(a, double, LIST_MAX), 0};
  char *copy = arena_text(a, words), *rest = NULL;
  for (char *w = strtok_r(copy, " ,", &rest); w; w = strtok_r(NULL, " ,", &rest))
    if (!read_item(key, w, &out, st)) return false;
  if (!out.count) return status_fail(st, CODE_CONFIG, "%s: states no number", key);
  for (u32 i = 0; i < out.count; i++)
    if (!(out.values[i] >= min)) return status_fail(st, CODE_CONFIG, "%s: %g is below %g", key, out.values[i], min);
  *ret = out;
  return true;
}

static bool read_rule(const char *word, study_rule *ret) {
  static const struct {
    const char *name;
    u32 kind;
  } kinds[] = {{"sp", PARAM_SP},
               {"sp-gpt2", PARAM_SP},
               {"mup", PARAM_MUP},
               {"completep", PARAM_COMPLETEP},
               {"completedp", PARAM_COMPLETEDP},
               {"released", PARAM_RELEASED}};
  *ret = (study_rule){.name = word, .alpha = 1};
  for (u32 i = 0; i < COUNT_OF(kinds); i++) {
    if (strcmp(kinds[i].name, word) != 0) continue;
    ret->kind = kinds[i].kind;
    ret->gpt2 = strcmp(word, "sp-gpt2") == 0;
    return true;
  }
  char *end = NULL;
  if (!text_starts(word, "alpha")) return false;
  ret->alpha = strtod(word + 5, &end);
  ret->kind = PARAM_COMPLETEP;
  return end != word + 5 && *end == 0 && ret->alpha >= 0.5 && ret->alpha <= 1;
}

bool study_rules_read(const char *key, const char *words, arena *a, study_rule **ret, u32 *ret_count, status *st) {
  *ret = arena_array(a, study_rule, LIST_MAX);
  *ret_count = 0;
  char *copy = arena_text(a, words), *rest = NULL;
  for (char *w = strtok_r(copy, " ,", &rest); w && *ret_count < LIST_MAX; w = strtok_r(NULL, " ,", &rest)) {
    if (!read_rule(w, &(*ret)[(*ret_count)++]))
      return status_fail(st, CODE_CONFIG,
                         "%s: \"%.60s\" is none of sp, sp-gpt2, mup, completep, completedp, released, alpha0.5 (to alpha1)", key,
                         w);
  }
  return *ret_count > 0 || status_fail(st, CODE_CONFIG, "%s: states no parameterization", key);
}

void study_rule_apply(const study_rule *r, model_spec *m) {
  m->parameterization = r->kind;
  m->alpha = r->alpha;
  if (r->gpt2) m->init_rule = INIT_GPT2;
}

bool study_width_apply(u32 width, model_spec *m, status *st) {
  const u32 head = model_head_width(m);
  if (head == 0 || width % head)
    return status_fail(st, CODE_CONFIG, "a width of %u is no multiple of the heads' width %u (model.width / model.heads)",
                       width, head);
  m->width = width;
  m->heads = width / head;
  return true;
}

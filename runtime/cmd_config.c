// weft config: what a run states and where each value came from, the rules that follow from it, and the
// tables of fields as schema and docs.
#include "model/graph/graph_count.h"
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/presets.h"
#include "runtime/run_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- show

static json_t *origins_json(const run_spec *r) {
  json_t *values = json_object();
  for (u32 i = 0; i < r->config.count; i++) {
    const config_section *s = &r->config.sections[i];
    for (u32 k = 0; k < s->table->count; k++) {
      char key[128];
      snprintf(key, sizeof key, "%s%s%s", s->table->name, s->table->name[0] ? "." : "", s->table->fields[k].key);
      text value = {0};
      field_format(&s->table->fields[k], s->spec, &value);
      json_t *row = json_object();
      json_object_set_new(row, "value", output_words(text_get(&value), value.size));
      json_object_set_new(row, "origin", output_words(s->notes[k].origin, strlen(s->notes[k].origin)));
      if (s->notes[k].source) {
        json_object_set_new(row, "source", output_words(s->notes[k].source, strlen(s->notes[k].source)));
      }
      json_object_set_new(values, key, row);
      text_free(&value);
    }
  }
  return values;
}

static bool show(const command_call *c, const run_spec *r) {
  if (command_flag(c, "json")) {
    json_t *document = output_document("config");
    json_object_set_new(document, "values", origins_json(r));
    output_json(document);
    return true;
  }
  text page = {0};
  config_print(&r->config, command_flag(c, "origin"), &page);
  output_text(text_get(&page));
  text_free(&page);
  return true;
}

// ---- rules

static base_hyper base_of(const run_spec *r) {
  return (base_hyper){r->train.lr, r->train.weight_decay, r->train.eps};
}

static json_t *rules_json(const graph *g, const graph_counts *n) {
  json_t *document = output_document("config");
  json_t *counts = json_pack("{s:I,s:I,s:I}", "params", (json_int_t)n->params, "params_positions",
                             (json_int_t)n->params_positions, "params_non_embed", (json_int_t)n->params_non_embed);
  const struct {
    const char *name;
    double value;
  } flops[] = {{"flops_6p", n->flops_6p},
               {"flops_palm", n->flops_palm},
               {"flops_explicit", n->flops_explicit},
               {"flops_causal", n->flops_causal}};
  for (u32 i = 0; i < COUNT_OF(flops); i++) json_object_set_new(counts, flops[i].name, output_real(flops[i].value));
  json_t *rows = json_object();
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *t = &g->tensors[g->params[p]];
    const role_rule rule = graph_param_rule(g, p);
    json_object_set_new(rows, t->name,
                        json_pack("{s:s,s:I,s:I,s:f,s:f,s:f,s:f}", "group", rules_role_name(t->role), "rows",
                                  (json_int_t)t->rows, "cols", (json_int_t)t->cols, "init_std", rule.init_std, "lr",
                                  rule.lr, "eps", rule.eps, "weight_decay", rule.weight_decay));
  }
  json_object_set_new(document, "counts", counts);
  json_object_set_new(document, "params", rows);
  return document;
}

static void print_counts(const graph_counts *n) {
  char a[32], b[32], c[32];
  output_format("\nparameters %s (positions %s, without embeddings %s): %llu\n",
                text_si((double)n->params, "", a, sizeof a), text_si((double)n->params_positions, "", b, sizeof b),
                text_si((double)n->params_non_embed, "", c, sizeof c), (unsigned long long)n->params);
  output_text("FLOPs per trained token, a multiply-add counts 2:\n");
  const struct {
    double value;
    const char *sentence;
  } rows[] = {{n->flops_6p, "6 P"},
              {n->flops_palm, "6 P + 12 L N T (PaLM, nanoGPT)"},
              {n->flops_explicit, "every product summed, full square of attention"},
              {n->flops_causal, "every product summed, causal half of attention"}};
  for (u32 i = 0; i < COUNT_OF(rows); i++) {
    output_format("  %-10s %s\n", text_si(rows[i].value, "", a, sizeof a), rows[i].sentence);
  }
}

static bool rules(const command_call *c, run_spec *r, status *st) {
  graph g;
  if (!run_data_vocab(r, c->memory, st)) return false;
  if (!graph_build(&r->model, base_of(r), r->train.seq, c->memory, &g, st)) return false;
  const graph_counts counts = graph_count(&g);
  if (command_flag(c, "json")) {
    output_json(rules_json(&g, &counts));
    return true;
  }
  text page = {0};
  graph_print_rules(&g, &page);
  output_text(text_get(&page));
  text_free(&page);
  print_counts(&counts);
  return true;
}

// ---- models

enum { MODELS_SEQ = 2048 }; // only a learned position table depends on it

typedef struct model_row {
  model_spec model;
  graph_counts counts;
} model_row;

static bool model_read(const char *name, model_row *ret, status *st) {
  arena *a = arena_create("model preset");
  run_spec *r = arena_array(a, run_spec, 1);
  const run_assignment set = {"model", name, false, "--set"};
  graph g;
  const bool ok = run_spec_load(r, NULL, &set, 1, a, st) && run_data_vocab(r, a, st) &&
                  graph_build(&r->model, base_of(r), MODELS_SEQ, a, &g, st);
  if (ok) *ret = (model_row){r->model, graph_count(&g)};
  arena_destroy(a);
  return ok;
}

static bool models(const command_call *c, status *st) {
  const bool as_json = command_flag(c, "json");
  json_t *rows = json_array();
  const char *const *names;
  const u32 count = presets_list("models", c->memory, &names);
  if (!as_json)
    output_format("%-20s %6s %6s %6s %7s %11s\n", "model", "layers", "width", "heads", "vocab", "parameters");
  for (u32 i = 0; i < count; i++) {
    model_row row;
    if (!model_read(names[i], &row, st)) {
      json_decref(rows);
      return false;
    }
    const model_spec *m = &row.model;
    char size[32];
    if (!as_json) {
      output_format("%-20s %6u %6u %6u %7u %11s\n", names[i], m->layers, m->width, m->heads, m->vocab,
                    text_si((double)row.counts.params, "", size, sizeof size));
    }
    json_array_append_new(rows,
                          json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "name", names[i], "layers", (json_int_t)m->layers,
                                    "width", (json_int_t)m->width, "heads", (json_int_t)m->heads, "vocab",
                                    (json_int_t)m->vocab, "params", (json_int_t)row.counts.params));
  }
  if (!as_json) {
    json_decref(rows);
    return true;
  }
  json_t *document = output_document("config");
  json_object_set_new(document, "models", rows);
  output_json(document);
  return true;
}

// ---- schema, markdown

// A JSON Schema that says, as every document does, what it is.
static void schema(const run_spec *r) {
  text page = {0};
  config_schema(&r->config, &page);
  json_t *document = output_document("config"), *fields = json_loads(text_get(&page), 0, NULL);
  require(fields);
  json_object_update(document, fields);
  json_decref(fields);
  output_json(document);
  text_free(&page);
}

static void markdown(const run_spec *r, bool as_json) {
  text page = {0};
  text_add(&page,
           "# Configuration\n\nGenerated by `weft config markdown` from the tables of fields. State a value in a run "
           "file (`train: {lr: 2^-7}`), with\n`--set train.lr=2^-7`, or with the option that stands for it. A stronger "
           "statement wins: option > `--set` > run file >\npreset > default. `machine: NAME` and `model: NAME` name "
           "presets; their keys may be stated beside that.\n");
  for (u32 i = 0; i < r->config.count; i++) {
    const field_table *t = r->config.sections[i].table;
    text_format(&page, "\n## %s\n\n%s\n\n", t->name[0] ? t->name : "top level", t->sentence);
    field_markdown(t, &page);
  }
  output_page("config", as_json, &page);
}

// ---- command

enum { SHOW, SCHEMA, RULES, MODELS, MARKDOWN };
static const char *const words[] = {"show", "schema", "rules", "models", "markdown"};

static bool run(const command_call *c, status *st) {
  u32 word;
  if (!command_word(c, words, COUNT_OF(words), &word, st)) return false;
  const bool takes_file = word == SHOW || word == RULES;
  if (!command_arguments_max(c, takes_file ? 2 : 1, st)) return false;
  if (word == MODELS) return models(c, st);
  run_spec *r = arena_array(c->memory, run_spec, 1);
  if (!command_run_spec(c, command_argument(c, 1), r, st)) return false;
  if (word == SHOW) return show(c, r);
  if (word == RULES) return rules(c, r, st);
  if (word == SCHEMA) schema(r);
  if (word == MARKDOWN) markdown(r, command_flag(c, "json"));
  return true;
}

static const command_option options[] = {
    {"origin", NULL, "show: where each value was stated, and its source", NULL},
};

const command cmd_config = {
    .name = "config",
    .arguments = "show|rules [run.yaml] | models | schema | markdown",
    .sentence = "what a run states, and what follows from it",
    .examples = {{"weft config show --origin --set model=gpt2-small", "every value of a run and where it came from"},
                 {"weft config rules --set model.width=256 --set model.layers=16",
                  "each parameter's init, learning rate, eps and decay; parameter and FLOP counts"}},
    .details = "  show      all values (the default)\n  rules     what each parameter resolves to\n"
               "  models    the model presets\n  schema    JSON Schema of a run file\n  markdown  docs/CONFIG.md",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_RUN | COMMAND_JSON | COMMAND_DB | COMMAND_OUT,
    .arguments_max = 2,
    .run = run,
};

// Translates recorded configurations key by key into fields of `model` and `train`.
#include "model/compute/verify_config.h"

#include "base/file.h"

#include <jansson.h>
#include <string.h>

typedef enum { TO_MODEL, TO_TRAIN, HARMLESS } key_section;
typedef enum { ALWAYS, SP_ONLY, DEPTH_ONLY } key_scope; // parameterizations for which the key means anything

typedef struct key_row {
  const char *key;
  key_section section;
  const char *field;
  bool required;
  key_scope scope;
} key_row;

static const key_row key_rows[] = {
    {"param", TO_MODEL, "parameterization", true, ALWAYS},
    {"n_embd", TO_MODEL, "width", true, ALWAYS},
    {"n_layer", TO_MODEL, "layers", true, ALWAYS},
    {"n_head", TO_MODEL, "heads", true, ALWAYS},
    {"vocab", TO_MODEL, "vocab", true, ALWAYS},
    {"pos", TO_MODEL, "position", true, ALWAYS},
    {"act", TO_MODEL, "activation", true, ALWAYS},
    {"tied", TO_MODEL, "tied", true, ALWAYS},
    {"bias", TO_MODEL, "bias", false, ALWAYS},
    {"mlp_ratio", TO_MODEL, "mlp", false, ALWAYS},
    {"ln_eps", TO_MODEL, "ln_eps", false, ALWAYS},
    {"norm", TO_MODEL, "norm", false, ALWAYS},
    {"block", TO_MODEL, "block", false, ALWAYS},
    {"attn", TO_MODEL, "attention", false, ALWAYS},
    {"rotary_dims", TO_MODEL, "rotary_dims", false, ALWAYS},
    {"rotary_layout", TO_MODEL, "rotary_layout", false, ALWAYS},
    {"alpha", TO_MODEL, "alpha", false, DEPTH_ONLY},
    {"n_base", TO_MODEL, "base_width", true, ALWAYS},
    {"l_base", TO_MODEL, "base_layers", true, ALWAYS},
    {"attn_scale", TO_MODEL, "attention_scale", false, ALWAYS},
    {"eps_rule", TO_MODEL, "eps_rule", false, ALWAYS},
    {"wd_rule", TO_MODEL, "decay_rule", false, ALWAYS},
    {"sp_init", TO_MODEL, "init_rule", false, SP_ONLY},
    {"sigma_base", TO_MODEL, "init_std", false, ALWAYS},
    {"input_alpha", TO_MODEL, "embed_mult", false, ALWAYS},
    {"output_alpha", TO_MODEL, "logit_mult", false, ALWAYS},
    {"m_B", TO_MODEL, "batch_ratio", false, ALWAYS},
    {"m_D", TO_MODEL, "token_ratio", false, ALWAYS},
    {"ctx", TO_TRAIN, "seq", true, ALWAYS},
    {"batch", TO_TRAIN, "batch", true, ALWAYS},
    {"steps", TO_TRAIN, "steps", true, ALWAYS},
    {"eta_base", TO_TRAIN, "lr", true, ALWAYS},
    {"eps_base", TO_TRAIN, "eps", true, ALWAYS},
    {"wd_base", TO_TRAIN, "weight_decay", true, ALWAYS},
    {"beta1", TO_TRAIN, "beta1", false, ALWAYS},
    {"beta2", TO_TRAIN, "beta2", false, ALWAYS},
    {"grad_clip", TO_TRAIN, "clip", false, ALWAYS},
    {"name", HARMLESS, NULL, false, ALWAYS},
    {"seed", HARMLESS, NULL, false, ALWAYS},
    {"golden_perturb", HARMLESS, NULL, false, ALWAYS},
    {"generator", HARMLESS, NULL, false, ALWAYS},
};

// The recorder's words for values, where they differ from ours.
static const char *const words[][3] = {
    {"act", "gelu_tanh", "gelu"},     {"eps_rule", "code", "released"}, {"wd_rule", "code", "released"},
    {"sp_init", "code", "gpt2"},      {"param", "alpha", "completep"},
};

static const char *value_text(const char *key, const json_t *value, arena *a) {
  if (json_is_integer(value)) return arena_format(a, "%lld", (long long)json_integer_value(value));
  if (json_is_real(value)) return arena_format(a, "%.17g", json_real_value(value));
  if (json_is_boolean(value)) return json_is_true(value) ? "true" : "false";
  const char *word = json_string_value(value);
  for (u32 i = 0; word && i < COUNT_OF(words); i++)
    if (!strcmp(key, words[i][0]) && !strcmp(word, words[i][1])) return words[i][2];
  return word;
}

static bool in_scope(const key_row *row, const recorded_config *c) {
  u32 kind = c->model.parameterization;
  if (row->scope == SP_ONLY) return kind == PARAM_SP;
  return row->scope == ALWAYS || (kind != PARAM_SP && kind != PARAM_MUP);
}

// Where the configuration came from, for messages, and where it goes.
typedef struct config_reader {
  const char *where;
  const json_t *config;
  arena *a;
  recorded_config *out;
} config_reader;

static bool apply(const config_reader *r, const key_row *row, const json_t *value, status *st) {
  if (row->section == HARMLESS || !in_scope(row, r->out)) return true;
  const char *value_words = value_text(row->key, value, r->a);
  if (!value_words) return status_fail(st, CODE_DATA, "%s: config.%s is not a plain value", r->where, row->key);
  bool to_model = row->section == TO_MODEL;
  const field_table *table = to_model ? &model_table : &train_table;
  void *spec = to_model ? (void *)&r->out->model : (void *)&r->out->train;
  const field *f = field_find(table, row->field);
  require(f != NULL);
  status why = {0};
  if (field_parse(table, f, spec, value_words, r->where, &why)) return true;
  return status_fail(st, CODE_DATA, "%s (config.%s in the recording)", why.text, row->key);
}

static bool apply_known(const config_reader *r, status *st) {
  for (u32 i = 0; i < COUNT_OF(key_rows); i++) {
    const json_t *value = json_object_get(r->config, key_rows[i].key);
    bool stated = value && !json_is_null(value);
    if (!stated && key_rows[i].required)
      return status_fail(st, CODE_DATA, "%s: the recorded configuration lacks \"%s\"", r->where, key_rows[i].key);
    if (stated && !apply(r, &key_rows[i], value, st)) return false;
  }
  return true;
}

static bool refuse_unknown(const config_reader *r, status *st) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)r->config, key, value) {
    u32 i = 0;
    while (i < COUNT_OF(key_rows) && strcmp(key, key_rows[i].key)) i++;
    if (i == COUNT_OF(key_rows) && !json_is_null(value))
      return status_fail(st, CODE_DATA,
                         "%s: the recorded configuration has \"%s\", which is not understood and might change the model",
                         r->where, key);
  }
  return true;
}

static bool translate(const config_reader *r, status *st) {
  field_defaults(&model_table, &r->out->model);
  field_defaults(&train_table, &r->out->train);
  r->out->train.schedule = SCHEDULE_CONSTANT;
  r->out->train.warmup = 0;
  return refuse_unknown(r, st) && apply_known(r, st);
}

// The "config" text of the metadata; NULL where there is none.
static json_t *from_metadata(const st_file *f) {
  json_t *metadata = json_loads(f->metadata, 0, NULL);
  const char *inner = json_string_value(json_object_get(metadata, "config"));
  json_t *config = inner ? json_loads(inner, JSON_REJECT_DUPLICATES, NULL) : NULL;
  json_decref(metadata);
  return config;
}

static json_t *from_json(const char *path, arena *a, const char **ret_where, status *st) {
  size_t stem = text_ends(path, ".safetensors") ? strlen(path) - strlen(".safetensors") : strlen(path);
  const char *beside = arena_format(a, "%.*s.json", (int)stem, path);
  char *bytes = NULL;
  size_t size = 0;
  *ret_where = beside;
  if (!file_read(beside, a, &bytes, &size, st)) return NULL;
  json_error_t error;
  json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
  if (!root) status_fail(st, CODE_DATA, "%s:%d:%d: not valid JSON: %s", beside, error.line, error.column, error.text);
  json_t *config = json_incref(json_object_get(root, "config"));
  json_decref(root);
  if (root && !config) status_fail(st, CODE_DATA, "%s: has no \"config\"", beside);
  return config;
}

bool verify_config_read(const char *path, const st_file *f, arena *a, recorded_config *ret_config, status *st) {
  const char *where = path;
  json_t *config = from_metadata(f);
  if (!config) config = from_json(path, a, &where, st);
  if (!config) return false;
  recorded_config out = {0};
  config_reader r = {where, config, a, &out};
  bool ok = json_is_object(config) ? translate(&r, st)
                                   : status_fail(st, CODE_DATA, "%s: the configuration is not an object", where);
  json_decref(config);
  if (ok) *ret_config = out;
  return ok;
}

// What a run states, gathered: every way of stating a value first, presets after them, as the weaker.
#include "runtime/run_spec.h"

#include "base/hash.h"
#include "runtime/presets.h"

#include <string.h>

#define TOP_ROW(...) FIELD_ROW(top_options, __VA_ARGS__)
static const field top_rows[] = {TOP_FIELDS(TOP_ROW)};
static const field_table top_table = {"", "The run as a whole.", top_rows, COUNT_OF(top_rows), sizeof(top_options)};

#define RECORD_ROW(...) FIELD_ROW(record_options, __VA_ARGS__)
static const field record_rows[] = {RECORD_FIELDS(RECORD_ROW)};
static const field_table record_table = {"record", "What is kept of a run, and where.", record_rows,
                                         COUNT_OF(record_rows), sizeof(record_options)};

void run_spec_init(run_spec *r, arena *a) {
  memset(r, 0, sizeof *r);
  config_init(&r->config, a);
  config_bind(&r->config, &top_table, &r->top);
  config_bind(&r->config, &machine_table, &r->machine);
  config_bind(&r->config, &model_table, &r->model);
  config_bind(&r->config, &data_table, &r->data);
  config_bind(&r->config, &train_table, &r->train);
  config_bind(&r->config, &plan_table, &r->plan);
  config_bind(&r->config, &engine_table, &r->engine);
  config_bind(&r->config, &record_table, &r->record);
}

static bool model_preset(config *c, const char *name, status *st) {
  if (!name[0]) return true;
  if (presets_is_path(name)) return config_read_file(c, name, "model", LEVEL_PRESET, st);
  const embed_file *f = presets_find("models", name);
  if (!f) return presets_unknown("models", "model", name, st);
  return config_read(c, f->name, (const char *)f->data, f->size, "model", LEVEL_PRESET, st);
}

// machine_preset, whose sentence about an unknown name this floor can make better.
static bool machine_numbers(config *c, const char *name, status *st) {
  if (!presets_is_path(name) && !presets_find("machines", name)) {
    return presets_unknown("machines", "machine", name, st);
  }
  return machine_preset(c, name, st);
}

bool run_spec_presets(run_spec *r, status *st) {
  return machine_numbers(&r->config, r->machine.preset, st) && model_preset(&r->config, r->model.preset, st);
}

bool run_spec_load(run_spec *r, const char *path, const run_assignment *sets, u32 set_count, arena *a, status *st) {
  run_spec_init(r, a);
  if (path && !config_read_file(&r->config, path, "", LEVEL_FILE, st)) return false;
  for (u32 i = 0; i < set_count; i++) {
    const run_assignment *s = &sets[i];
    const field_level level = s->is_flag ? LEVEL_FLAG : LEVEL_SET;
    if (!config_set(&r->config, s->key, s->value, level, s->where, NULL, st)) return false;
  }
  return run_spec_presets(r, st);
}

u64 run_spec_hash(const run_spec *r) {
  u64 hash = HASH_START;
  for (u32 i = 0; i < r->config.count; i++) {
    const config_section *s = &r->config.sections[i];
    if (s->table == &record_table) continue;
    hash = field_hash(hash_text(hash, s->table->name), s->table, s->spec);
  }
  return hash;
}

void run_spec_print(const run_spec *r, bool with_record, text *out) {
  config part = r->config;
  if (!with_record) {
    part.count = 0;
    for (u32 i = 0; i < r->config.count; i++) {
      if (r->config.sections[i].table != &record_table) part.sections[part.count++] = r->config.sections[i];
    }
  }
  config_print(&part, false, out);
}

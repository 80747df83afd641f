// Sections of fields bound to specs, and the ways in which people state values: YAML files, --set,
// flags, presets. Knows keys and levels, not what any key means.
#pragma once

#include "base/field.h"

enum { CONFIG_SECTIONS_MAX = 12 };

typedef struct config_section {
  const field_table *table;
  void *spec;
  field_note *notes; // one per field
} config_section;

typedef struct config {
  arena *memory;
  config_section sections[CONFIG_SECTIONS_MAX];
  u32 count;
} config;

void config_init(config *c, arena *memory);
// Fills the spec with defaults and binds it.
void config_bind(config *c, const field_table *table, void *spec);

// Sets "model.layers" (or, where a section has a field "preset", the bare section name "model", which
// means "model.preset"). An unknown key fails with where, the key and the nearest known key:
// `run.yaml:14:9: unknown key "train.rl", did you mean "train.lr"?` (CODE_CONFIG).
// A value stated at a stronger level stays. `source` may be NULL.
bool config_set(config *c, const char *key, const char *value, field_level level, const char *where,
                const char *source, status *st);
// "a.b=v" from the command line.
bool config_assign(config *c, const char *assignment, field_level level, const char *where, status *st);

// Reads YAML. `prefix` is "" for a run file (top-level mapping of sections) or a section name for a
// preset file whose top-level keys are that section's. A leaf may be a scalar, or a mapping
// {value: V, source: "..."} (the source lands in the field's note). Duplicate keys, sequences where a
// scalar is wanted, and YAML errors fail with name:line:column (CODE_CONFIG). Every error in one file
// names the first only.
bool config_read(config *c, const char *name, const char *yaml, size_t size, const char *prefix,
                 field_level level, status *st);
// The same from a file on disk: CODE_NO_INPUT when it is missing.
bool config_read_file(config *c, const char *path, const char *prefix, field_level level, status *st);

const field_note *config_note(const config *c, const char *key); // a bug when the key is unknown
// All sections as one YAML text; with_origin appends "  # origin" to each line.
void config_print(const config *c, bool with_origin, text *out);
// JSON Schema (draft 2020-12) of a run file, as text.
void config_schema(const config *c, text *out);

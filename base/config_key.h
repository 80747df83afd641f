// What config.c and config_yaml.c share: keys resolved to fields, and undoing a half-read file.
#pragma once

#include "base/config.h"

typedef struct config_key {
  const config_section *section;
  const field *field; // NULL when the key is unknown
  field_note *note;
} config_key;

// "model.layers", or the bare "model" where that section has a preset.
config_key config_key_find(const config *c, const char *key);
// Whether the key names a section or a group of fields ("machine", "machine.pe").
bool config_key_is_group(const config *c, const char *key);
// Fails with `where: unknown key "...", did you mean "..."?`; always false.
bool config_key_unknown(const config *c, const char *key, const char *where, status *st);

// All values and notes, to be put back when a file fails half-way. Freed with free().
void *config_snapshot(const config *c);
void config_restore(config *c, const void *snapshot);

// Presets that the program carries, by kind: "machines", "models", "sweeps".
#pragma once

#include "base/config.h"
#include "base/embed.h"

// Names of presets/KIND/*.yaml without folder and suffix, sorted; they live in `a`.
u32 presets_list(const char *kind, arena *a, const char *const **ret_names);
// NULL when there is none.
const embed_file *presets_find(const char *kind, const char *name);
// Whether the word is the path of a YAML file rather than a name.
bool presets_is_path(const char *word);
// Fails with the known names and the nearest one; always false. `what`: "machine".
bool presets_unknown(const char *kind, const char *what, const char *name, status *st);

// Files that the build carries inside the program: presets and the default training text.
#pragma once

#include "base/types.h"

typedef struct embed_file {
  const char *name; // path from the repository root, e.g. "presets/machines/cs3.yaml"
  const u8 *data;
  size_t size;
} embed_file;

// NULL when there is none of that name.
const embed_file *embed_find(const char *name);
u32 embed_count(void);
const embed_file *embed_get(u32 index); // sorted by name

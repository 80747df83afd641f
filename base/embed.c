// Finds embedded files in the table that the build writes (cmake/embed.cmake).
#include "base/embed.h"

#include <string.h>

extern const embed_file embed_table[];
extern const u32 embed_table_count;

u32 embed_count(void) {
  return embed_table_count;
}

const embed_file *embed_get(u32 index) {
  require(index < embed_table_count);
  return &embed_table[index];
}

const embed_file *embed_find(const char *name) {
  u32 low = 0, high = embed_table_count;
  while (low < high) {
    const u32 middle = low + (high - low) / 2;
    const int order = strcmp(name, embed_table[middle].name);
    if (order == 0) return &embed_table[middle];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}

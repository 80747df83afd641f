// Words of the text form that its writer and its reader share; docs/PROGRAM.md shows the whole of it.
#pragma once

#include "sim/isa/dataflow.h"

// By value: types, kinds of vectors, triggers, what completion does, and ports by bit.
#define DF_TYPE_WORDS                                                                                                  \
  { "f32", "f16", "bf16", "i32" }
#define DF_KIND_WORDS                                                                                                  \
  { "memory", "in", "out" }
#define DF_TRIGGER_WORDS                                                                                               \
  { "local", "data", "control" }
#define DF_PORT_WORDS                                                                                                  \
  { "north", "east", "south", "west", "ramp" }

// A name is a word that cannot be taken for a number or an option: letters, digits, _ . and -, a letter first.
static inline bool df_name_char(char c, bool first) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter || (!first && ((c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'));
}
static inline bool df_name_ok(const char *name) {
  u32 n = 0;
  while (n < DF_NAME_MAX && df_name_char(name[n], n == 0)) n++;
  return n && n < DF_NAME_MAX && !name[n];
}

// A kernel on the fabric: data in, run, results compared with the reference.
#pragma once

#include "mapper/kernel.h"
#include "sim/fabric/fabric.h"

typedef struct kernel_outcome {
  fabric_result fabric;
  double wall_s; // of the simulation itself
  double rate;
  const char *rate_unit;
  // against the reference
  bool checked, equal, pass;
  double largest, tolerance; // deviation
  u64 compared;
  char where[80]; // the first that differs
} kernel_outcome;

// NULL options: the fastest way. A difference is an outcome; failing is a program that is refused or stalls.
bool kernel_run(const kernel_request *r, const machine *m, const fabric_options *options, kernel_outcome *ret_outcome,
                status *st);
bool kernel_type_parse(const char *name, u32 *ret_type); // "f32", "f16", "bf16"
const char *kernel_type_name(u32 type);

// Values of a type, in and out of the bytes of a PE's memory.
void kernel_encode(u32 type, const float *values, u32 count, void *ret_bytes);
void kernel_decode(u32 type, const void *bytes, u32 count, float *ret_values);
// PE (column, row) of a symbol's rectangle.
static inline u32 kernel_x(const df_symbol *s, u32 column) {
  return s->rect.x + column * s->rect.step_x;
}
static inline u32 kernel_y(const df_symbol *s, u32 row) {
  return s->rect.y + row * s->rect.step_y;
}

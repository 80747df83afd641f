// A kernel on the fabric: data in, run, results compared with the reference.
#pragma once

#include "mapper/kernel.h"
#include "runtime/kernel_view.h"

typedef struct kernel_outcome {
  fabric_result fabric;
  double wall_s; // of the simulation itself
  double rate;
  const char *rate_unit;
  // against the reference
  bool checked, equal, pass;
  double largest, tolerance; // deviation
  bool relative;             // both: of the largest value of the result
  u64 compared;
  char where[80]; // the first that differs
} kernel_outcome;

typedef struct kernel_how {
  fabric_options fabric;
  kernel_view *view; // filled, where it is not NULL; also where the program stalls
} kernel_how;

// NULL `how`: the fastest way, and nothing but the outcome. A difference is an outcome; failing is a program that is
// refused or stalls.
bool kernel_run(const kernel_request *r, const machine *m, const kernel_how *how, kernel_outcome *ret_outcome,
                status *st);
// What kernel_run is made of: a fabric with the watch that `how` asks for; its run, then the look at it. Of the
// outcome `fabric` and `wall_s` are set.
fabric *kernel_open(const dataflow *d, const machine *m, const kernel_how *how, arena *own, status *st);
bool kernel_execute(fabric *f, const dataflow *d, const kernel_how *how, kernel_outcome *ret_outcome, status *st);
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

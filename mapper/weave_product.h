// What the weight products share (weave_linear.c, weave_grad_w.c).
#pragma once

#include "mapper/weave_parts.h"

// Features per block of a tensor's axis.
static inline u32 weave_block(const weave_place *p) {
  return p->axis.unit * p->axis.units;
}
static inline df_affine weave_times(df_affine v, u32 n) {
  return (df_affine){v.base * (i32)n, v.dx * (i32)n, v.dy * (i32)n};
}
static inline df_affine weave_plus(df_affine v, i32 n) {
  return (df_affine){v.base + n, v.dx, v.dy};
}

// The columns that hold features of one of two axes, in runs of one tile size on both; the first column, and the
// last that has features of either, are runs of their own.
weave_runs weave_product_columns(const weave_axis *in, const weave_axis *out, bool parity);

// A vector over `count` rows of `each` elements that are `pitch` bytes apart.
typedef struct weave_rows_at {
  u32 type, address, each, count, pitch;
} weave_rows_at;
u32 weave_table(weave *w, const char *name, weave_rows_at at);

// The open task waits until the microthread has completed what it does.
void weave_await(weave *w, u32 thread);

// R(reg) goes on to the next of `count` buffers.
void weave_turn(weave *w, u32 reg, u32 count);
// Emits a SKIP or SKIP_LESS whose end is told later (df_build_skip_to_here); returns its place.
u32 weave_skip(weave *w, df_instruction i);

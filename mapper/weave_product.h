// What the weight products share (weave_linear.c, weave_grad_w.c).
#pragma once

#include "mapper/weave_parts.h"

enum { WEAVE_UNROLL = 4, WEAVE_STRAIGHT_MAX = 8 };

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
u32 weave_table(weave *w, const char *name, u32 type, u32 address, u32 each, u32 count, u32 pitch);

// The open task waits until the microthread has completed what it does.
void weave_await(weave *w, u32 thread);

// Repeats an operation `count` times: a few in a row, many in a loop over WEAVE_UNROLL of them. `op` emits the
// at-th; with a register, the one WEAVE_UNROLL * R(reg) behind it.
typedef void weave_repeated(weave *w, const void *of, u32 at, u32 reg);
void weave_unrolled(weave *w, u32 count, u32 reg, weave_repeated *op, const void *of);

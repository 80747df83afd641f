// What the kernels share: values by rule, and lines of PEs along which collectives run.
#pragma once

#include "mapper/kernel.h"

typedef bool kernel_function(const kernel_request *r, arena *a, kernel_case *k, status *st);
kernel_function kernel_p2p, kernel_dsd, kernel_task, kernel_matvec, kernel_broadcast, kernel_reduce, kernel_allreduce,
    kernel_summa;

// A value by its place: an integer so small that sums stay exact, or a multiple of 1/128 in [-1, 1).
float kernel_value(const kernel_request *r, u32 tag, u64 index);
// Fills a new input for all PEs of the symbol.
float *kernel_fill(const kernel_request *r, arena *a, kernel_case *k, u32 symbol);
float *kernel_expect(arena *a, kernel_case *k, u32 symbol);
// Where rounding may show: sums of `terms` products whose absolute values add up to `magnitude`.
void kernel_tolerate(const kernel_request *r, kernel_case *k, double terms, double magnitude);
bool kernel_pattern_is(const kernel_request *r, const char *pattern); // the request's, or the kernel's first
u32 kernel_symbol(const kernel_case *k, const char *name);

// Lines: every row of the grid on its own, or the one column of a grid of width 1. Position 0 is the western
// (northern) end: LOW is the port towards it.
typedef struct line {
  bool down;
  u32 length, count;
} line;
line line_of(const kernel_request *r);
static inline u32 line_low(const line *l) {
  return l->down ? PORT_NORTH : PORT_WEST;
}
static inline u32 line_high(const line *l) {
  return l->down ? PORT_SOUTH : PORT_EAST;
}
// Positions first, first + step, ... (n of them) of every line.
typedef struct run {
  u32 first, n, step;
} run;
df_rect line_rect(const line *l, run at);
void line_region(df_builder *b, const line *l, run at, const char *class_name); // nothing where n is 0
void line_route(df_builder *b, const line *l, run at, u32 color, u32 rx_tx[2]);
// The same for `gap` positions in a row from each of `at`.
void line_route_gaps(df_builder *b, const line *l, run at, u32 gap, u32 color, u32 rx_tx[2]);
#define PORTS(rx, tx) ((u32[2]){(rx), (tx)})

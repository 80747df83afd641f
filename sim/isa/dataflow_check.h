// What the three parts of the verifier share. It takes nothing from the builder.
#pragma once

#include "sim/isa/dataflow.h"

typedef struct df_checker {
  const dataflow *d;
  const machine *m;
  arena *memory; // scratch
  status *st;
} df_checker;

#define DF_REFUSE(c, ...) status_fail((c)->st, CODE_CONFIG, "dataflow: " __VA_ARGS__)

typedef struct df_place {
  u32 x, y;
} df_place;

// The PE of a rectangle in its column i and row j.
static inline df_place df_place_in(df_rect r, u32 i, u32 j) {
  return (df_place){r.x + i * r.step_x, r.y + j * r.step_y};
}

// Each in its file, in the order in which dataflow_check asks; a later one relies on what the earlier found.
bool df_check_shape(const df_checker *c);  // indices, names, operands, colors, queues: invariants 1 and 4
bool df_check_routes(const df_checker *c); // regions, routes, ports, symbols, circles: invariants 2, 5, 6, 7
bool df_check_memory(const df_checker *c); // vectors of every PE, SRAM: invariant 3

// Operand helpers on a program whose shape is right.
static inline const df_vector *df_operand(const dataflow *d, const df_class *k, u32 vector) {
  return &d->vectors[k->first_vector + vector];
}
static inline u32 df_field(const df_instruction *i, char from) {
  return from == 't' ? i->to : from == 'a' ? i->a : i->b;
}

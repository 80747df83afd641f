// The operations of graph.h on one sequence, as a table of functions: the executor calls through the
// table, so tests run the naive definition (tests/kernels_naive.c) and the fast kernels alike.
#pragma once

#include "model/graph/graph.h"

// Where a node finds its operands. Pointers are in the order of the op's line in graph.h; absent
// operands are NULL. Activations are [seq][cols], parameters [rows][cols], row-major, fp32.
typedef struct kernel_call {
  const graph *graph;
  const graph_node *node;
  u32 seq;
  float *in[NODE_IN_MAX]; // tokens and targets are u32 behind the same pointer
  float *out[NODE_OUT_MAX];
  u32 in_cols[NODE_IN_MAX], out_cols[NODE_OUT_MAX];
  double loss_scale; // OP_LOSS_GRAD: 1 / tokens of the step
  float *scratch;    // kernels->scratch_floats(...) floats, one per thread
} kernel_call;

typedef void kernel(const kernel_call *c);

typedef struct kernel_table {
  const char *name;
  kernel *run[OP_COUNT]; // NULL for update operations, which the trainer does over all parameters
  size_t (*scratch_floats)(const graph *g);
} kernel_table;

const kernel_table *kernels_fast(void); // AVX2 / AVX-512 chosen at run time

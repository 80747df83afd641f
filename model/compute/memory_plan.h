// Where each activation of a sequence lives in one block of memory: tensors whose lifetimes do not meet
// share it. Lifetimes follow node order.
#pragma once

#include "model/graph/graph.h"

// First and last node that touches a tensor.
typedef struct tensor_life {
  u32 first, last;
} tensor_life;

typedef struct memory_plan {
  const size_t *offsets;    // per tensor, in floats, multiples of 16; activations and their gradients only
  const tensor_life *lives; // per tensor
  size_t floats;            // size of the block
} memory_plan;

// Forward activations live at least to the end of the forward nodes, so all of them can be read there;
// a tensor dies after the last node that reads it.
bool memory_plan_build(const graph *g, arena *a, memory_plan *ret_plan, status *st);

// Where each activation of a sequence lives in one block of memory: tensors whose lifetimes do not meet
// share it. Lifetimes follow the order of the nodes.
#pragma once

#include "model/compute/node_order.h"

// First and last step that touches a tensor.
typedef struct tensor_life {
  u32 first, last;
} tensor_life;

typedef struct memory_plan {
  const size_t *offsets;    // per tensor, in floats, multiples of 16; activations and their gradients only
  const size_t *again;      // where it lies when it was made a second time
  const tensor_life *lives; // per tensor, [tensor_count] further on of their second lives
  size_t floats;            // size of the block
} memory_plan;

// Forward activations that are not made again live at least to the end of forward, so they can be read
// there; a tensor dies after the last step that reads it.
bool memory_plan_build(const graph *g, const node_order *o, arena *a, memory_plan *ret_plan, status *st);

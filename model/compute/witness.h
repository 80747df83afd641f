// Every tensor of a step, computed node by node with no memory shared: what somebody else's values are compared with.
#pragma once

#include "model/compute/execute.h"

typedef struct witness witness;

// Runs forward and gradient nodes of a batch with the table's operations. CODE_CONFIG where memory does not suffice.
witness *witness_of(const graph *g, const kernel_table *k, const execute_batch *b, arena *a, status *st);
// Activations, their gradients and losses [batch][seq][cols] as they are in the end, parameter gradients [rows][cols].
const float *witness_tensor(const witness *w, u32 tensor);
u32 witness_last_writer(const witness *w, u32 tensor); // the node after which it is so; GRAPH_NONE: none writes it

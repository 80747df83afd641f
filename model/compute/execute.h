// Runs a graph's forward and gradient nodes sequence by sequence: threads take lanes, a lane takes a
// fixed set of sequences in order and owns a gradient sum, lanes fold in order. The number of lanes
// depends on the work only, so the result does not depend on the number of threads.
#pragma once

#include "model/compute/kernels.h"

typedef struct executor executor;

// Everything is taken from `a` here: parameters' gradients per lane and one planned activation block
// per thread. CODE_CONFIG with the size wanted when memory does not suffice.
executor *executor_create(const graph *g, const kernel_table *k, u32 max_batch, u32 threads, arena *a,
                          status *st);

// One batch: inputs and targets are [batch][seq]. params[p] points to parameter p.
typedef struct execute_batch {
  u32 batch;
  const u32 *inputs, *targets;
  float *const *params;
} execute_batch;

// Mean loss of the batch (natural log). Forward only.
double execute_forward(executor *e, const execute_batch *b);
// Mean loss, and gradients of the mean loss into grads[p] (summed over the batch, overwritten).
double execute_gradients(executor *e, const execute_batch *b, float *const *grads);
// Copies an activation out, [seq][cols]. Valid after execute_forward of a single sequence (batch 1), until
// the next call: forward activations keep their memory to the end of the forward nodes.
void execute_read(const executor *e, u32 tensor, float *ret_values);
u32 execute_lanes(const graph *g, u32 batch);

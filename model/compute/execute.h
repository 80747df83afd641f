// Runs a graph's forward and gradient nodes sequence by sequence: threads take lanes, a lane takes a
// fixed set of sequences in order and owns a gradient sum, lanes fold in order. The number of lanes
// depends on the work only, so the result does not depend on the number of threads.
#pragma once

#include "model/compute/kernels.h"

typedef struct executor executor;

// Several processes that share every batch: each takes a contiguous part of its lanes and has all of its tokens. These
// functions are called by the thread that called the executor, in the same order in all of them; how they reach
// each other is the caller's business.
typedef struct execute_ranks {
  u32 rank, ranks;
  void *user;
  void (*receive)(void *user, float *ret_values, size_t count);  // what the rank before sent; not called in the first
  void (*send)(void *user, const float *values, size_t count);   // to the rank after; not called in the last
  void (*share)(void *user, float *values, size_t count);        // the last rank's values to all
  void (*gather)(void *user, double *values, size_t count);      // sums over ranks, of which all but one hold 0
} execute_ranks;

// What differs from the ordinary; zeros are the ordinary.
typedef struct execute_options {
  bool recompute; // run blocks forward again instead of keeping what is inside them
  // Where the unembedding and loss are done: AUTO lets the size of the vocabulary decide.
  enum { HEAD_AUTO, HEAD_IN_LANES, HEAD_TOGETHER } head;
  // Gradients come out as one process makes them, in all ranks. NULL: one process.
  const execute_ranks *ranks;
} execute_options;

typedef struct executor_setup {
  const graph *graph;
  const kernel_table *kernels;
  u32 max_batch, threads;
  execute_options options;
} executor_setup;

// Everything is taken from `a` here: parameters' gradients per lane and planned activation blocks.
// CODE_CONFIG with the size wanted when memory does not suffice, or where the ranks are more than the lanes.
executor *executor_open(const executor_setup *s, arena *a, status *st);
executor *executor_create(const graph *g, const kernel_table *k, u32 max_batch, u32 threads, arena *a,
                          status *st);

// One batch: inputs and targets are [batch][seq]; a target may be TARGET_NONE. params[p] points to parameter p.
typedef struct execute_batch {
  u32 batch;
  const u32 *inputs, *targets;
  float *const *params;
} execute_batch;

// Mean loss of the batch's targets (natural log). Forward only.
double execute_forward(executor *e, const execute_batch *b);
// Mean loss, and gradients of the mean loss into grads[p] (summed over the batch, overwritten).
double execute_gradients(executor *e, const execute_batch *b, float *const *grads);
// The same, and `after` is called by every thread of the parallel region once the gradients are complete:
// it shares its work with `omp for`, which needs no region of its own, and may ask for the loss.
typedef void execute_after(void *user);
double execute_gradients_then(executor *e, const execute_batch *b, float *const *grads, execute_after *after, void *user);
double execute_loss(const executor *e);
// Copies an activation out, [seq][cols]. Valid after execute_forward of a single sequence (batch 1), until
// the next call: forward activations keep their memory to the end of the forward nodes. Not for what is
// inside blocks that are recomputed.
void execute_read(const executor *e, u32 tensor, float *ret_values);
u32 execute_lanes(const graph *g, u32 batch);

// Time by operation since it was asked for, over all threads.
typedef struct execute_time {
  const char *name;
  double seconds;
  u64 calls;
} execute_time;
enum { EXECUTE_TIMES = OP_COUNT + 8 };
void execute_profile(executor *e, bool on);
// The rows that are not zero, the largest first; returns how many.
u32 execute_times(const executor *e, execute_time ret_rows[EXECUTE_TIMES]);

// What an executor holds; shared by execute*.c only.
#pragma once

#include "model/compute/execute.h"
#include "model/compute/memory_plan.h"

// Times that belong to no node; they follow the operations.
typedef enum execute_extra { EXTRA_PACK = OP_COUNT, EXTRA_HEAD, EXTRA_HEAD_GRAD, EXTRA_FOLD, EXTRA_AFTER, EXTRA_COUNT } execute_extra;

// One weight in one direction, shared by all threads.
typedef struct packed_weight {
  u32 param;
  bool backward;
  u32 first_task; // its tasks are numbered from here
  float *to;
} packed_weight;

typedef struct execute_clock {
  u64 ns[EXTRA_COUNT], calls[EXTRA_COUNT];
  u64 pad[8]; // threads write to their own cache lines
} execute_clock;

struct executor {
  executor_setup setup;
  const graph *graph;
  const kernel_table *kernels;
  u32 threads, lanes; // at most, of this rank
  node_order order;
  memory_plan plan;
  float **blocks;        // plan.floats each: per thread, or per lane where the head is apart
  float **scratch;       // per thread
  float **sums;          // per own lane but the first, whose sums are the caller's: gradients of parameters
  size_t *param_offsets; // within a lane; [param_count] is the lane's size. Nothing where the head is apart and adds it
  bool *shared;          // per parameter: not summed in lanes
  double *losses;        // per sequence of the batch: sum over its tokens
  float *incoming;       // of the ranks before, one parameter at a time; NULL in the first
  packed_weight *packed;
  u32 packed_count, pack_tasks;
  u32 *node_packed;      // per node: index into packed, or GRAPH_NONE
  bool *node_slopes;     // per node: an activation whose input becomes its slope where gradients follow, or its gradient
  struct {
    float *logits, *parts, *sums, *loss;
    u32 node, embed_grad; // the unembedding, and what adds to its embedding
  } head;
  bool profile;
  execute_clock *clocks; // per thread
  double loss;
  float *const *last_params;
};

// One call, as the threads of its region see it.
typedef struct execute_run {
  executor *e;
  const execute_batch *b;
  float *const *grads; // NULL: forward only
  u32 lanes;                // of all ranks
  u32 first_lane, lane_end; // of this one
  double targets;           // tokens of the batch that have one
  execute_after *after; // or NULL
  void *user;
} execute_run;

u64 execute_now(const executor *e); // 0 unless profiling
void execute_add_time(executor *e, u32 kind, u64 since);

// execute_head.c: called by every thread of the region, with a barrier at the end of each.
bool execute_head_open(executor *e, arena *a, status *st);
void execute_head_run(const execute_run *r, u32 sequence, float *block);
void execute_head_finish(const execute_run *r, u32 first, u32 count);
float *execute_block(const executor *e, u32 lane);

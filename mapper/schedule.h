// The order of a microbatch: which node runs when, what is rebuilt, stored away and fetched back, and
// what the fullest PE holds at each step.
#pragma once

#include "mapper/tiles.h"

typedef enum step_kind {
  STEP_NODE,  // a node of the graph, possibly for the second time
  STEP_STORE, // a tensor has left the wafer: its memory is free
  STEP_FETCH  // memory for a tensor that is on its way back
} step_kind;

typedef struct schedule_step {
  u32 kind, node, tensor; // node or tensor, by kind
  bool again;             // the node rebuilds what forward has dropped
  u32 bytes;              // live data and buffers of the fullest PE during the step
} schedule_step;

typedef struct schedule {
  schedule_step *steps;
  u32 count;
  u32 peak;       // index of the fullest step
  u32 peak_bytes; // its data, without code
} schedule;

// Along the columns a tensor's features are laid out as the residual width, Q, K and V beside each other in that
// layout, the MLP's hidden features, or outputs of the unembedding.
typedef enum feature_axis { AXIS_WIDTH, AXIS_QKV, AXIS_HIDDEN, AXIS_VOCAB } feature_axis;
feature_axis schedule_axis(const graph *g, u32 tensor); // of an activation or its gradient

// The order under a policy; `kept` says which tensors stay (recompute) or leave and return (offload), all
// others are rebuilt where backward first needs them. schedule_measure fills the bytes.
typedef struct schedule_choice {
  u32 policy, kept, kept_blocks, ahead; // as in a plan
} schedule_choice;
void schedule_build(const graph *g, schedule_choice c, arena *a, schedule *ret_schedule);
// Does a level keep more than the one below it?
bool schedule_keeps_more(const graph *g, u32 kept);
// Bytes of every step for the given tiles.
void schedule_measure(const graph *g, const plan_tiles *t, u32 axpy, arena *a, schedule *s);
// Bytes of a tensor in the fullest PE.
u32 schedule_tensor_bytes(const graph *g, const plan_tiles *t, u32 tensor);
// Room that an operation needs beside its operands: partial sums on their way (double buffered), the
// received stream, blocks of keys and values that rotate.
u32 schedule_buffer_bytes(const graph *g, const plan_tiles *t, u32 axpy, u32 node);

// The layer-pipelined mode: every operation of the forward pass has a rectangle, sized by its work, that keeps
// its weights and their optimizer state; tokens stream from kernel to kernel.
#pragma once

#include "mapper/plan.h"

typedef struct pipeline_op { // of the fullest PE
  u32 opcode;
  u64 issues, elements;
} pipeline_op;
enum { PIPELINE_OPS_MAX = 12 };

// The share of one PE: inputs and outputs of a linear layer; features and tokens in attention; features of
// elementwise work, whose rows take turns (`out` is then 1).
typedef struct pipeline_share {
  u32 in, out;
} pipeline_share;

// What a PE does for one sequence, forward and backward, `again`: with the forward work done twice.
u32 pipeline_ops(const graph *g, const plan_kernel *k, pipeline_share pe, u32 tile, bool again,
                 pipeline_op ops[PIPELINE_OPS_MAX]);
// Bytes of the weights of a PE with gradient and optimizer state, of what waits for gradients, of buffers.
u64 pipeline_bytes(const graph *g, const plan_kernel *k, u32 tile);
u64 pipeline_pe_weights(const graph *g, const plan_kernel *k, pipeline_share pe);
// Bytes of code that the mode's kernels take at most.
u32 pipeline_code_bytes(const machine *m);

// Fills plan->pipeline and what follows from it. CODE_CONFIG with what does not fit.
bool pipeline_build(const plan_request *r, arena *a, plan *p, status *st);
bool pipeline_check(const plan *p, const graph *g, const machine *m, status *st);
void pipeline_lower(const plan *p, const graph *g, const machine *m, arena *a, program *ret_program);
void pipeline_print(const plan *p, const graph *g, text *out);

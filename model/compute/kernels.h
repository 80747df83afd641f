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
  u32 accumulate;      // as the node's, but for the first contribution to a sum that was not zeroed
  double loss_scale;   // OP_LOSS_GRAD: 1 / targets of the step
  const float *packed; // OP_LINEAR, OP_LINEAR_GRAD_X: the weight as `pack` left it; NULL: not packed
  bool slopes;         // OP_ACTIVATION: leave the slope at x in x's place; OP_ACTIVATION_GRAD: find it there
  float *scratch;      // kernels->scratch_floats(...) floats, one per thread
} kernel_call;

typedef void kernel(const kernel_call *c);

// A weight laid out once per step for all its uses in one direction: forward or towards the input.
typedef struct weight_pack {
  const float *weight; // [out][in]
  u32 out, in;
  bool backward;
  float *to;
} weight_pack;

// The unembedding and the loss of up to HEAD_ROWS tokens at once, by all threads: chunks of the vocabulary,
// blocks of rows and blocks of columns are tasks that any thread may take, in the order of the functions
// below with a barrier between two of them. Bytes are those of the nodes one by one.
enum { HEAD_ROWS = 256, HEAD_CHUNK = 512, HEAD_ROW_BLOCK = 16, HEAD_COLUMN_BLOCK = 192 };
typedef struct head_call {
  u32 rows, width, vocab;
  const float *x, *weight; // [rows][width], [vocab][width]
  const u32 *targets;
  float scale, factor; // of the logits, and of (softmax - onehot)
  float *logits;       // [chunks][HEAD_ROWS][HEAD_CHUNK]
  float *parts;        // [chunks][HEAD_ROWS][2]: largest, and sum of e^(logit - largest)
  float *sums;         // [HEAD_ROWS][2]: the same of whole rows
  float *loss;         // [rows]
  float *dx, *dweight; // as x and weight
  bool accumulate_dweight;
} head_call;
typedef void head_task(const head_call *h, u32 index, float *scratch);

typedef struct kernel_table {
  const char *name;
  kernel *run[OP_COUNT]; // NULL for update operations, which the trainer does over all parameters
  size_t (*scratch_floats)(const graph *g);
  // Below, NULL where a table has the operations one by one only.
  bool (*pairs)(graph_op first, graph_op second); // can `pair` do these two?
  // Two nodes of which the second treats what the first wrote, with the same bytes as one after the other.
  void (*pair)(const kernel_call *first, const kernel_call *second);
  bool slopes; // kernel_call.slopes is understood
  size_t (*packed_floats)(u32 out, u32 in, bool backward);
  u32 (*pack_tasks)(const weight_pack *w);
  void (*pack)(const weight_pack *w, u32 task);
  head_task *head_logits; // chunk of the vocabulary: logits and parts
  head_task *head_loss;   // block of rows: sums and loss
  head_task *head_grad_w; // chunk: logits become their gradients; rows of dweight
  head_task *head_grad_x; // block of columns of dx
} kernel_table;

// The functions of a table, which are called as their operations; those of linear layers may have a suffix.
#define KERNELS_BY_NAME(suffix)                                                                                        \
  {                                                                                                                    \
    [OP_EMBED] = embed, [OP_LAYERNORM] = layernorm, [OP_LINEAR] = linear##suffix, [OP_ATTENTION] = attention,          \
    [OP_ACTIVATION] = activation, [OP_RESIDUAL] = residual, [OP_LOSS] = loss, [OP_LOSS_GRAD] = loss_grad,              \
    [OP_LINEAR_GRAD_X] = linear_grad_x##suffix, [OP_LINEAR_GRAD_W] = linear_grad_w##suffix,                            \
    [OP_LAYERNORM_GRAD] = layernorm_grad, [OP_ATTENTION_GRAD] = attention_grad,                                        \
    [OP_ACTIVATION_GRAD] = activation_grad, [OP_RESIDUAL_GRAD] = residual_grad, [OP_EMBED_GRAD] = embed_grad,          \
    [OP_RMSNORM] = rmsnorm, [OP_GATE] = gate, [OP_ROTARY] = rotary, [OP_RMSNORM_GRAD] = rmsnorm_grad,                  \
    [OP_GATE_GRAD] = gate_grad, [OP_ROTARY_GRAD] = rotary_grad                                                         \
  }

const kernel_table *kernels_fast(void); // AVX2 / AVX-512 chosen at run time
// The same with the operands of linear layers (values and weights, in all three products) rounded to bfloat16 and
// their sums in fp32. What is stored stays fp32.
const kernel_table *kernels_fast_bf16(void);
// The same rounded to fp16; gradients as those of the sum over the step's tokens, so that they stay in its range.
const kernel_table *kernels_fast_fp16(void);

// One training step as operations on tensors: forward nodes are built from the model, gradient and
// update nodes are appended by rule. Constant once built. All rows of activations are tokens, and no
// operation before the updates mixes two sequences, so an executor may run sequence by sequence.
#pragma once

#include "model/graph/rules.h"

// One line per operation: inputs -> outputs and its effect, t over tokens of one sequence.
// In gradient operations dX means dLoss/dX; `accumulate` (see graph_node) adds instead of writing.
typedef enum graph_op {
  // --- forward
  OP_EMBED,       // tokens, wte[, wpe] -> x : x[t] = scale * (wte[tok t] (+ wpe[t]))
  OP_LAYERNORM,   // x, g[, b] -> y, stats : y = (x-mean)*rstd*g + b; stats[t] = (mean, rstd)
  OP_LINEAR,      // x, W[, bias] -> y : y = scale * (x W^T + bias), W is [out][in]
  OP_ATTENTION,   // qkv -> y, lse : softmax(scale q.k - slope_h |i-j|) v over the keys that model.attention
                  //                 lets a token see; lse[t][h] = log sum exp
  OP_ACTIVATION,  // x -> y : `activation` elementwise
  OP_RESIDUAL,    // x, branch -> y : y = x + scale * branch
  OP_LOSS,        // logits, targets -> loss : loss[t] = logsumexp(logits[t]) - logits[t][target t]; 0 without target
  // --- gradients, appended by rule
  OP_LOSS_GRAD,       // logits, targets -> dlogits : (softmax - onehot) * scale / (targets of the step)
  OP_LINEAR_GRAD_X,   // dy, W -> dx : dx = scale * dy W
  OP_LINEAR_GRAD_W,   // dy, x -> dW[, dbias] : dW += scale * dy^T x ; dbias += scale * sum_t dy
  OP_LAYERNORM_GRAD,  // dy, x, g, stats -> dx, dg[, db]
  OP_ATTENTION_GRAD,  // dy, qkv, y, lse -> dqkv
  OP_ACTIVATION_GRAD, // dy, x -> dx
  OP_RESIDUAL_GRAD,   // dy -> dx, dbranch : dx = dy ; dbranch = scale * dy
  OP_EMBED_GRAD,      // dx, tokens -> dwte[, dwpe]
  // --- update, once per step over all sequences
  OP_GRAD_NORM,   // -> norm : global L2 norm of every parameter gradient, as they are (inputs not listed)
  OP_ADAMW,       // param, gradient, norm -> param : decoupled decay, clipping by norm
  // --- forward and gradients of other families; at the end because an operation's number is part of graph_hash
  OP_RMSNORM,      // x, g -> y, stats : y = x*rstd*g; stats[t] = rstd = 1 / sqrt(mean of x^2 + eps)
  OP_GATE,         // gate, up -> y : y = silu(gate) * up, silu(x) = x / (1 + e^-x)
  OP_ROTARY,       // qkv -> y : q and k of every head with their pairs turned by t * 10000^(-2i/dims), v as it is
  OP_RMSNORM_GRAD, // dy, x, g, stats -> dx, dg
  OP_GATE_GRAD,    // dy, gate, up -> dgate, dup
  OP_ROTARY_GRAD,  // dy -> dx : turned back
  OP_COUNT
} graph_op;

typedef enum tensor_kind {
  TENSOR_PARAM,      // rows x cols, lives across steps
  TENSOR_PARAM_GRAD, // same shape as its parameter, summed over sequences
  TENSOR_ACT,        // per token: rows = sequence length, cols features, 4 bytes each
  TENSOR_ACT_GRAD,   // likewise
  TENSOR_TOKENS,     // u32 per token: inputs or targets
  TENSOR_SCALAR      // one value per step
} tensor_kind;

#define GRAPH_NONE UINT32_MAX
#define TARGET_NONE UINT32_MAX // in targets: nothing is predicted here
enum { GRAPH_NAME_MAX = 40, NODE_IN_MAX = 4, NODE_OUT_MAX = 3 };

typedef struct graph_tensor {
  char name[GRAPH_NAME_MAX]; // parameters by golden names: "wte", "h0.attn.wqkv", "lnf.g"
  tensor_kind kind;
  u32 rows, cols;  // a vector parameter has rows = 1
  u32 layer;       // GRAPH_NONE outside the blocks
  param_role role; // parameters only
  u32 param;       // TENSOR_PARAM and _GRAD: index among parameters
  u32 twin;        // activation <-> its gradient, parameter <-> its gradient; GRAPH_NONE if none
  u32 producer;    // first node that writes it; GRAPH_NONE for parameters and tokens
} graph_tensor;

typedef struct graph_node {
  char name[GRAPH_NAME_MAX]; // "h0.attn.qkv", "h0.attn.qkv.grad_w", ... = the origin in programs
  graph_op op;
  u32 layer;            // GRAPH_NONE outside the blocks
  u32 in[NODE_IN_MAX];  // tensor indices, in the order of the op's line; GRAPH_NONE where absent
  u32 out[NODE_OUT_MAX];
  u32 accumulate; // bit i: out[i] is added to, not written (parameter gradients always are)
  u32 forward;    // gradient nodes: the forward node they belong to; GRAPH_NONE otherwise
  double scale;
} graph_node;

typedef struct graph {
  model_spec model;
  model_rules rules;
  u32 seq; // tokens per sequence, T
  u32 tensor_count, node_count, param_count;
  u32 forward_end;  // nodes [0, forward_end) are forward
  u32 backward_end; // nodes [forward_end, backward_end) are gradients, then updates
  u32 tokens, targets, logits, loss; // tensor indices
  const graph_tensor *tensors;
  const graph_node *nodes;
  const u32 *params; // tensor index of each parameter, in the order of creation
} graph;

// Builds the step for sequences of seq tokens. model_check is called first.
bool graph_build(const model_spec *m, base_hyper base, u32 seq, arena *a, graph *ret_graph, status *st);
void graph_print(const graph *g, text *out); // every node with its tensors, for people
// Identity of the computation: shapes, operations and forward multipliers; not LR, eps, decay, init.
u64 graph_hash(const graph *g);

const char *graph_op_name(graph_op op);
// What a parameter resolves to (its role's rule; W_o and W_2 may carry the gpt2 init factor).
role_rule graph_param_rule(const graph *g, u32 param);
// Is it the gain of a norm (initialised to 1)?
bool graph_param_is_gain(const graph *g, u32 param);
// Every parameter's resolved rule as a table, one line per distinct rule pattern (h*.attn.wqkv).
void graph_print_rules(const graph *g, text *out);
u32 graph_find_param(const graph *g, const char *name); // parameter index or GRAPH_NONE

// ALiBi slope of head h of H: 2^(-8 (h+1)/H) for powers of two, the interleaved rule of
// arXiv 2108.12409 otherwise.
double graph_alibi_slope(u32 head, u32 heads);

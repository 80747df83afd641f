// Gradients and updates: each forward node, last first, appends its gradient nodes by the rule of its
// operation; a gradient that is reached a second time is added to, which is the residual stream's sum.
#include "model/graph/builder.h"

typedef void grad_rule(builder *b, u32 forward);

static graph_node *grad_node(builder *b, u32 forward, graph_op op, const char *suffix) {
  const graph_node *f = &b->nodes[forward];
  graph_node *n = builder_node(b, op, (place){GRAPH_NONE, "grad"}, f->scale);
  builder_name_after(n, f->name, suffix);
  n->layer = f->layer;
  n->forward = forward;
  return n;
}

// dLoss/d(first output) of a forward node; a bug where nobody asked for it.
static u32 output_gradient(const builder *b, u32 forward) {
  u32 twin = b->tensors[b->nodes[forward].out[0]].twin;
  require(twin != GRAPH_NONE);
  return twin;
}

// Contributes to the gradient of the forward node's `which`-th input, if it has one. Parameter
// gradients are summed over sequences, so they are always added to.
static void contribute(builder *b, graph_node *n, u32 which) {
  u32 input = b->nodes[n->forward].in[which];
  if (input == GRAPH_NONE) return;
  bool again;
  u32 gradient = builder_gradient(b, input, &again);
  builder_out(b, n, gradient, again || b->tensors[input].kind == TENSOR_PARAM);
}

static void grad_loss(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_LOSS_GRAD, ".grad");
  builder_in(n, b->nodes[forward].in[0]);
  builder_in(n, b->nodes[forward].in[1]);
  contribute(b, n, 0);
}

// dW before dX: x dies with dW where nobody else wants it, and dX can take its place.
static void grad_linear(builder *b, u32 forward) {
  u32 dy = output_gradient(b, forward);
  graph_node *w = grad_node(b, forward, OP_LINEAR_GRAD_W, ".grad_w");
  builder_in(w, dy);
  builder_in(w, b->nodes[forward].in[0]);
  contribute(b, w, 1);
  contribute(b, w, 2);
  graph_node *x = grad_node(b, forward, OP_LINEAR_GRAD_X, ".grad_x");
  builder_in(x, dy);
  builder_in(x, b->nodes[forward].in[1]);
  contribute(b, x, 0);
}

static void grad_norm(builder *b, u32 forward) {
  bool rms = b->nodes[forward].op == OP_RMSNORM;
  graph_node *n = grad_node(b, forward, rms ? OP_RMSNORM_GRAD : OP_LAYERNORM_GRAD, ".grad");
  const graph_node *f = &b->nodes[forward];
  builder_in(n, output_gradient(b, forward));
  builder_in(n, f->in[0]);
  builder_in(n, f->in[1]);
  builder_in(n, f->out[1]);
  for (u32 i = 0; i < 3; i++) contribute(b, n, i);
}

static void grad_attention(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_ATTENTION_GRAD, ".grad");
  const graph_node *f = &b->nodes[forward];
  builder_in(n, output_gradient(b, forward));
  builder_in(n, f->in[0]);
  builder_in(n, f->out[0]);
  builder_in(n, f->out[1]);
  contribute(b, n, 0);
}

static void grad_activation(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_ACTIVATION_GRAD, ".grad");
  builder_in(n, output_gradient(b, forward));
  builder_in(n, b->nodes[forward].in[0]);
  contribute(b, n, 0);
}

static void grad_gate(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_GATE_GRAD, ".grad");
  builder_in(n, output_gradient(b, forward));
  for (u32 i = 0; i < 2; i++) builder_in(n, b->nodes[forward].in[i]);
  for (u32 i = 0; i < 2; i++) contribute(b, n, i);
}

static void grad_rotary(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_ROTARY_GRAD, ".grad");
  builder_in(n, output_gradient(b, forward));
  contribute(b, n, 0);
}

static void grad_residual(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_RESIDUAL_GRAD, ".grad");
  builder_in(n, output_gradient(b, forward));
  contribute(b, n, 0);
  contribute(b, n, 1);
}

static void grad_embed(builder *b, u32 forward) {
  graph_node *n = grad_node(b, forward, OP_EMBED_GRAD, ".grad");
  builder_in(n, output_gradient(b, forward));
  builder_in(n, b->g->tokens);
  contribute(b, n, 1);
  contribute(b, n, 2);
}

static grad_rule *const grad_rules[] = {
    [OP_EMBED] = grad_embed,         [OP_LAYERNORM] = grad_norm,        [OP_LINEAR] = grad_linear,
    [OP_ATTENTION] = grad_attention, [OP_ACTIVATION] = grad_activation, [OP_RESIDUAL] = grad_residual,
    [OP_LOSS] = grad_loss,           [OP_RMSNORM] = grad_norm,          [OP_GATE] = grad_gate,
    [OP_ROTARY] = grad_rotary,
};

void grad_append(builder *b) {
  for (u32 i = b->g->forward_end; i-- > 0;) {
    graph_op op = b->nodes[i].op;
    require((u32)op < COUNT_OF(grad_rules) && grad_rules[op]);
    grad_rules[op](b, i);
  }
}

void grad_append_updates(builder *b) {
  place at = {GRAPH_NONE, "grad_norm"};
  u32 norm = builder_tensor(b, TENSOR_SCALAR, at, 1, 1);
  builder_out(b, builder_node(b, OP_GRAD_NORM, at, 1), norm, false);
  for (u32 p = 0; p < b->g->param_count; p++) {
    u32 param = b->params[p];
    require(b->tensors[param].twin != GRAPH_NONE);
    graph_node *n = builder_node(b, OP_ADAMW, at, 1);
    builder_name_after(n, b->tensors[param].name, ".adamw");
    n->layer = b->tensors[param].layer;
    builder_in(n, param);
    builder_in(n, b->tensors[param].twin);
    builder_in(n, norm);
    builder_out(b, n, param, false);
  }
}

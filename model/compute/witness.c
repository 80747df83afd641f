// A step without any economy.
#include "model/compute/witness.h"

struct witness {
  const graph *graph;
  float **values; // by tensor; NULL: inputs, which are the caller's
  u32 *last_writer;
};

static bool is_act(const graph_tensor *t) {
  return t->kind == TENSOR_ACT || t->kind == TENSOR_ACT_GRAD;
}

static bool take(witness *w, u32 batch, arena *a, status *st) {
  const graph *g = w->graph;
  w->values = arena_array(a, float *, g->tensor_count);
  w->last_writer = arena_array(a, u32, g->tensor_count);
  for (u32 i = 0; i < g->tensor_count; i++) {
    const graph_tensor *t = &g->tensors[i];
    w->last_writer[i] = GRAPH_NONE;
    if (!is_act(t) && t->kind != TENSOR_PARAM_GRAD) continue;
    const size_t rows = (size_t)t->rows * (is_act(t) ? batch : 1);
    w->values[i] = arena_take_big(a, rows * t->cols * sizeof(float), "every tensor of a step", st);
    if (!w->values[i]) return false;
  }
  for (u32 n = 0; n < g->backward_end; n++)
    for (u32 k = 0; k < NODE_OUT_MAX; k++)
      if (g->nodes[n].out[k] != GRAPH_NONE) w->last_writer[g->nodes[n].out[k]] = n;
  return true;
}

// Tokens and parameters are only read; the kernels' operands are one type for in and out.
static float *operand(const witness *w, const execute_batch *b, u32 tensor, u32 sequence) {
  if (tensor == GRAPH_NONE) return NULL;
  const graph *g = w->graph;
  const graph_tensor *t = &g->tensors[tensor];
  if (tensor == g->tokens) return (float *)(b->inputs + (size_t)sequence * g->seq);
  if (tensor == g->targets) return (float *)(b->targets + (size_t)sequence * g->seq);
  if (t->kind == TENSOR_PARAM) return b->params[t->param];
  return w->values[tensor] + (is_act(t) ? (size_t)sequence * t->rows * t->cols : 0);
}

static void run_node(const witness *w, const kernel_table *k, const execute_batch *b, kernel_call c, u32 sequence) {
  const graph *g = w->graph;
  for (u32 i = 0; i < NODE_IN_MAX; i++) {
    c.in[i] = operand(w, b, c.node->in[i], sequence);
    c.in_cols[i] = c.in[i] ? g->tensors[c.node->in[i]].cols : 0;
  }
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    c.out[i] = operand(w, b, c.node->out[i], sequence);
    c.out_cols[i] = c.out[i] ? g->tensors[c.node->out[i]].cols : 0;
  }
  k->run[c.node->op](&c);
}

witness *witness_of(const graph *g, const kernel_table *k, const execute_batch *b, arena *a, status *st) {
  witness *w = arena_array(a, witness, 1);
  w->graph = g;
  float *scratch = arena_take_big(a, (k->scratch_floats(g) + 1) * sizeof(float), "scratch", st);
  if (!scratch || !take(w, b->batch, a, st)) return NULL;
  for (u32 s = 0; s < b->batch; s++)
    for (u32 n = 0; n < g->backward_end; n++) {
      const kernel_call c = {.graph = g,
                             .node = &g->nodes[n],
                             .seq = g->seq,
                             .accumulate = g->nodes[n].accumulate,
                             .loss_scale = 1.0 / ((double)b->batch * g->seq),
                             .scratch = scratch};
      run_node(w, k, b, c, s);
    }
  return w;
}

const float *witness_tensor(const witness *w, u32 tensor) {
  require(w->values[tensor]);
  return w->values[tensor];
}

u32 witness_last_writer(const witness *w, u32 tensor) {
  return w->last_writer[tensor];
}

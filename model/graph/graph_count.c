// Parameters and FLOPs of a graph. Only products of matrices count: what is elementwise, normalised or
// looked up is left out, as in every published accounting.
#include "model/graph/graph_count.h"

#include <string.h>

// Multiply-adds per token of one node over the full square of attention.
static double node_macs(const graph *g, const graph_node *n) {
  const graph_tensor *t = g->tensors;
  double seq = g->seq, width = g->model.width;
  switch (n->op) {
  case OP_LINEAR:
  case OP_LINEAR_GRAD_X: return (double)t[n->in[1]].rows * t[n->in[1]].cols;
  case OP_LINEAR_GRAD_W: return (double)t[n->out[0]].rows * t[n->out[0]].cols;
  case OP_ATTENTION: return 2 * width * seq;      // scores, and their mix of V
  case OP_ATTENTION_GRAD: return 4 * width * seq; // dV, dP, dQ, dK; scores are not counted again
  default: return 0;
  }
}

static bool is_attention(graph_op op) { return op == OP_ATTENTION || op == OP_ATTENTION_GRAD; }

graph_counts graph_count(const graph *g) {
  graph_counts c = {0};
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *t = &g->tensors[g->params[p]];
    u64 n = (u64)t->rows * t->cols;
    c.params += n;
    if (strcmp(t->name, "wpe") == 0) c.params_positions += n;
    if (t->role != ROLE_EMBED && t->role != ROLE_UNEMBED) c.params_non_embed += n;
  }
  double seq = g->seq;
  // A token sees (T + 1) / 2 keys on average, or all of them.
  double seen = g->model.attention == ATTENTION_CAUSAL ? (seq + 1) / (2 * seq) : 1;
  for (u32 i = 0; i < g->backward_end; i++) {
    double flops = 2 * node_macs(g, &g->nodes[i]);
    c.flops_explicit += flops;
    c.flops_causal += is_attention(g->nodes[i].op) ? flops * seen : flops;
  }
  c.flops_6p = 6.0 * (double)(c.params - c.params_positions);
  c.flops_palm = c.flops_6p + 12.0 * g->model.layers * g->model.width * seq;
  return c;
}

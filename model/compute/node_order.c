// Recomputation needs no list of layers' insides: a forward node of a block runs again if a gradient of the
// block, or another node that runs again, reads what it wrote, and nothing outside the block does.
#include "model/compute/node_order.h"

#include <string.h>

static bool writes(const graph_node *n, u32 tensor) {
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (n->out[i] == tensor) return true;
  return false;
}

static bool reads(const graph_node *n, u32 tensor) {
  for (u32 i = 0; i < NODE_IN_MAX; i++)
    if (n->in[i] == tensor) return true;
  return false;
}

bool node_order_is_apart(const graph *g, u32 node) {
  const graph_node *n = &g->nodes[node];
  u32 forward = n->forward == GRAPH_NONE ? node : n->forward;
  const graph_node *f = &g->nodes[forward];
  return f->op == OP_LOSS || writes(f, g->logits) || n->op == OP_EMBED_GRAD;
}

typedef struct ordering {
  const graph *g;
  order_options o;
  order_step *steps;
  u32 count;
  bool *again, *rerun; // per tensor, per node
} ordering;

static bool is_kept(const graph *g, u32 tensor, u32 layer) {
  for (u32 n = 0; n < g->forward_end; n++)
    if (reads(&g->nodes[n], tensor) && g->nodes[n].layer != layer) return true;
  return false;
}

// Marks the forward nodes of `layer` whose outputs `by` reads.
static void mark_needs(ordering *r, u32 by) {
  const graph_node *reader = &r->g->nodes[by];
  for (u32 i = 0; i < NODE_IN_MAX; i++) {
    u32 t = reader->in[i];
    if (t == GRAPH_NONE || r->g->tensors[t].kind != TENSOR_ACT) continue;
    u32 maker = r->g->tensors[t].producer;
    if (maker >= r->g->forward_end || r->g->nodes[maker].layer != reader->layer || is_kept(r->g, t, reader->layer)) continue;
    r->rerun[maker] = true;
  }
}

static void find_reruns(ordering *r) {
  const graph *g = r->g;
  for (u32 n = g->forward_end; n < g->backward_end; n++)
    if (g->nodes[n].layer != GRAPH_NONE) mark_needs(r, n);
  for (u32 n = g->forward_end; n-- > 0;)
    if (r->rerun[n]) mark_needs(r, n);
  for (u32 n = 0; n < g->forward_end; n++)
    for (u32 i = 0; i < NODE_OUT_MAX && r->rerun[n]; i++)
      if (g->nodes[n].out[i] != GRAPH_NONE) r->again[g->nodes[n].out[i]] = true;
}

static void add(ordering *r, u32 node, bool again) {
  if (node != GRAPH_NONE && r->o.head_apart && node_order_is_apart(r->g, node)) return;
  r->steps[r->count++] = (order_step){.node = node, .again = again};
}

static void add_backward(ordering *r) {
  const graph *g = r->g;
  u32 layer = GRAPH_NONE;
  if (r->o.head_apart) add(r, GRAPH_NONE, false);
  for (u32 n = g->forward_end; n < g->backward_end; n++) {
    if (g->nodes[n].layer != layer) {
      layer = g->nodes[n].layer;
      for (u32 f = 0; f < g->forward_end && layer != GRAPH_NONE; f++)
        if (r->rerun[f] && g->nodes[f].layer == layer) add(r, f, true);
    }
    add(r, n, false);
  }
}

// A pair's second treats what its first wrote.
static bool is_pair(const ordering *r, u32 step) {
  const order_step *s = &r->steps[step];
  if (s[0].node == GRAPH_NONE || s[1].node == GRAPH_NONE || s[0].again != s[1].again) return false;
  const graph_node *a = &r->g->nodes[s[0].node], *b = &r->g->nodes[s[1].node];
  return r->o.pairs(a->op, b->op) && reads(b, a->out[0]) && !(a->accumulate & 1);
}

static void find_pairs(ordering *r, u32 begin, u32 end) {
  for (u32 s = begin; r->o.pairs && s + 1 < end; s++)
    if (is_pair(r, s)) r->steps[s++].pair = true;
}

bool node_order_build(const graph *g, order_options o, arena *a, node_order *ret_order, status *st) {
  ordering r = {.g = g, .o = o};
  r.steps = arena_take_big(a, (g->backward_end + g->forward_end + 1) * sizeof *r.steps, "the order of nodes", st);
  r.again = arena_take_big(a, g->tensor_count * sizeof *r.again, "the order of nodes", st);
  r.rerun = arena_take_big(a, g->node_count * sizeof *r.rerun, "the order of nodes", st);
  if (!r.steps || !r.again || !r.rerun) return false;
  if (o.recompute) find_reruns(&r);
  for (u32 n = 0; n < g->forward_end; n++) add(&r, n, false);
  node_order order = {.steps = r.steps, .forward_end = r.count, .again = r.again, .head_apart = o.head_apart,
                      .head_x = GRAPH_NONE};
  if (o.head_apart) order.head_x = g->nodes[g->tensors[g->logits].producer].in[0];
  add_backward(&r);
  order.count = r.count;
  find_pairs(&r, 0, order.forward_end);
  find_pairs(&r, order.forward_end, order.count);
  *ret_order = order;
  return true;
}

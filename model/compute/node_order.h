// The order in which a sequence runs a graph's nodes: forward, then gradients, where blocks may be run
// forward again (recomputed) before their gradients instead of keeping what is inside them, and the
// unembedding and loss may be left out, to be done for several sequences at once.
#pragma once

#include "model/graph/graph.h"

typedef struct order_step {
  u32 node;   // GRAPH_NONE: the head, which reads head_x and writes its gradient
  bool again; // a forward node that runs a second time
  bool pair;  // runs together with the next step: what it reads must live as long
} order_step;

typedef struct node_order {
  const order_step *steps;
  u32 forward_end, count; // steps [0, forward_end) are forward
  const bool *again;      // per tensor: made a second time, so that its first life ends with forward
  bool head_apart;        // logits, loss and their gradients are in no step, nor is the embedding's gradient
  u32 head_x;             // what the unembedding reads, GRAPH_NONE unless apart
} node_order;

typedef struct order_options {
  bool recompute;  // blocks
  bool head_apart;
  bool (*pairs)(graph_op first, graph_op second); // may these run together? NULL: none may
} order_options;

bool node_order_build(const graph *g, order_options o, arena *a, node_order *ret_order, status *st);
// Does the node belong to what is left out?
bool node_order_is_apart(const graph *g, u32 node);

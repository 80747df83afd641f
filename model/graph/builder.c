// The growing graph: room, names, tensors, nodes and their operands.
#include "model/graph/builder.h"

#include <stdio.h>

// Room per block and outside the blocks, more than any model takes (builder_* require it).
enum {
  PARAMS_PER_LAYER = 14,
  PARAMS_OUTSIDE = 5,
  TENSORS_PER_LAYER = 2 * PARAMS_PER_LAYER + 2 * 12 + 3,
  TENSORS_OUTSIDE = 2 * PARAMS_OUTSIDE + 12,
  NODES_PER_LAYER = 12 + 17 + PARAMS_PER_LAYER,
  NODES_OUTSIDE = 16
};

bool builder_init(builder *b, graph *g, arena *a, status *st) {
  u32 layers = g->model.layers;
  *b = (builder){.g = g,
                 .tensor_room = layers * TENSORS_PER_LAYER + TENSORS_OUTSIDE,
                 .node_room = layers * NODES_PER_LAYER + NODES_OUTSIDE,
                 .param_room = layers * PARAMS_PER_LAYER + PARAMS_OUTSIDE};
  b->tensors = arena_take_big(a, b->tensor_room * sizeof *b->tensors, "the graph's tensors", st);
  if (b->tensors) b->nodes = arena_take_big(a, b->node_room * sizeof *b->nodes, "the graph's nodes", st);
  if (b->nodes) b->params = arena_take_big(a, b->param_room * sizeof *b->params, "the graph's parameters", st);
  if (!b->params) return false;
  g->tensors = b->tensors;
  g->nodes = b->nodes;
  g->params = b->params;
  return true;
}

static void name_at(char *out, place at) {
  int n = at.layer == GRAPH_NONE ? snprintf(out, GRAPH_NAME_MAX, "%s", at.name)
                                 : snprintf(out, GRAPH_NAME_MAX, "h%u.%s", at.layer, at.name);
  require(n > 0 && n < GRAPH_NAME_MAX);
}

u32 builder_tensor(builder *b, tensor_kind kind, place at, u32 rows, u32 cols) {
  require(b->g->tensor_count < b->tensor_room);
  u32 index = b->g->tensor_count++;
  graph_tensor *t = &b->tensors[index];
  *t = (graph_tensor){.kind = kind,
                      .rows = rows,
                      .cols = cols,
                      .layer = at.layer,
                      .param = GRAPH_NONE,
                      .twin = GRAPH_NONE,
                      .producer = GRAPH_NONE};
  name_at(t->name, at);
  return index;
}

u32 builder_param(builder *b, param_role role, place at, u32 rows, u32 cols) {
  require(b->g->param_count < b->param_room);
  u32 index = builder_tensor(b, TENSOR_PARAM, at, rows, cols);
  b->tensors[index].role = role;
  b->tensors[index].param = b->g->param_count;
  b->params[b->g->param_count++] = index;
  return index;
}

u32 builder_gradient(builder *b, u32 tensor, bool *ret_again) {
  graph_tensor *of = &b->tensors[tensor];
  *ret_again = of->twin != GRAPH_NONE;
  if (*ret_again) return of->twin;
  require(of->kind == TENSOR_PARAM || of->kind == TENSOR_ACT);
  tensor_kind kind = of->kind == TENSOR_PARAM ? TENSOR_PARAM_GRAD : TENSOR_ACT_GRAD;
  u32 index = builder_tensor(b, kind, (place){GRAPH_NONE, "d"}, of->rows, of->cols);
  graph_tensor *t = &b->tensors[index];
  int n = snprintf(t->name, sizeof t->name, "d.%s", of->name);
  require(n > 0 && n < GRAPH_NAME_MAX);
  t->layer = of->layer;
  t->role = of->role;
  t->param = of->param;
  t->twin = tensor;
  of->twin = index;
  return index;
}

graph_node *builder_node(builder *b, graph_op op, place at, double scale) {
  require(b->g->node_count < b->node_room);
  graph_node *n = &b->nodes[b->g->node_count++];
  *n = (graph_node){.op = op, .layer = at.layer, .forward = GRAPH_NONE, .scale = scale};
  for (u32 i = 0; i < NODE_IN_MAX; i++) n->in[i] = GRAPH_NONE;
  for (u32 i = 0; i < NODE_OUT_MAX; i++) n->out[i] = GRAPH_NONE;
  name_at(n->name, at);
  return n;
}

void builder_name_after(graph_node *n, const char *base, const char *suffix) {
  int length = snprintf(n->name, sizeof n->name, "%s%s", base, suffix);
  require(length > 0 && length < GRAPH_NAME_MAX);
}

void builder_in(graph_node *n, u32 tensor) {
  u32 i = 0;
  while (i < NODE_IN_MAX && n->in[i] != GRAPH_NONE) i++;
  require(i < NODE_IN_MAX);
  n->in[i] = tensor;
}

void builder_out(builder *b, graph_node *n, u32 tensor, bool accumulate) {
  u32 i = 0;
  while (i < NODE_OUT_MAX && n->out[i] != GRAPH_NONE) i++;
  require(i < NODE_OUT_MAX);
  n->out[i] = tensor;
  if (accumulate) n->accumulate |= 1u << i;
  graph_tensor *t = &b->tensors[tensor];
  if (t->producer == GRAPH_NONE && t->kind != TENSOR_PARAM) t->producer = (u32)(n - b->nodes);
}

// Internal to this floor: a graph while it grows. Room for everything is taken at the start, so that
// indices and pointers stay as they are.
#pragma once

#include "model/graph/graph.h"

typedef struct builder {
  graph *g;
  graph_tensor *tensors;
  graph_node *nodes;
  u32 *params;
  u32 tensor_room, node_room, param_room;
} builder;

// Where a thing belongs and how it is called there: "h3.attn.qkv", or the bare name outside the blocks.
typedef struct place {
  u32 layer;
  const char *name;
} place;

bool builder_init(builder *b, graph *g, arena *a, status *st);
u32 builder_tensor(builder *b, tensor_kind kind, place at, u32 rows, u32 cols);
u32 builder_param(builder *b, param_role role, place at, u32 rows, u32 cols);
// The gradient of a tensor; made and twinned on first use. ret_again tells whether it existed, so that
// this contribution is added to it.
u32 builder_gradient(builder *b, u32 tensor, bool *ret_again);
// A node without operands; GRAPH_NONE everywhere.
graph_node *builder_node(builder *b, graph_op op, place at, double scale);
// Renames a node after another thing: base + suffix.
void builder_name_after(graph_node *n, const char *base, const char *suffix);
// Append an operand at the first free place.
void builder_in(graph_node *n, u32 tensor);
void builder_out(builder *b, graph_node *n, u32 tensor, bool accumulate);

// graph_grad.c: gradients of everything so far by walking the nodes in reverse, then the updates.
void grad_append(builder *b);
void grad_append_updates(builder *b);

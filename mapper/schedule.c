// Building the order of a microbatch and measuring the memory that it takes.
#include "mapper/schedule.h"

#include <string.h>

#define NONE GRAPH_NONE
enum { BYTES_NARROW = 2, BYTES_WIDE = 4 };

static void add_step(schedule *s, schedule_step step) {
  s->steps[s->count++] = step;
}

static bool is_layer_input(const graph *g, u32 tensor) {
  const graph_tensor *t = &g->tensors[tensor];
  if (t->kind != TENSOR_ACT || t->producer == NONE) return false;
  u32 op = g->nodes[t->producer].op;
  if (op == OP_EMBED) return true;
  if (op != OP_RESIDUAL) return false;
  // the second residual of a block: some node of another layer reads it
  for (u32 n = t->producer + 1; n < g->forward_end; n++)
    for (u32 i = 0; i < NODE_IN_MAX; i++)
      if (g->nodes[n].in[i] == tensor && g->nodes[n].layer != t->layer) return true;
  return false;
}

// The tensor that enters block `layer` from outside.
static u32 layer_input(const graph *g, u32 layer) {
  for (u32 n = 0; n < g->forward_end; n++) {
    if (g->nodes[n].layer != layer) continue;
    for (u32 i = 0; i < NODE_IN_MAX; i++) {
      u32 t = g->nodes[n].in[i];
      if (t != NONE && g->tensors[t].kind == TENSOR_ACT && is_layer_input(g, t)) return t;
    }
  }
  return NONE;
}

// Marks forward nodes of a block whose outputs its gradients need, through each other, given its input.
static void mark_rebuilt(const graph *g, u32 layer, u32 input, bool *rebuilt) {
  bool *needed = rebuilt + g->forward_end; // by tensor
  for (u32 n = g->forward_end; n < g->backward_end; n++)
    for (u32 i = 0; g->nodes[n].layer == layer && i < NODE_IN_MAX; i++)
      if (g->nodes[n].in[i] != NONE) needed[g->nodes[n].in[i]] = true;
  for (u32 n = g->forward_end; n-- > 0;) {
    const graph_node *node = &g->nodes[n];
    if (node->layer != layer) continue;
    bool wanted = false;
    for (u32 i = 0; i < NODE_OUT_MAX; i++)
      wanted |= node->out[i] != NONE && node->out[i] != input && needed[node->out[i]];
    rebuilt[n] = wanted;
    for (u32 i = 0; wanted && i < NODE_IN_MAX; i++)
      if (node->in[i] != NONE) needed[node->in[i]] = true;
  }
}

static void add_forward(const graph *g, u32 policy, schedule *s) {
  for (u32 n = 0; n < g->forward_end; n++) {
    u32 layer = g->nodes[n].layer;
    add_step(s, (schedule_step){.kind = STEP_NODE, .node = n});
    bool last_of_block = layer != NONE && (n + 1 == g->forward_end || g->nodes[n + 1].layer != layer);
    if (policy == POLICY_OFFLOAD && last_of_block)
      add_step(s, (schedule_step){.kind = STEP_STORE, .tensor = layer_input(g, layer)});
  }
}

static void add_rebuilt(const graph *g, u32 layer, arena *a, schedule *s) {
  arena_mark mark = arena_save(a);
  bool *rebuilt = arena_array(a, bool, g->forward_end + g->tensor_count);
  mark_rebuilt(g, layer, layer_input(g, layer), rebuilt);
  for (u32 n = 0; n < g->forward_end; n++)
    if (rebuilt[n]) add_step(s, (schedule_step){.kind = STEP_NODE, .node = n, .again = true});
  arena_rewind(a, mark);
}

static void add_backward(const graph *g, u32 policy, arena *a, schedule *s) {
  u32 layer = NONE;
  for (u32 n = g->forward_end; n < g->backward_end; n++) {
    const graph_node *node = &g->nodes[n];
    if (node->layer != layer && node->layer != NONE) {
      // prefetched one block ahead: the first two with the first block, then one each
      if (policy == POLICY_OFFLOAD && layer == NONE)
        add_step(s, (schedule_step){.kind = STEP_FETCH, .tensor = layer_input(g, node->layer)});
      if (policy == POLICY_OFFLOAD && node->layer > 0)
        add_step(s, (schedule_step){.kind = STEP_FETCH, .tensor = layer_input(g, node->layer - 1)});
      if (policy != POLICY_RESIDENT) add_rebuilt(g, node->layer, a, s);
    }
    layer = node->layer;
    add_step(s, (schedule_step){.kind = STEP_NODE, .node = n});
  }
}

void schedule_build(const graph *g, u32 policy, arena *a, schedule *ret_schedule) {
  u32 room = g->backward_end + g->forward_end + 3 * (g->model.layers + 1);
  *ret_schedule = (schedule){.steps = arena_array(a, schedule_step, room)};
  add_forward(g, policy, ret_schedule);
  add_backward(g, policy, a, ret_schedule);
  require(ret_schedule->count <= room);
}

// The operation that first reads a linear layer's result says what it is.
static u32 reader_of(const graph *g, u32 tensor) {
  for (u32 n = g->tensors[tensor].producer + 1; n < g->forward_end; n++)
    for (u32 i = 0; i < NODE_IN_MAX; i++)
      if (g->nodes[n].in[i] == tensor) return g->nodes[n].op;
  return OP_COUNT;
}

feature_axis schedule_axis(const graph *g, u32 tensor) {
  const graph_tensor *t = &g->tensors[tensor];
  u32 act = t->kind == TENSOR_ACT_GRAD ? t->twin : tensor;
  switch (g->nodes[g->tensors[act].producer].op) {
  case OP_ACTIVATION:
  case OP_GATE:
    return AXIS_HIDDEN;
  case OP_ROTARY:
    return AXIS_QKV;
  case OP_LINEAR:
    break;
  default:
    return AXIS_WIDTH;
  }
  if (act == g->logits) return AXIS_VOCAB;
  u32 reader = reader_of(g, act);
  if (reader == OP_ATTENTION || reader == OP_ROTARY) return AXIS_QKV;
  return reader == OP_ACTIVATION || reader == OP_GATE ? AXIS_HIDDEN : AXIS_WIDTH;
}

u32 schedule_tensor_bytes(const graph *g, const plan_tiles *t, u32 tensor) {
  const graph_tensor *x = &g->tensors[tensor];
  if (x->kind != TENSOR_ACT && x->kind != TENSOR_ACT_GRAD) return 0;
  u32 act = x->kind == TENSOR_ACT_GRAD ? x->twin : tensor;
  const graph_tensor *shape = &g->tensors[act];
  u32 op = g->nodes[shape->producer].op;
  bool second = g->nodes[shape->producer].out[1] == act;
  if (op == OP_LAYERNORM && second) return 2 * BYTES_WIDE * t->tokens_max;
  if (op == OP_RMSNORM && second) return BYTES_WIDE * t->tokens_max;
  if (op == OP_ATTENTION && second) return t->heads_max * BYTES_WIDE * t->tokens_max;
  if (op == OP_LOSS) return BYTES_WIDE * t->tokens_max;
  switch (schedule_axis(g, act)) {
  case AXIS_WIDTH:
    return t->features_max * BYTES_NARROW * t->tokens_max;
  case AXIS_QKV:
    return 3 * t->features_max * BYTES_NARROW * t->tokens_max;
  case AXIS_HIDDEN:
    return t->hidden_max * BYTES_NARROW * t->tokens_max;
  case AXIS_VOCAB:
    return BYTES_WIDE * t->tokens_max; // a chunk: one output per PE at a time
  }
  require(false);
}

u32 schedule_buffer_bytes(const graph *g, const plan_tiles *t, u32 axpy, u32 node) {
  u32 local = axpy == AXPY_FP16 ? BYTES_NARROW : BYTES_WIDE;
  u32 sums = (2 * BYTES_WIDE + 2 * local) * t->tokens_max;
  u32 block = t->seq_rows > 1 ? t->features_max * BYTES_NARROW * tiles_ceil(g->seq, t->seq_rows) : 0;
  switch (g->nodes[node].op) {
  case OP_LINEAR:
  case OP_LINEAR_GRAD_X:
  case OP_LOSS_GRAD: // computes the logits again
    return sums;
  case OP_LINEAR_GRAD_W: {
    u32 widest = t->hidden_max > t->features_max ? t->hidden_max : t->features_max;
    return 2 * BYTES_NARROW * t->tokens_max + 2 * BYTES_WIDE * widest;
  }
  case OP_LAYERNORM:
  case OP_LAYERNORM_GRAD:
  case OP_ROTARY: // cosines and sines of one pair of features
  case OP_ROTARY_GRAD:
    return 2 * BYTES_WIDE * t->tokens_max;
  case OP_RMSNORM:
  case OP_RMSNORM_GRAD:
    return BYTES_WIDE * t->tokens_max;
  case OP_ATTENTION:
    return sums + BYTES_NARROW * t->tokens_max + 2 * 2 * block; // K and V, double buffered
  case OP_ATTENTION_GRAD:
    return 2 * sums + 2 * BYTES_NARROW * t->tokens_max + 2 * 2 * block + 2 * 2 * block; // and dK, dV in fp32
  default:
    return 0;
  }
}

// An elementwise operation may write over an operand that nobody reads again.
static bool writes_in_place(u32 op) {
  return op == OP_ACTIVATION || op == OP_ACTIVATION_GRAD || op == OP_GATE || op == OP_GATE_GRAD || op == OP_ROTARY ||
         op == OP_ROTARY_GRAD || op == OP_RESIDUAL || op == OP_RESIDUAL_GRAD || op == OP_LAYERNORM || op == OP_RMSNORM;
}

typedef struct liveness {
  bool *live; // per tensor
  u32 bytes;
} liveness;

static void drop(const graph *g, const plan_tiles *t, liveness *l, u32 tensor) {
  if (tensor == NONE || !l->live[tensor]) return;
  l->live[tensor] = false;
  l->bytes -= schedule_tensor_bytes(g, t, tensor);
}

// Makes a tensor live (walking backwards: someone later reads it); returns its bytes if it was not.
static u32 raise(const graph *g, const plan_tiles *t, liveness *l, u32 tensor) {
  if (tensor == NONE || l->live[tensor]) return 0;
  u32 bytes = schedule_tensor_bytes(g, t, tensor);
  l->live[tensor] = true;
  l->bytes += bytes;
  return bytes;
}

// Walking backwards, l holds what is live after the step; afterwards what is live before it.
static u32 measure_node(const graph *g, const plan_tiles *t, u32 axpy, u32 n, liveness *l) {
  const graph_node *node = &g->nodes[n];
  u32 born = 0;
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    u32 out = node->out[i];
    if (out == NONE) continue;
    raise(g, t, l, out); // written although nobody reads it (a loss, a statistic)
    if (!(node->accumulate >> i & 1)) born += schedule_tensor_bytes(g, t, out);
  }
  u32 dying = 0;
  for (u32 i = 0; i < NODE_IN_MAX; i++) dying += raise(g, t, l, node->in[i]);
  u32 shared = writes_in_place(node->op) ? (born < dying ? born : dying) : 0;
  u32 bytes = l->bytes - shared + schedule_buffer_bytes(g, t, axpy, n);
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (!(node->accumulate >> i & 1)) drop(g, t, l, node->out[i]);
  return bytes;
}

void schedule_measure(const graph *g, const plan_tiles *t, u32 axpy, arena *a, schedule *s) {
  arena_mark mark = arena_save(a);
  liveness l = {.live = arena_array(a, bool, g->tensor_count)};
  s->peak_bytes = 0;
  for (u32 i = s->count; i-- > 0;) {
    schedule_step *step = &s->steps[i];
    if (step->kind == STEP_NODE)
      step->bytes = measure_node(g, t, axpy, step->node, &l);
    else {
      raise(g, t, &l, step->tensor); // stored: read here; fetched: written here
      step->bytes = l.bytes;
      if (step->kind == STEP_FETCH) drop(g, t, &l, step->tensor);
    }
    if (step->bytes >= s->peak_bytes) {
      s->peak_bytes = step->bytes;
      s->peak = i;
    }
  }
  arena_rewind(a, mark);
}

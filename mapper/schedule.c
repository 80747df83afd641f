// Building the order of a microbatch and measuring the memory that it takes.
#include "mapper/schedule.h"

#include <string.h>

#define NONE GRAPH_NONE
enum { BYTES_NARROW = 2, BYTES_WIDE = 4 };

static void add_step(schedule *s, schedule_step step) {
  s->steps[s->count++] = step;
}

// The operation of the same block that reads a tensor first; OP_COUNT: none.
static u32 reader_inside(const graph *g, u32 tensor) {
  u32 producer = g->tensors[tensor].producer, layer = g->nodes[producer].layer;
  for (u32 n = producer + 1; n < g->forward_end && g->nodes[n].layer == layer; n++)
    for (u32 i = 0; i < NODE_IN_MAX; i++)
      if (g->nodes[n].in[i] == tensor) return g->nodes[n].op;
  return OP_COUNT;
}

// The tensor that enters block `layer` from outside.
static u32 layer_input(const graph *g, u32 layer) {
  for (u32 n = 0; n < g->forward_end; n++) {
    if (g->nodes[n].layer != layer) continue;
    for (u32 i = 0; i < NODE_IN_MAX; i++) {
      u32 t = g->nodes[n].in[i];
      if (t == NONE || g->tensors[t].kind != TENSOR_ACT || g->tensors[t].producer == NONE) continue;
      if (g->nodes[g->tensors[t].producer].layer != layer) return t;
    }
  }
  return NONE;
}

// The least level at which an activation made inside a block is kept; KEPT_AUTO: at none.
static u32 inner_level(const graph *g, u32 tensor) {
  const graph_tensor *t = &g->tensors[tensor];
  if (t->kind != TENSOR_ACT || t->producer >= g->forward_end || g->nodes[t->producer].layer == NONE) return KEPT_AUTO;
  u32 maker = g->nodes[t->producer].op, reader = reader_inside(g, tensor);
  if (maker == OP_ATTENTION) return KEPT_ATTENTION; // and the sums that its gradient needs
  if (reader == OP_COUNT || reader == OP_RESIDUAL) return KEPT_AUTO;
  if (maker == OP_RESIDUAL) return KEPT_MIDDLE;
  if (reader == OP_ATTENTION) return KEPT_QKV; // after rotation, where there is one
  return maker == OP_LINEAR && reader != OP_ROTARY ? KEPT_ALL : KEPT_AUTO;
}

// `some` of the blocks, spread evenly, so that the edge has time for each.
static bool is_chosen(const graph *g, u32 layer, u32 some) {
  return (u64)(layer + 1) * some / g->model.layers != (u64)layer * some / g->model.layers;
}

static bool *kept_inside(const graph *g, schedule_choice c, arena *a) {
  bool *inside = arena_array(a, bool, g->tensor_count);
  for (u32 t = 0; t < g->tensor_count; t++) {
    u32 level = inner_level(g, t);
    if (level == KEPT_AUTO) continue;
    inside[t] = level <= c.kept - !is_chosen(g, g->nodes[g->tensors[t].producer].layer, c.kept_blocks);
  }
  return inside;
}

bool schedule_keeps_more(const graph *g, u32 kept) {
  for (u32 t = 0; t < g->tensor_count; t++)
    if (inner_level(g, t) == kept) return true;
  return kept == KEPT_INPUT;
}

// A kept tensor may leave until the next block makes its like.
static u32 leaves_after(const graph *g, u32 tensor) {
  u32 producer = g->tensors[tensor].producer, layer = g->nodes[producer].layer, first = producer, end = producer;
  while (first > 0 && g->nodes[first - 1].layer == layer) first--;
  while (end < g->forward_end && g->nodes[end].layer == layer) end++;
  u32 like = producer + end - first;
  return like < g->forward_end && g->nodes[like].layer == layer + 1 ? like : g->forward_end - 1;
}

static void add_forward(const graph *g, u32 policy, const bool *inside, schedule *s) {
  for (u32 n = 0; n < g->forward_end; n++) {
    u32 layer = g->nodes[n].layer;
    add_step(s, (schedule_step){.kind = STEP_NODE, .node = n});
    if (policy != POLICY_OFFLOAD) continue;
    bool last_of_block = layer != NONE && (n + 1 == g->forward_end || g->nodes[n + 1].layer != layer);
    if (last_of_block) add_step(s, (schedule_step){.kind = STEP_STORE, .tensor = layer_input(g, layer)});
    for (u32 t = 0; t < g->tensor_count; t++)
      if (inside[t] && leaves_after(g, t) == n) add_step(s, (schedule_step){.kind = STEP_STORE, .tensor = t});
  }
}

// What backward finds: true for forward tensors that are kept or have been rebuilt.
static void rebuild(const graph *g, u32 tensor, u32 layer, bool *there, schedule *s) {
  if (tensor == NONE || there[tensor]) return;
  const graph_tensor *t = &g->tensors[tensor];
  if (t->kind != TENSOR_ACT || t->producer >= g->forward_end || g->nodes[t->producer].layer != layer) return;
  const graph_node *maker = &g->nodes[t->producer];
  for (u32 i = 0; i < NODE_IN_MAX; i++) rebuild(g, maker->in[i], layer, there, s);
  add_step(s, (schedule_step){.kind = STEP_NODE, .node = t->producer, .again = true});
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (maker->out[i] != NONE) there[maker->out[i]] = true;
}

// Each operand is rebuilt just before the first gradient that reads it.
static void add_backward(const graph *g, u32 policy, const bool *inside, arena *a, schedule *s) {
  arena_mark mark = arena_save(a);
  bool *there = arena_array(a, bool, g->tensor_count);
  for (u32 t = 0; t < g->tensor_count; t++) there[t] = policy == POLICY_RESIDENT || inside[t];
  for (u32 n = g->forward_end; n < g->backward_end; n++) {
    const graph_node *node = &g->nodes[n];
    for (u32 i = 0; node->layer != NONE && i < NODE_IN_MAX; i++) rebuild(g, node->in[i], node->layer, there, s);
    add_step(s, (schedule_step){.kind = STEP_NODE, .node = n});
  }
  arena_rewind(a, mark);
}

typedef struct fetch_need {
  u32 tensor, first_use; // step of backward that reads it first
} fetch_need;

// Blocks' inputs and inner tensors that left, in the order in which backward needs them.
static u32 list_needs(const graph *g, bool *wanted, const schedule *s, u32 from, fetch_need *needs) {
  u32 count = 0;
  for (u32 l = 0; l < g->model.layers; l++) wanted[layer_input(g, l)] = true;
  for (u32 i = from; i < s->count; i++)
    for (u32 k = 0; k < NODE_IN_MAX; k++) {
      u32 t = g->nodes[s->steps[i].node].in[k];
      if (t == NONE || !wanted[t]) continue;
      wanted[t] = false;
      needs[count++] = (fetch_need){t, i};
    }
  return count;
}

// Memory for what comes back is taken where one before it, `ahead` uses earlier, is needed.
static void add_fetches(const graph *g, schedule_choice c, bool *inside, u32 from, arena *a, schedule *s) {
  arena_mark mark = arena_save(a);
  fetch_need *needs = arena_array(a, fetch_need, g->tensor_count);
  schedule_step *old = arena_array(a, schedule_step, s->count - from);
  u32 count = list_needs(g, inside, s, from, needs), steps = s->count - from, at = 0;
  memcpy(old, s->steps + from, steps * sizeof *old);
  s->count = from;
  u32 *uses = arena_array(a, u32, count + 1), *use_of = arena_array(a, u32, count + 1), distinct = 0;
  for (u32 i = 0; i < count; i++) {
    if (i == 0 || needs[i].first_use != needs[i - 1].first_use) uses[distinct++] = needs[i].first_use;
    use_of[i] = distinct - 1;
  }
  for (u32 i = 0; i < steps; i++) {
    while (at < count && uses[use_of[at] > c.ahead ? use_of[at] - c.ahead : 0] == from + i)
      add_step(s, (schedule_step){.kind = STEP_FETCH, .tensor = needs[at++].tensor});
    add_step(s, old[i]);
  }
  arena_rewind(a, mark);
}

void schedule_build(const graph *g, schedule_choice c, arena *a, schedule *ret_schedule) {
  u32 room = g->backward_end + g->forward_end + 2 * g->tensor_count;
  *ret_schedule = (schedule){.steps = arena_array(a, schedule_step, room)};
  bool *inside = kept_inside(g, c, a);
  add_forward(g, c.policy, inside, ret_schedule);
  u32 backward = ret_schedule->count;
  add_backward(g, c.policy, inside, a, ret_schedule);
  if (c.policy == POLICY_OFFLOAD) add_fetches(g, c, inside, backward, a, ret_schedule);
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
  u32 keys = tiles_rotated_keys(g, t), block = t->features_max * BYTES_NARROW * keys;
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

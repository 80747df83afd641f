// First fit by lifetime: tensors are placed in the order of their first write, each at the lowest offset
// that is free for the whole of its life.
#include "model/compute/memory_plan.h"

#include <string.h>

enum { ALIGN_FLOATS = 16 }; // 64 bytes, a cache line and the widest vector

static bool is_planned(const graph_tensor *t) { return t->kind == TENSOR_ACT || t->kind == TENSOR_ACT_GRAD; }

static size_t tensor_floats(const graph *g, u32 tensor) {
  size_t n = (size_t)g->seq * g->tensors[tensor].cols;
  return (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

static void extend(tensor_life *life, u32 step) {
  if (step < life->first) life->first = step;
  if (step > life->last) life->last = step;
}

// A graph, its order, and lives: a tensor's second life is tensor_count behind its first.
typedef struct planning {
  const graph *g;
  const node_order *o;
  tensor_life *lives;
  size_t *offsets;
} planning;

// Which life a step means: what runs again writes second lives, and from then on they are what is read.
static u32 life_of(const planning *p, u32 step, u32 tensor) {
  bool second = p->o->again[tensor] && (p->o->steps[step].again || step >= p->o->forward_end);
  return second ? tensor + p->g->tensor_count : tensor;
}

static void touch(const planning *p, u32 step, u32 tensor) {
  if (tensor != GRAPH_NONE) extend(&p->lives[life_of(p, step, tensor)], step);
}

// An output that nobody reads still needs its place while its node runs.
static void find_lives(const planning *p) {
  const graph *g = p->g;
  for (u32 t = 0; t < 2 * g->tensor_count; t++) p->lives[t] = (tensor_life){GRAPH_NONE, 0};
  for (u32 s = 0; s < p->o->count; s++) {
    u32 n = p->o->steps[s].node;
    if (n == GRAPH_NONE) touch(p, s, p->o->head_x), touch(p, s, g->tensors[p->o->head_x].twin);
    for (u32 i = 0; n != GRAPH_NONE && i < NODE_IN_MAX; i++) {
      touch(p, s, g->nodes[n].in[i]);
      if (p->o->steps[s].pair) touch(p, s + 1, g->nodes[n].in[i]);
    }
    for (u32 i = 0; n != GRAPH_NONE && i < NODE_OUT_MAX; i++) touch(p, s, g->nodes[n].out[i]);
  }
  for (u32 t = 0; t < g->tensor_count; t++)
    if (g->tensors[t].kind == TENSOR_ACT && p->lives[t].first < p->o->forward_end && !p->o->again[t])
      extend(&p->lives[t], p->o->forward_end - 1);
  // The embedding's gradient is added up after the last step.
  u32 emb = g->nodes[0].out[0];
  if (p->o->head_apart) extend(&p->lives[g->tensors[emb].twin], p->o->count);
}

// A placed tensor that is still alive, kept sorted by offset.
typedef struct placed {
  size_t start, end;
  u32 last;
} placed;

typedef struct placing {
  placed *live;
  u32 count;
  size_t floats;
} placing;

static void forget_dead(placing *p, u32 now) {
  u32 kept = 0;
  for (u32 i = 0; i < p->count; i++)
    if (p->live[i].last >= now) p->live[kept++] = p->live[i];
  p->count = kept;
}

static size_t place(placing *p, size_t floats, u32 last) {
  size_t start = 0;
  u32 at = 0;
  while (at < p->count && p->live[at].start - start < floats) start = p->live[at++].end;
  memmove(&p->live[at + 1], &p->live[at], (p->count - at) * sizeof *p->live);
  p->live[at] = (placed){start, start + floats, last};
  p->count++;
  if (start + floats > p->floats) p->floats = start + floats;
  return start;
}

static void place_one(const planning *p, placing *at, u32 step, u32 tensor) {
  if (tensor == GRAPH_NONE || !is_planned(&p->g->tensors[tensor])) return;
  u32 life = life_of(p, step, tensor);
  if (p->lives[life].first == step) p->offsets[life] = place(at, tensor_floats(p->g, tensor), p->lives[life].last);
}

// Everything a step writes for the first time, in the order of its outputs.
static void place_outputs(const planning *p, placing *at, u32 step) {
  u32 n = p->o->steps[step].node;
  forget_dead(at, step);
  if (n == GRAPH_NONE) place_one(p, at, step, p->g->tensors[p->o->head_x].twin);
  for (u32 i = 0; n != GRAPH_NONE && i < NODE_OUT_MAX; i++) place_one(p, at, step, p->g->nodes[n].out[i]);
}

bool memory_plan_build(const graph *g, const node_order *o, arena *a, memory_plan *ret_plan, status *st) {
  planning p = {.g = g, .o = o};
  u32 lives = 2 * g->tensor_count;
  p.offsets = arena_take_big(a, lives * sizeof *p.offsets, "the memory plan", st);
  p.lives = arena_take_big(a, lives * sizeof *p.lives, "tensor lifetimes", st);
  placing at = {.live = arena_take_big(a, (lives + 1) * sizeof(placed), "the memory plan", st)};
  if (!p.offsets || !p.lives || !at.live) return false;
  find_lives(&p);
  for (u32 s = 0; s < o->count; s++) place_outputs(&p, &at, s);
  *ret_plan = (memory_plan){p.offsets, p.offsets + g->tensor_count, p.lives, at.floats};
  return true;
}

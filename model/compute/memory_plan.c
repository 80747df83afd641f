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

static void extend(tensor_life *lives, u32 tensor, u32 node) {
  if (tensor == GRAPH_NONE) return;
  if (node < lives[tensor].first) lives[tensor].first = node;
  if (node > lives[tensor].last) lives[tensor].last = node;
}

// An output that nobody reads still needs its place while its node runs.
static void find_lives(const graph *g, tensor_life *lives) {
  for (u32 t = 0; t < g->tensor_count; t++) lives[t] = (tensor_life){GRAPH_NONE, 0};
  for (u32 n = 0; n < g->backward_end; n++) {
    for (u32 i = 0; i < NODE_IN_MAX; i++) extend(lives, g->nodes[n].in[i], n);
    for (u32 i = 0; i < NODE_OUT_MAX; i++) extend(lives, g->nodes[n].out[i], n);
  }
  for (u32 t = 0; t < g->tensor_count; t++)
    if (g->tensors[t].kind == TENSOR_ACT && lives[t].first < g->forward_end)
      extend(lives, t, g->forward_end - 1);
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

// Everything a node writes for the first time, in the order of its outputs.
static void place_outputs(const graph *g, const tensor_life *lives, u32 node, placing *p, size_t *offsets) {
  forget_dead(p, node);
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    u32 t = g->nodes[node].out[i];
    if (t == GRAPH_NONE || !is_planned(&g->tensors[t]) || lives[t].first != node) continue;
    offsets[t] = place(p, tensor_floats(g, t), lives[t].last);
  }
}

bool memory_plan_build(const graph *g, arena *a, memory_plan *ret_plan, status *st) {
  size_t *offsets = arena_take_big(a, g->tensor_count * sizeof *offsets, "the memory plan", st);
  if (!offsets) return false;
  tensor_life *lives = arena_take_big(a, g->tensor_count * sizeof *lives, "tensor lifetimes", st);
  placing p = {.live = arena_take_big(a, (g->tensor_count + 1) * sizeof(placed), "the memory plan", st)};
  if (!lives || !p.live) return false;
  find_lives(g, lives);
  for (u32 n = 0; n < g->backward_end; n++) place_outputs(g, lives, n, &p, offsets);
  *ret_plan = (memory_plan){offsets, lives, p.floats};
  return true;
}

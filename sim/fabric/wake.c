// Who is due when: bits for the next few cycles, a heap for later ones. A unit that waits for an arrival is
// in neither and costs nothing. One that was woken earlier than it had asked for leaves a bit behind, which
// is passed over.
#include "sim/fabric/fabric_state.h"

static bool before(const fabric *f, u32 a, u32 b) {
  const unit *x = &f->unit[a], *y = &f->unit[b];
  return x->wake != y->wake ? x->wake < y->wake : a < b;
}

static void place(fabric *f, u32 at, u32 u) {
  f->heap[at] = u;
  f->unit[u].heap_at = at;
}

static void rise(fabric *f, u32 at) {
  u32 u = f->heap[at];
  while (at && before(f, u, f->heap[(at - 1) / 2])) {
    place(f, at, f->heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  place(f, at, u);
}

static void sink(fabric *f, u32 at) {
  u32 u = f->heap[at];
  for (;;) {
    u32 child = 2 * at + 1;
    if (child >= f->heap_count) break;
    if (child + 1 < f->heap_count && before(f, f->heap[child + 1], f->heap[child])) child++;
    if (!before(f, f->heap[child], u)) break;
    place(f, at, f->heap[child]);
    at = child;
  }
  place(f, at, u);
}

static void leave_heap(fabric *f, u32 u) {
  u32 at = f->unit[u].heap_at;
  if (at == NOBODY) return;
  f->unit[u].heap_at = NOBODY;
  u32 last = f->heap[--f->heap_count];
  if (last == u) return;
  place(f, at, last);
  rise(f, at);
  sink(f, f->unit[last].heap_at);
}

static void mark(fabric *f, u32 u, u64 cycle) {
  u32 slot = (u32)(cycle % UNIT_WHEEL);
  u64 *word = &f->unit_on[slot][u >> 6], bit = 1ull << (u & 63);
  f->unit_on_count[slot] += !(*word & bit);
  *word |= bit;
}

void fabric_wake(fabric *f, u32 u, u64 cycle) {
  unit *p = &f->unit[u];
  if (p->wake <= cycle) return;
  p->wake = cycle;
  if (cycle < f->now + UNIT_WHEEL) {
    leave_heap(f, u);
    mark(f, u, cycle);
    return;
  }
  if (p->heap_at == NOBODY) place(f, f->heap_count++, u);
  rise(f, p->heap_at);
}

void fabric_collect(fabric *f) {
  while (f->heap_count && f->unit[f->heap[0]].wake <= f->now) {
    u32 u = f->heap[0];
    leave_heap(f, u);
    mark(f, u, f->now);
  }
}

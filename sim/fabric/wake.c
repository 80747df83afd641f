// Who is due when: bits for the next few cycles, a heap for later ones. A unit that waits for an arrival is
// in neither and costs nothing. One that was woken earlier than it had asked for leaves a bit behind, which
// is passed over.
#include "sim/fabric/fabric_state.h"

static bool before(const strip *s, u32 a, u32 b) {
  const unit *x = &s->unit[a], *y = &s->unit[b];
  return x->wake != y->wake ? x->wake < y->wake : a < b;
}

static void place(strip *s, u32 at, u32 u) {
  s->heap[at] = u;
  s->unit[u].heap_at = at;
}

static void rise(strip *s, u32 at) {
  u32 u = s->heap[at];
  while (at && before(s, u, s->heap[(at - 1) / 2])) {
    place(s, at, s->heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  place(s, at, u);
}

static void sink(strip *s, u32 at) {
  u32 u = s->heap[at];
  for (;;) {
    u32 child = 2 * at + 1;
    if (child >= s->heap_count) break;
    if (child + 1 < s->heap_count && before(s, s->heap[child + 1], s->heap[child])) child++;
    if (!before(s, s->heap[child], u)) break;
    place(s, at, s->heap[child]);
    at = child;
  }
  place(s, at, u);
}

static void leave_heap(strip *s, u32 u) {
  u32 at = s->unit[u].heap_at;
  if (at == NOBODY) return;
  s->unit[u].heap_at = NOBODY;
  u32 last = s->heap[--s->heap_count];
  if (last == u) return;
  place(s, at, last);
  rise(s, at);
  sink(s, s->unit[last].heap_at);
}

static void mark(strip *s, u32 u, u64 cycle) {
  u32 slot = (u32)(cycle % UNIT_WHEEL);
  u32 at = u - s->first_unit;
  u64 *word = &s->unit_on[slot][at >> 6], bit = 1ull << (at & 63);
  s->unit_on_count[slot] += !(*word & bit);
  *word |= bit;
}

void fabric_wake_sooner(strip *s, u32 u, u64 cycle) {
  unit *p = &s->unit[u];
  p->wake = cycle;
  if (cycle < s->now + UNIT_WHEEL) {
    leave_heap(s, u);
    mark(s, u, cycle);
    return;
  }
  if (p->heap_at == NOBODY) place(s, s->heap_count++, u);
  rise(s, p->heap_at);
}

void fabric_collect(strip *s) {
  while (s->heap_count && s->unit[s->heap[0]].wake <= s->now) {
    u32 u = s->heap[0];
    leave_heap(s, u);
    mark(s, u, s->now);
  }
}

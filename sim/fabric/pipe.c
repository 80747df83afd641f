// Streams along fixed routes: where nothing can interfere (one way in, one way out, no other color on the
// links, no switch), the routers of a run behave like one long pipe as long as its end is free, and a
// wavelet costs two steps however long the run is. When the end blocks, the wavelets are put into the
// routers where they are, and the run is walked hop by hop until it is empty again: same cycles, same order.
#include "sim/fabric/fabric_state.h"

// Can the color be stopped or slowed at this router by anything but what comes after it?
static bool runs_free(const fabric *f, u32 router, u32 color) {
  const lane *l = &f->lanes[(size_t)router * f->colors + color];
  const lane_facts *facts = &f->lane_facts[(size_t)router * f->colors];
  if (facts[color].route == NOBODY || f->d->routes[facts[color].route].position_count != 1 || l->inputs != 1) return false;
  if (__builtin_popcount(l->tx) != 1 || l->tx == PORT_RAMP || fabric_on_edge(f, router, l->tx)) return false;
  for (u32 c = 0; c < f->colors; c++) {
    if (c == color || facts[c].route == NOBODY) continue;
    const df_route *r = &f->d->routes[facts[c].route];
    for (u32 p = 0; p < r->position_count; p++)
      if (r->positions[p].tx & l->tx) return false;
  }
  return true;
}

// Length of the run that begins here; 0 where it began before.
static u32 run_length(const fabric *f, u32 router, u32 color) {
  if (!runs_free(f, router, color)) return 0;
  const lane *l = &f->lanes[(size_t)router * f->colors + color];
  if (l->rx != PORT_RAMP && !fabric_on_edge(f, router, l->rx)) {
    u32 before = fabric_neighbour(f, router, l->rx);
    if (f->lanes[(size_t)before * f->colors + color].tx == fabric_opposite(l->rx) && runs_free(f, before, color)) return 0;
  }
  u32 n = 1;
  for (u32 at = router;; n++) {
    const lane *here = &f->lanes[(size_t)at * f->colors + color];
    u32 next = fabric_neighbour(f, at, here->tx);
    const lane *there = &f->lanes[(size_t)next * f->colors + color];
    if (there->rx != fabric_opposite(here->tx) || !runs_free(f, next, color) || next == router) return n;
    at = next;
  }
}

// Wavelets that are in a run of n routers at most: one per cycle and hop, and what waits to begin.
static u32 run_room(const fabric *f, u32 n) { return n * f->hop + LANE_DEPTH + 1; }

static void each_run(fabric *f, u32 *ret_runs, u64 *ret_places, bool make) {
  u32 runs = 0;
  u64 places = 0;
  for (u32 router = 0; router < f->routers; router++)
    for (u32 color = 0; color < f->colors; color++) {
      u32 n = run_length(f, router, color);
      if (n < PIPE_SHORTEST) continue;
      u32 room = run_room(f, n);
      if (make) f->pipes[runs] = (pipe){.first = router, .color = (u8)color, .length = n, .places = places, .room = room};
      runs++;
      places += room;
    }
  *ret_runs = runs;
  *ret_places = places;
}

static void mark_ends(fabric *f, u32 index) {
  pipe *p = &f->pipes[index];
  u32 at = p->first;
  lane_at(f, at, p->color)->pipe = index;
  for (u32 i = 1; i < p->length; i++) at = fabric_neighbour(f, at, lane_at(f, at, p->color)->tx);
  p->last = at;
  f->lane_facts[(size_t)at * f->colors + p->color].pipe_of = index;
  if (p->length > f->pipe_longest) f->pipe_longest = p->length;
}

bool pipes_open(fabric *f, arena *a, status *st) {
  if (f->hop > LANE_DEPTH - 1) return true; // a lane would fill while wavelets are on the link
  u64 places;
  each_run(f, &f->pipe_count, &places, false);
  f->pipes = arena_take_big(a, sizeof(pipe) * f->pipe_count, "the fabric's pipes", st);
  f->pipe_on = arena_array(a, u64, f->pipe_count / 64 + 1);
  f->pipe_waves = arena_take_big(a, sizeof(wave) * places, "the fabric's pipes", st);
  if (!status_ok(st)) return false;
  each_run(f, &f->pipe_count, &places, true);
  for (u32 i = 0; i < f->pipe_count; i++) mark_ends(f, i);
  f->pipe_path = arena_array(a, u32, f->pipe_longest);
  return true;
}

static wave *place_of(fabric *f, const pipe *p, u32 i) { return &f->pipe_waves[p->places + (p->head + i) % p->room]; }

// The first router holds those that are not due to leave it before this cycle.
bool pipe_has_room(fabric *f, u32 index) {
  return f->pipes[index].count < LANE_DEPTH || (i32)(pipe_room_from(f, index) - (u32)f->now) <= 0;
}

u32 pipe_room_from(fabric *f, u32 index) {
  const pipe *p = &f->pipes[index];
  return p->count < LANE_DEPTH ? (u32)f->now : place_of(f, p, p->count - LANE_DEPTH)->ready + 1;
}

void pipe_push(fabric *f, u32 index, wave w) {
  pipe *p = &f->pipes[index];
  require(p->count < p->room);
  if (p->count) { // one a cycle, in order
    u32 earliest = place_of(f, p, p->count - 1)->ready + 1;
    if ((i32)(w.ready - earliest) < 0) w.ready = earliest;
  }
  *place_of(f, p, p->count++) = w;
  u64 there = f->now + (w.ready + (p->length - 1) * f->hop - (u32)f->now);
  if (there > f->arrives) f->arrives = there;
  f->pipe_on[index >> 6] |= 1ull << (index & 63);
}

// Puts the wavelets into the routers where they are at the beginning of this cycle.
static void burst(fabric *f, u32 index) {
  pipe *p = &f->pipes[index];
  p->open = true;
  p->inside = p->count;
  u32 at = p->first;
  u32 *routers = f->pipe_path; // the path, to find a wavelet's router by its number
  for (u32 i = 0; i < p->length; i++) {
    routers[i] = at;
    if (i + 1 < p->length) at = fabric_neighbour(f, at, lane_at(f, at, p->color)->tx);
  }
  for (u32 i = 0; i < p->count; i++) {
    wave w = *place_of(f, p, i);
    i32 passed = (i32)((u32)f->now - w.ready); // it left the first router in cycle w.ready, if that is over
    u32 hops = passed > 0 ? (u32)(passed - 1) / f->hop + 1 : 0;
    if (hops > p->length - 1) hops = p->length - 1;
    w.ready += hops * f->hop;
    f->result.counts.hops += hops;
    u64 moved = f->now + (w.ready - (u32)f->now) - f->hop; // its last hop
    if (hops && moved > f->last) f->last = moved;
    lane_put(f, routers[hops], p->color, w);
  }
  p->count = 0;
  f->pipe_on[index >> 6] &= ~(1ull << (index & 63));
}

static void pipe_step(fabric *f, u32 index) {
  pipe *p = &f->pipes[index];
  wave w = *place_of(f, p, 0);
  u32 due = w.ready + (p->length - 1) * f->hop;
  if ((i32)(due - (u32)f->now) > 0) return;
  move m;
  if (!router_find_place(f, p->last, p->color, lane_at(f, p->last, p->color)->tx, &m)) {
    burst(f, index);
    return;
  }
  m.pipe = index;
  f->moves[f->move_count++] = m;
}

// The head has found its place: takes it out.
wave pipe_pop(fabric *f, u32 index) {
  pipe *p = &f->pipes[index];
  wave w = *place_of(f, p, 0);
  p->head = (p->head + 1) % p->room;
  if (--p->count == 0) f->pipe_on[index >> 6] &= ~(1ull << (index & 63));
  f->result.counts.hops += p->length - 1;
  return w;
}

void pipes_step(fabric *f) {
  for (u32 i = 0; i < (f->pipe_count + 63) / 64; i++)
    for (u64 bits = f->pipe_on[i]; bits; bits &= bits - 1) pipe_step(f, i * 64 + (u32)__builtin_ctzll(bits));
}

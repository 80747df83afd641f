// Streams along fixed routes: where nothing can interfere (one way in, one way out, no other color on the
// links, no switch), the routers of a run behave like one long pipe as long as its end is free, and a
// wavelet costs two steps however long the run is. When the end blocks, the wavelets are put into the
// routers where they are, and the run is walked hop by hop until it is empty again: same cycles, same order.
// A run ends where its strip does. Only its own strip changes a pipe, and not while moves are decided, since
// a neighbour may look then whether it has room.
#include "sim/fabric/fabric_state.h"

// Can the color be stopped or slowed at this router by anything but what comes after it?
static bool runs_free(const strip *s, u32 router, u32 color) {
  const lane *l = &s->lanes[(size_t)router * s->colors + color];
  const lane_facts *facts = &s->lane_facts[(size_t)router * s->colors];
  if (s->watch && watch_sees(s, router)) return false;
  if (facts[color].route == NOBODY || s->d->routes[facts[color].route].position_count != 1 || l->inputs != 1)
    return false;
  if (__builtin_popcount(l->tx) != 1 || l->tx == PORT_RAMP || fabric_on_edge(s, router, l->tx)) return false;
  for (u32 c = 0; c < s->colors; c++) {
    if (c == color || facts[c].route == NOBODY) continue;
    const df_route *r = &s->d->routes[facts[c].route];
    for (u32 p = 0; p < r->position_count; p++)
      if (r->positions[p].tx & l->tx) return false;
  }
  return true;
}

// Length of the run that begins here; 0 where it began before.
static u32 run_length(const strip *s, u32 router, u32 color) {
  if (!runs_free(s, router, color)) return 0;
  const lane *l = &s->lanes[(size_t)router * s->colors + color];
  if (l->rx != PORT_RAMP && !fabric_on_edge(s, router, l->rx)) {
    u32 before = fabric_neighbour(s, router, l->rx);
    if (router_is_own(s, before) && s->lanes[(size_t)before * s->colors + color].tx == fabric_opposite(l->rx) &&
        runs_free(s, before, color))
      return 0;
  }
  u32 n = 1;
  for (u32 at = router;; n++) {
    const lane *here = &s->lanes[(size_t)at * s->colors + color];
    u32 next = fabric_neighbour(s, at, here->tx);
    const lane *there = &s->lanes[(size_t)next * s->colors + color];
    if (!router_is_own(s, next) || there->rx != fabric_opposite(here->tx) || !runs_free(s, next, color) ||
        next == router)
      return n;
    at = next;
  }
}

// Wavelets that are in a run of n routers at most: one per cycle and hop, and what waits to begin.
static u32 run_room(const strip *s, u32 n) {
  return n * s->hop + LANE_DEPTH + 1;
}

// Runs and places so far, with those of this strip; `make`: and its pipes.
static void each_run(strip *s, u32 *ret_runs, u64 *ret_places, bool make) {
  u32 runs = *ret_runs;
  u64 places = *ret_places;
  s->first_pipe = runs;
  for (u32 router = s->first_router; router < s->first_router + s->router_count; router++)
    for (u32 color = 0; color < s->colors; color++) {
      u32 n = run_length(s, router, color);
      if (n < PIPE_SHORTEST) continue;
      u32 room = run_room(s, n);
      if (make)
        s->pipes[runs] = (pipe){.first = router, .color = (u8)color, .length = n, .places = places, .room = room};
      runs++;
      places += room;
    }
  s->pipe_count = runs - s->first_pipe;
  *ret_runs = runs;
  *ret_places = places;
}

static void mark_ends(strip *s, u32 index) {
  pipe *p = &s->pipes[index];
  u32 at = p->first;
  lane_at(s, at, p->color)->pipe = index;
  for (u32 i = 1; i < p->length; i++) at = fabric_neighbour(s, at, lane_at(s, at, p->color)->tx);
  p->last = at;
  s->lane_facts[(size_t)at * s->colors + p->color].pipe_of = index;
}

bool pipes_open(fabric *f, arena *a, status *st) {
  if (f->strips->hop > LANE_DEPTH - 1) return true; // a lane would fill while wavelets are on the link
  u32 runs = 0, longest = 0;
  u64 places = 0;
  for (u32 i = 0; i < f->strip_count; i++) each_run(&f->strips[i], &runs, &places, false);
  pipe *pipes = arena_take_big(a, sizeof(pipe) * runs, "the fabric's pipes", st);
  wave *waves = arena_take_big(a, sizeof(wave) * places, "the fabric's pipes", st);
  if (!status_ok(st)) return false;
  runs = 0;
  places = 0;
  for (u32 i = 0; i < f->strip_count; i++) {
    strip *s = &f->strips[i];
    s->pipes = pipes;
    s->pipe_waves = waves;
    each_run(s, &runs, &places, true);
    for (u32 k = 0; k < s->pipe_count; k++) {
      mark_ends(s, s->first_pipe + k);
      if (pipes[s->first_pipe + k].length > longest) longest = pipes[s->first_pipe + k].length;
    }
    s->pipe_on = arena_array(a, u64, s->pipe_count / 64 + 1);
    s->pipe_blocked = arena_array(a, u32, s->pipe_count);
  }
  for (u32 i = 0; i < f->strip_count; i++) f->strips[i].pipe_path = arena_array(a, u32, longest);
  return true;
}

static void set_on(strip *s, u32 index, bool on) {
  u32 at = index - s->first_pipe;
  u64 bit = 1ull << (at & 63);
  if (on)
    s->pipe_on[at >> 6] |= bit;
  else
    s->pipe_on[at >> 6] &= ~bit;
}

static wave *place_of(const strip *s, const pipe *p, u32 i) {
  return &s->pipe_waves[p->places + (p->head + i) % p->room];
}

// The first router holds those that are not due to leave it before this cycle.
bool pipe_has_room(strip *s, u32 index) {
  return s->pipes[index].count < LANE_DEPTH || (i32)(pipe_room_from(s, index) - (u32)s->now) <= 0;
}

u32 pipe_room_from(strip *s, u32 index) {
  const pipe *p = &s->pipes[index];
  return p->count < LANE_DEPTH ? (u32)s->now : place_of(s, p, p->count - LANE_DEPTH)->ready + 1;
}

void pipe_push(strip *s, u32 index, u32 data, u32 ready, bool control) {
  pipe *p = &s->pipes[index];
  require(p->count < p->room);
  if (p->count) { // one a cycle, in order
    u32 earliest = place_of(s, p, p->count - 1)->ready + 1;
    if ((i32)(ready - earliest) < 0) ready = earliest;
  }
  wave_put(place_of(s, p, p->count++), data, ready, control);
  u64 there = s->now + (ready + (p->length - 1) * s->hop - (u32)s->now);
  if (there > s->arrives) s->arrives = there;
  set_on(s, index, true);
}

// Puts the wavelets into the routers where they are at the beginning of this cycle. That is one cycle after the
// end was found blocked, and right, since until then the routers before it had room.
static void burst(strip *s, u32 index) {
  pipe *p = &s->pipes[index];
  p->open = true;
  p->inside = p->count;
  u32 at = p->first;
  u32 *routers = s->pipe_path; // the path, to find a wavelet's router by its number
  for (u32 i = 0; i < p->length; i++) {
    routers[i] = at;
    if (i + 1 < p->length) at = fabric_neighbour(s, at, lane_at(s, at, p->color)->tx);
  }
  for (u32 i = 0; i < p->count; i++) {
    wave w = *place_of(s, p, i);
    i32 passed = (i32)((u32)s->now - w.ready); // it left the first router in cycle w.ready, if that is over
    u32 hops = passed > 0 ? (u32)(passed - 1) / s->hop + 1 : 0;
    if (hops > p->length - 1) hops = p->length - 1;
    w.ready += hops * s->hop;
    s->result.counts.hops += hops;
    for (u32 k = 0; s->load && k < hops; k++) load_add(s, routers[k], 1);
    u64 moved = (u64)((i64)s->now + (i32)(w.ready - (u32)s->now)) - s->hop; // its last hop
    if (hops && moved > s->last) s->last = moved;
    lane_put(s, routers[hops], p->color, w.data, w.ready, w.control);
  }
  p->count = 0;
  set_on(s, index, false);
}

static void pipe_step(strip *s, u32 index) {
  pipe *p = &s->pipes[index];
  u32 due = place_of(s, p, 0)->ready + (p->length - 1) * s->hop;
  if ((i32)(due - (u32)s->now) > 0) return;
  move m;
  if (!router_find_place(s, p->last, p->color, lane_at(s, p->last, p->color)->tx, &m)) {
    s->pipe_blocked[s->pipe_blocked_count++] = index;
    return;
  }
  m.pipe = index;
  s->moves[s->move_count++] = m;
}

// The head has found its place: it is gone.
void pipe_pop(strip *s, u32 index) {
  pipe *p = &s->pipes[index];
  p->head = (p->head + 1) % p->room;
  if (--p->count == 0) set_on(s, index, false);
  s->result.counts.hops += p->length - 1;
  p->passed++;
}

void pipes_load(strip *s) {
  for (u32 i = 0; s->load && i < s->pipe_count; i++) {
    const pipe *p = &s->pipes[s->first_pipe + i];
    for (u32 at = p->first; at != p->last; at = fabric_neighbour(s, at, lane_at(s, at, p->color)->tx))
      load_add(s, at, p->passed);
  }
}

const wave *pipe_head(const strip *s, u32 index) {
  return place_of(s, &s->pipes[index], 0);
}

static u32 find_on(const strip *s, u32 word, u64 bits) {
  return s->first_pipe + word * 64 + (u32)__builtin_ctzll(bits);
}

void pipes_decide(strip *s) {
  for (u32 i = 0; i < (s->pipe_count + 63) / 64; i++)
    for (u64 bits = s->pipe_on[i]; bits; bits &= bits - 1) pipe_step(s, find_on(s, i, bits));
}

void pipes_burst(strip *s) {
  while (s->pipe_blocked_count) burst(s, s->pipe_blocked[--s->pipe_blocked_count]);
}

void pipes_burst_all(strip *s) {
  s->pipe_blocked_count = 0;
  for (u32 i = 0; i < (s->pipe_count + 63) / 64; i++)
    for (u64 bits = s->pipe_on[i]; bits; bits &= bits - 1) burst(s, find_on(s, i, bits));
}

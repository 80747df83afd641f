// A strip of the grid: where the cuts are, and one cycle of its ports, PEs and routers in two halves. Between
// the halves all strips wait for each other: a step writes its own rows only, a decision reads its neighbours'.
#include "sim/fabric/fabric_state.h"

enum { REFRESH_BITS = 30 }; // cycles between two looks at all wavelets, well below the 2^31 that can be told apart

static bool place_strip(strip *s, arena *a, status *st) {
  for (u32 i = 0; i < ROUTER_WHEEL; i++) s->router_on[i] = arena_array(a, u64, s->router_count / 64 + 1);
  for (u32 i = 0; i < UNIT_WHEEL; i++) s->unit_on[i] = arena_array(a, u64, s->unit_count / 64 + 1);
  s->heap = arena_array(a, u32, s->unit_count);
  s->inputs = arena_array(a, u32, s->d->port_count);
  for (u32 i = 0; i < s->d->port_count; i++)
    if (!s->d->ports[i].out && router_is_own(s, s->ports[i].router)) s->inputs[s->input_count++] = i;
  for (u32 side = 0; side < 2; side++) {
    s->told[side] = arena_array(a, u32, s->line);
    s->across[side] = arena_array(a, crossing, s->line);
  }
  s->moves = arena_take_big(a, sizeof(move) * s->router_count * 5, "the fabric's moves", st);
  return status_ok(st);
}

// What the lines of a rectangle cost while everything in them is busy, `each` per router.
static void add_work(const strip *s, const df_rect *r, u64 each, u64 *work) {
  u32 lines = s->turned ? r->w : r->h, across = s->turned ? r->h : r->w;
  u32 first = s->turned ? r->x : r->y, step = s->turned ? r->step_x : r->step_y;
  for (u32 i = 0; i < lines; i++) work[first + i * step] += each * across;
}

// Lines that make up a strip's share of the work; one for each strip that is left, at least.
static u32 lines_of(const u64 *work, u32 most, u64 share) {
  u32 lines = 0;
  for (u64 sum = 0; lines < most && (!lines || sum + work[lines] / 2 < share); lines++) sum += work[lines];
  return lines;
}

void strips_cut(fabric *f, u32 count, arena *a) {
  const strip *s = f->strips;
  u32 lines = s->routers / s->line, line = 0;
  u64 *work = arena_array(a, u64, lines), all = 0;
  for (u32 i = 0; i < s->d->route_count; i++) add_work(s, &s->d->routes[i].rect, 1, work);
  for (u32 i = 0; i < s->d->region_count; i++) add_work(s, &s->d->regions[i].rect, FABRIC_PE_WORK, work);
  for (u32 i = 0; i < lines; i++) all += work[i];
  f->strip_count = count;
  for (u32 i = 0; i < count; i++) {
    u32 most = lines - line - (count - 1 - i), own = i + 1 < count ? lines_of(work + line, most, all / count) : most;
    f->strips[i].first_router = line * s->line;
    f->strips[i].router_count = own * s->line;
    line += own;
  }
}

bool strips_open(fabric *f, arena *a, status *st) {
  for (u32 i = f->strip_count; i-- > 0;) {
    strip *s = &f->strips[i], own = *s;
    *s = f->strips[0];
    s->first_router = own.first_router;
    s->router_count = own.router_count;
    s->first_unit = own.first_unit;
    s->unit_count = own.unit_count;
    s->before = i ? s - 1 : NULL;
    s->after = i + 1 < f->strip_count ? s + 1 : NULL;
    if (!place_strip(s, a, st)) return false;
  }
  return true;
}

// One wavelet a cycle from the host, where there is room.
static void step_ports(strip *s) {
  for (u32 i = 0; i < s->input_count; i++) {
    const df_port *p = &s->d->ports[s->inputs[i]];
    port_state *state = &s->ports[s->inputs[i]];
    if (state->at == p->wavelets) continue;
    lane *l = lane_at(s, state->router, state->lane);
    if (!(l->rx & p->port) || !lane_has_room(s, l)) continue;
    lane_push(s, state->router, state->lane, state->words[state->at++], (u32)s->now + s->hop, false);
    if (s->watch) watch_entry(s, state->router, state->lane, p->port);
    s->result.counts.wavelets++;
    stretch_note(&s->result.entered, s->now);
    s->progress = true;
  }
}

// What the units after this one will touch.
static void fetch_units(const strip *s, const bit_list *due, u32 at) {
  if (at + 2 < due->count) {
    const unit *u = &s->unit[due->at[at + 2]];
    fetch(u);
    fetch((const u8 *)u + 64);
  }
  if (at + 1 < due->count) {
    const unit *u = &s->unit[due->at[at + 1]];
    for (u32 bits = u->running; bits; bits &= bits - 1) {
      const thread *t = &s->threads[u->first_thread + (u32)__builtin_ctz(bits)];
      fetch(t);
      fetch((const u8 *)t + 64);
    }
  }
}

static void step_units(strip *s) {
  u64 *on = s->unit_on[s->now % UNIT_WHEEL];
  s->unit_on_count[s->now % UNIT_WHEEL] = 0;
  u32 words = (s->unit_count + 63) / 64;
  bit_list due;
  for (u32 i = 0; i < words; i++) {
    if (!on[i]) continue;
    bits_list(on[i], s->first_unit + i * 64, &due);
    on[i] = 0;
    s->work += due.count;
    for (u32 k = 0; k < due.count; k++) {
      fetch_units(s, &due, k);
      if (s->unit[due.at[k]].wake <= s->now) unit_step(s, due.at[k]); // else it was here already, by an earlier bit
    }
  }
}

// The cycles that wavelets carry have 32 bits: those that were due long ago are due now.
static void refresh(const strip *s, wave *q, u32 depth, u64 cycle) {
  for (u32 i = 0; i < depth; i++)
    if (wave_is_due(&q[i], s->now)) q[i].ready = (u32)cycle;
}

static void refresh_all(strip *s, u64 cycle) {
  for (size_t i = 0; i < (size_t)s->router_count * s->colors; i++)
    refresh(s, lane_at(s, s->first_router, 0)[i].q, LANE_DEPTH, cycle);
  for (u32 i = 0; i < s->unit_count; i++) {
    const unit *u = &s->unit[s->first_unit + i];
    for (u32 k = 0; k < s->classes[u->class].queue_count; k++)
      refresh(s, s->queues[u->first_queue + k].q, QUEUE_DEPTH, cycle);
  }
}

void strip_step(strip *s, u64 cycle) {
  router_move(s);
  if ((s->now ^ cycle) >> REFRESH_BITS) refresh_all(s, cycle);
  s->now = cycle;
  s->progress = false;
  if (s->watch) watch_cycle(s);
  pipes_burst(s);
  fabric_collect(s);
  step_ports(s);
  step_units(s);
}

// Cycle in which the next unit is due; NEVER: none is.
static u64 next_due(const strip *s) {
  u64 due = s->heap_count ? s->unit[s->heap[0]].wake : NEVER;
  for (u64 cycle = s->now + 1; cycle < s->now + UNIT_WHEEL && cycle < due; cycle++)
    if (s->unit_on_count[cycle % UNIT_WHEEL]) return cycle;
  return due;
}

void strip_decide(strip *s) {
  router_decide(s);
  if (s->progress) s->last = s->now;
  s->news = (news){s->progress, s->fault.order != 0, s->arrives, s->progress ? 0 : next_due(s)};
}

void strips_settle(fabric *f) {
  for (u32 i = 0; i < f->strip_count; i++) router_move(&f->strips[i]);
  watch_finish(f);
  for (u32 i = 0; i < f->strip_count; i++) {
    strip *s = &f->strips[i];
    s->now = f->next == NEVER ? s->now + 1 : f->most;
    pipes_burst_all(s);
  }
}

// Opening a fabric from a dataflow, the walk through cycles, and what people read out of it.
#include "sim/fabric/fabric_state.h"

#include <math.h>
#include <string.h>

static void map_colors(fabric *f) {
  memset(f->dense_of, 255, sizeof f->dense_of);
  bool used[COLORS_MAX] = {false};
  for (u32 i = 0; i < f->d->route_count; i++) used[f->d->routes[i].color] = true;
  for (u32 i = 0; i < f->d->vector_count; i++)
    if (f->d->vectors[i].kind != VECTOR_MEMORY) used[f->d->vectors[i].color] = true;
  for (u32 c = 0; c < COLORS_MAX; c++)
    if (used[c]) {
      f->dense_of[c] = (u8)f->colors;
      f->color_of[f->colors++] = (u8)c;
    }
  if (!f->colors) f->colors = 1; // a program without routes still has its lanes
}

static void receive_on(fabric *f, class_facts *facts, u32 color) {
  u8 dense = f->dense_of[color];
  if (facts->queue_of[dense] != 255) return;
  facts->color_of_queue[facts->queue_count] = dense;
  facts->queue_of[dense] = (u8)facts->queue_count++;
}

static void learn_class(fabric *f, u32 index) {
  const df_class *c = &f->d->classes[index];
  class_facts *facts = &f->classes[index];
  memset(facts->queue_of, 255, sizeof facts->queue_of);
  for (u32 i = 0; i < c->vector_count; i++) {
    const df_vector *v = &f->d->vectors[c->first_vector + i];
    if (v->kind == VECTOR_FABRIC_IN) receive_on(f, facts, v->color);
  }
  facts->threads = 1;
  for (u32 i = 0; i < c->task_count; i++) {
    const df_task *t = &f->d->tasks[c->first_task + i];
    if (t->trigger != TRIGGER_LOCAL) receive_on(f, facts, t->color);
    for (u32 k = 0; k < t->count; k++) {
      const df_instruction *op = &f->d->instructions[t->first + k];
      if (instruction_is_vector(op->opcode) && op->thread + 1u > facts->threads) facts->threads = op->thread + 1u;
    }
  }
}

// What must be taken of memory, known before anything is: unit by unit.
typedef struct totals {
  u64 units, threads, queues, memory;
} totals;

static void each_pe(const df_rect *r, u32 i, u32 *ret_x, u32 *ret_y) {
  *ret_x = r->x + (i % r->w) * r->step_x;
  *ret_y = r->y + (i / r->w) * r->step_y;
}

static totals add_up(const fabric *f) {
  totals t = {0};
  for (u32 i = 0; i < f->d->region_count; i++) {
    const df_region *r = &f->d->regions[i];
    u64 n = (u64)r->rect.w * r->rect.h;
    t.units += n;
    t.threads += n * f->classes[r->class].threads;
    t.queues += n * f->classes[r->class].queue_count;
    t.memory += n * ((f->d->classes[r->class].data_bytes + 15u) & ~15u);
  }
  return t;
}

static u32 task_bits(const fabric *f, const df_class *c, bool blocked) {
  u32 bits = 0;
  for (u32 i = 0; i < c->task_count; i++) {
    const df_task *t = &f->d->tasks[c->first_task + i];
    if (blocked ? t->blocked : t->active) bits |= 1u << i;
  }
  return bits;
}

static void place_units(fabric *f) {
  totals at = {0};
  for (u32 i = 0; i < f->d->region_count; i++) {
    const df_region *r = &f->d->regions[i];
    const df_class *c = &f->d->classes[r->class];
    const class_facts *facts = &f->classes[r->class];
    for (u32 k = 0; k < r->rect.w * r->rect.h; k++) {
      unit *u = &f->unit[at.units];
      each_pe(&r->rect, k, &u->x, &u->y);
      u->router = u->y * f->width + u->x;
      u->class = r->class;
      u->rx = k % r->rect.w;
      u->ry = k / r->rect.w;
      u->memory = at.memory;
      u->data_bytes = c->data_bytes;
      u->first_thread = (u32)at.threads;
      u->first_queue = (u32)at.queues;
      u->task = u->heap_at = NOBODY;
      u->active = task_bits(f, c, false);
      u->blocked = task_bits(f, c, true);
      u->wake = NEVER;
      f->unit_of[u->router] = (u32)at.units++;
      at.threads += facts->threads;
      at.queues += facts->queue_count;
      at.memory += (c->data_bytes + 15u) & ~15u;
    }
  }
}

static void place_lane(fabric *f, u32 router, u32 color) {
  lane *l = lane_at(f, router, color);
  u32 u = f->unit_of[router];
  f->lane_facts[(size_t)router * f->colors + color] = (lane_facts){NOBODY, NOBODY};
  l->pipe = l->queue = NOBODY;
  for (u8 port = 1; port <= PORT_WEST; port = (u8)(port * 2))
    if (fabric_on_edge(f, router, port)) l->edge |= port;
  u8 id = u == NOBODY ? 255 : f->classes[f->unit[u].class].queue_of[color];
  if (id != 255) l->queue = f->unit[u].first_queue + id;
}

static void place_routes(fabric *f) {
  for (u32 router = 0; router < f->routers; router++)
    for (u32 c = 0; c < f->colors; c++) place_lane(f, router, c);
  for (u32 i = 0; i < f->d->route_count; i++) {
    const df_route *r = &f->d->routes[i];
    for (u32 k = 0; k < r->rect.w * r->rect.h; k++) {
      u32 x, y;
      each_pe(&r->rect, k, &x, &y);
      f->lane_facts[((size_t)y * f->width + x) * f->colors + f->dense_of[r->color]].route = i;
      router_set_position(f, y * f->width + x, f->dense_of[r->color], 0, 0);
    }
  }
}

static void place_ports(fabric *f, arena *a) {
  f->ports = arena_array(a, port_state, f->d->port_count);
  f->port_of = arena_array(a, u32, (size_t)f->routers * 4);
  memset(f->port_of, 0xff, sizeof(u32) * (size_t)f->routers * 4);
  for (u32 i = 0; i < f->d->port_count; i++) {
    const df_port *p = &f->d->ports[i];
    u32 router = p->y * f->width + p->x;
    f->ports[i] = (port_state){.router = router, .lane = f->dense_of[p->color], .words = arena_array(a, u32, p->wavelets)};
    if (!p->out) continue;
    u32 *first = &f->port_of[router * 4 + (u32)__builtin_ctz(p->port)];
    f->ports[i].next = *first;
    *first = i;
  }
}

static bool take_memory(fabric *f, arena *a, status *st) {
  totals t = add_up(f);
  f->units = (u32)t.units;
  f->unit = arena_take_big(a, sizeof(unit) * t.units, "the fabric's PEs", st);
  f->lanes = arena_take_big(a, sizeof(lane) * f->routers * f->colors, "the fabric's routers", st);
  f->lane_facts = arena_take_big(a, sizeof(lane_facts) * f->routers * f->colors, "the fabric's routers", st);
  f->threads = arena_take_big(a, sizeof(thread) * t.threads, "the fabric's vector instructions", st);
  f->queues = arena_take_big(a, sizeof(queue) * t.queues, "the fabric's queues", st);
  f->memory = arena_take_big(a, t.memory, "the PEs' memory", st);
  f->moves = arena_take_big(a, sizeof(move) * f->routers * 5, "the fabric's moves", st);
  return status_ok(st);
}

static bool is_whole(double cycles, double least) { return cycles == floor(cycles) && cycles >= least && cycles < 1u << 20; }

// What this engine cannot do: it refuses rather than to round.
static bool fits(const dataflow *d, const machine_spec *m, status *st) {
  if (!is_whole(m->hop_cycles, 1) || !is_whole(m->ramp_cycles, 0) || !is_whole(m->send_cycles, 0))
    return status_fail(st, CODE_CONFIG, "fabric: hop (%g), ramp (%g) and send cycles (%g) must be whole, a hop at least one", m->hop_cycles,
                       m->ramp_cycles, m->send_cycles);
  if (m->queue_words > QUEUE_DEPTH)
    return status_fail(st, CODE_CONFIG, "fabric: queues of %u words, it has room for %d", m->queue_words, QUEUE_DEPTH);
  for (u32 i = 0; i < d->route_count; i++) {
    const df_route *r = &d->routes[i];
    if (r->color >= COLORS_MAX) return status_fail(st, CODE_CONFIG, "fabric: color %u, it routes %d", r->color, COLORS_MAX);
    for (u32 k = 0; k < r->position_count; k++)
      if (__builtin_popcount(r->positions[k].rx) > LANE_DEPTH)
        return status_fail(st, CODE_CONFIG, "fabric: color %u merges all five ports at (%u, %u), it merges %d at most", r->color, r->rect.x,
                           r->rect.y, LANE_DEPTH);
  }
  return true;
}

fabric *fabric_open(const dataflow *d, const machine *m, const fabric_options *o, arena *a, status *st) {
  if (!dataflow_check(d, m, st) || !fits(d, &m->spec, st)) return NULL;
  fabric *f = arena_array(a, fabric, 1);
  *f = (fabric){.d = d, .m = m, .width = d->width, .height = d->height, .routers = d->width * d->height};
  f->hop = (u32)lround(m->spec.hop_cycles);
  f->ramp = (u32)lround(m->spec.ramp_cycles);
  f->send = (u32)lround(m->spec.send_cycles);
  f->queue_words = m->spec.queue_words;
  f->ramp_ticks = (u32)lround(m->spec.wavelet_cycles * TICKS);
  for (u32 i = 0; i < 4; i++) f->offset[i] = fabric_neighbour(f, 0, 1u << i);
  map_colors(f);
  f->classes = arena_array(a, class_facts, d->class_count);
  for (u32 i = 0; i < d->class_count; i++) learn_class(f, i);
  if (!take_memory(f, a, st)) return NULL;
  f->lane_mask = arena_array(a, u32, f->routers);
  f->asks = arena_array(a, u32, f->routers);
  f->turn = arena_array(a, u8, (size_t)f->routers * 5);
  for (u32 i = 0; i < ROUTER_WHEEL; i++) f->router_on[i] = arena_array(a, u64, f->routers / 64 + 1);
  for (u32 i = 0; i < UNIT_WHEEL; i++) f->unit_on[i] = arena_array(a, u64, f->units / 64 + 1);
  f->heap = arena_array(a, u32, f->units);
  f->unit_of = arena_array(a, u32, f->routers);
  memset(f->unit_of, 0xff, sizeof(u32) * f->routers);
  place_units(f);
  place_routes(f);
  place_ports(f, a);
  if (!(o && o->walk) && !pipes_open(f, a, st)) return NULL;
  for (u32 u = 0; u < f->units; u++) fabric_wake(f, u, 0);
  arena_seal(a);
  return f;
}

static u8 *unit_memory(const fabric *f, u32 x, u32 y, u32 address, u32 n) {
  require(x < f->width && y < f->height);
  u32 u = f->unit_of[y * f->width + x];
  require(u != NOBODY && (u64)address + n <= f->d->classes[f->unit[u].class].data_bytes);
  return f->memory + f->unit[u].memory + address;
}

void fabric_write(fabric *f, u32 x, u32 y, u32 address, const void *bytes, u32 n) {
  memcpy(unit_memory(f, x, y, address, n), bytes, n);
}

void fabric_read(const fabric *f, u32 x, u32 y, u32 address, void *ret_bytes, u32 n) {
  memcpy(ret_bytes, unit_memory(f, x, y, address, n), n);
}

void fabric_feed(fabric *f, u32 port, const u32 *words) {
  require(port < f->d->port_count && !f->d->ports[port].out);
  memcpy(f->ports[port].words, words, f->d->ports[port].wavelets * sizeof(u32));
}

u64 fabric_drain(const fabric *f, u32 port, u32 *ret_words) {
  require(port < f->d->port_count && f->d->ports[port].out);
  memcpy(ret_words, f->ports[port].words, f->ports[port].at * sizeof(u32));
  return f->ports[port].at;
}

void fabric_flip(fabric *f, u64 nth_hop, u32 bit) {
  f->flip_at = nth_hop;
  f->flip_bit = bit;
}

// One wavelet a cycle from the host, where there is room.
static void host_step(fabric *f) {
  for (u32 i = 0; i < f->d->port_count; i++) {
    const df_port *p = &f->d->ports[i];
    port_state *s = &f->ports[i];
    if (p->out || s->at == p->wavelets) continue;
    lane *l = lane_at(f, s->router, s->lane);
    if (!(l->rx & p->port) || !lane_has_room(f, l)) continue;
    lane_push(f, s->router, s->lane, (wave){.data = s->words[s->at++], .ready = (u32)f->now + f->hop});
    f->result.counts.wavelets++;
    f->progress = true;
  }
}

static void units_step(fabric *f) {
  u64 *on = f->unit_on[f->now % UNIT_WHEEL];
  f->unit_on_count[f->now % UNIT_WHEEL] = 0;
  u32 words = (f->units + 63) / 64;
  for (u32 i = 0; i < words; i++) {
    u64 bits = on[i];
    on[i] = 0;
    for (; bits; bits &= bits - 1) {
      u32 u = i * 64 + (u32)__builtin_ctzll(bits);
      if (f->unit[u].wake <= f->now) unit_step(f, u); // else it was here already, by an earlier bit
    }
  }
}

static bool host_waits(const fabric *f) {
  for (u32 i = 0; i < f->d->port_count; i++)
    if (f->ports[i].at < f->d->ports[i].wavelets) return true;
  return false;
}

static bool anything_waits(const fabric *f) {
  for (u32 i = 0; i < f->routers; i++)
    if (f->lane_mask[i]) return true;
  for (u32 i = 0; i < f->units; i++) {
    const unit *u = &f->unit[i];
    if (u->task != NOBODY) return true;
    const class_facts *c = &f->classes[u->class];
    if (u->running) return true;
    for (u32 k = 0; k < c->queue_count; k++)
      if (f->queues[u->first_queue + k].count) return true;
  }
  return host_waits(f);
}

// Cycle in which the next unit is due; NEVER: none is.
static u64 next_due(const fabric *f) {
  u64 due = f->heap_count ? f->unit[f->heap[0]].wake : NEVER;
  for (u64 cycle = f->now + 1; cycle < f->now + UNIT_WHEEL && cycle < due; cycle++)
    if (f->unit_on_count[cycle % UNIT_WHEEL]) return cycle;
  return due;
}

// Nothing will happen any more; otherwise moves `now` to just before the next unit is due where nothing is
// done and under way meanwhile.
static bool over(fabric *f) {
  if (f->progress) f->last = f->now;
  if (f->progress || f->arrives > f->now) return false;
  u64 due = next_due(f);
  if (due == NEVER) return true;
  f->now = due - 1;
  return false;
}

bool fabric_run(fabric *f, u64 max_cycles, fabric_result *ret_result, status *st) {
  for (f->now = 0; f->now < max_cycles; f->now++) {
    f->progress = false;
    fabric_collect(f);
    host_step(f);
    units_step(f);
    router_step(f);
    f->result.stepped++;
    if (over(f)) break;
  }
  f->result.cycles = (f->end + TICKS - 1) / TICKS;
  for (u32 u = 0; u < f->units; u++)
    if (f->unit[u].busy / TICKS > f->result.busy) f->result.busy = f->unit[u].busy / TICKS;
  *ret_result = f->result;
  if (f->now > max_cycles) f->now = max_cycles; // it would have been skipped to
  if (f->now == max_cycles) stall_report(f, false, st);
  else if (anything_waits(f)) stall_report(f, true, st);
  return status_ok(st);
}

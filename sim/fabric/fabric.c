// Opening a fabric from a dataflow, running it, and what people read out of it.
#include "sim/fabric/fabric_state.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static void map_colors(strip *s) {
  memset(s->dense_of, 255, sizeof s->dense_of);
  bool used[COLORS_MAX] = {false};
  for (u32 i = 0; i < s->d->route_count; i++) used[s->d->routes[i].color] = true;
  for (u32 i = 0; i < s->d->vector_count; i++)
    if (s->d->vectors[i].kind != VECTOR_MEMORY) used[s->d->vectors[i].color] = true;
  for (u32 c = 0; c < COLORS_MAX; c++)
    if (used[c]) {
      s->dense_of[c] = (u8)s->colors;
      s->color_of[s->colors++] = (u8)c;
    }
  if (!s->colors) s->colors = 1; // a program without routes still has its lanes
}

static void receive_on(strip *s, class_facts *facts, u32 color) {
  u8 dense = s->dense_of[color];
  if (facts->queue_of[dense] != 255) return;
  facts->color_of_queue[facts->queue_count] = dense;
  facts->queue_of[dense] = (u8)facts->queue_count++;
}

static void learn_class(strip *s, u32 index) {
  const df_class *c = &s->d->classes[index];
  class_facts *facts = &s->classes[index];
  memset(facts->queue_of, 255, sizeof facts->queue_of);
  for (u32 i = 0; i < c->vector_count; i++) {
    const df_vector *v = &s->d->vectors[c->first_vector + i];
    if (v->kind == VECTOR_FABRIC_IN) receive_on(s, facts, v->color);
  }
  facts->threads = 1;
  for (u32 i = 0; i < c->task_count; i++) {
    const df_task *t = &s->d->tasks[c->first_task + i];
    if (t->trigger != TRIGGER_LOCAL) receive_on(s, facts, t->color);
    for (u32 k = 0; k < t->count; k++) {
      const df_instruction *op = &s->d->instructions[t->first + k];
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

static totals add_up(const strip *s) {
  totals t = {0};
  for (u32 i = 0; i < s->d->region_count; i++) {
    const df_region *r = &s->d->regions[i];
    u64 n = (u64)r->rect.w * r->rect.h;
    t.units += n;
    t.threads += n * s->classes[r->class].threads;
    t.queues += n * s->classes[r->class].queue_count;
    t.memory += n * ((s->d->classes[r->class].data_bytes + 15u) & ~15u);
  }
  return t;
}

static u32 task_bits(const strip *s, const df_class *c, bool blocked) {
  u32 bits = 0;
  for (u32 i = 0; i < c->task_count; i++) {
    const df_task *t = &s->d->tasks[c->first_task + i];
    if (blocked ? t->blocked : t->active) bits |= 1u << i;
  }
  return bits;
}

static void place_unit(strip *s, const df_region *r, u32 x, u32 y, totals *at) {
  const df_class *c = &s->d->classes[r->class];
  u32 router = router_at(s, x, y);
  unit *u = &s->unit[at->units];
  u->x = x;
  u->y = y;
  u->router = router;
  u->class = r->class;
  u->rx = (x - r->rect.x) / r->rect.step_x;
  u->ry = (y - r->rect.y) / r->rect.step_y;
  u->memory = at->memory;
  u->data_bytes = c->data_bytes;
  u->first_thread = (u32)at->threads;
  u->first_queue = (u32)at->queues;
  u->task = u->heap_at = NOBODY;
  u->active = task_bits(s, c, false);
  u->blocked = task_bits(s, c, true);
  u->wake = NEVER;
  s->unit_of[router] = (u32)at->units++;
  at->threads += s->classes[r->class].threads;
  at->queues += s->classes[r->class].queue_count;
  at->memory += (c->data_bytes + 15u) & ~15u;
}

// Strip by strip, and in it class by class, since PEs of a class are often busy together.
static void place_units(fabric *f) {
  strip *s = f->strips;
  totals at = {0};
  memset(s->unit_of, 0xff, sizeof(u32) * s->routers);
  for (u32 i = 0; i < f->strip_count; i++) {
    strip *own = &f->strips[i];
    own->first_unit = (u32)at.units;
    for (u32 r = 0; r < s->d->region_count; r++) {
      const df_rect *rect = &s->d->regions[r].rect;
      for (u32 k = 0; k < rect->w * rect->h; k++) {
        u32 x, y;
        each_pe(rect, k, &x, &y);
        if (router_is_own(own, router_at(s, x, y))) place_unit(s, &s->d->regions[r], x, y, &at);
      }
    }
    own->unit_count = (u32)at.units - own->first_unit;
  }
}

static void place_lane(strip *s, u32 router, u32 color) {
  lane *l = lane_at(s, router, color);
  u32 u = s->unit_of[router];
  s->lane_facts[(size_t)router * s->colors + color] = (lane_facts){NOBODY, NOBODY};
  l->pipe = l->queue = NOBODY;
  for (u8 port = 1; port <= PORT_WEST; port = (u8)(port * 2))
    if (fabric_on_edge(s, router, port)) l->edge |= port;
  u8 id = u == NOBODY ? 255 : s->classes[s->unit[u].class].queue_of[color];
  if (id != 255) l->queue = s->unit[u].first_queue + id;
}

static void place_routes(strip *s) {
  for (u32 router = 0; router < s->routers; router++)
    for (u32 c = 0; c < s->colors; c++) place_lane(s, router, c);
  for (u32 i = 0; i < s->d->route_count; i++) {
    const df_route *r = &s->d->routes[i];
    for (u32 k = 0; k < r->rect.w * r->rect.h; k++) {
      u32 x, y;
      each_pe(&r->rect, k, &x, &y);
      u32 router = router_at(s, x, y), color = s->dense_of[r->color];
      s->lane_facts[(size_t)router * s->colors + color].route = i;
      router_aim(s, router, color, 0);
    }
  }
}

static void place_ports(strip *s, arena *a) {
  s->ports = arena_array(a, port_state, s->d->port_count);
  s->port_of = arena_array(a, u32, (size_t)s->routers * 4);
  memset(s->port_of, 0xff, sizeof(u32) * (size_t)s->routers * 4);
  for (u32 i = 0; i < s->d->port_count; i++) {
    const df_port *p = &s->d->ports[i];
    u32 router = router_at(s, p->x, p->y);
    s->ports[i] = (port_state){.router = router, .lane = s->dense_of[p->color], .words = arena_array(a, u32, p->wavelets)};
    if (!p->out) continue;
    u32 *first = &s->port_of[router * 4 + (u32)__builtin_ctz(p->port)];
    s->ports[i].next = *first;
    *first = i;
  }
}

static bool take_memory(strip *s, arena *a, status *st) {
  totals t = add_up(s);
  s->units = (u32)t.units;
  s->unit = arena_take_big(a, sizeof(unit) * t.units, "the fabric's PEs", st);
  s->lanes = arena_take_big(a, sizeof(lane) * s->routers * s->colors, "the fabric's routers", st);
  s->lane_facts = arena_take_big(a, sizeof(lane_facts) * s->routers * s->colors, "the fabric's routers", st);
  s->threads = arena_take_big(a, sizeof(thread) * t.threads, "the fabric's vector instructions", st);
  s->queues = arena_take_big(a, sizeof(queue) * t.queues, "the fabric's queues", st);
  s->memory = arena_take_big(a, t.memory, "the PEs' memory", st);
  return status_ok(st);
}

static bool is_whole(double cycles, double least) { return cycles == floor(cycles) && cycles >= least && cycles < 1u << 20; }

// What this engine cannot do: it refuses rather than to round.
static bool fits(const dataflow *d, const machine_spec *m, status *st) {
  if (!is_whole(m->hop_cycles, 1) || !is_whole(m->ramp_cycles, 0) || !is_whole(m->send_cycles, 0))
    return status_fail(st, CODE_CONFIG, "fabric: hop (%g), ramp (%g) and send cycles (%g) must be whole, a hop at least one", m->hop_cycles,
                       m->ramp_cycles, m->send_cycles);
  require(m->colors <= COLORS_MAX); // the machine's bound
  if (m->queue_words > QUEUE_DEPTH)
    return status_fail(st, CODE_CONFIG, "fabric: queues of %u words, it has room for %d", m->queue_words, QUEUE_DEPTH);
  for (u32 i = 0; i < d->route_count; i++) {
    const df_route *r = &d->routes[i];
    for (u32 k = 0; k < r->position_count; k++)
      if (__builtin_popcount(r->positions[k].rx) > LANE_DEPTH)
        return status_fail(st, CODE_CONFIG, "fabric: color %u merges all five ports at (%u, %u), it merges %d at most", r->color, r->rect.x,
                           r->rect.y, LANE_DEPTH);
  }
  return true;
}

static u32 strips_for(const dataflow *d, const fabric_options *o) {
  u32 wanted = o && o->threads ? o->threads : (u32)omp_get_max_threads(), lines = d->width > d->height ? d->width : d->height;
  if (wanted > lines) wanted = lines;
  if (wanted > STRIPS_MAX) wanted = STRIPS_MAX;
  if (o && o->threads) return wanted;
  u64 work = 0;
  for (u32 i = 0; i < d->route_count; i++) work += (u64)d->routes[i].rect.w * d->routes[i].rect.h;
  for (u32 i = 0; i < d->region_count; i++) work += (u64)FABRIC_PE_WORK * d->regions[i].rect.w * d->regions[i].rect.h;
  u64 worth = work / FABRIC_STRIP_WORK;
  return worth < 1 ? 1 : worth < wanted ? (u32)worth : wanted;
}

// A cut through a stream makes two pipes of one: do more routers pass on along columns than along rows?
static bool runs_along_columns(const dataflow *d) {
  i64 more = 0;
  for (u32 i = 0; i < d->route_count; i++) {
    const df_route *r = &d->routes[i];
    u32 rx = r->positions[0].rx & ~(u32)PORT_RAMP, tx = r->positions[0].tx & ~(u32)PORT_RAMP;
    i64 routers = (i64)r->rect.w * r->rect.h;
    if (rx & (PORT_NORTH | PORT_SOUTH) && tx & (PORT_NORTH | PORT_SOUTH)) more += routers;
    if (rx & (PORT_EAST | PORT_WEST) && tx & (PORT_EAST | PORT_WEST)) more -= routers;
  }
  return more > 0;
}

fabric *fabric_open(const dataflow *d, const machine *m, const fabric_options *o, arena *a, status *st) {
  if (!dataflow_check(d, m, st) || !fits(d, &m->spec, st)) return NULL;
  fabric *f = arena_array(a, fabric, 1);
  f->strips = arena_array(a, strip, STRIPS_MAX);
  f->always = o && o->always;
  strip *s = f->strips;
  *s = (strip){.d = d, .m = m, .width = d->width, .height = d->height, .routers = d->width * d->height};
  s->hop = (u32)lround(m->spec.hop_cycles);
  s->ramp = (u32)lround(m->spec.ramp_cycles);
  s->send = (u32)lround(m->spec.send_cycles);
  s->queue_words = m->spec.queue_words;
  s->ramp_ticks = (u32)lround(m->spec.wavelet_cycles * TICKS);
  u32 strips = strips_for(d, o);
  s->load = o ? o->load : NULL;
  s->turned = strips > 1 && (d->height < strips || (d->width >= strips && runs_along_columns(d)));
  s->line = s->turned ? s->height : s->width;
  for (u32 i = 0; i < 4; i++) s->offset[i] = fabric_neighbour(s, 0, 1u << i);
  map_colors(s);
  s->classes = arena_array(a, class_facts, d->class_count);
  for (u32 i = 0; i < d->class_count; i++) learn_class(s, i);
  if (!take_memory(s, a, st)) return NULL;
  s->lane_mask = arena_array(a, u32, s->routers);
  s->asks = arena_array(a, u32, s->routers);
  s->turn = arena_array(a, u8, (size_t)s->routers * 5);
  s->unit_of = arena_array(a, u32, s->routers);
  strips_cut(f, strips, a);
  place_units(f);
  place_routes(s);
  place_ports(s, a);
  if (!strips_open(f, a, st)) return NULL;
  if (o && o->watch && !watch_open(f, o->watch, a, st)) return NULL;
  if (!(o && o->walk) && !pipes_open(f, a, st)) return NULL;
  for (u32 i = 0; i < f->strip_count; i++)
    for (u32 u = 0; u < f->strips[i].unit_count; u++) fabric_wake(&f->strips[i], f->strips[i].first_unit + u, 0);
  arena_seal(a);
  return f;
}

static u8 *unit_memory(const fabric *f, u32 x, u32 y, u32 address, u32 n) {
  const strip *s = f->strips;
  require(x < s->width && y < s->height);
  u32 u = s->unit_of[router_at(s, x, y)];
  require(u != NOBODY && (u64)address + n <= s->d->classes[s->unit[u].class].data_bytes);
  return s->memory + s->unit[u].memory + address;
}

void fabric_write(fabric *f, u32 x, u32 y, u32 address, const void *bytes, u32 n) {
  memcpy(unit_memory(f, x, y, address, n), bytes, n);
}

void fabric_read(const fabric *f, u32 x, u32 y, u32 address, void *ret_bytes, u32 n) {
  memcpy(ret_bytes, unit_memory(f, x, y, address, n), n);
}

void fabric_feed(fabric *f, u32 port, const u32 *words) {
  const strip *s = f->strips;
  require(port < s->d->port_count && !s->d->ports[port].out);
  memcpy(s->ports[port].words, words, s->d->ports[port].wavelets * sizeof(u32));
}

u64 fabric_drain(const fabric *f, u32 port, u32 *ret_words) {
  const strip *s = f->strips;
  require(port < s->d->port_count && s->d->ports[port].out);
  memcpy(ret_words, s->ports[port].words, s->ports[port].at * sizeof(u32));
  return s->ports[port].at;
}

void fabric_flip(fabric *f, u64 nth_hop, u32 bit) {
  f->flip = (flip){nth_hop, bit};
  for (u32 i = 0; i < f->strip_count; i++) f->strips[i].flip = &f->flip;
}

static void add_stretch(fabric_stretch *to, const fabric_stretch *other) {
  if (!other->until) return;
  if (!to->until || other->from < to->from) to->from = other->from;
  if (other->until > to->until) to->until = other->until;
}

// Set-ups that overlap are added in u->busy; a PE does not work for longer than the run.
static void add_busy(const strip *s, u64 cycles) {
  for (u32 i = 0; s->load && i < s->units; i++) {
    const unit *u = &s->unit[i];
    s->load->busy[(size_t)u->y * s->width + u->x] += u->busy / TICKS < cycles ? u->busy / TICKS : cycles;
  }
}

static fabric_result result_of(const fabric *f) {
  fabric_result r = {.stepped = f->stepped};
  u64 end = 0;
  for (u32 i = 0; i < f->strip_count; i++) {
    const strip *s = &f->strips[i];
    sim_counts_add(&r.counts, &s->result.counts);
    r.received += s->result.received;
    add_stretch(&r.entered, &s->result.entered);
    add_stretch(&r.sent, &s->result.sent);
    add_stretch(&r.left, &s->result.left);
    if (s->end > end) end = s->end;
    for (u32 u = s->first_unit; u < s->first_unit + s->unit_count; u++)
      if (s->unit[u].busy / TICKS > r.busy) r.busy = s->unit[u].busy / TICKS;
  }
  r.cycles = (end + TICKS - 1) / TICKS;
  add_busy(f->strips, r.cycles);
  return r;
}

bool fabric_run(fabric *f, u64 max_cycles, fabric_result *ret_result, status *st) {
  f->most = max_cycles;
  stretch_run(f);
  strips_settle(f);
  for (u32 i = 0; i < f->strip_count; i++) pipes_load(&f->strips[i]);
  *ret_result = result_of(f);
  if (stall_report_fault(f, st)) return false;
  if (f->next != NEVER) stall_report(f, false, st);
  else if (stall_is_waiting(f)) stall_report(f, true, st);
  return status_ok(st);
}

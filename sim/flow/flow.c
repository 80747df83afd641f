// Walks a program's phases in order: each takes its busiest resource's time, transfers beside them take
// what the edge has left, and every cycle of the step is given to a resource and to a phase.
//
// First form: inside a phase everything overlaps perfectly (its time is the largest of datapath, links
// and edge, plus fill, drain and the change of routes). Row, column and edge contention inside an
// iteration is not resolved yet.
#include "sim/flow/flow.h"

#include <math.h>
#include <string.h>

#define NONE UINT32_MAX

// Wavelets still to cross the edge in one direction, first come first served.
typedef struct lane {
  u32 *queue; // transfers
  u32 head, tail, room;
  double left; // of the head
} lane;

typedef struct phase_cost {
  double work, busy; // busiest datapath; the largest of all resources
  double fixed;      // change of routes, fill and drain
  u32 resource;      // that takes `busy`
} phase_cost;

// Work and counts of the classes of a phase; phases that share them are solved once.
typedef struct class_set {
  u32 class_count; // 0: not solved yet
  double work;     // of the busiest PE
  sim_counts counts;
} class_set;

typedef struct flow {
  const program *p;
  const machine *m;
  class_set *sets; // by first class
  phase_cost *costs;
  u32 *after_head, *after_next;   // transfers by the phase that starts them; head[phase_count]: no such phase
  u32 *before_head, *before_next; // transfers by the phase that needs them
  bool *pending;                  // transfers that have started and not crossed
  lane lanes[2];                  // in, out
  double own_per_cycle;           // wavelets of each system's own through the edge
  double now;
  double *update_end; // end of each phase in its last repetition
  engine_span *spans;
  double *by_phase;
  sim_counts *phase_counts;
  engine_result *result;
} flow;

static double class_work(const program *p, const program_class *c, const machine *m) {
  timing_load load = {0};
  for (u32 i = 0; i < c->op_count; i++) {
    const program_op *op = &p->ops[c->first_op + i];
    timing_load_add(&load, m, op->thread, op->opcode, op->issues, op->elements);
  }
  timing_load_turns(&load, m, c->turns);
  return timing_load_cycles(&load);
}

static void count_op(sim_counts *n, const program_op *op, u64 times) {
  const opcode_facts *facts = opcode_get(op->opcode);
  u64 elements = op->elements * times;
  u64 wavelets = (op->elements * facts->half_wavelets + 1) / 2 * times;
  n->wavelets += wavelets;
  n->hops += wavelets * op->hops;
  n->macs += elements * facts->macs;
  n->sram_read_bytes += elements * facts->read_bytes;
  n->sram_write_bytes += elements * facts->write_bytes;
}

static class_set solve_classes(const flow *f, const program_phase *ph) {
  class_set *known = ph->class_count ? &f->sets[ph->first_class] : NULL;
  if (!known || known->class_count == ph->class_count) return known ? *known : (class_set){0};
  class_set set = {.class_count = ph->class_count};
  for (u32 i = 0; i < ph->class_count; i++) {
    const program_class *c = &f->p->classes[ph->first_class + i];
    set.work = fmax(set.work, class_work(f->p, c, f->m));
    set.counts.tasks += c->tasks * c->pes;
    for (u32 k = 0; k < c->op_count; k++) count_op(&set.counts, &f->p->ops[c->first_op + k], c->pes);
  }
  *known = set;
  return set;
}

static double stream_cycles(const flow *f, const program_phase *ph, u64 wavelets) {
  return ph->own_stream ? timing_io_own(f->m, wavelets, f->p->systems) : timing_io(f->m, wavelets);
}

static phase_cost phase_solve(const flow *f, const program_phase *ph) {
  phase_cost c = {.fixed = f->m->spec.route_switch_cycles + ph->latency_cycles, .work = solve_classes(f, ph).work};
  u64 link = ph->row_wavelets > ph->column_wavelets ? ph->row_wavelets : ph->column_wavelets;
  const double times[] = {[RESOURCE_COMPUTE] = c.work,
                          [RESOURCE_FABRIC] = (double)link * f->m->spec.wavelet_cycles,
                          [RESOURCE_IO_IN] = stream_cycles(f, ph, ph->stream_in),
                          [RESOURCE_IO_OUT] = stream_cycles(f, ph, ph->stream_out)};
  for (u32 r = 0; r < COUNT_OF(times); r++)
    if (times[r] > c.busy) {
      c.busy = times[r];
      c.resource = r;
    }
  return c;
}

static sim_counts count_phase(const flow *f, const program_phase *ph) {
  sim_counts n = solve_classes(f, ph).counts;
  n.wavelets += ph->stream_in; // outgoing ones were counted where a PE sent them
  n.hops += ph->stream_in * ph->stream_in_hops + ph->stream_out * ph->stream_out_hops;
  return n;
}

static void count_repeated(sim_counts *n, const sim_counts *c, u64 repeat) {
  n->tasks += c->tasks * repeat;
  n->macs += c->macs * repeat;
  n->sram_read_bytes += c->sram_read_bytes * repeat;
  n->sram_write_bytes += c->sram_write_bytes * repeat;
  n->wavelets += c->wavelets * repeat;
  n->hops += c->hops * repeat;
}

// The group in whose every repetition a transfer happens.
static const program_group *transfer_group(const program *p, u32 transfer) {
  const program_transfer *t = &p->transfers[transfer];
  u32 phase = t->before != NONE ? t->before : t->after != NONE ? t->after : 0;
  const program_group *g = p->groups;
  while (phase - g->first >= g->count) g++; // groups tile the phases
  return g;
}

static void count_program(const flow *f, sim_counts *n) {
  const program *p = f->p;
  for (u32 g = 0; g < p->group_count; g++)
    for (u32 i = p->groups[g].first; i < p->groups[g].first + p->groups[g].count; i++)
      count_repeated(n, &f->phase_counts[i], p->groups[g].repeat);
  for (u32 i = 0; i < p->transfer_count; i++) {
    u64 repeat = transfer_group(p, i)->repeat;
    n->wavelets += p->transfers[i].wavelets * repeat;
    n->hops += p->transfers[i].wavelets * p->transfers[i].hops * repeat;
  }
}

static void lane_push(lane *l, u32 transfer, double wavelets) {
  if (l->head == l->tail) l->left = wavelets;
  l->queue[l->tail++] = transfer;
}

// Moves up to `wavelets` of the queue; marks what has crossed.
static void lane_move(flow *f, lane *l, double wavelets) {
  while (l->head != l->tail && l->left <= wavelets) {
    wavelets -= l->left;
    f->pending[l->queue[l->head++]] = false;
    l->left = l->head != l->tail ? (double)f->p->transfers[l->queue[l->head]].wavelets : 0;
  }
  if (l->head != l->tail) l->left -= wavelets;
}

// Wavelets until `transfer` has crossed.
static double lane_until(const flow *f, const lane *l, u32 transfer) {
  double sum = l->left;
  for (u32 i = l->head; l->queue[i] != transfer; i++) {
    require(i + 1 < l->tail);
    sum += (double)f->p->transfers[l->queue[i + 1]].wavelets;
  }
  return sum;
}

// Transfers take what the streams of the phase leave: of the time, at the rate of each system's own.
static void advance(flow *f, double cycles, const program_phase *ph) {
  double in = cycles - (ph ? stream_cycles(f, ph, ph->stream_in) : 0);
  double out = cycles - (ph ? stream_cycles(f, ph, ph->stream_out) : 0);
  lane_move(f, &f->lanes[0], fmax(0, in) * f->own_per_cycle);
  lane_move(f, &f->lanes[1], fmax(0, out) * f->own_per_cycle);
  f->now += cycles;
}

// Waits until a transfer has crossed; the wait belongs to a phase.
static void finish_transfer(flow *f, u32 transfer, u32 phase) {
  if (!f->pending[transfer]) return;
  bool out = f->p->transfers[transfer].out;
  lane *l = &f->lanes[out];
  double cycles = lane_until(f, l, transfer) / f->own_per_cycle;
  advance(f, cycles, NULL);
  while (f->pending[transfer]) lane_move(f, l, l->left); // where rounding left a crumb of it
  f->result->by_resource[out ? RESOURCE_IO_OUT : RESOURCE_IO_IN] += cycles;
  f->result->transfer_wait_cycles += cycles;
  f->by_phase[phase] += cycles;
}

static void start_transfer(flow *f, u32 transfer, u32 phase) {
  finish_transfer(f, transfer, phase); // the last repetition's, which nobody has waited for
  f->pending[transfer] = true;
  lane_push(&f->lanes[f->p->transfers[transfer].out], transfer, (double)f->p->transfers[transfer].wavelets);
}

static void run_phase(flow *f, u32 index, bool first, bool last) {
  const program_phase *ph = &f->p->phases[index];
  const phase_cost *c = &f->costs[index];
  double begin = f->now;
  for (u32 t = f->before_head[index]; t != NONE; t = f->before_next[t]) finish_transfer(f, t, index);
  double start = f->now;
  advance(f, c->fixed + c->busy, ph);
  engine_result *r = f->result;
  r->by_resource[RESOURCE_SWITCH] += c->fixed;
  r->by_resource[c->resource] += c->busy;
  f->by_phase[index] += c->fixed + c->busy;
  u32 bound = c->fixed > c->busy ? RESOURCE_SWITCH : c->resource;
  if (first) f->spans[index] = (engine_span){start, f->now, start - begin, c->work, bound};
  if (last) f->update_end[index] = f->now;
  for (u32 t = f->after_head[index]; t != NONE; t = f->after_next[t]) start_transfer(f, t, index);
}

static void lanes_restart(flow *f) {
  for (u32 i = 0; i < 2; i++) {
    lane *l = &f->lanes[i];
    if (l->head == l->tail)
      l->head = l->tail = 0;
    else { // what is still on its way stays first in the queue
      memmove(l->queue, l->queue + l->head, sizeof(u32) * (l->tail - l->head));
      l->tail -= l->head;
      l->head = 0;
    }
    require(l->tail + f->p->transfer_count <= l->room);
  }
}

// What one repetition added, to be able to add it again.
typedef struct tally {
  double now, transfer_wait, by_resource[RESOURCE_COUNT];
  double *by_phase;
} tally;

static void tally_take(const flow *f, tally *t) {
  t->now = f->now;
  t->transfer_wait = f->result->transfer_wait_cycles;
  memcpy(t->by_resource, f->result->by_resource, sizeof t->by_resource);
  memcpy(t->by_phase, f->by_phase, f->p->phase_count * sizeof(double));
}

static void tally_repeat(flow *f, const tally *before, double times) {
  f->now += (f->now - before->now) * times;
  f->result->transfer_wait_cycles += (f->result->transfer_wait_cycles - before->transfer_wait) * times;
  for (u32 i = 0; i < RESOURCE_COUNT; i++)
    f->result->by_resource[i] += (f->result->by_resource[i] - before->by_resource[i]) * times;
  for (u32 i = 0; i < f->p->phase_count; i++) f->by_phase[i] += (f->by_phase[i] - before->by_phase[i]) * times;
}

static bool lanes_idle(const flow *f) {
  return f->lanes[0].head == f->lanes[0].tail && f->lanes[1].head == f->lanes[1].tail;
}

// Transfers without a phase before them start with each repetition of the group that they belong to.
static void start_open_transfers(flow *f, const program_group *g) {
  for (u32 t = f->after_head[f->p->phase_count]; t != NONE; t = f->after_next[t]) {
    if (transfer_group(f->p, t) == g) start_transfer(f, t, g->first);
  }
}

// Side by side: after the fill each repetition takes what the slowest phase takes, whichever it is. Spans show the
// fill phase by phase, and the slowest after it: those of the others would lie on it.
static void run_beside(flow *f, const program_group *g) {
  u32 slowest = g->first;
  for (u32 i = g->first; i < g->first + g->count; i++) {
    const phase_cost *c = &f->costs[i];
    double start = f->now;
    f->now += c->fixed;
    f->by_phase[i] += c->fixed;
    f->result->by_resource[RESOURCE_SWITCH] += c->fixed;
    f->spans[i] = (engine_span){start, f->now, 0, c->work, RESOURCE_SWITCH};
    if (c->busy > f->costs[slowest].busy) slowest = i;
  }
  double period = f->costs[slowest].busy;
  f->spans[slowest] = (engine_span){f->now, f->now + period, 0, f->costs[slowest].work, f->costs[slowest].resource};
  if (g == f->p->groups) f->result->first_repeat_cycles = f->now + period;
  f->now += period * (double)g->repeat;
  f->by_phase[slowest] += period * (double)g->repeat;
  f->result->by_resource[f->costs[slowest].resource] += period * (double)g->repeat;
  for (u32 i = g->first; i < g->first + g->count; i++) f->update_end[i] = f->now;
}

// One that begins and ends with nothing on its way is as long as all that follow; only the last is walked
// again, for the time at which gradients are complete.
static void run_group(flow *f, const program_group *g, tally *before) {
  if (g->beside) {
    run_beside(f, g);
    return;
  }
  for (u64 r = 0; r < g->repeat; r++) {
    tally_take(f, before);
    lanes_restart(f);
    bool idle = lanes_idle(f);
    start_open_transfers(f, g);
    for (u32 i = 0; i < g->count; i++) run_phase(f, g->first + i, r == 0, r + 1 == g->repeat);
    if (r == 0 && g->repeat > 1 && g == f->p->groups) f->result->first_repeat_cycles = f->now;
    if (idle && lanes_idle(f) && r + 2 < g->repeat) {
      tally_repeat(f, before, (double)(g->repeat - r - 2));
      r = g->repeat - 2;
    }
  }
}

// What nobody has waited for still crosses before the step ends.
static void drain_lanes(flow *f) {
  for (u32 i = 0; i < 2; i++)
    while (f->lanes[i].head != f->lanes[i].tail)
      finish_transfer(f, f->lanes[i].queue[f->lanes[i].head], f->p->phase_count - 1);
}

// MemoryX updates each parameter group once its last gradient is out. The next step may begin as soon as
// each of its phases will find its weights updated; how much later than the wafer is done that is shows, and
// at least the way from the last gradient to the first weight.
static double host_tail(const flow *f) {
  const machine_spec *s = &f->m->spec;
  double levels = 0;
  for (u64 reach = 1; reach < f->p->systems; reach *= s->swarmx_fanout) levels++;
  double swarm = timing_cycles(f->m, levels * s->swarmx_latency_s);
  double fetch = timing_cycles(f->m, s->memoryx_latency_s) + swarm, host = 0, exposed = fetch;
  for (u32 i = 0; i < f->p->phase_count; i++) {
    const program_phase *ph = &f->p->phases[i];
    if (!ph->update_params) continue;
    host =
        fmax(host, f->update_end[i] + swarm) + timing_cycles(f->m, (double)ph->update_params / s->memoryx_params_per_s);
    exposed = fmax(exposed, host + fetch - f->now - f->spans[ph->update_use].start_cycle);
  }
  return exposed;
}

static void index_transfers(flow *f, arena *a) {
  u32 phases = f->p->phase_count, count = f->p->transfer_count;
  f->after_head = arena_array(a, u32, phases + 1);
  f->before_head = arena_array(a, u32, phases + 1);
  f->after_next = arena_array(a, u32, count);
  f->before_next = arena_array(a, u32, count);
  memset(f->after_head, 0xff, sizeof(u32) * (phases + 1));
  memset(f->before_head, 0xff, sizeof(u32) * (phases + 1));
  for (u32 t = count; t-- > 0;) { // backwards, so that lists keep the program's order
    u32 after = f->p->transfers[t].after, before = f->p->transfers[t].before;
    if (after == NONE) after = phases;
    if (before == NONE) before = phases;
    f->after_next[t] = f->after_head[after];
    f->after_head[after] = t;
    f->before_next[t] = f->before_head[before];
    f->before_head[before] = t;
  }
}

static void flow_init(flow *f, arena *a) {
  u32 phases = f->p->phase_count, count = f->p->transfer_count;
  f->sets = arena_array(a, class_set, f->p->class_count);
  f->costs = arena_array(a, phase_cost, phases);
  for (u32 i = 0; i < phases; i++) f->costs[i] = phase_solve(f, &f->p->phases[i]);
  index_transfers(f, a);
  f->pending = arena_array(a, bool, count);
  for (u32 i = 0; i < 2; i++) {
    f->lanes[i].room = 2 * count + 1;
    f->lanes[i].queue = arena_array(a, u32, f->lanes[i].room);
  }
  f->update_end = arena_array(a, double, phases);
  f->spans = arena_array(a, engine_span, phases);
  f->by_phase = arena_array(a, double, phases);
  f->phase_counts = arena_array(a, sim_counts, phases);
  for (u32 i = 0; i < phases; i++) f->phase_counts[i] = count_phase(f, &f->p->phases[i]);
}

static void sum_busy(const flow *f, engine_result *r) {
  for (u32 g = 0; g < f->p->group_count; g++)
    for (u32 i = 0; i < f->p->groups[g].count; i++) {
      u32 index = f->p->groups[g].first + i;
      const program_phase *ph = &f->p->phases[index];
      double repeat = (double)f->p->groups[g].repeat;
      r->compute_busy_cycles += f->costs[index].work * repeat;
      r->io_in_busy_cycles += stream_cycles(f, ph, ph->stream_in) * repeat;
      r->io_out_busy_cycles += stream_cycles(f, ph, ph->stream_out) * repeat;
    }
  for (u32 t = 0; t < f->p->transfer_count; t++) {
    double repeat = (double)transfer_group(f->p, t)->repeat;
    double cycles = (double)f->p->transfers[t].wavelets / f->own_per_cycle * repeat;
    if (f->p->transfers[t].out)
      r->io_out_busy_cycles += cycles;
    else
      r->io_in_busy_cycles += cycles;
  }
}

static u32 phase_pes(const program *p, u32 phase) {
  u32 pes = 0;
  for (u32 c = 0; c < p->phases[phase].class_count; c++) pes += p->classes[p->phases[phase].first_class + c].pes;
  return pes;
}

static void sum_pes(const program *p, engine_result *r) {
  for (u32 g = 0; g < p->group_count; g++) {
    u32 together = 0;
    for (u32 i = p->groups[g].first; i < p->groups[g].first + p->groups[g].count; i++) {
      u32 pes = phase_pes(p, i), sram = p->phases[i].sram_bytes + p->code_bytes;
      together = p->groups[g].beside ? together + pes : pes > together ? pes : together;
      if (sram > r->sram_peak_bytes) r->sram_peak_bytes = sram;
    }
    if (together > r->pes_used) r->pes_used = together;
  }
}

static bool flow_run(const program *p, const machine *m, arena *a, engine_result *ret_result, status *st) {
  if (!program_check(p, m, st)) return false;
  engine_result r = {0};
  flow f = {.p = p, .m = m, .result = &r, .own_per_cycle = 1 / timing_io_own(m, 1, p->systems)};
  flow_init(&f, a);
  tally before = {.by_phase = arena_array(a, double, p->phase_count)};
  for (u32 g = 0; g < p->group_count; g++) run_group(&f, &p->groups[g], &before);
  drain_lanes(&f);
  r.host_cycles = host_tail(&f);
  r.by_resource[RESOURCE_HOST] += r.host_cycles;
  r.cycles = f.now + r.host_cycles;
  if (r.first_repeat_cycles == 0) r.first_repeat_cycles = r.cycles;
  count_program(&f, &r.counts);
  sum_busy(&f, &r);
  sum_pes(p, &r);
  r.spans = f.spans;
  r.span_count = p->phase_count;
  r.by_phase = f.by_phase;
  r.phase_counts = f.phase_counts;
  *ret_result = r;
  return true;
}

const engine *flow_engine(void) {
  static const engine door = {"flow", 3, flow_run};
  return &door;
}

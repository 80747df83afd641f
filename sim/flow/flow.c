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
  bool solved;
  double work; // of the busiest PE
  sim_counts counts;
} class_set;

typedef struct flow {
  const program *p;
  const machine *m;
  class_set *sets; // by first class
  phase_cost *costs;
  u32 *after_head, *after_next;   // transfers by the phase that starts them; head[phase_count]: no such phase
  u32 *before_head, *before_next; // transfers by the phase that needs them
  bool *done;                     // transfers of this repetition
  lane lanes[2];                  // in, out
  double now;
  double *update_end; // end of each phase in its last repetition
  engine_span *spans;
  double *by_phase;
  engine_result *result;
} flow;

static double class_work(const program *p, const program_class *c, const machine *m) {
  double cycles = 0;
  for (u32 i = 0; i < c->op_count; i++) {
    const program_op *op = &p->ops[c->first_op + i];
    cycles += timing_dsd(m, op->opcode, op->issues, op->elements);
  }
  return cycles;
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

static const class_set *solve_classes(const flow *f, const program_phase *ph) {
  class_set *set = &f->sets[ph->first_class];
  if (set->solved) return set;
  set->solved = true;
  for (u32 i = 0; i < ph->class_count; i++) {
    const program_class *c = &f->p->classes[ph->first_class + i];
    set->work = fmax(set->work, class_work(f->p, c, f->m));
    set->counts.tasks += c->tasks * c->pes;
    for (u32 k = 0; k < c->op_count; k++) count_op(&set->counts, &f->p->ops[c->first_op + k], c->pes);
  }
  return set;
}

static phase_cost phase_solve(const flow *f, const program_phase *ph) {
  phase_cost c = {.fixed = f->m->spec.route_switch_cycles + ph->latency_cycles, .work = solve_classes(f, ph)->work};
  u64 link = ph->row_wavelets > ph->column_wavelets ? ph->row_wavelets : ph->column_wavelets;
  const double times[] = {[RESOURCE_COMPUTE] = c.work,
                          [RESOURCE_FABRIC] = (double)link * f->m->spec.wavelet_cycles,
                          [RESOURCE_IO_IN] = timing_io(f->m, ph->stream_in),
                          [RESOURCE_IO_OUT] = timing_io(f->m, ph->stream_out)};
  for (u32 r = 0; r < COUNT_OF(times); r++)
    if (times[r] > c.busy) {
      c.busy = times[r];
      c.resource = r;
    }
  return c;
}

static void count_phase(const flow *f, const program_phase *ph, u64 repeat, sim_counts *n) {
  const sim_counts *c = &solve_classes(f, ph)->counts;
  n->tasks += c->tasks * repeat;
  n->macs += c->macs * repeat;
  n->sram_read_bytes += c->sram_read_bytes * repeat;
  n->sram_write_bytes += c->sram_write_bytes * repeat;
  n->wavelets += (c->wavelets + ph->stream_in) * repeat; // outgoing ones were counted where a PE sent them
  n->hops += (c->hops + ph->stream_in * ph->stream_in_hops + ph->stream_out * ph->stream_out_hops) * repeat;
}

static void count_program(const flow *f, sim_counts *n) {
  const program *p = f->p;
  for (u32 g = 0; g < p->group_count; g++)
    for (u32 i = 0; i < p->groups[g].count; i++)
      count_phase(f, &p->phases[p->groups[g].first + i], p->groups[g].repeat, n);
  u64 repeat = p->group_count ? p->groups[0].repeat : 1;
  for (u32 i = 0; i < p->transfer_count; i++) {
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
    f->done[l->queue[l->head++]] = true;
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

static void advance(flow *f, double cycles, const program_phase *ph) {
  double room = cycles * f->m->io_wavelets_per_cycle;
  lane_move(f, &f->lanes[0], fmax(0, room - (ph ? (double)ph->stream_in : 0)));
  lane_move(f, &f->lanes[1], fmax(0, room - (ph ? (double)ph->stream_out : 0)));
  f->now += cycles;
}

static void start_transfers(flow *f, u32 phase) {
  for (u32 t = f->after_head[phase]; t != NONE; t = f->after_next[t])
    lane_push(&f->lanes[f->p->transfers[t].out], t, (double)f->p->transfers[t].wavelets);
}

static double wait_transfers(flow *f, u32 phase) {
  double begin = f->now;
  for (u32 t = f->before_head[phase]; t != NONE; t = f->before_next[t]) {
    if (f->done[t]) continue;
    bool out = f->p->transfers[t].out;
    double cycles = lane_until(f, &f->lanes[out], t) / f->m->io_wavelets_per_cycle;
    f->result->by_resource[out ? RESOURCE_IO_OUT : RESOURCE_IO_IN] += cycles;
    advance(f, cycles, NULL);
    f->done[t] = true; // also where rounding left a crumb of it
  }
  return f->now - begin;
}

static void run_phase(flow *f, u32 index, bool first, bool last) {
  const program_phase *ph = &f->p->phases[index];
  const phase_cost *c = &f->costs[index];
  double wait = wait_transfers(f, index);
  double start = f->now;
  advance(f, c->fixed + c->busy, ph);
  start_transfers(f, index);
  engine_result *r = f->result;
  r->transfer_wait_cycles += wait;
  r->by_resource[RESOURCE_SWITCH] += c->fixed;
  r->by_resource[c->resource] += c->busy;
  f->by_phase[index] += f->now - start + wait;
  u32 bound = c->fixed > c->busy ? RESOURCE_SWITCH : c->resource;
  if (first) f->spans[index] = (engine_span){start, f->now, wait, c->work, bound};
  if (last) f->update_end[index] = f->now;
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

// Runs all repetitions but the last; once two in a row take the same time with nothing left on its way,
// the others are known.
static void run_group(flow *f, const program_group *g, tally *before) {
  double previous = -1;
  for (u64 r = 0; r < g->repeat; r++) {
    tally_take(f, before);
    lanes_restart(f);
    memset(f->done, 0, f->p->transfer_count * sizeof(bool));
    start_transfers(f, f->p->phase_count);
    for (u32 i = 0; i < g->count; i++) run_phase(f, g->first + i, r == 0, r + 1 == g->repeat);
    if (r == 0 && f->result->first_repeat_cycles == 0) f->result->first_repeat_cycles = f->now;
    double length = f->now - before->now;
    bool idle = f->lanes[0].head == f->lanes[0].tail && f->lanes[1].head == f->lanes[1].tail;
    if (idle && fabs(length - previous) <= 1e-9 * length && r + 2 < g->repeat) {
      tally_repeat(f, before, (double)(g->repeat - r - 2));
      r = g->repeat - 2;
    }
    previous = length;
  }
}

// MemoryX updates each parameter group once its last gradient is out; what it has left to do when the
// wafer is done shows, and so does the way back to the first weight of the next step.
static double host_tail(const flow *f) {
  const machine_spec *s = &f->m->spec;
  double levels = 0;
  for (u64 reach = 1; reach < f->p->systems; reach *= s->swarmx_fanout) levels++;
  double swarm = timing_cycles(f->m, levels * s->swarmx_latency_s);
  double host = 0;
  for (u32 i = 0; i < f->p->phase_count; i++) {
    u64 params = f->p->phases[i].update_params;
    if (params)
      host = fmax(host, f->update_end[i] + swarm) + timing_cycles(f->m, (double)params / s->memoryx_params_per_s);
  }
  return fmax(0, host - f->now) + timing_cycles(f->m, s->memoryx_latency_s) + swarm;
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
  f->done = arena_array(a, bool, count);
  for (u32 i = 0; i < 2; i++) {
    f->lanes[i].room = 2 * count + 1;
    f->lanes[i].queue = arena_array(a, u32, f->lanes[i].room);
  }
  f->update_end = arena_array(a, double, phases);
  f->spans = arena_array(a, engine_span, phases);
  f->by_phase = arena_array(a, double, phases);
}

static void sum_busy(const flow *f, engine_result *r) {
  for (u32 g = 0; g < f->p->group_count; g++)
    for (u32 i = 0; i < f->p->groups[g].count; i++) {
      u32 index = f->p->groups[g].first + i;
      const program_phase *ph = &f->p->phases[index];
      double repeat = (double)f->p->groups[g].repeat;
      r->compute_busy_cycles += f->costs[index].work * repeat;
      r->io_in_busy_cycles += timing_io(f->m, ph->stream_in) * repeat;
      r->io_out_busy_cycles += timing_io(f->m, ph->stream_out) * repeat;
    }
  double repeat = f->p->group_count ? (double)f->p->groups[0].repeat : 1;
  for (u32 t = 0; t < f->p->transfer_count; t++) {
    double cycles = timing_io(f->m, f->p->transfers[t].wavelets) * repeat;
    if (f->p->transfers[t].out)
      r->io_out_busy_cycles += cycles;
    else
      r->io_in_busy_cycles += cycles;
  }
}

static void sum_pes(const program *p, engine_result *r) {
  for (u32 i = 0; i < p->phase_count; i++) {
    u32 pes = 0;
    for (u32 c = 0; c < p->phases[i].class_count; c++) pes += p->classes[p->phases[i].first_class + c].pes;
    if (pes > r->pes_used) r->pes_used = pes;
    u32 sram = p->phases[i].sram_bytes + p->code_bytes;
    if (sram > r->sram_peak_bytes) r->sram_peak_bytes = sram;
  }
}

static bool flow_run(const program *p, const machine *m, arena *a, engine_result *ret_result, status *st) {
  if (!program_check(p, m, st)) return false;
  engine_result r = {0};
  flow f = {.p = p, .m = m, .result = &r};
  flow_init(&f, a);
  tally before = {.by_phase = arena_array(a, double, p->phase_count)};
  for (u32 g = 0; g < p->group_count; g++) run_group(&f, &p->groups[g], &before);
  r.host_cycles = host_tail(&f);
  r.by_resource[RESOURCE_HOST] += r.host_cycles;
  r.cycles = f.now + r.host_cycles;
  count_program(&f, &r.counts);
  sum_busy(&f, &r);
  sum_pes(p, &r);
  r.spans = f.spans;
  r.span_count = p->phase_count;
  r.by_phase = f.by_phase;
  *ret_result = r;
  return true;
}

const engine *flow_engine(void) {
  static const engine door = {"flow", 1, flow_run};
  return &door;
}

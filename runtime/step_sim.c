// From a run's statement to the modelled step and its figures.
#include "runtime/step_sim.h"

#include "base/file.h"
#include "runtime/fabric_sim.h"
#include "model/graph/graph_count.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static base_hyper base_of(const train_options *t) {
  return (base_hyper){t->lr, t->weight_decay, t->eps};
}

static bool plan_and_flow(const run_spec *r, arena *a, step_sim *s, status *st) {
  const engine *door = flow_engine();
  return plan_build(&(plan_request){.graph = &s->graph,
                                    .machine = &s->machine,
                                    .options = &r->plan,
                                    .engine = door,
                                    .batch = r->train.batch,
                                    .systems = r->top.systems},
                    a, &s->plan, st) &&
         plan_lower(&s->plan, &s->graph, &s->machine, a, &s->program, st) &&
         door->run(&s->program, &s->machine, a, &s->result, st);
}

static bool build_chain(const run_spec *r, arena *a, step_sim *s, status *st) {
  const bool fabric = r->engine.name == ENGINE_FABRIC;
  s->engine = fabric ? "fabric" : flow_engine()->name;
  return graph_build(&r->model, base_of(&r->train), r->train.seq, a, &s->graph, st) &&
         machine_build(&r->machine, &s->machine, st) &&
         (fabric ? fabric_sim_run(r, a, s, st) : plan_and_flow(r, a, s, st));
}

// Wavelets that cross the edge of one wafer in a step.
static double edge_wavelets(const program *p) {
  double sum = 0;
  for (u32 g = 0; g < p->group_count; g++)
    for (u32 i = p->groups[g].first; i < p->groups[g].first + p->groups[g].count; i++)
      sum += (double)(p->phases[i].stream_in + p->phases[i].stream_out) * (double)p->groups[g].repeat;
  for (u32 i = 0; i < p->transfer_count; i++)
    sum += (double)p->transfers[i].wavelets * (double)p->groups[0].repeat; // of the first group, in streaming
  return sum;
}

static void fill_energy(u32 systems, step_sim *s) {
  enum { WAVELET_BITS = 32 };
  const machine_spec *m = &s->machine.spec;
  const sim_counts *n = &s->result.counts;
  step_energy *e = &s->energy;
  e->mac = (double)n->macs * m->mac_joules * systems;
  e->sram = (double)(n->sram_read_bytes + n->sram_write_bytes) * m->sram_joules * systems;
  e->wire = (double)n->hops * WAVELET_BITS * m->wire_joules * systems;
  e->io = edge_wavelets(&s->program) * WAVELET_BITS * m->io_joules * systems;
  e->idle = s->step_s * m->idle_watts * systems;
  e->total = e->mac + e->sram + e->wire + e->io + e->idle;
}

static void fill_figures(const run_spec *r, step_sim *s) {
  const engine_result *e = &s->result;
  double tokens = (double)r->train.batch * r->train.seq;
  s->step_s = e->cycles / s->machine.spec.clock_hz;
  s->tokens_per_s = tokens / s->step_s;
  s->samples_per_s = r->train.batch / s->step_s;
  double macs = (double)e->counts.macs;
  s->mac_per_cycle_per_pe = macs / e->cycles / s->machine.pes_usable;
  // Model FLOPs, 6 x parameters x tokens: what is rebuilt in backward is work but no use.
  double useful = graph_count(&s->graph).flops_6p * s->tokens_per_s / r->top.systems;
  s->utilization = useful / s->machine.peak_flops;
  fill_energy(r->top.systems, s);
  s->joules_per_step = s->step_s * s->machine.spec.power_watts * r->top.systems;
  if (r->train.tokens) {
    s->time_to_train_s = (double)r->train.tokens / s->tokens_per_s;
    s->energy_to_train_j = (double)r->train.tokens / tokens * s->joules_per_step;
  }
}

// Cycles of a family of phases.
static double family_cycles(const step_sim *s, u32 family) {
  double sum = 0;
  for (u32 i = 0; i < s->program.phase_count; i++)
    if (s->program.phases[i].family == family) sum += s->result.by_phase[i];
  return sum;
}

static void say_bottleneck(step_sim *s) {
  static const char *const relief[RESOURCE_COUNT] = {
      "a faster multiply-add or more tokens per weight (a larger microbatch) would relieve it",
      "fewer columns or rows to cross, or narrower sums, would relieve it",
      "more tokens per streamed weight (a larger microbatch) or a faster edge would relieve it",
      "fewer replicas, which each send their own gradients, or a faster edge would relieve it",
      "fewer and longer phases (a larger model or batch) would relieve it",
      "a faster optimizer or a larger batch would relieve it"};
  u32 worst = 0, family = 0;
  for (u32 i = 1; i < RESOURCE_COUNT; i++)
    if (s->result.by_resource[i] > s->result.by_resource[worst]) worst = i;
  for (u32 i = 1; i < FAMILY_COUNT; i++)
    if (family_cycles(s, i) > family_cycles(s, family)) family = i;
  snprintf(s->bottleneck, sizeof s->bottleneck, "%s bounds %.0f%% of the step, most of all in %s (%.0f%%); %s",
           engine_resource_name(worst), 100 * s->result.by_resource[worst] / s->result.cycles,
           phase_family_name(family), 100 * family_cycles(s, family) / s->result.cycles, relief[worst]);
}

// The same plan on a machine with one number 10% better.
typedef void machine_nudge(machine_spec *m);
static void faster_clock(machine_spec *m) {
  m->clock_hz *= 1.1;
}
static void faster_rate(machine_spec *m) {
  m->fma16_rate *= 1.1;
  m->fma32_rate *= 1.1;
  m->dot16_rate *= 1.1;
}
static void dearer_issue(machine_spec *m) {
  m->axpy_issue_cycles *= 1.1;
}
static void faster_edge(machine_spec *m) {
  m->io_bits_per_s *= 1.1;
}
static void faster_memoryx(machine_spec *m) {
  m->memoryx_bits_per_s *= 1.1;
  m->memoryx_params_per_s *= 1.1;
}
static void dearer_hop(machine_spec *m) {
  m->hop_cycles *= 1.1;
}

static bool measure_sensitivity(step_sim *s, arena *a, status *st) {
  static const struct {
    const char *name;
    machine_nudge *nudge;
  } nudges[STEP_SENSITIVITIES] = {
      {"clock", faster_clock},  {"rate", faster_rate},       {"axpy_issue_cycles", dearer_issue},
      {"edge_io", faster_edge}, {"memoryx", faster_memoryx}, {"hop", dearer_hop}};
  double base_s = s->step_s;
  for (u32 i = 0; i < STEP_SENSITIVITIES; i++) {
    arena_mark mark = arena_save(a);
    machine_spec spec = s->machine.spec;
    nudges[i].nudge(&spec);
    if (spec.fma16_rate > spec.lanes_fp16) spec.fma16_rate = spec.lanes_fp16; // more than the lanes do is no machine
    if (spec.dot16_rate > spec.lanes_fp16) spec.dot16_rate = spec.lanes_fp16;
    machine nudged;
    program p;
    engine_result e;
    bool ok = machine_build(&spec, &nudged, st) && plan_lower(&s->plan, &s->graph, &nudged, a, &p, st) &&
              flow_engine()->run(&p, &nudged, a, &e, st);
    if (!ok) return false;
    s->sensitivity[i] = (step_sensitivity){nudges[i].name, base_s / (e.cycles / spec.clock_hz) - 1};
    arena_rewind(a, mark);
  }
  s->has_sensitivity = true;
  return true;
}

bool step_sim_run(const run_spec *r, bool with_sensitivity, arena *a, step_sim *ret_sim, status *st) {
  double begin = clock_seconds();
  step_sim *s = ret_sim;
  *s = (step_sim){0};
  if (!build_chain(r, a, s, st)) return false;
  fill_figures(r, s);
  say_bottleneck(s);
  if (with_sensitivity && r->engine.name == ENGINE_FLOW && !measure_sensitivity(s, a, st)) return false;
  s->wall_s = clock_seconds() - begin;
  return true;
}

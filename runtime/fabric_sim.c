// A step of the fabric told as the other engine tells it.
#include "runtime/fabric_sim.h"

#include "runtime/fabric_maps.h"
#include "runtime/fabric_step.h"

#include <math.h>
#include <stdio.h>

// One step on zeros.
static bool run_zeros(const run_spec *r, const graph *g, fabric_step *f, status *st) {
  arena *a = arena_create("zeros");
  const size_t tokens = (size_t)r->train.batch * r->train.seq;
  float **params = arena_array(a, float *, g->param_count), **grads = arena_array(a, float *, g->param_count);
  bool ok = true;
  for (u32 p = 0; p < g->param_count && ok; p++) {
    const graph_tensor *t = &g->tensors[g->params[p]];
    params[p] = arena_take_big(a, (size_t)t->rows * t->cols * sizeof(float), "parameters", st);
    grads[p] = params[p] ? arena_take_big(a, (size_t)t->rows * t->cols * sizeof(float), "gradients", st) : NULL;
    ok = grads[p] != NULL;
  }
  if (ok) {
    u32 *ids = arena_array(a, u32, tokens);
    const execute_batch b = {r->train.batch, ids, ids, params};
    const trainer_source *source = fabric_step_source(f);
    source->gradients(source->user, &b, grads);
    ok = status_ok(fabric_step_status(f));
    if (!ok) *st = *fabric_step_status(f);
  }
  arena_destroy(a);
  return ok;
}

static void fill_plan(const run_spec *r, const fabric_step *f, step_sim *s) {
  const woven *w = fabric_step_woven(f);
  const weave_tokens *t = &w->tokens;
  s->plan = (plan){.options = r->plan,
                   .batch = r->train.batch,
                   .systems = 1,
                   .microbatch = t->sequences,
                   .microbatches = fabric_step_microbatches(f),
                   .policy = POLICY_RESIDENT,
                   .axpy = r->plan.axpy,
                   .largest_microbatch = t->sequences,
                   .estimate_cycles = (double)fabric_step_cycles(f)};
  s->plan.tiles = (plan_tiles){.replicas = 1,
                               .group_width = w->width,
                               .seq_rows = t->seq_rows,
                               .row_seqs = t->seq_rows > 1 ? 1 : t->row_max / t->seq,
                               .slots = t->rows / t->seq_rows,
                               .rows = t->rows,
                               .tokens_max = t->row_max,
                               .heads_max = 1,
                               .heads_aligned = true};
  s->plan.memory = (plan_memory){.code_bytes = w->code_bytes,
                                 .activation_bytes = w->data_bytes,
                                 .total_bytes = w->data_bytes + w->code_bytes,
                                 .limit_bytes = s->machine.spec.sram_bytes};
}

static u64 words_of(const woven_phase *p, bool out) {
  u64 words = 0;
  for (u32 i = 0; i < p->stream_count; i++)
    if (p->flow.ports[i].out == out) words += p->flow.ports[i].wavelets;
  return words;
}

// Parameters whose gradient this node writes last.
static u64 params_completed(const graph *g, u32 node) {
  u64 params = 0;
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *t = &g->tensors[g->params[p]];
    u32 last = GRAPH_NONE;
    for (u32 n = 0; n < g->backward_end; n++)
      for (u32 k = 0; k < NODE_OUT_MAX; k++)
        if (g->nodes[n].out[k] == t->twin) last = n;
    if (last == node) params += (u64)t->rows * t->cols;
  }
  return params;
}

static void fill_program(const fabric_step *f, arena *a, step_sim *s) {
  const woven *w = fabric_step_woven(f);
  program_phase *phases = arena_array(a, program_phase, w->phase_count);
  program_group *group = arena_array(a, program_group, 1);
  for (u32 i = 0; i < w->phase_count; i++) {
    const woven_phase *p = &w->phases[i];
    const graph_node *node = &s->graph.nodes[p->node];
    phases[i] = (program_phase){.family = p->family,
                                .layer = node->layer,
                                .width = w->width,
                                .height = w->height,
                                .iterations = 1,
                                .stream_in = words_of(p, false),
                                .stream_out = words_of(p, true),
                                .update_params = params_completed(&s->graph, p->node),
                                .sram_bytes = w->data_bytes};
    snprintf(phases[i].origin, sizeof phases[i].origin, "%s", node->name);
  }
  *group = (program_group){0, w->phase_count, s->plan.microbatches, false};
  s->program = (program){.machine_hash = machine_hash(&s->machine),
                         .plan_hash = plan_hash(&s->plan),
                         .phase_count = w->phase_count,
                         .group_count = 1,
                         .phases = phases,
                         .groups = group,
                         .code_bytes = w->code_bytes,
                         .systems = 1};
  snprintf(s->program.name, sizeof s->program.name, "woven step");
}

// MemoryX updates parameters once their gradient is complete, at its rate, one group after the other; returns what is
// left of that when the wafer is done, and the way back to the first weight of the next step.
static double update_params(const step_sim *s, double wafer_cycles, step_activity *phases) {
  const machine_spec *m = &s->machine.spec;
  double host = 0;
  for (u32 i = 0; i < s->program.phase_count; i++) {
    const u64 params = s->program.phases[i].update_params;
    if (!params) continue;
    step_stretch *at = &phases[i].update;
    at->from = fmax(host, s->result.spans[i].end_cycle + wafer_cycles - s->result.first_repeat_cycles);
    at->until = host = at->from + timing_cycles(&s->machine, (double)params / m->memoryx_params_per_s);
  }
  return fmax(0, host - wafer_cycles) + timing_cycles(&s->machine, m->memoryx_latency_s);
}

static step_stretch stretch_of(const fabric_phase_time *t, const fabric_stretch *own) {
  return own->until ? (step_stretch){(double)(t->start + own->from), (double)(t->start + own->until)}
                    : (step_stretch){0};
}

static void fill_activity(const fabric_step *f, step_activity *phases) {
  const fabric_phase_time *times = fabric_step_times(f);
  for (u32 i = 0; i < fabric_step_woven(f)->phase_count; i++)
    phases[i] = (step_activity){.in = stretch_of(&times[i], &times[i].entered),
                                .reduce = stretch_of(&times[i], &times[i].sent),
                                .out = stretch_of(&times[i], &times[i].left)};
}

static void fill_result(const fabric_step *f, arena *a, step_sim *s) {
  const woven *w = fabric_step_woven(f);
  const fabric_phase_time *times = fabric_step_times(f);
  const double repeat = s->plan.microbatches, change = ceil(s->machine.spec.route_switch_cycles);
  engine_result *e = &s->result;
  engine_span *spans = arena_array(a, engine_span, w->phase_count);
  double *by_phase = arena_array(a, double, w->phase_count);
  sim_counts *counts = arena_array(a, sim_counts, w->phase_count);
  *e = (engine_result){.cycles = (double)fabric_step_cycles(f),
                       .sram_peak_bytes = w->data_bytes + w->code_bytes,
                       .pes_used = w->width * w->height,
                       .spans = spans,
                       .span_count = w->phase_count,
                       .by_phase = by_phase,
                       .phase_counts = counts,
                       .first_repeat_cycles = (double)fabric_step_cycles(f) / repeat};
  for (u32 i = 0; i < w->phase_count; i++) {
    const double cycles = (double)times[i].cycles, busy = fmin((double)times[i].busy, cycles); // set-ups overlap
    counts[i] = times[i].counts;
    for (u32 k = 0; k < s->plan.microbatches; k++) sim_counts_add(&e->counts, &counts[i]);
    spans[i] = (engine_span){.start_cycle = (double)times[i].start,
                             .end_cycle = (double)times[i].start + cycles,
                             .work_cycles = busy,
                             .resource = 2 * busy > cycles ? RESOURCE_COMPUTE : RESOURCE_FABRIC};
    by_phase[i] = repeat * (cycles + change);
    e->by_resource[RESOURCE_COMPUTE] += repeat * busy;
    e->by_resource[RESOURCE_FABRIC] += repeat * (cycles - busy); // it waits for wavelets: of other PEs or of the edge
    e->by_resource[RESOURCE_SWITCH] += repeat * change;
  }
  e->compute_busy_cycles = e->by_resource[RESOURCE_COMPUTE];
}

static void fill_fabric(const fabric_step *f, arena *a, step_sim *s) {
  const woven *w = fabric_step_woven(f);
  const double on_wafer = (double)fabric_step_cycles(f);
  step_activity *phases = arena_array(a, step_activity, w->phase_count);
  step_fabric *own = arena_array(a, step_fabric, 1);
  *own = (step_fabric){.phases = phases, .width = w->width, .height = w->height};
  fill_activity(f, phases);
  fabric_maps(f, a, own->maps);
  s->fabric = own;
  s->result.host_cycles = update_params(s, on_wafer, phases);
  s->result.by_resource[RESOURCE_HOST] = s->result.host_cycles;
  s->result.cycles = on_wafer + s->result.host_cycles;
}

bool fabric_sim_run(const run_spec *r, arena *a, step_sim *s, status *st) {
  if (r->top.systems != 1)
    return status_fail(st, CODE_CONFIG, "systems: the fabric runs one wafer, not %u; engine.name=flow models several",
                       r->top.systems);
  if (r->plan.mode == PLAN_PIPELINED)
    return status_fail(st, CODE_CONFIG, "plan.mode: the fabric streams weights; engine.name=flow models pipelines");
  fabric_step_setup setup = *fabric_step_wanted(r, &s->graph, &s->machine, a);
  setup.load = true;
  fabric_step *f = fabric_step_open(&setup, a, st);
  if (!f || !run_zeros(r, &s->graph, f, st)) return false;
  fill_plan(r, f, s);
  fill_program(f, a, s);
  fill_result(f, a, s);
  fill_fabric(f, a, s);
  return true;
}

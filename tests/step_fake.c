// A modelled step made up for tests.
#include "step_fake.h"

#include <stdio.h>
#include <string.h>

enum { FORWARD_PHASES = 4, BACKWARD_PHASES = 6 };

typedef struct maker {
  program_phase *phases;
  engine_span *spans;
  double *by_phase;
  double now;
  u32 count;
} maker;

static void add_phase(maker *m, const char *name, u32 family, u32 layer, double cycles) {
  const u32 i = m->count++;
  program_phase *ph = &m->phases[i];
  *ph = (program_phase){.family = family, .layer = layer, .iterations = 100};
  snprintf(ph->origin, sizeof ph->origin, "%s", name);
  if (family == FAMILY_LINEAR || family == FAMILY_GRAD_X) ph->stream_in = (u64)(cycles * 10);
  if (family == FAMILY_GRAD_W) ph->stream_out = (u64)(cycles * 20);
  const u32 resource = family == FAMILY_NORM     ? RESOURCE_SWITCH
                       : family == FAMILY_GRAD_W ? RESOURCE_IO_OUT
                                                 : RESOURCE_COMPUTE;
  const double wait = i % 7 == 6 ? 50 : 0;
  m->spans[i] = (engine_span){m->now + wait, m->now + wait + cycles, wait, cycles * 0.9, resource};
  m->now += wait + cycles;
}

static void add_layer(maker *m, u32 layer, bool backward) {
  static const struct {
    const char *name;
    u32 family;
    double cycles;
  } parts[] = {{"ln1", FAMILY_NORM, 400},
               {"attn.qkv", FAMILY_LINEAR, 3000},
               {"attn.mix", FAMILY_ATTENTION, 1500},
               {"mlp.pre", FAMILY_LINEAR, 4000},
               {"mlp.act.grad", FAMILY_ELEMENTWISE, 60},
               {"mlp.pre.grad_w", FAMILY_GRAD_W, 4000},
               {"mlp.pre.grad_x", FAMILY_GRAD_X, 4200},
               {"attn.mix.grad", FAMILY_ATTENTION, 3000},
               {"attn.qkv.grad_w", FAMILY_GRAD_W, 3000},
               {"ln1.grad", FAMILY_NORM, 500}};
  const u32 first = backward ? FORWARD_PHASES : 0, count = backward ? BACKWARD_PHASES : FORWARD_PHASES;
  for (u32 i = 0; i < count; i++) {
    char name[PROGRAM_NAME_MAX];
    snprintf(name, sizeof name, "h%u.%s", layer, parts[first + i].name);
    add_phase(m, name, parts[first + i].family, layer, parts[first + i].cycles);
  }
}

static void fake_program(const fake_options *o, arena *a, step_sim *s) {
  const u32 room = o->layers * (FORWARD_PHASES + BACKWARD_PHASES) + 2;
  maker m = {arena_array(a, program_phase, room), arena_array(a, engine_span, room), arena_array(a, double, room), 0,
             0};
  add_phase(&m, "embed", FAMILY_EMBED, UINT32_MAX, 800);
  for (u32 l = 0; l < o->layers; l++) add_layer(&m, l, false);
  add_phase(&m, "loss", FAMILY_LOSS, UINT32_MAX, 2500);
  for (u32 l = o->layers; l-- > 0;) add_layer(&m, l, true);
  program_group *group = arena_array(a, program_group, 1);
  program_transfer *transfers = arena_array(a, program_transfer, o->transfers);
  *group = (program_group){0, m.count, o->repeat, false};
  for (u32 i = 0; i < o->transfers; i++) {
    transfers[i] = (program_transfer){
        .after = 1 + i, .before = m.count - 1 - i, .wavelets = 100000, .hops = 300, .out = i % 2 == 0};
    snprintf(transfers[i].name, sizeof transfers[i].name, "h%u.input", i);
  }
  s->program = (program){.name = "fake",
                         .phase_count = m.count,
                         .phases = m.phases,
                         .group_count = 1,
                         .groups = group,
                         .transfer_count = o->transfers,
                         .transfers = transfers,
                         .systems = 1};
  engine_result *r = &s->result;
  *r = (engine_result){.cycles = m.now * (double)o->repeat + o->host_cycles,
                       .spans = m.spans,
                       .span_count = m.count,
                       .by_phase = m.by_phase,
                       .host_cycles = o->host_cycles,
                       .pes_used = 220,
                       .sram_peak_bytes = 40000};
  r->first_repeat_cycles = o->repeat > 1 ? m.now : r->cycles;
  for (u32 i = 0; i < m.count; i++) {
    m.by_phase[i] = (m.spans[i].end_cycle - m.spans[i].start_cycle + m.spans[i].wait_cycles) * (double)o->repeat;
    r->by_resource[m.spans[i].resource] += m.by_phase[i];
  }
  r->by_resource[RESOURCE_HOST] = o->host_cycles;
}

static void fake_plan(const fake_options *o, step_sim *s) {
  plan *p = &s->plan;
  *p = (plan){.batch = 13 * (u32)o->repeat,
              .systems = 1,
              .microbatch = 13,
              .microbatches = (u32)o->repeat,
              .policy = POLICY_RECOMPUTE,
              .kept = KEPT_INPUT,
              .kept_blocks = o->layers,
              .ahead = 1};
  p->tiles = (plan_tiles){.replicas = 2,
                          .group_width = 7,
                          .seq_rows = 2,
                          .row_seqs = 1,
                          .slots = 7,
                          .rows = 14,
                          .tokens_max = 32,
                          .features_max = 10,
                          .hidden_max = 37,
                          .head_pes = 2};
  p->memory = (plan_memory){
      .code_bytes = 7000, .buffer_bytes = 5000, .activation_bytes = 28000, .total_bytes = 40000, .limit_bytes = 49152};
  snprintf(p->memory.peak_node, sizeof p->memory.peak_node, "h1.attn.mix.grad");
  p->estimate_cycles = s->result.cycles;
  p->largest_microbatch = 21;
  snprintf(p->limit, sizeof p->limit, "SRAM runs out");
}

void fake_step(const fake_options *o, arena *a, step_sim *ret_sim) {
  step_sim *s = ret_sim;
  *s = (step_sim){0};
  status st = {0};
  model_spec m;
  field_defaults(&model_table, &m);
  m.vocab = 256;
  machine_spec spec;
  field_defaults(&machine_table, &spec);
  spec.fabric_width = spec.fabric_height = spec.usable_width = spec.usable_height = 16;
  bool ok =
      graph_build(&m, (base_hyper){0.01, 0, 1e-12}, 64, a, &s->graph, &st) && machine_build(&spec, &s->machine, &st);
  require(ok);
  fake_program(o, a, s);
  fake_plan(o, s);
  s->step_s = s->result.cycles / spec.clock_hz;
  s->tokens_per_s = 123456789;
  s->samples_per_s = 4321;
  s->utilization = 0.0875;
  s->mac_per_cycle_per_pe = 0.765;
  s->joules_per_step = 31.25;
  snprintf(s->bottleneck, sizeof s->bottleneck, "compute bounds 64%% of the step; a faster wafer would relieve it");
  const char *const names[STEP_SENSITIVITIES] = {"clock", "rate", "axpy_issue_cycles", "edge_io", "memoryx", "hop"};
  for (u32 i = 0; i < STEP_SENSITIVITIES; i++) s->sensitivity[i] = (step_sensitivity){names[i], 0.05 - 0.02 * i};
  s->has_sensitivity = true;
}

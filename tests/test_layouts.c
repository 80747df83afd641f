// What a plan may decide beyond the usual: what is kept, grids, orders of tokens, density, layers side by side,
// many systems, and the search over all of it. Energies from counts.
#include "tests/sim_support.h"

#include "runtime/step_sim.h"
#include "sim/flow/flow.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static engine_result run_of(built *b) {
  program p = sim_lower(b);
  engine_result r;
  status st = {0};
  support_ok(flow_engine()->run(&p, &b->machine, b->memory, &r, &st), &st);
  return r;
}

static built stated(const char *preset, const char *model, u32 batch, const char *options) {
  const plan_case c = {preset, NULL, model, 64, batch, 1, options};
  return sim_build(&c);
}

// plan_build checks each plan by plan_check, which shares no code with it.
static void every_combination_passes_its_check(void **state) {
  (void)state;
  static const char *const policies[] = {"recompute", "offload"}, *const grids[] = {"plain", "transposed"},
                           *const orders[] = {"contiguous", "interleaved"};
  static const char *const kept[] = {"input", "middle", "attention", "qkv", "all"};
  u32 bytes_before = 0;
  for (u32 i = 0; i < 2 * 2 * 2 * COUNT_OF(kept) * 3; i++) {
    u32 k = i / 3 % COUNT_OF(kept), rest = i / 3 / COUNT_OF(kept), ahead = i % 3 + 1;
    char options[160];
    snprintf(options, sizeof options, "activations=%s kept=%s kept_blocks=%u ahead=%u grid=%s tokens=%s microbatch=3",
             policies[rest % 2], kept[k], 2 + ahead % 2, ahead, grids[rest / 2 % 2], orders[rest / 4 % 2]);
    built b = stated("mesh16", ODD, 9, options);
    assert_int_equal(b.plan.kept, KEPT_INPUT + k);
    assert_int_equal(b.plan.tiles.transposed, rest / 2 % 2);
    if (b.plan.tiles.seq_rows > 1) assert_int_equal(b.plan.tiles.interleaved, rest / 4 % 2);
    if (rest % 2 == 1) assert_int_equal(b.plan.ahead, ahead);
    bytes_before += b.plan.memory.total_bytes;
    arena_destroy(b.memory);
  }
  assert_true(bytes_before > 0);
}

// What is kept is not rebuilt: each level runs fewer phases, moves more, and multiplies less.
static void keeping_more_rebuilds_less(void **state) {
  (void)state;
  static const char *const kept[] = {"input", "middle", "attention", "qkv", "all"};
  u32 phases = UINT32_MAX, transfers = 0;
  u64 macs = UINT64_MAX;
  for (u32 i = 0; i < COUNT_OF(kept); i++) {
    char options[96];
    snprintf(options, sizeof options, "activations=offload kept=%s microbatch=2 replicas=1", kept[i]);
    built b = stated("mesh16", TINY, 2, options);
    program p = sim_lower(&b);
    engine_result r = run_of(&b);
    assert_true(p.phase_count < phases && p.transfer_count > transfers && r.counts.macs < macs);
    phases = p.phase_count;
    transfers = p.transfer_count;
    macs = r.counts.macs;
    arena_destroy(b.memory);
  }
}

// Interleaved rows see nearly equal numbers of keys; the multiply-adds are the same, the time is less.
static void interleaving_evens_out_attention(void **state) {
  (void)state;
  built in_order = stated("mesh16", TINY, 2, "tokens=contiguous microbatch=2 replicas=1 activations=resident"),
        mixed = stated("mesh16", TINY, 2, "tokens=interleaved microbatch=2 replicas=1 activations=resident");
  assert_true(mixed.plan.tiles.seq_rows > 1);
  engine_result a = run_of(&in_order), b = run_of(&mixed);
  assert_true(a.counts.macs > 0 && b.cycles < a.cycles);
  u64 products[2] = {0, 0};
  built *both[] = {&in_order, &mixed};
  for (u32 k = 0; k < 2; k++) {
    program p = sim_lower(both[k]);
    for (u32 i = 0; i < p.phase_count; i++)
      for (u32 c = 0; p.phases[i].family == FAMILY_ATTENTION && c < p.phases[i].class_count; c++) {
        const program_class *class = &p.classes[p.phases[i].first_class + c];
        for (u32 o = 0; o < class->op_count; o++)
          if (p.ops[class->first_op + o].opcode == OPCODE_AXPY16)
            products[k] += p.ops[class->first_op + o].elements * class->pes;
      }
  }
  assert_true(products[0] == products[1] && products[0] > 0);
  arena_destroy(in_order.memory);
  arena_destroy(mixed.memory);
}

static void a_search_never_loses(void **state) {
  (void)state;
  static const plan_case cases[] = {
      {"cs2", NULL, "layers=6 width=2560 heads=32 vocab=50257 activation=gelu tied=true", 2048, 256, 1, NULL},
      {"cs3", NULL, "layers=4 width=5120 heads=40 vocab=50257 activation=gelu tied=true", 2048, 256, 1, NULL},
      {"mesh16", NULL, TINY, 32, 40, 1, NULL},
      {"mesh16", NULL, ODD, 13, 11, 2, NULL},
  };
  u32 better = 0;
  for (u32 i = 0; i < COUNT_OF(cases); i++) {
    built usual = sim_build(&cases[i]);
    plan_case c = cases[i];
    c.options = "search=true";
    built searched = sim_build(&c), again = sim_build(&c);
    assert_true(searched.plan.estimate_cycles <= usual.plan.estimate_cycles);
    assert_true(plan_hash(&searched.plan) == plan_hash(&again.plan));
    better += searched.plan.estimate_cycles < 0.999 * usual.plan.estimate_cycles;
    arena_destroy(usual.memory);
    arena_destroy(searched.memory);
    arena_destroy(again.memory);
  }
  assert_true(better >= 2);
}

// Half of the blocks' weights: half of what their streams carry and multiply; chains and heads stay.
static void density_is_what_is_streamed_and_multiplied(void **state) {
  (void)state;
  built dense = stated("mesh16", TINY, 2, "microbatch=2 replicas=1 activations=resident"),
        half = stated("mesh16", TINY, 2, "microbatch=2 replicas=1 activations=resident density=0.5");
  program a = sim_lower(&dense), b = sim_lower(&half);
  assert_true(a.phase_count == b.phase_count && program_hash(&a) != program_hash(&b));
  u64 in[2] = {0, 0}, head[2] = {0, 0};
  for (u32 i = 0; i < a.phase_count; i++) {
    bool linear = a.phases[i].family == FAMILY_LINEAR;
    u64 *sum = a.phases[i].layer == UINT32_MAX ? head : in;
    if (linear) sum[0] += a.phases[i].stream_in, sum[1] += b.phases[i].stream_in;
  }
  u64 biases = 2 * (3 * 32 + 32 + 128 + 32);
  assert_true(2 * (in[1] - biases) == in[0] - biases && head[0] == head[1] && head[0] > 0);
  assert_true(run_of(&half).cycles < run_of(&dense).cycles);
  assert_true(run_of(&half).counts.macs < run_of(&dense).counts.macs);
  arena_destroy(dense.memory);
  arena_destroy(half.memory);
}

// ---- side by side

#define LINE "layers=%u width=768 heads=12 vocab=50257 position=learned activation=gelu tied=true"

static bool line_of(u32 layers, const char *options, built *b, status *st) {
  char model[128];
  snprintf(model, sizeof model, LINE, layers);
  const plan_case c = {"cs2", NULL, model, 1024, 512, 1, options};
  return sim_try_build(&c, b, st);
}

static built line(u32 layers, const char *options) {
  built b;
  status st = {0};
  support_ok(line_of(layers, options, &b, &st), &st);
  return b;
}

static void pipelines_keep_their_rate_until_the_wafer_is_full(void **state) {
  (void)state;
  double previous = 0;
  static const u32 depths[] = {1, 2, 6, 12, 24, 48, 72};
  for (u32 i = 0; i < COUNT_OF(depths); i++) {
    built b = line(depths[i], "mode=pipelined");
    engine_result r = run_of(&b);
    assert_true(b.plan.pipeline.period_cycles >= b.plan.pipeline.link_cycles);
    if (depths[i] <= 12) sim_near(b.plan.pipeline.period_cycles, 768 * 4 / 2, 1e-12); // pairs of hidden features
    assert_true(r.cycles > previous);                                                 // more to fill, or slower
    assert_true(r.pes_used <= b.machine.pes_usable && r.sram_peak_bytes <= b.machine.spec.sram_bytes);
    previous = r.cycles;
    arena_destroy(b.memory);
  }
  built b;
  status st = {0};
  support_failed(line_of(400, "mode=pipelined", &b, &st), &st, CODE_CONFIG, "side by side");
  arena_destroy(b.memory);
}

static void more_links_between_kernels_are_faster(void **state) {
  (void)state;
  built one = line(6, "mode=pipelined"), two = line(6, "mode=pipelined links=2");
  sim_near(two.plan.pipeline.link_cycles, one.plan.pipeline.link_cycles / 2, 1e-12);
  assert_true(run_of(&two).cycles < 0.6 * run_of(&one).cycles);
  u64 pes[2] = {run_of(&one).pes_used, run_of(&two).pes_used};
  assert_true(pes[1] > pes[0]); // twice the rate takes more PEs
  arena_destroy(one.memory);
  arena_destroy(two.memory);
}

typedef void kernel_mutation(plan *p, plan_kernel *k);
static void k_out(plan *p, plan_kernel *k) {
  (void)p, k->x = 750 - k->width + 1;
}
static void k_overlap(plan *p, plan_kernel *k) {
  k->x = p->pipeline.kernels[1].x, k->y = p->pipeline.kernels[1].y;
}
static void k_share(plan *p, plan_kernel *k) {
  (void)p, k->in_pe--;
}
static void k_idle(plan *p, plan_kernel *k) {
  (void)p, k->out_pe += 2;
}
static void k_memory(plan *p, plan_kernel *k) {
  (void)p, k->sram_bytes = 4300;
}
static void k_order(plan *p, plan_kernel *k) {
  (void)p, k->node++;
}
static void k_period(plan *p, plan_kernel *k) {
  (void)k, p->pipeline.period_cycles /= 2;
}

static void mutated_pipelines_are_refused(void **state) {
  (void)state;
  static kernel_mutation *const mutations[] = {k_out, k_overlap, k_share, k_idle, k_memory, k_order, k_period};
  built b = line(2, "mode=pipelined");
  u32 count = b.plan.pipeline.count;
  for (u32 i = 0; i < COUNT_OF(mutations); i++) {
    plan p = b.plan;
    plan_kernel *kernels = arena_array(b.memory, plan_kernel, count);
    memcpy(kernels, b.plan.pipeline.kernels, count * sizeof *kernels);
    p.pipeline.kernels = kernels;
    mutations[i](&p, &kernels[2]); // the first product
    status st = {0};
    if (plan_check(&p, &b.graph, &b.machine, &st)) fail_msg("mutant %u passes", i);
    assert_int_equal(st.code, CODE_BUG);
  }
  plan p = b.plan;
  p.pipeline.count--;
  status st = {0};
  assert_false(plan_check(&p, &b.graph, &b.machine, &st));
  arena_destroy(b.memory);
}

static void what_a_pipeline_cannot_do_says_so(void **state) {
  (void)state;
  static const struct {
    u32 systems;
    const char *options, *part;
  } bad[] = {{2, "mode=pipelined", "state systems: 1"},
             {1, "mode=pipelined density=0.5", "density"},
             {1, "mode=pipelined width=20 height=20", "20 x 20"}};
  for (u32 i = 0; i < COUNT_OF(bad); i++) {
    const plan_case c = {"cs2", NULL, SMALL, 1024, 64, bad[i].systems, bad[i].options};
    built b;
    status st = {0};
    support_failed(sim_try_build(&c, &b, &st), &st, CODE_CONFIG, bad[i].part);
    arena_destroy(b.memory);
  }
}

// ---- many systems

// Weights are broadcast and gradients summed; what is one system's own shares MemoryX's link. So the same share of
// the batch takes longer on many systems, never less, and all of it is the edge's and MemoryX's.
static void many_systems_share_memoryx(void **state) {
  (void)state;
  double before = 0;
  for (u32 systems = 1; systems <= 64; systems *= 4) {
    const plan_case c = {"cs3",
                         NULL,
                         "layers=2 width=4096 heads=32 vocab=50257",
                         2048,
                         60 * systems,
                         systems,
                         "activations=offload kept=middle microbatch=60 replicas=1"};
    built b = sim_build(&c);
    engine_result r = run_of(&b);
    assert_true(r.cycles > before);
    before = r.cycles;
    arena_destroy(b.memory);
  }
}

// ---- energy

static step_sim *modelled(arena *a, const char *key, const char *value) {
  run_assignment sets[] = {{.key = "machine", .value = "cs3", .where = "test"},
                           {.key = "model", .value = "gpt3-256m", .where = "test"},
                           {.key = "train.seq", .value = "2048", .where = "test"},
                           {.key = "train.batch", .value = "120", .where = "test"},
                           {.key = key, .value = value, .where = "test"}};
  run_spec *r = arena_array(a, run_spec, 1);
  step_sim *s = arena_array(a, step_sim, 1);
  status st = {0};
  support_ok(run_spec_load(r, NULL, sets, COUNT_OF(sets), a, &st), &st);
  support_ok(step_sim_run(r, false, a, s, &st), &st);
  return s;
}

static void energies_are_counts_times_their_number(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const step_energy base = modelled(a, "seed", "1")->energy;
  sim_near(base.mac + base.sram + base.wire + base.io + base.idle, base.total, 1e-12);
  const step_energy mac = modelled(a, "machine.energy.mac", "2pJ")->energy,
                    sram = modelled(a, "machine.energy.sram_byte", "1.2pJ")->energy,
                    wire = modelled(a, "machine.energy.wire_bit", "0.3pJ")->energy,
                    io = modelled(a, "machine.energy.io_bit", "10pJ")->energy,
                    idle = modelled(a, "machine.energy.idle", "16.6kW")->energy;
  sim_near(mac.mac, 2 * base.mac, 1e-12);
  sim_near(sram.sram, 2 * base.sram, 1e-12);
  sim_near(wire.wire, 2 * base.wire, 1e-12);
  sim_near(io.io, 2 * base.io, 1e-12);
  sim_near(idle.idle, 2 * base.idle, 1e-12);
  sim_near(mac.total - base.total, base.mac, 1e-9);
  assert_true(base.mac > 0 && base.sram > 0 && base.wire > 0 && base.io > 0 && base.idle > 0);
  // between an idle system and the power that its maker states
  const step_sim *s = modelled(a, "seed", "1");
  assert_true(base.total > base.idle && base.total < 1.5 * s->joules_per_step);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_combination_passes_its_check),
      cmocka_unit_test(keeping_more_rebuilds_less),
      cmocka_unit_test(interleaving_evens_out_attention),
      cmocka_unit_test(a_search_never_loses),
      cmocka_unit_test(density_is_what_is_streamed_and_multiplied),
      cmocka_unit_test(pipelines_keep_their_rate_until_the_wafer_is_full),
      cmocka_unit_test(more_links_between_kernels_are_faster),
      cmocka_unit_test(mutated_pipelines_are_refused),
      cmocka_unit_test(what_a_pipeline_cannot_do_says_so),
      cmocka_unit_test(many_systems_share_memoryx),
      cmocka_unit_test(energies_are_counts_times_their_number),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

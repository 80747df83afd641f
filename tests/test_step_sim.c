// The modelled step: its figures agree with each other, and each number of the machine, changed alone,
// moves them in the direction that physics says.
#include "tests/support.h"

#include "runtime/step_sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct modelled {
  arena *memory;
  run_spec run;
  step_sim sim;
} modelled;

#define DEEP                                                                                                           \
  "model.layers=4 model.width=768 model.heads=12 model.vocab=50257 model.activation=gelu "                             \
  "train.seq=1024 train.batch=96 machine=cs3 "

// States a run as a list of key=value; a later one of a key wins.
static bool try_model(modelled *m, const char *stated, const char *more, bool sensitivity, status *st) {
  static const u32 most = 32;
  m->memory = arena_create("test");
  run_assignment *sets = arena_array(m->memory, run_assignment, most);
  char *words = arena_format(m->memory, "%s %s", stated, more ? more : "");
  u32 count = 0;
  char *rest = words;
  for (char *word; (word = strtok_r(rest, " ", &rest));) {
    char *value = strchr(word, '=');
    assert_non_null(value);
    assert_true(count < most);
    *value = 0;
    sets[count++] = (run_assignment){.key = word, .value = value + 1, .where = "test"};
  }
  support_ok(run_spec_load(&m->run, NULL, sets, count, m->memory, st), st);
  return step_sim_run(&m->run, sensitivity, m->memory, &m->sim, st);
}

static modelled *model(const char *stated, const char *more) {
  modelled *m = calloc(1, sizeof *m);
  assert_non_null(m);
  status st = {0};
  support_ok(try_model(m, stated, more, false, &st), &st);
  return m;
}

static void forget(modelled *m) {
  arena_destroy(m->memory);
  free(m);
}

static void near_(double value, double expected, double relative) {
  if (!(fabs(value - expected) <= relative * fabs(expected))) fail_msg("%.17g, expected %.17g", value, expected);
}

// ---- figures

static void figures_agree(void **state) {
  (void)state;
  modelled *m = model(DEEP, "systems=2 train.tokens=1000000000");
  const step_sim *s = &m->sim;
  near_(s->step_s * s->machine.spec.clock_hz, s->result.cycles, 1e-12);
  near_(s->tokens_per_s * s->step_s, 96 * 1024, 1e-12);
  near_(s->samples_per_s * s->step_s, 96, 1e-12);
  near_(s->joules_per_step, s->step_s * 23000 * 2, 1e-12);
  near_(s->time_to_train_s, 1e9 / s->tokens_per_s, 1e-12);
  near_(s->energy_to_train_j, s->time_to_train_s * 23000 * 2, 1e-12);
  near_(s->mac_per_cycle_per_pe * s->result.cycles * 755 * 1170, (double)s->result.counts.macs, 1e-12);
  assert_true(s->bottleneck[0]);
  assert_non_null(strstr(s->bottleneck, " bounds "));
  assert_false(s->has_sensitivity);
  assert_int_equal(s->plan.systems, 2);
  forget(m);
}

static void without_a_token_count_there_is_no_time_to_train(void **state) {
  (void)state;
  modelled *m = model(DEEP, NULL);
  assert_true(m->sim.time_to_train_s == 0 && m->sim.energy_to_train_j == 0);
  forget(m);
}

// A model that says more than half of the dense peak is wrong, and so is one that says nothing.
static void utilization_is_believable(void **state) {
  (void)state;
  static const char *const machines[] = {"machine=cs2", "machine=cs3"};
  for (u32 i = 0; i < COUNT_OF(machines); i++) {
    modelled *m = model("model=gpt3-1.3b train.seq=2048 train.batch=120", machines[i]);
    assert_true(m->sim.utilization > 0.02 && m->sim.utilization < 0.5);
    assert_true(m->sim.mac_per_cycle_per_pe > 0.1 && m->sim.mac_per_cycle_per_pe < 8);
    forget(m);
  }
}

static void failures_are_sentences(void **state) {
  (void)state;
  static const struct {
    const char *more, *part;
  } bad[] = {{"plan.microbatch=96 model.width=98304 model.heads=12", "does not fit the SRAM"},
             {"model.heads=7", "does not divide"},
             {"machine.fabric.usable_width=5000", "does not lie inside the fabric"}};
  for (u32 i = 0; i < COUNT_OF(bad); i++) {
    modelled *m = calloc(1, sizeof *m);
    assert_non_null(m);
    status st = {0};
    bool ok = try_model(m, DEEP, bad[i].more, false, &st);
    support_failed(ok, &st, CODE_CONFIG, bad[i].part);
    forget(m);
  }
}

// ---- one number at a time

// What a change of the machine does to tokens per second: sign -1, 0, 1; strict where it must show.
typedef struct nudge {
  const char *change;
  i32 sign;
  bool strict;
} nudge;

static void nudges_move(const char *stated, const nudge *nudges, u32 count) {
  modelled *base = model(stated, NULL);
  for (u32 i = 0; i < count; i++) {
    modelled *m = model(stated, nudges[i].change);
    double change = m->sim.tokens_per_s / base->sim.tokens_per_s - 1;
    bool ok = nudges[i].strict ? change * nudges[i].sign > 1e-9 : change * nudges[i].sign > -1e-9;
    if (nudges[i].sign == 0) ok = fabs(change) < 1e-12;
    if (!ok) fail_msg("%s changes the throughput by %g", nudges[i].change, change);
    assert_true(m->sim.bottleneck[0]);
    forget(m);
  }
  forget(base);
}

// The machine of DEEP is cs3; what is stated here is its number made larger or smaller.
static void each_number_moves_the_throughput(void **state) {
  (void)state;
  static const nudge nudges[] = {
      {"machine.clock=1.2GHz", 1, true},
      {"machine.clock=0.85GHz", -1, true},
      {"machine.dsd.fma16_rate=3.5", 1, true},
      {"machine.dsd.fma16_rate=1.46", -1, true},
      {"machine.dsd.dot16_rate=1.46", -1, true},
      {"machine.dsd.axpy_issue_cycles=59", -1, true},
      {"machine.dsd.axpy_issue_cycles=7", 1, true},
      {"machine.dsd.fma16_setup_cycles=30", -1, true},
      {"machine.dsd.copy_setup_cycles=30", -1, true},
      {"machine.dsd.fma32_rate=1", 1, false}, // nothing accumulates in fp32 in memory by default
      {"machine.dsd.add32_rate=0.5", -1, true},
      {"machine.dsd.copy16_rate=1", -1, true},
      {"machine.dsd.copy32_rate=0.5", -1, true},
      {"machine.math.exp_cycles=80", -1, true},
      {"machine.math.tanh_cycles=120", -1, true},
      {"machine.math.rsqrt_cycles=80", -1, true},
      {"machine.math.division_cycles=100", -1, true},
      {"machine.fabric.hop_cycles=3", -1, true},
      {"machine.fabric.ramp_cycles=4", -1, true},
      {"machine.fabric.wavelet_cycles=2", -1, true},
      {"machine.phase.route_switch_cycles=4000", -1, true},
      {"machine.io.rate=0.3Tb/s", -1, true},
      {"machine.memoryx.rate=0.3Tb/s", -1, true},
      {"machine.memoryx.update_rate=1G/s", -1, true},
      {"machine.memoryx.latency=1ms", -1, true},
      {"machine.swarmx.latency=1ms", 0, false}, // one system has no tree
      {"machine.fabric.usable_height=585", -1, true},
      {"machine.fabric.usable_width=377", -1, true},
      {"machine.pe.sram_bytes=96KiB", 1, false},
      {"machine.pe.sram_bytes=24KiB", -1, false},
      {"machine.power=46kW", 0, false},
      {"machine.pe.lanes_fp16=16", 0, false}, // what is reached is the measured rate
  };
  nudges_move(DEEP, nudges, COUNT_OF(nudges));
}

static void numbers_of_other_ways_move_theirs(void **state) {
  (void)state;
  static const nudge wide[] = {{"machine.dsd.fma32_rate=1", 1, true}, {"machine.dsd.fma32_rate=0.25", -1, true}};
  nudges_move(DEEP "plan.axpy=fp32", wide, COUNT_OF(wide));
  static const nudge many[] = {{"machine.swarmx.latency=1ms", -1, true}, {"machine.swarmx.fanout=16", 1, true}};
  nudges_move(DEEP "systems=8", many, COUNT_OF(many));
}

static void half_the_memory_holds_half_the_sequences(void **state) {
  (void)state;
  modelled *whole = model(DEEP, "train.batch=4000"),
           *half = model(DEEP, "train.batch=4000 machine.pe.sram_bytes=24KiB");
  assert_true(half->sim.plan.largest_microbatch < whole->sim.plan.largest_microbatch);
  assert_true(half->sim.plan.microbatch < whole->sim.plan.microbatch);
  assert_true(half->sim.plan.microbatches > whole->sim.plan.microbatches);
  assert_true(half->sim.result.sram_peak_bytes <= 24 * 1024);
  forget(whole);
  forget(half);
}

static void a_slower_edge_is_the_bottleneck(void **state) {
  (void)state;
  modelled *m = model(DEEP, "machine.io.rate=1Gb/s machine.memoryx.rate=1Gb/s");
  assert_non_null(strstr(m->sim.bottleneck, "edge I/O"));
  forget(m);
  m = model(DEEP, "machine.dsd.fma16_rate=0.01 machine.dsd.dot16_rate=0.01");
  assert_non_null(strstr(m->sim.bottleneck, "compute bounds"));
  forget(m);
  m = model(DEEP, "machine.memoryx.update_rate=10k/s");
  assert_non_null(strstr(m->sim.bottleneck, "MemoryX bounds"));
  forget(m);
}

// Two systems share a batch: not slower than one, and no more than twice as fast.
static void systems_share_the_batch(void **state) {
  (void)state;
  modelled *one = model(DEEP, NULL), *two = model(DEEP, "systems=2");
  double gain = two->sim.tokens_per_s / one->sim.tokens_per_s;
  assert_true(gain > 1 && gain < 2);
  assert_true(two->sim.joules_per_step > one->sim.joules_per_step);
  forget(one);
  forget(two);
}

static void more_work_takes_longer(void **state) {
  (void)state;
  static const char *const larger[] = {"model.layers=5",  "model.width=1536", "model.vocab=100000",
                                       "train.batch=192", "train.seq=2048",   "model.mlp=6"};
  modelled *base = model(DEEP, NULL);
  for (u32 i = 0; i < COUNT_OF(larger); i++) {
    modelled *m = model(DEEP, larger[i]);
    if (m->sim.step_s <= base->sim.step_s) fail_msg("%s makes the step shorter", larger[i]);
    forget(m);
  }
  forget(base);
}

static void built_in_sensitivities_have_their_signs(void **state) {
  (void)state;
  static const struct {
    const char *name;
    i32 sign;
  } expected[STEP_SENSITIVITIES] = {{"clock", 1},   {"rate", 1},    {"axpy_issue_cycles", -1},
                                    {"edge_io", 1}, {"memoryx", 1}, {"hop", -1}};
  // an edge that is slower than MemoryX, so that each of the two shows
  static const char *const runs[] = {NULL, "machine.io.rate=0.2Tb/s", "machine.memoryx.rate=0.2Tb/s"};
  for (u32 k = 0; k < COUNT_OF(runs); k++) {
    modelled *m = calloc(1, sizeof *m);
    assert_non_null(m);
    status st = {0};
    support_ok(try_model(m, DEEP, runs[k], true, &st), &st);
    assert_true(m->sim.has_sensitivity);
    for (u32 i = 0; i < STEP_SENSITIVITIES; i++) {
      double got = m->sim.sensitivity[i].throughput;
      assert_string_equal(m->sim.sensitivity[i].name, expected[i].name);
      if (got * expected[i].sign < -1e-12 || fabs(got) > 0.101) fail_msg("%s: %g", expected[i].name, got);
    }
    assert_true(m->sim.sensitivity[0].throughput > 0);
    if (k == 1) assert_true(m->sim.sensitivity[3].throughput > 0);
    if (k == 2) assert_true(m->sim.sensitivity[4].throughput > 0);
    forget(m);
  }
}

static void the_same_run_gives_the_same_step(void **state) {
  (void)state;
  modelled *a = model(DEEP, NULL), *b = model(DEEP, NULL);
  assert_true(a->sim.result.cycles == b->sim.result.cycles);
  assert_memory_equal(&a->sim.result.counts, &b->sim.result.counts, sizeof a->sim.result.counts);
  assert_true(program_hash(&a->sim.program) == program_hash(&b->sim.program));
  assert_string_equal(a->sim.bottleneck, b->sim.bottleneck);
  forget(a);
  forget(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(figures_agree),
      cmocka_unit_test(without_a_token_count_there_is_no_time_to_train),
      cmocka_unit_test(utilization_is_believable),
      cmocka_unit_test(failures_are_sentences),
      cmocka_unit_test(each_number_moves_the_throughput),
      cmocka_unit_test(numbers_of_other_ways_move_theirs),
      cmocka_unit_test(half_the_memory_holds_half_the_sequences),
      cmocka_unit_test(a_slower_edge_is_the_bottleneck),
      cmocka_unit_test(systems_share_the_batch),
      cmocka_unit_test(more_work_takes_longer),
      cmocka_unit_test(built_in_sensitivities_have_their_signs),
      cmocka_unit_test(the_same_run_gives_the_same_step),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

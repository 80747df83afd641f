// A transformer trained on the fabric, wavelet by wavelet: its losses, gradients and weights beside the host's, in
// every precision and division of the batch, and what happens where it does not fit.
#include "tests/support.h"

#include "model/compute/verify.h"
#include "runtime/check_numbers.h"
#include "runtime/fabric_sim.h"

#include <math.h>
#include <string.h>

// ---- runs stated as lists of key=value

#define SMALL                                                                                                          \
  "machine=mesh16 engine.name=fabric model.layers=2 model.width=32 model.heads=2 model.vocab=256 train.seq=16 "        \
  "train.batch=4 train.lr=2^-7 "

typedef struct stated {
  arena *memory;
  run_spec spec;
  graph graph;
  machine machine;
} stated;

static stated state_run(const char *words, const char *more) {
  stated s = {.memory = arena_create("test")};
  run_assignment sets[32];
  u32 count = 0;
  status st = {0};
  char *rest = arena_format(s.memory, "%s %s", words, more ? more : "");
  for (char *word; (word = strtok_r(rest, " ", &rest));) {
    char *value = strchr(word, '=');
    assert_non_null(value);
    *value = 0;
    sets[count++] = (run_assignment){.key = word, .value = value + 1, .where = "test"};
  }
  support_ok(run_spec_load(&s.spec, NULL, sets, count, s.memory, &st), &st);
  const base_hyper base = {s.spec.train.lr, s.spec.train.weight_decay, s.spec.train.eps};
  support_ok(graph_build(&s.spec.model, base, s.spec.train.seq, s.memory, &s.graph, &st), &st);
  support_ok(machine_build(&s.spec.machine, &s.machine, &st), &st);
  return s;
}

static u32 token(u64 at) {
  return (u32)(at * 2654435761u >> 9) % 61;
}

static u32 first_product(const fabric_step *f) {
  const woven *w = fabric_step_woven(f);
  u32 p = 0;
  while (w->phases[p].family != FAMILY_LINEAR) p++;
  return p;
}

// Losses of `steps` steps, by the fabric or by the host.
static fabric_step *losses(stated *s, bool by_fabric, u32 steps, u64 flip, double *ret_losses) {
  status st = {0};
  fabric_step *f = NULL;
  if (by_fabric) {
    f = fabric_step_open(fabric_step_wanted(&s->spec, &s->graph, &s->machine, s->memory), s->memory, &st);
    support_ok(f != NULL, &st);
    if (flip) fabric_step_flip(f, first_product(f), flip);
  }
  const trainer_setup setup = {.graph = &s->graph,
                               .options = &s->spec.train,
                               .kernels = trainer_kernels(&s->spec.train),
                               .seed = 5,
                               .threads = 1,
                               .source = f ? fabric_step_source(f) : NULL};
  trainer *t = trainer_create(&setup, s->memory, &st);
  support_ok(t != NULL, &st);
  const u32 tokens = s->spec.train.batch * s->spec.train.seq;
  u32 *ids = arena_array(s->memory, u32, tokens + 1);
  for (u32 i = 0; i < steps; i++) {
    for (u32 k = 0; k <= tokens; k++) ids[k] = token(i * tokens + k);
    ret_losses[i] = trainer_step_on(t, ids, ids + 1).loss;
    if (f) support_ok(status_ok(fabric_step_status(f)), fabric_step_status(f));
  }
  return f;
}

enum { STEPS = 4 };

static double apart(const double *a, const double *b) {
  double most = 0;
  for (u32 i = 0; i < STEPS; i++) most = fmax(most, fabs(a[i] - b[i]));
  return most;
}

static void trains_as_the_host_does(void **state) {
  (void)state;
  stated s = state_run(SMALL, NULL);
  double ours[STEPS], theirs[STEPS];
  losses(&s, true, STEPS, 0, ours);
  losses(&s, false, STEPS, 0, theirs);
  assert_true(apart(ours, theirs) < 5e-6); // of 1e-4 that are allowed
  assert_true(theirs[0] - theirs[STEPS - 1] > 0.01);
  arena_destroy(s.memory);
}

// The rounding of 16-bit activations and weights moves the losses no further than the host's own bf16 does.
static void trains_in_mixed_precision(void **state) {
  (void)state;
  stated s = state_run(SMALL, "train.precision=bf16"), plain = state_run(SMALL, NULL);
  double ours[STEPS], theirs[STEPS], exact[STEPS];
  losses(&s, true, STEPS, 0, ours);
  losses(&s, false, STEPS, 0, theirs);
  losses(&plain, false, STEPS, 0, exact);
  assert_true(apart(ours, exact) > 0);
  assert_true(apart(ours, exact) < 4 * apart(theirs, exact));
  arena_destroy(s.memory);
  arena_destroy(plain.memory);
}

// The numbers are the wavelets': one bit of one of them in flight, and the loss is another.
static void one_bit_of_one_wavelet_shows(void **state) {
  (void)state;
  stated s = state_run(SMALL, NULL);
  double clean[1], hit[1];
  losses(&s, true, 1, 0, clean);
  losses(&s, true, 1, 300, hit);
  assert_true(clean[0] != hit[0]);
  arena_destroy(s.memory);
}

// A batch that does not fit at once goes in microbatches, with the same loss but for the order of sums.
static void microbatches_add_up(void **state) {
  (void)state;
  stated whole = state_run(SMALL, NULL), parts = state_run(SMALL, "machine.pe.sram_bytes=27000");
  double a[STEPS], b[STEPS];
  assert_int_equal(fabric_step_microbatches(losses(&whole, true, 2, 0, a)), 1);
  fabric_step *f = losses(&parts, true, 2, 0, b);
  assert_true(fabric_step_microbatches(f) > 1);
  assert_true(fabs(a[0] - b[0]) < 2e-6 && fabs(a[1] - b[1]) < 5e-6);
  arena_destroy(whole.memory);
  arena_destroy(parts.memory);
}

// Every activation and gradient, on grids that suit the model and on such that do not.
static void every_tensor_agrees(void **state) {
  (void)state;
  static const char *const grids[] = {
      "plan.width=16 plan.height=16",
      "plan.width=9 plan.height=6 train.precision=fp16",
      "plan.width=7 plan.height=5 train.precision=bf16",
      "plan.width=1 plan.height=3 machine.pe.sram_bytes=256KiB",
      "plan.width=13 plan.height=1 machine.pe.sram_bytes=256KiB",
      "model.position=learned model.activation=gelu model.tied=true model.bias=false plan.width=5 plan.height=8"};
  for (u32 i = 0; i < COUNT_OF(grids); i++) {
    stated s = state_run(SMALL "model.layers=1 train.batch=2 train.seq=12 ", grids[i]);
    number_check n;
    status st = {0};
    support_ok(check_numbers(&s.spec, NULL, s.memory, &n, &st), &st);
    if (n.first)
      fail_msg("%s: %s, made by %s, is %.2e away", grids[i], n.first->tensor, n.first->node, n.first->deviation);
    assert_true(n.row_count > 30);
    assert_true(n.cycles > 0);
    arena_destroy(s.memory);
  }
}

static void hit_the_first_product(fabric_step *f) {
  fabric_step_flip(f, first_product(f), 300);
}

// A wrong number is named where it was made, not where it shows.
static void a_wrong_tensor_is_named(void **state) {
  (void)state;
  stated s = state_run(SMALL, "model.layers=1 train.batch=2");
  number_check n;
  status st = {0};
  support_ok(check_numbers(&s.spec, hit_the_first_product, s.memory, &n, &st), &st);
  assert_non_null(n.first);
  assert_string_equal(n.first->tensor, "h0.attn.qkv");
  assert_true(n.first->deviation > n.limit);
  arena_destroy(s.memory);
}

static void what_does_not_fit_is_said(void **state) {
  (void)state;
  stated s = state_run(SMALL, "machine.pe.sram_bytes=12KiB");
  status st = {0};
  const fabric_step_setup *setup = fabric_step_wanted(&s.spec, &s.graph, &s.machine, s.memory);
  support_failed(fabric_step_open(setup, s.memory, &st) != NULL, &st, CODE_CONFIG, "the code alone has no room");
  arena_destroy(s.memory);
  s = state_run(SMALL, "machine.pe.sram_bytes=26200");
  setup = fabric_step_wanted(&s.spec, &s.graph, &s.machine, s.memory);
  st = (status){0};
  support_failed(fabric_step_open(setup, s.memory, &st) != NULL, &st, CODE_CONFIG, "a smaller model");
  arena_destroy(s.memory);
}

// What the plan states is obeyed or refused.
static void stated_plans_are_obeyed(void **state) {
  (void)state;
  stated s = state_run(SMALL, "plan.microbatch=2");
  double loss[1];
  assert_int_equal(fabric_step_microbatches(losses(&s, true, 1, 0, loss)), 2);
  arena_destroy(s.memory);
  s = state_run(SMALL, "plan.microbatch=3");
  status st = {0};
  const fabric_step_setup *setup = fabric_step_wanted(&s.spec, &s.graph, &s.machine, s.memory);
  support_failed(fabric_step_open(setup, s.memory, &st) != NULL, &st, CODE_CONFIG, "does not divide");
  arena_destroy(s.memory);
  s = state_run(SMALL, "plan.mode=pipelined");
  step_sim sim;
  st = (status){0};
  support_failed(step_sim_run(&s.spec, true, s.memory, &sim, &st), &st, CODE_CONFIG, "plan.mode");
  arena_destroy(s.memory);
}

// Time and counts depend on no number, and so does not the modelled step.
static void modelled_step_is_the_fabrics(void **state) {
  (void)state;
  stated s = state_run(SMALL, NULL);
  double loss[1];
  fabric_step *f = losses(&s, true, 1, 0, loss);
  step_sim sim;
  status st = {0};
  support_ok(step_sim_run(&s.spec, true, s.memory, &sim, &st), &st);
  assert_string_equal(sim.engine, "fabric");
  const double on_wafer = (double)fabric_step_cycles(f);
  assert_true(sim.result.cycles == on_wafer + sim.result.host_cycles);
  double phases = 0, resources = 0;
  for (u32 i = 0; i < sim.program.phase_count; i++) phases += sim.result.by_phase[i];
  for (u32 i = 0; i < RESOURCE_COUNT; i++) resources += sim.result.by_resource[i];
  assert_true(fabs(phases - on_wafer) < 1 && fabs(resources - sim.result.cycles) < 1);
  arena_destroy(s.memory);
}

// ---- recordings

static machine mesh;
static run_spec mesh_spec;

static const trainer_source *open_fabric(void *user, const graph *g, u32 batch, arena *a, status *st) {
  (void)user;
  fabric_step_setup s = *fabric_step_wanted(&mesh_spec, g, &mesh, a);
  s.batch = batch;
  s.keep = true;
  fabric_step *f = fabric_step_open(&s, a, st);
  return f ? fabric_step_source(f) : NULL;
}

static void recordings_replay_on_the_fabric(void **state) {
  (void)state;
  static const char *const files[] = {"sp_L1_N32", "completedp_L2_N32"};
  stated s = state_run(SMALL, NULL);
  mesh = s.machine;
  mesh_spec = s.spec;
  for (u32 i = 0; i < COUNT_OF(files); i++) {
    if (!support_shared()) skip();
    const char *path = arena_format(s.memory, "%s/golden/%s.safetensors", support_shared(), files[i]);
    if (!file_exists(path)) skip();
    const verify_options o = {
        .kernels = kernels_fast(), .limits = VERIFY_LIMITS_FP32, .threads = 1, .open_source = open_fabric};
    verify_result r;
    status st = {0};
    support_ok(verify_run(path, &o, s.memory, &r, &st), &st);
    if (!r.pass) fail_msg("%s: %s is beyond its limit", files[i], r.worst);
    assert_true(r.act_max_rel > 0);
  }
  arena_destroy(s.memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(trains_as_the_host_does),      cmocka_unit_test(trains_in_mixed_precision),
      cmocka_unit_test(one_bit_of_one_wavelet_shows), cmocka_unit_test(microbatches_add_up),
      cmocka_unit_test(every_tensor_agrees),          cmocka_unit_test(a_wrong_tensor_is_named),
      cmocka_unit_test(what_does_not_fit_is_said),    cmocka_unit_test(stated_plans_are_obeyed),
      cmocka_unit_test(modelled_step_is_the_fabrics), cmocka_unit_test(recordings_replay_on_the_fabric),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// A hundred steps by the fast kernels and by the definition: the loss curves agree to rounding, in fp32 and
// with operands rounded to bfloat16 and fp16, and recomputation changes no byte of them.
#include "tests/support.h"

#include <math.h>

#include "base/random.h"
#include "model/compute/trainer.h"
#include "tests/kernels_naive.h"

enum { STEPS = 100, SEQ = 24, BATCH = 4, VOCAB = 20 };

typedef struct curve {
  double loss[STEPS];
} curve;

static curve trained(const kernel_table *k, activation_kind activation, recompute_kind recompute) {
  arena *a = arena_create("test");
  model_spec m;
  train_options o;
  status st = {0};
  field_defaults(&model_table, &m);
  field_defaults(&train_table, &o);
  m.layers = 3, m.width = 32, m.heads = 4, m.vocab = VOCAB, m.activation = activation, m.base_width = 16;
  o.batch = BATCH, o.seq = SEQ, o.steps = STEPS, o.lr = 0.004, o.eps = 1e-8, o.recompute = recompute;
  graph g;
  support_ok(graph_build(&m, (base_hyper){o.lr, 0, o.eps}, SEQ, a, &g, &st), &st);
  trainer *t =
      trainer_create(&(trainer_setup){.graph = &g, .options = &o, .kernels = k, .seed = 3, .threads = 2}, a, &st);
  assert_non_null(t);
  curve c;
  u32 ids[BATCH * SEQ + 1];
  for (u32 s = 0; s < STEPS; s++) { // each token follows from the last, but for some noise
    for (u32 i = 0; i <= BATCH * SEQ; i++)
      ids[i] = i && random_below(1, RANDOM_TEST, s, i, 8) ? (ids[i - 1] * 3 + 1) % VOCAB
                                                          : (u32)random_below(2, RANDOM_TEST, s, i, VOCAB);
    c.loss[s] = trainer_step_on(t, ids, ids + 1).loss;
  }
  arena_destroy(a);
  return c;
}

static void compare(const kernel_table *fast, const kernel_table *naive, double limit) {
  for (activation_kind act = ACT_GELU; act <= ACT_RELU2; act++) {
    curve a = trained(fast, act, RECOMPUTE_NONE), b = trained(naive, act, RECOMPUTE_NONE);
    curve again = trained(fast, act, RECOMPUTE_BLOCK);
    double worst = 0;
    for (u32 s = 0; s < STEPS; s++) {
      worst = fmax(worst, fabs(a.loss[s] - b.loss[s]));
      assert_true(a.loss[s] == again.loss[s]);
    }
    if (getenv("WEFT_SHOW"))
      print_message("activation %d: %.4f to %.4f, worst %.2g\n", (int)act, a.loss[0], a.loss[STEPS - 1], worst);
    assert_true(a.loss[STEPS - 1] < 0.7 * a.loss[0]);
    if (!(worst <= limit)) fail_msg("curves part by %g", worst);
  }
}

static void fp32_curves(void **state) {
  (void)state;
  compare(kernels_fast(), kernels_naive(), 2e-5);
}

// A sum that ends on the other side of a rounding boundary moves by one part in 256.
static void bf16_curves(void **state) {
  (void)state;
  compare(kernels_fast_bf16(), kernels_naive_bf16(), 5e-3);
}

static void fp16_curves(void **state) {
  (void)state;
  compare(kernels_fast_fp16(), kernels_naive_fp16(), 1e-3);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fp32_curves), cmocka_unit_test(bf16_curves), cmocka_unit_test(fp16_curves)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

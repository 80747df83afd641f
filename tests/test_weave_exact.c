// Woven operations bit for bit. Sums of small whole numbers are exact in every order, so wherever what stands between
// them is exact too, the fabric must give what the definition gives (rounded once where results are 16-bit), on every
// grid. Linear layers and attention are in test_weave_linear.c and test_weave_attention.c, the embedding in
// test_weave_rest.c. What is not exact, and how it is tested:
//  - LayerNorm of any numbers divides by the width and by a root: here rows whose variance is a power of four.
//  - A softmax of several comparable numbers adds exponentials, whose sum depends on the order: here one is far above
//    the others (as in attention's test).
//  - GELU's definition is in double: here the same operations in F32, in the fabric's order.
#include "runtime/kernel_run.h"
#include "tests/kernels_naive.h"
#include "tests/weave_support.h"

#include <math.h>
#include <string.h>

typedef struct shape {
  u32 width, height, features, seq, sequences;
} shape;

// 1x1, 1xN, Nx1, sizes that divide nothing, grids larger than the tensor, several sequences per row, a sequence over
// rows.
static const shape shapes[] = {{1, 1, 6, 4, 1}, {5, 1, 13, 3, 2},  {1, 4, 7, 8, 1}, {4, 3, 10, 5, 7},
                               {7, 5, 4, 6, 2}, {3, 6, 11, 12, 2}, {8, 8, 24, 8, 8}};

// Expects every element of the tensor, rounded to the type in which the PEs hold it.
static void expect(const weave_case *c, u32 t, const float *want, const char *what) {
  const tensor_kind kind = c->tensors[t].kind;
  const bool inside = kind == TENSOR_ACT || kind == TENSOR_ACT_GRAD;
  for (size_t i = 0; i < weave_case_elements(c, t); i++) {
    float rounded = want[i];
    if (inside) {
      u32 bytes = 0;
      kernel_encode(c->step.places[t].type, &want[i], 1, &bytes);
      kernel_decode(c->step.places[t].type, &bytes, 1, &rounded);
    }
    if (c->values[t][i] != rounded)
      fail_msg("%s on %ux%u, %u sequences of %u tokens, type %u: element %zu is %.9g, not %.9g", what, c->step.width,
               c->step.height, c->sequences, c->g.seq, c->step.type, i, c->values[t][i], rounded);
  }
}

typedef void trial(const shape *s, df_type type);
static void on_all(trial *try) {
  for (u32 i = 0; i < COUNT_OF(shapes); i++)
    for (u32 type = DF_F32; type <= DF_BF16; type++) try(&shapes[i], (df_type)type);
}

static u32 act(weave_case *c, u32 cols) {
  return weave_case_tensor(c, TENSOR_ACT, 0, cols);
}
static u32 act_grad(weave_case *c, u32 cols) {
  return weave_case_tensor(c, TENSOR_ACT_GRAD, 0, cols);
}

// ---- LayerNorm

// Deviations from the mean, whose squares' mean is 4: +-2, and for odd widths 0 and +-1, +-3.
static i32 deviation(u32 i, u32 n) {
  static const i32 odd[] = {0, 3, 1, -1, -3};
  if (n % 2 && i < COUNT_OF(odd)) return odd[i];
  return i % 2 ? 2 : -2;
}

// Numbers across to 1 and to the deviations: what a norm's gradient leaves of dy.
static i32 across(u32 i, u32 n) {
  static const i32 odd[] = {0, 1, -3, 3, -1}, even[] = {1, 0, -1, 0};
  if (n % 2) return i < COUNT_OF(odd) ? odd[i] : 0;
  return i < COUNT_OF(even) ? even[i] : 0;
}

static void fill_norm(weave_case *c, u32 x, u32 dy, const float *g) {
  const u32 n = c->tensors[x].cols;
  c->given[x] = c->given[dy] = true;
  for (u32 t = 0; t < weave_case_tokens(c); t++) {
    const float mean = (float)(t % 5) - 2, size = t % 3 == 0 ? 1 : t % 3 == 1 ? -2 : 0.5f;
    for (u32 i = 0; i < n; i++) {
      const u32 k = (i + t) % n;
      const float d = (float)deviation(k, n);
      c->values[x][(size_t)t * n + i] = mean + size * d;
      // through the gain: a constant, a multiple of the deviations, and what is across to both
      c->values[dy][(size_t)t * n + i] = ((float)(t % 4) - 1 + (float)(t % 2) * d + 2 * (float)across(k, n)) / g[i];
    }
  }
}

static void try_norm(const shape *s, df_type type) {
  weave_case *c = weave_case_begin(s->seq, s->sequences, s->features, 1);
  const u32 n = s->features, x = act(c, n), g = weave_case_tensor(c, TENSOR_PARAM, 1, n),
            b = weave_case_tensor(c, TENSOR_PARAM, 1, n);
  const u32 y = act(c, n), stats = act(c, 2), dy = act_grad(c, n), dx = act_grad(c, n);
  const u32 dg = weave_case_tensor(c, TENSOR_PARAM_GRAD, 1, n), db = weave_case_tensor(c, TENSOR_PARAM_GRAD, 1, n);
  c->g.model.ln_eps = 0;
  weave_case_fill(c, b, 1, true);
  weave_case_fill(c, dx, 2, true);
  for (u32 i = 0; i < n; i++) c->values[g][i] = i % 3 == 0 ? 1 : i % 3 == 1 ? -2 : 0.5f;
  fill_norm(c, x, dy, c->values[g]);
  weave_case_node(c, OP_LAYERNORM, 1, TENSORS(x, g, b), TENSORS(y, stats));
  weave_case_node(c, OP_LAYERNORM_GRAD, 1, TENSORS(dy, x, g, stats), TENSORS(dx, dg, db))->accumulate = 7;
  float **want = weave_case_define(c, kernels_naive());
  weave_support_run(c, "cs3", s->width, s->height, type);
  const u32 made[] = {y, stats, dx, dg, db};
  for (u32 i = 0; i < COUNT_OF(made); i++) expect(c, made[i], want[made[i]], "norm");
  weave_case_end(c);
}

static void test_norm(void **state) {
  (void)state;
  on_all(try_norm);
}

// ---- value by value

static void try_elementwise(const shape *s, df_type type) {
  weave_case *c = weave_case_begin(s->seq, s->sequences, s->features, 1);
  const u32 n = s->features, x = act(c, n), y = act(c, n), z = act(c, n), dz = act_grad(c, n), dy = act_grad(c, n),
            dx = act_grad(c, n);
  c->g.model.activation = ACT_RELU2;
  weave_case_fill(c, x, 1, true);
  weave_case_fill(c, dz, 2, true);
  weave_case_fill(c, dx, 3, true);
  weave_case_node(c, OP_ACTIVATION, 1, TENSORS(x), TENSORS(y));
  weave_case_node(c, OP_RESIDUAL, 0.5, TENSORS(x, y), TENSORS(z));
  weave_case_node(c, OP_RESIDUAL_GRAD, 0.5, TENSORS(dz), TENSORS(dx, dy))->accumulate = 1;
  weave_case_node(c, OP_ACTIVATION_GRAD, 1, TENSORS(dy, x), TENSORS(dx))->accumulate = 1;
  float **want = weave_case_define(c, kernels_naive());
  weave_support_run(c, "cs3", s->width, s->height, type);
  const u32 made[] = {y, z, dx, dy};
  for (u32 i = 0; i < COUNT_OF(made); i++) expect(c, made[i], want[made[i]], "relu2 and residual");
  weave_case_end(c);
}

static void test_elementwise(void **state) {
  (void)state;
  on_all(try_elementwise);
}

// The fabric's operations on F32, in its order; `dy` NULL: forward.
static float gelu(float x, const float *dy) {
  const float cube = 0.044715f, root = (float)sqrt(2 / M_PI), slope = (float)(3 * 0.044715 * sqrt(2 / M_PI));
  const float s = tanhf((x * x * x * cube + x) * root);
  if (!dy) return (x * s + x) * 0.5f;
  return *dy * ((((x * x * slope + root) * x) * (1 - s * s) + s + 1) * 0.5f);
}

static float gelu_erf(float x, const float *dy) {
  const float s = erff(x * (float)M_SQRT1_2);
  if (!dy) return (x * s + x) * 0.5f;
  return *dy * (expf(x * x * -0.5f) * (float)(1 / sqrt(2 * M_PI)) * x + (s + 1) * 0.5f);
}

static void try_gelu_as(const shape *s, df_type type, activation_kind kind, float (*as)(float x, const float *dy)) {
  weave_case *c = weave_case_begin(s->seq, s->sequences, s->features, 1);
  const u32 n = s->features, x = act(c, n), y = act(c, n), dy = act_grad(c, n), dx = act_grad(c, n);
  c->g.model.activation = kind;
  const float *of = weave_case_fill(c, x, 1, true), *dy_of = weave_case_fill(c, dy, 2, true);
  weave_case_node(c, OP_ACTIVATION, 1, TENSORS(x), TENSORS(y));
  weave_case_node(c, OP_ACTIVATION_GRAD, 1, TENSORS(dy, x), TENSORS(dx));
  weave_support_run(c, "cs3", s->width, s->height, type);
  const size_t count = weave_case_elements(c, x);
  float *want_y = arena_array(c->memory, float, count), *want_dx = arena_array(c->memory, float, count);
  for (size_t i = 0; i < count; i++) {
    want_y[i] = as(of[i], NULL);
    want_dx[i] = as(of[i], &dy_of[i]);
  }
  expect(c, y, want_y, "gelu");
  expect(c, dx, want_dx, "gelu's slope");
  weave_case_end(c);
}

static void try_gelu(const shape *s, df_type type) {
  try_gelu_as(s, type, ACT_GELU, gelu);
  try_gelu_as(s, type, ACT_GELU_ERF, gelu_erf);
}

static void test_gelu(void **state) {
  (void)state;
  on_all(try_gelu);
}

// ---- loss

// One logit of a token is so far above the others that their exponentials vanish.
static void try_loss(const shape *s, df_type type) {
  weave_case *c = weave_case_begin(s->seq, s->sequences, s->features, 1);
  const u32 n = s->features, logits = act(c, n), targets = weave_case_tensor(c, TENSOR_TOKENS, 0, 1), loss = act(c, 1),
            dlogits = act_grad(c, n);
  weave_case_ids(c, targets, 2, n);
  c->g.loss = loss;
  c->g.targets = targets;
  c->given[logits] = true;
  for (u32 t = 0; t < weave_case_tokens(c); t++)
    for (u32 i = 0; i < n; i++)
      c->values[logits][(size_t)t * n + i] = i == (3 * t + 1) % n ? (float)(t % 4) : -128 - (float)(i + t % 7);
  weave_case_node(c, OP_LOSS, 1, TENSORS(logits, targets), TENSORS(loss));
  weave_case_node(c, OP_LOSS_GRAD, 0.5, TENSORS(logits, targets), TENSORS(dlogits));
  float **want = weave_case_define(c, kernels_naive());
  weave_support_run(c, "cs3", s->width, s->height, type);
  float sum = 0;
  for (u32 t = 0; t < weave_case_tokens(c); t++) sum += want[loss][t];
  assert_true(sum > 0);
  if (c->values[loss][0] != sum) fail_msg("%ux%u: loss %.9g, not %.9g", s->width, s->height, c->values[loss][0], sum);
  expect(c, dlogits, want[dlogits], "loss");
  weave_case_end(c);
}

static void test_loss(void **state) {
  (void)state;
  on_all(try_loss);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_norm),
      cmocka_unit_test(test_elementwise),
      cmocka_unit_test(test_gelu),
      cmocka_unit_test(test_loss),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

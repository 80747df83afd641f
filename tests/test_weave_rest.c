// Norms, activations, residuals, embedding and loss, woven: against the definitions in tests/kernels_naive.c.
#include "tests/kernels_naive.h"
#include "tests/weave_support.h"

#include <math.h>
#include <string.h>

typedef struct shape {
  u32 width, height, features, seq, sequences;
} shape;

// 1xN, Nx1, sizes that divide nothing, grids larger than the tensor, several sequences per row, a sequence over rows.
static const shape shapes[] = {{1, 1, 6, 4, 1}, {5, 1, 13, 3, 2},  {1, 4, 7, 8, 1}, {4, 3, 10, 5, 7},
                               {7, 5, 4, 6, 2}, {3, 6, 11, 12, 2}, {8, 8, 24, 8, 8}};

static void expect(const weave_case *c, u32 t, const float *want, double of_largest, const char *what, const shape *s) {
  const size_t n = weave_case_elements(c, t);
  double largest = 0;
  for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
  for (size_t i = 0; i < n; i++)
    if (!(fabs((double)c->values[t][i] - want[i]) <= of_largest * largest))
      fail_msg("%s on %ux%u, %u features, %u x %u tokens: element %zu is %.9g, not %.9g", what, s->width, s->height,
               s->features, s->sequences, s->seq, i, c->values[t][i], want[i]);
}

static double tolerance(df_type type) {
  return type == DF_F32 ? 2e-6 : type == DF_F16 ? 0x1p-10 : 0x1p-7;
}

typedef u32 case_nodes(weave_case *c, u32 features, bool accumulate, u32 ret_outs[4]); // how many tensors to compare

static u32 act(weave_case *c, u32 cols, bool gradient) {
  return weave_case_tensor(c, gradient ? TENSOR_ACT_GRAD : TENSOR_ACT, 0, cols);
}

static u32 norm_nodes(weave_case *c, u32 n, bool accumulate, u32 outs[4]) {
  const u32 x = act(c, n, false), g = weave_case_tensor(c, TENSOR_PARAM, 1, n),
            b = weave_case_tensor(c, TENSOR_PARAM, 1, n);
  const u32 y = act(c, n, false), stats = act(c, 2, false), dy = act(c, n, true), dx = act(c, n, true);
  const u32 dg = weave_case_tensor(c, TENSOR_PARAM_GRAD, 1, n), db = weave_case_tensor(c, TENSOR_PARAM_GRAD, 1, n);
  weave_case_fill(c, x, 1, false);
  weave_case_fill(c, g, 2, false);
  weave_case_fill(c, b, 3, false);
  weave_case_fill(c, dy, 4, false);
  if (accumulate) weave_case_fill(c, dx, 5, false);
  weave_case_node(c, OP_LAYERNORM, 1, TENSORS(x, g, b), TENSORS(y, stats));
  graph_node *grad = weave_case_node(c, OP_LAYERNORM_GRAD, 1, TENSORS(dy, x, g, stats), TENSORS(dx, dg, db));
  grad->accumulate = 6 | accumulate;
  const u32 all[] = {y, dx, dg, db};
  memcpy(outs, all, sizeof all);
  return 4;
}

static u32 elementwise_nodes(weave_case *c, u32 n, bool accumulate, u32 outs[4]) {
  const u32 x = act(c, n, false), y = act(c, n, false), z = act(c, n, false), dz = act(c, n, true),
            dy = act(c, n, true), dx = act(c, n, true);
  weave_case_fill(c, x, 1, false);
  weave_case_fill(c, dz, 2, false);
  if (accumulate) weave_case_fill(c, dx, 3, false);
  weave_case_node(c, OP_ACTIVATION, 1, TENSORS(x), TENSORS(y));
  weave_case_node(c, OP_RESIDUAL, 0.5, TENSORS(x, y), TENSORS(z));
  weave_case_node(c, OP_RESIDUAL_GRAD, 0.5, TENSORS(dz), TENSORS(dx, dy))->accumulate = accumulate;
  weave_case_node(c, OP_ACTIVATION_GRAD, 1, TENSORS(dy, x), TENSORS(dx))->accumulate = 1;
  const u32 all[] = {y, z, dx, dy};
  memcpy(outs, all, sizeof all);
  return 4;
}

static u32 loss_nodes(weave_case *c, u32 n, bool accumulate, u32 outs[4]) {
  const u32 l = act(c, n, false), targets = weave_case_tensor(c, TENSOR_TOKENS, 0, 1), loss = act(c, 1, false),
            dl = act(c, n, true);
  (void)accumulate;
  weave_case_fill(c, l, 1, false);
  weave_case_ids(c, targets, 2, n);
  c->g.loss = loss;
  c->g.targets = targets;
  weave_case_node(c, OP_LOSS, 1, TENSORS(l, targets), TENSORS(loss));
  weave_case_node(c, OP_LOSS_GRAD, 0.5, TENSORS(l, targets), TENSORS(dl));
  outs[0] = dl;
  return 1;
}

static void try_shapes(case_nodes *nodes, u32 activation, const char *what) {
  for (u32 i = 0; i < COUNT_OF(shapes); i++)
    for (u32 type = DF_F32; type <= DF_BF16; type++)
      for (u32 accumulate = 0; accumulate < 2; accumulate++) {
        const shape *s = &shapes[i];
        weave_case *c = weave_case_begin(s->seq, s->sequences, s->features, 1);
        c->g.model.activation = activation;
        u32 outs[4];
        const u32 count = nodes(c, s->features, accumulate, outs);
        float **want = weave_case_define(c, kernels_naive());
        weave_support_run(c, "cs3", s->width, s->height, (df_type)type);
        for (u32 k = 0; k < count; k++) expect(c, outs[k], want[outs[k]], 8 * tolerance((df_type)type), what, s);
        if (c->g.loss != GRAPH_NONE) {
          double sum = 0;
          for (u32 t = 0; t < weave_case_tokens(c); t++) sum += want[c->g.loss][t];
          if (!(fabs(sum - c->values[c->g.loss][0]) <= 8 * tolerance((df_type)type) * sum))
            fail_msg("loss %.9g, not %.9g", c->values[c->g.loss][0], sum);
        }
        weave_case_end(c);
      }
}

static void test_norm(void **state) {
  (void)state;
  try_shapes(norm_nodes, 0, "norm");
}

static void test_elementwise(void **state) {
  (void)state;
  try_shapes(elementwise_nodes, ACT_GELU, "gelu");
  try_shapes(elementwise_nodes, ACT_GELU_ERF, "gelu_erf");
  try_shapes(elementwise_nodes, ACT_RELU2, "relu2");
}

static void test_loss(void **state) {
  (void)state;
  try_shapes(loss_nodes, 0, "loss");
}

// In whole numbers nothing is rounded: what comes in at the edge goes out as it was, and through a residual.
static void test_embedding(void **state) {
  (void)state;
  for (u32 i = 0; i < COUNT_OF(shapes); i++)
    for (u32 type = DF_F32; type <= DF_BF16; type++) {
      const shape *s = &shapes[i];
      weave_case *c = weave_case_begin(s->seq, s->sequences, s->features, 1);
      const u32 tokens = weave_case_tensor(c, TENSOR_TOKENS, 0, 1), x = act(c, s->features, false),
                dx = act(c, s->features, true), branch = act(c, s->features, true);
      const u32 wte = weave_case_tensor(c, TENSOR_PARAM, 1, s->features),
                dwte = weave_case_tensor(c, TENSOR_PARAM_GRAD, 1, s->features);
      weave_case_fill(c, x, 7, true);
      weave_case_node(c, OP_EMBED, 1, TENSORS(tokens, wte), TENSORS(x));
      weave_case_node(c, OP_RESIDUAL_GRAD, 2, TENSORS(x), TENSORS(dx, branch));
      weave_case_node(c, OP_EMBED_GRAD, 1, TENSORS(dx, tokens), TENSORS(dwte));
      float *before = arena_array(c->memory, float, weave_case_elements(c, x));
      memcpy(before, c->values[x], weave_case_elements(c, x) * sizeof(float));
      c->given[x] = false; // only the stream brings it
      weave_support_run(c, "cs3", s->width, s->height, (df_type)type);
      for (u32 k = 0; k < weave_case_tokens(c) * s->features; k++) {
        assert_true(c->values[x][k] == before[k]);
        assert_true(c->values[branch][k] == 2 * before[k]);
        assert_true(c->values[dx][k] == 2 * before[k]); // as read from the PEs, and once more as it left
      }
      weave_case_end(c);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_norm),
      cmocka_unit_test(test_elementwise),
      cmocka_unit_test(test_loss),
      cmocka_unit_test(test_embedding),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Attention and its gradient woven for grids of all kinds, against the definition in plain loops.
#include "tests/kernels_naive.h"
#include "tests/weave_support.h"

#include <math.h>
#include <string.h>

typedef struct shape {
  u32 seq, sequences, heads, head; // tokens; features of a head
  u32 width, height;               // of the grid
  u32 seq_rows, spread;            // what the grid comes to: rows of a sequence, columns of a head
} shape;

static const shape shapes[] = {
    {8, 3, 4, 4, 1, 1, 1, 1},    // all in one PE
    {8, 3, 4, 4, 3, 2, 1, 1},    // 2, 1, 1 heads by 2, 1 sequences
    {8, 3, 4, 4, 4, 1, 1, 1},    // 1xN
    {8, 3, 4, 4, 9, 1, 1, 2},    // a column more than heads have use for
    {8, 3, 4, 4, 20, 4, 1, 4},   // larger than the tensor
    {8, 3, 4, 4, 1, 7, 2, 1},    // Nx1, several heads over two rows
    {8, 3, 4, 4, 20, 14, 4, 4},  // 4 x 4 PEs to a head and sequence
    {12, 2, 3, 6, 2, 7, 3, 1},   // 2, 1 heads over three rows
    {12, 2, 3, 6, 9, 6, 3, 3},   // three columns to a head
    {12, 2, 3, 6, 7, 8, 4, 2},   // four rows, two columns
    {12, 2, 3, 6, 1, 24, 12, 1}, // a token to a row
    {9, 1, 1, 5, 5, 3, 3, 5},    // sizes that are odd: 16-bit values in halves of words
    {9, 4, 5, 3, 4, 3, 1, 1},    // 2, 1, 1, 1 heads by 2, 1, 1 sequences
    {24, 1, 2, 8, 16, 2, 2, 8},  // columns of a head divide the exponents
    {24, 1, 1, 8, 8, 4, 4, 8},   // as many as a row has queries
    {24, 2, 1, 8, 9, 1, 1, 8},   // with whole sequences
    {48, 1, 1, 4, 2, 1, 1, 2},   // lines long enough for microthreads to be in each other's time
    {1, 2, 2, 2, 3, 3, 1, 1},    // a key to a query
};

typedef struct subject {
  weave_case *c;
  u32 qkv, y, lse, dy, dqkv;
} subject;

static subject begin(const shape *s, bool alibi, double scale) {
  subject t = {.c = weave_case_begin(s->seq, s->sequences, s->heads * s->head, s->heads)};
  const u32 width = s->heads * s->head;
  t.c->g.model.position = alibi ? POSITION_ALIBI : POSITION_NONE;
  t.qkv = weave_case_tensor(t.c, TENSOR_ACT, 0, 3 * width);
  t.y = weave_case_tensor(t.c, TENSOR_ACT, 0, width);
  t.lse = weave_case_tensor(t.c, TENSOR_ACT, 0, s->heads);
  t.dy = weave_case_tensor(t.c, TENSOR_ACT_GRAD, 0, width);
  t.dqkv = weave_case_tensor(t.c, TENSOR_ACT_GRAD, 0, 3 * width);
  weave_case_twin(t.c, t.qkv, t.dqkv);
  weave_case_twin(t.c, t.y, t.dy);
  weave_case_node(t.c, OP_ATTENTION, scale, TENSORS(t.qkv), TENSORS(t.y, t.lse));
  weave_case_node(t.c, OP_ATTENTION_GRAD, scale, TENSORS(t.dy, t.qkv, t.y, t.lse), TENSORS(t.dqkv));
  return t;
}

static void run(const subject *t, const shape *s, df_type type) {
  weave_support_run(t->c, "cs3", s->width, s->height, type);
  assert_int_equal(t->c->step.tokens.seq_rows, s->seq_rows);
  assert_int_equal(t->c->step.places[t->qkv].axis.unit * s->spread, s->head);
}

// The logarithm that a column keeps of its local head at a token of its row.
static float kept(const subject *t, u32 x, u32 y, u32 local, u32 token) {
  const weave_place *p = &t->c->step.places[t->lse];
  float value;
  memcpy(&value,
         t->c->w.memory + ((size_t)y * t->c->step.width + x) * t->c->step.data_bytes + p->address + local * p->pitch +
             4 * token,
         sizeof value);
  return value;
}

// Largest difference of what columns keep from [token][head].
static double lse_error(const subject *t, const float *expected) {
  const weave_axis *axis = &t->c->step.places[t->qkv].axis;
  const u32 heads = t->c->g.model.heads, head = t->c->g.model.width / heads;
  double worst = 0;
  for (u32 y = 0; y < t->c->step.tokens.rows; y++)
    for (u32 x = 0; x < axis->parts; x++)
      for (u32 k = 0; k < (weave_tile(axis, x) + head - 1) / head; k++)
        for (u32 i = 0; i < weave_row_tokens(&t->c->step.tokens, y); i++) {
          const size_t at =
              (size_t)(weave_row_first(&t->c->step.tokens, y) + i) * heads + weave_first(axis, x) / head + k;
          worst = fmax(worst, fabs(kept(t, x, y, k, i) - (double)expected[at]));
        }
  return worst;
}

static double error_of(const subject *t, u32 tensor, const float *expected) {
  double worst = 0;
  for (size_t i = 0; i < (size_t)weave_case_tokens(t->c) * t->c->tensors[tensor].cols; i++)
    worst = fmax(worst, fabs(t->c->values[tensor][i] - (double)expected[i]));
  return worst;
}

// What rounding may come to, in units of the last place of 1: sums of up to 12 keys in F32, results rounded once; in
// the gradient, y as well.
static double allowed(df_type type, double in_f32, double in_16_bit) {
  return type == DF_F32 ? in_f32 * 0x1p-24 : in_16_bit * (type == DF_F16 ? 0x1p-11 : 0x1p-8);
}

static void check_random(const shape *s, bool alibi, df_type type) {
  const subject t = begin(s, alibi, 0.75);
  weave_case_fill(t.c, t.qkv, 1, false);
  weave_case_fill(t.c, t.dy, 2, false);
  float **expected = weave_case_define(t.c, kernels_naive());
  run(&t, s, type);
  assert_true(error_of(&t, t.y, expected[t.y]) <= allowed(type, 8, 1));
  assert_true(error_of(&t, t.dqkv, expected[t.dqkv]) <= allowed(type, 16, 2));
  assert_true(lse_error(&t, expected[t.lse]) <= 16 * 0x1p-24);
  weave_case_end(t.c);
}

static void check_shapes(bool alibi) {
  for (u32 i = 0; i < COUNT_OF(shapes); i++)
    for (u32 type = DF_F32; type <= DF_BF16; type++) check_random(&shapes[i], alibi, (df_type)type);
}

static void test_equals_definition(void **state) {
  (void)state;
  check_shapes(false);
}

static void test_equals_definition_with_alibi(void **state) {
  (void)state;
  check_shapes(true);
}

// Each query sees one key far above the others: score 2 a j - j j is largest at key a, by 128 after the scale, so that
// the others' exponents are 0 in F32. j j is in two features, for BF16.
static u32 seen_key(u32 query) {
  return (query * 7 + 3) % (query + 1);
}

static void write_codes(const subject *t, float *qkv) {
  const u32 width = t->c->g.model.width, heads = t->c->g.model.heads, head = width / heads;
  for (u32 at = 0; at < weave_case_tokens(t->c); at++)
    for (u32 h = 0; h < heads; h++) {
      const u32 j = at % t->c->g.seq;
      float *q = qkv + (size_t)at * 3 * width + h * head, *k = q + width;
      for (u32 f = 0; f < head; f++) q[f] = k[f] = 0;
      q[0] = 2 * (float)seen_key(j), q[1] = -16, q[2] = -1;
      k[0] = (float)j, k[1] = (float)(j * j / 16), k[2] = (float)(j * j % 16);
    }
}

// dv of a key is the sum of dy of the queries that see it; softmax is flat there, so q and k have no gradient.
static void check_gradient_of_codes(const subject *t) {
  const u32 width = t->c->g.model.width, seq = t->c->g.seq;
  const float *dy = t->c->values[t->dy];
  for (u32 at = 0; at < weave_case_tokens(t->c); at++)
    for (u32 f = 0; f < width; f++) {
      const float *d = t->c->values[t->dqkv] + (size_t)at * 3 * width + f;
      float sum = 0;
      for (u32 i = 0; i < seq; i++)
        if (seen_key(i) == at % seq) sum += dy[(size_t)(at / seq * seq + i) * width + f];
      assert_true(d[0] == 0 && d[width] == 0 && d[2 * width] == sum);
    }
}

static void check_whole(const shape *s, df_type type) {
  const subject t = begin(s, false, 128);
  float *qkv = weave_case_fill(t.c, t.qkv, 3, true);
  weave_case_fill(t.c, t.dy, 4, true);
  write_codes(&t, qkv);
  run(&t, s, type);
  const u32 width = t.c->g.model.width, seq = s->seq;
  for (u32 at = 0; at < weave_case_tokens(t.c); at++)
    for (u32 f = 0; f < width; f++)
      assert_true(t.c->values[t.y][(size_t)at * width + f] ==
                  qkv[(size_t)(at / seq * seq + seen_key(at % seq)) * 3 * width + 2 * width + f]);
  check_gradient_of_codes(&t);
  weave_case_end(t.c);
}

static void test_whole_numbers_are_exact(void **state) {
  (void)state;
  for (u32 i = 0; i < COUNT_OF(shapes); i++)
    for (u32 type = DF_F32; type <= DF_BF16 && shapes[i].head >= 3; type++) check_whole(&shapes[i], (df_type)type);
}

// More heads than ALiBi's slopes along columns are affine in, and a number that is no power of two.
static void test_many_heads(void **state) {
  (void)state;
  static const shape many[] = {{6, 1, 16, 2, 16, 2, 2, 1}, {6, 1, 12, 2, 24, 1, 1, 2}, {4, 1, 20, 32, 640, 1, 1, 32}};
  for (u32 i = 0; i < COUNT_OF(many); i++)
    for (u32 alibi = 0; alibi < 2; alibi++) check_random(&many[i], alibi, DF_F32);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_equals_definition),
      cmocka_unit_test(test_equals_definition_with_alibi),
      cmocka_unit_test(test_whole_numbers_are_exact),
      cmocka_unit_test(test_many_heads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

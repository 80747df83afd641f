// Both engines on small models, phase by phase: how far apart they may be, operation by operation. The bounds are a
// ratchet: what is measured (docs/PARITY.md) and a little, to be made smaller when a description or a law gets better.
#include "tests/support.h"

#include "runtime/parity.h"

#include <math.h>
#include <string.h>

typedef struct bound {
  u32 op;               // graph_op
  double median, worst; // of |flow / fabric - 1|, in percent
} bound;

static const bound bounds_fp16[] = {
    {OP_EMBED, 64.7, 83.7},         {OP_LAYERNORM, 1.0, 1.9},        {OP_LINEAR, 4.2, 57.6},
    {OP_ATTENTION, 45.3, 69.3},     {OP_RESIDUAL, 1.1, 1.9},         {OP_ACTIVATION, 4.1, 6.6},
    {OP_LOSS, 8.9, 14.5},           {OP_LOSS_GRAD, 16.6, 64.7},      {OP_LINEAR_GRAD_W, 10.4, 60.2},
    {OP_LINEAR_GRAD_X, 3.9, 59.1},  {OP_LAYERNORM_GRAD, 2.0, 3.5},   {OP_RESIDUAL_GRAD, 2.0, 4.1},
    {OP_ACTIVATION_GRAD, 1.1, 1.8}, {OP_ATTENTION_GRAD, 34.0, 65.2}, {OP_EMBED_GRAD, 57.1, 80.4},
};
static const bound bounds_fp32[] = {
    {OP_EMBED, 77.4, 92.8},
    {OP_LAYERNORM, 0.8, 1.5},
    {OP_LINEAR, 4.7, 35.0},
    {OP_ATTENTION, 22.9, 55.4},
    {OP_RESIDUAL, 18.9, 29.0},
    {OP_ACTIVATION, 20.6, 30.5},
    {OP_LOSS, 7.8, 12.6},
    {OP_LOSS_GRAD, 38.7, 143.3},
    {OP_LINEAR_GRAD_W, 46.1, 69.9},
    {OP_LINEAR_GRAD_X, 3.1, 34.8},
    {OP_LAYERNORM_GRAD, 8.1, 10.7},
    {OP_RESIDUAL_GRAD, 27.1, 44.6},
    {OP_ACTIVATION_GRAD, 14.1, 20.4},
    {OP_ATTENTION_GRAD, 30.9, 39.6},
    {OP_EMBED_GRAD, 70.8, 94.6},
};

static parity run(arena *a) {
  parity p;
  status st = {0};
  support_ok(parity_run(true, a, &p, &st), &st);
  return p;
}

static void expect(const parity *p, const char *precision, const bound *bounds, u32 count, arena *a) {
  u32 rows = 0;
  for (u32 i = 0; i < count; i++) {
    const parity_summary s = parity_summarize(p, bounds[i].op, precision, a);
    const char *name = graph_op_name((graph_op)bounds[i].op);
    if (!s.rows) fail_msg("%s: no row of %s", precision, name);
    if (100 * s.median > bounds[i].median) fail_msg("%s %s: median of %.1f%%", precision, name, 100 * s.median);
    if (100 * fabs(s.worst->error) > bounds[i].worst)
      fail_msg("%s %s: %+.1f%% in %s on %ux%u", precision, name, 100 * s.worst->error, s.worst->node, s.worst->of.width,
               s.worst->of.height);
    rows += s.rows;
  }
  u32 of_precision = 0;
  for (u32 i = 0; i < p->count; i++) of_precision += strcmp(p->rows[i].of.precision, precision) == 0;
  assert_int_equal(rows, of_precision); // every operation has its bound
}

static void cycles_are_within_the_bounds(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const parity p = run(a);
  expect(&p, "fp16", bounds_fp16, COUNT_OF(bounds_fp16), a);
  expect(&p, "fp32", bounds_fp32, COUNT_OF(bounds_fp32), a);
  arena_destroy(a);
}

// Multiply-adds, but of attention and the loss's gradient, which flow does otherwise, and of gradients of weights where
// sequences are dealt otherwise over rows.
static void products_are_equal(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const parity p = run(a);
  for (u32 i = 0; i < p.count; i++) {
    const parity_row *r = &p.rows[i];
    const bool otherwise = r->op == OP_ATTENTION || r->op == OP_ATTENTION_GRAD || r->op == OP_LOSS_GRAD;
    if (otherwise || r->fabric_counts.tasks != r->flow_counts.tasks || r->fabric_counts.macs == r->flow_counts.macs)
      continue;
    fail_msg("%s on %ux%u: %llu multiply-adds, flow says %llu", r->node, r->of.width, r->of.height,
             (unsigned long long)r->fabric_counts.macs, (unsigned long long)r->flow_counts.macs);
  }
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(cycles_are_within_the_bounds),
                                     cmocka_unit_test(products_are_equal)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

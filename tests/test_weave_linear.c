// Linear layers on the fabric and their backward products, beside the naive definition: whole numbers bit for bit,
// others to a tolerance, on grids that fit and grids that do not.
#include "tests/kernels_naive.h"
#include "tests/weave_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct linear_case {
  graph_op op;
  u32 in, out; // features: of x and y, whatever the operation
  u32 seq, sequences;
  u32 width, height; // of the grid
  u32 heads;         // not 0: y is query, key and value of attention with so many heads
  bool bias, accumulate;
  double scale;
  df_type type;
  bool axpy_fp32;
  const char *machine; // NULL: cs3
  const char *changes; // of the machine
} linear_case;

enum { X, Y, W, BIAS, TENSORS_OF_CASE };

enum { NAME = 160 };
static const char *name_of(const linear_case *l, char out[NAME]) {
  snprintf(out, NAME, "%s %u -> %u%s%s, %u sequences of %u, grid %ux%u, heads %u, scale %g, type %d%s",
           graph_op_name(l->op), l->in, l->out, l->bias ? " bias" : "", l->accumulate ? " added" : "", l->sequences,
           l->seq, l->width, l->height, l->heads, l->scale, (int)l->type, l->axpy_fp32 ? " in fp32" : "");
  return out;
}

static weave_case *case_of(const linear_case *l, bool whole, u32 t[TENSORS_OF_CASE]) {
  weave_case *c = weave_case_begin(l->seq, l->sequences, l->heads ? l->out / 3 : l->out, l->heads ? l->heads : 1);
  const bool reduces = l->op == OP_LINEAR_GRAD_W;
  const tensor_kind act = l->op == OP_LINEAR ? TENSOR_ACT : TENSOR_ACT_GRAD;
  t[X] = weave_case_tensor(c, act, 0, l->in);
  t[Y] = weave_case_tensor(c, act, 0, l->out);
  t[W] = weave_case_tensor(c, reduces ? TENSOR_PARAM_GRAD : TENSOR_PARAM, l->out, l->in);
  t[BIAS] = l->bias ? weave_case_tensor(c, reduces ? TENSOR_PARAM_GRAD : TENSOR_PARAM, 1, l->out) : GRAPH_NONE;
  for (u32 i = 0; i < TENSORS_OF_CASE; i++)
    if (t[i] != GRAPH_NONE) weave_case_fill(c, t[i], 7, whole);
  graph_node *n = NULL;
  if (l->op == OP_LINEAR) n = weave_case_node(c, l->op, l->scale, TENSORS(t[X], t[W], t[BIAS]), TENSORS(t[Y]));
  if (l->op == OP_LINEAR_GRAD_X) n = weave_case_node(c, l->op, l->scale, TENSORS(t[Y], t[W]), TENSORS(t[X]));
  if (reduces) n = weave_case_node(c, l->op, l->scale, TENSORS(t[Y], t[X]), TENSORS(t[W], t[BIAS]));
  n->accumulate = reduces ? 3 : l->accumulate;
  if (l->heads) { // an attention that divides y by heads; it is not woven
    const u32 end = c->g.backward_end, mixed = weave_case_tensor(c, act, 0, l->out / 3);
    weave_case_node(c, OP_ATTENTION, 1, TENSORS(t[Y]), TENSORS(mixed));
    c->g.forward_end = c->g.node_count;
    c->g.backward_end = end;
  }
  return c;
}

static void compare(const linear_case *l, const weave_case *got, float *const *want, u32 tensor, double tolerance) {
  const size_t count = weave_case_elements(got, tensor);
  for (size_t i = 0; i < count; i++) {
    const float a = got->values[tensor][i], b = want[tensor][i];
    if (!(fabs((double)a - b) <= tolerance))
      fail_msg("%s: element %zu of %zu of tensor %u is %.9g, it should be %.9g", name_of(l, (char[NAME]){0}), i, count,
               tensor, a, b);
  }
}

// Returns cycles.
static u64 check(const linear_case *l, bool whole, double tolerance) {
  u32 t[TENSORS_OF_CASE];
  weave_case *got = case_of(l, whole, t);
  float **want = weave_case_define(got, kernels_naive());
  got->axpy_fp32 = l->axpy_fp32;
  const machine m = sim_machine(l->machine ? l->machine : "cs3", l->changes);
  weave_support_run_on(got, &m, l->width, l->height, l->type);
  const graph_node *n = &got->nodes[0];
  for (u32 k = 0; k < NODE_OUT_MAX; k++)
    if (n->out[k] != GRAPH_NONE) compare(l, got, want, n->out[k], tolerance);
  const u64 cycles = got->cycles;
  weave_case_end(got);
  return cycles;
}

// Grids, and what lies on them: in, out, seq, sequences, width, height, heads.
static const linear_case shapes[] = {
    {.in = 6, .out = 6, .seq = 4, .sequences = 2, .width = 1, .height = 1},
    {.in = 8, .out = 12, .seq = 3, .sequences = 2, .width = 4, .height = 1},
    {.in = 5, .out = 4, .seq = 4, .sequences = 3, .width = 1, .height = 3},
    {.in = 7, .out = 10, .seq = 5, .sequences = 5, .width = 4, .height = 3}, // divides nothing; rows differ
    {.in = 13, .out = 4, .seq = 4, .sequences = 1, .width = 8, .height = 4}, // columns without outputs; one sequence
    {.in = 3, .out = 9, .seq = 6, .sequences = 2, .width = 7, .height = 7},  // columns without inputs; spare rows
    {.in = 3, .out = 2, .seq = 2, .sequences = 1, .width = 6, .height = 5},  // a grid larger than either
    {.in = 2, .out = 7, .seq = 3, .sequences = 1, .width = 6, .height = 2},
    {.in = 1, .out = 6, .seq = 4, .sequences = 2, .width = 5, .height = 2},
    {.in = 29, .out = 11, .seq = 3, .sequences = 4, .width = 2, .height = 2},  // two columns with many features each
    {.in = 16, .out = 10, .seq = 39, .sequences = 5, .width = 5, .height = 7}, // east of a sender goes faster than west
    {.in = 4, .out = 6, .seq = 40, .sequences = 1, .width = 3, .height = 1},   // long instructions
    {.in = 10, .out = 12, .seq = 4, .sequences = 2, .width = 3, .height = 2, .heads = 2}, // heads in columns
    {.in = 10, .out = 24, .seq = 4, .sequences = 2, .width = 6, .height = 4, .heads = 2}, // columns share a head
    {.in = 3, .out = 24, .seq = 4, .sequences = 2, .width = 5, .height = 2, .heads = 4},
    {.in = 40, .out = 30, .seq = 3, .sequences = 2, .width = 2, .height = 2, .heads = 5},
};

static const struct {
  bool bias, accumulate;
  double scale;
} variants[] = {{false, false, 1},  {true, false, 1},    {true, true, 1},
                {false, true, 0.5}, {true, false, 0.25}, {true, true, 2}};

static void check_all(linear_case of, bool whole, double tolerance) {
  for (u32 i = 0; i < COUNT_OF(shapes); i++)
    for (u32 k = 0; k < COUNT_OF(variants); k++) {
      linear_case l = shapes[i];
      l.op = of.op;
      l.type = of.type;
      l.axpy_fp32 = of.axpy_fp32;
      l.machine = of.machine;
      l.bias = variants[k].bias && l.op != OP_LINEAR_GRAD_X;
      l.accumulate = variants[k].accumulate;
      l.scale = variants[k].scale;
      check(&l, whole, tolerance);
    }
}

static void each_operation(linear_case of) {
  const graph_op ops[] = {OP_LINEAR, OP_LINEAR_GRAD_X, OP_LINEAR_GRAD_W};
  for (u32 i = 0; i < COUNT_OF(ops); i++) {
    of.op = ops[i];
    check_all(of, true, 0);
  }
}

// The sums are small enough for every type to hold them.
static void test_whole_numbers(void **state) {
  (void)state;
  each_operation((linear_case){.type = DF_F32});
  each_operation((linear_case){.type = DF_F16});
  each_operation((linear_case){.type = DF_BF16});
  each_operation((linear_case){.type = DF_F16, .axpy_fp32 = true});
}

// Shallower queues and other rates.
static void test_another_machine(void **state) {
  (void)state;
  each_operation((linear_case){.type = DF_F16, .machine = "cs2"});
  each_operation((linear_case){.type = DF_F32, .machine = "mesh16"});
}

static void test_random_numbers(void **state) {
  (void)state;
  check_all((linear_case){.op = OP_LINEAR, .type = DF_F32}, false, 1e-5);
  check_all((linear_case){.op = OP_LINEAR_GRAD_X, .type = DF_F32}, false, 1e-5);
  check_all((linear_case){.op = OP_LINEAR_GRAD_W, .type = DF_F32}, false, 1e-5);
  // a result below 16 is rounded by at most 2^-8 in F16, 2^-5 in BF16, twice where it is scaled and added; sums in
  // 16 bit once per term
  check_all((linear_case){.op = OP_LINEAR, .type = DF_F16, .axpy_fp32 = true}, false, 0x1p-7);
  check_all((linear_case){.op = OP_LINEAR, .type = DF_F16}, false, 0x1p-6);
  check_all((linear_case){.op = OP_LINEAR_GRAD_X, .type = DF_BF16, .axpy_fp32 = true}, false, 0x1p-4);
  check_all((linear_case){.op = OP_LINEAR_GRAD_X, .type = DF_BF16}, false, 0x1p-3);
  check_all((linear_case){.op = OP_LINEAR_GRAD_W, .type = DF_F16}, false, 1e-5);
}

// Chains, dy and what else there is hide behind the products of the busiest PE.
static void test_overlap(void **state) {
  (void)state;
  const graph_op ops[] = {OP_LINEAR, OP_LINEAR_GRAD_X, OP_LINEAR_GRAD_W};
  const machine m = sim_machine("cs3", NULL);
  for (u32 i = 0; i < COUNT_OF(ops); i++)
    for (u32 n = 8; n <= 16; n *= 2) {
      const linear_case l = {.op = ops[i],
                             .in = 64,
                             .out = 64,
                             .seq = 8,
                             .sequences = n,
                             .width = n,
                             .height = n,
                             .scale = 1,
                             .type = DF_F16};
      const u64 products = 64 * 64 / n;
      const double work = timing_dsd(&m, i < 2 ? OPCODE_AXPY16 : OPCODE_DOT16, products, products * l.seq);
      const u64 cycles = check(&l, true, 0);
      if (!(work >= 0.8 * (double)cycles))
        fail_msg("%s: %llu cycles for %.0f of products", name_of(&l, (char[NAME]){0}), (unsigned long long)cycles,
                 work);
    }
}

// Sums and dy lie in other banks than the features beside which they are read, where rows have a multiple of four
// tokens.
static void test_banks(void **state) {
  (void)state;
  const graph_op ops[] = {OP_LINEAR, OP_LINEAR_GRAD_X, OP_LINEAR_GRAD_W};
  for (u32 i = 0; i < COUNT_OF(ops); i++)
    for (u32 seq = 4; seq <= 16; seq += 2) {
      linear_case l = {.op = ops[i], .in = 10, .out = 6, .seq = seq, .sequences = 2, .width = 2, .height = 2};
      l.type = seq % 8 ? DF_F16 : DF_BF16;
      l.scale = 1;
      const u64 cycles = check(&l, true, 0);
      l.changes = "pe.bank_conflict_factor=1";
      const u64 free_of = check(&l, true, 0);
      if (seq % 4 ? cycles <= free_of : cycles != free_of)
        fail_msg("%s: %llu cycles, %llu without conflicts", name_of(&l, (char[NAME]){0}), (unsigned long long)cycles,
                 (unsigned long long)free_of);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole_numbers),  cmocka_unit_test(test_another_machine),
      cmocka_unit_test(test_random_numbers), cmocka_unit_test(test_overlap),
      cmocka_unit_test(test_banks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// The fast kernels against the naive definition, operation by operation on the graphs of many models, with
// every scale and accumulation; every CPU level against every other, byte for byte; own mathematics against
// libm; and the definition's gradients against finite differences.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "model/compute/execute.h"
#include "model/compute/kernels_level.h"
#include "model/compute/train_options.h"
#include "tests/kernels_naive.h"

static arena *memory;

static int setup(void **s) {
  (void)s;
  memory = arena_create("test");
  return 0;
}

static int teardown(void **s) {
  (void)s;
  arena_destroy(memory);
  return 0;
}

// In [-1, 1], in steps of 2^-20: the same on every machine.
static float value_at(u32 stream, u64 index) {
  return (float)((double)random_below(7, RANDOM_TEST, stream, index, (1u << 21) + 1) / (1u << 20) - 1);
}

static void fill(float *to, size_t count, u32 stream) {
  for (size_t i = 0; i < count; i++) to[i] = value_at(stream, i);
}

// ---- own mathematics

typedef struct function_case {
  const char *name;
  double (*exact)(double);
  size_t member; // of kernels_level
  float low, high;
  double max_ulp;
} function_case;

static const function_case functions[] = {
    {"exp", exp, offsetof(kernels_level, exp), -87.2f, 88.2f, 1.1},
    {"tanh", tanh, offsetof(kernels_level, tanh), -9.5f, 9.5f, 2.0},
    {"tanh near 0", tanh, offsetof(kernels_level, tanh), -1e-3f, 1e-3f, 2.0},
    {"erf", erf, offsetof(kernels_level, erf), -4.5f, 4.5f, 2.0},
    {"erf near 0", erf, offsetof(kernels_level, erf), -1e-3f, 1e-3f, 2.0},
    {"log", log, offsetof(kernels_level, log), 1e-30f, 1.0f, 1.0},
    {"log near 1", log, offsetof(kernels_level, log), 0.5f, 2.0f, 1.0},
    {"log of large", log, offsetof(kernels_level, log), 1.0f, 1e30f, 1.0},
};

static vecmath_map *function_of(const kernels_level *l, const function_case *f) {
  vecmath_map *map;
  memcpy(&map, (const char *)l + f->member, sizeof map);
  return map;
}

static void test_function_errors(void **s) {
  (void)s;
  enum { N = 100003 };
  static float x[N], y[N], first[N];
  for (u32 k = 0; k < COUNT_OF(functions); k++) {
    const function_case *f = &functions[k];
    for (u32 i = 0; i < N; i++) x[i] = f->low + (f->high - f->low) * (float)i / (float)(N - 1);
    for (u32 l = 0; l < KERNELS_LEVELS; l++) {
      if (!kernels_level_get(l)) continue;
      function_of(kernels_level_get(l), f)(N, x, y);
      if (l == 0) memcpy(first, y, sizeof y);
      assert_memory_equal(first, y, sizeof y);
    }
    double worst = 0;
    for (u32 i = 0; i < N; i++) {
      double exact = f->exact(x[i]);
      double ulp = nextafterf(fabsf((float)exact), INFINITY) - (double)fabsf((float)exact);
      double error = fabs(y[i] - exact) / ulp;
      if (error > worst) worst = error;
    }
    if (getenv("WEFT_SHOW")) print_message("%-14s %.2f ulp\n", f->name, worst);
    if (worst > f->max_ulp) fail_msg("%s: %.2f ulp", f->name, worst);
  }
}

static void test_function_edges(void **s) {
  (void)s;
  const float x[] = {-INFINITY, -1000, -87.4f, 0, -0.0f, 1000, INFINITY, NAN, 40, -40};
  enum { N = COUNT_OF(x) };
  for (u32 l = 0; l < KERNELS_LEVELS; l++) {
    const kernels_level *k = kernels_level_get(l);
    if (!k) continue;
    float e[N], t[N], r[N];
    k->exp(N, x, e);
    k->tanh(N, x, t);
    k->erf(N, x, r);
    assert_true(e[0] == 0 && e[1] == 0 && e[2] == 0 && e[3] == 1 && e[4] == 1);
    assert_true(e[5] > 1e38f && e[5] < INFINITY && e[6] == e[5] && isnan(e[7]));
    assert_true(t[0] == -1 && t[3] == 0 && t[6] == 1 && isnan(t[7]) && t[8] == 1 && t[9] == -1);
    assert_true(r[0] == -1 && r[3] == 0 && r[6] == 1 && isnan(r[7]) && r[8] == 1 && r[9] == -1);
  }
}

// ---- the matrix product

typedef struct product {
  gemm_request r;
  float *a, *b, *start, *c;
} product;

static product product_of(u32 m, u32 n, u32 k, u32 flags) {
  product p = {.a = arena_array(memory, float, m * k), .b = arena_array(memory, float, n * k)};
  p.start = arena_array(memory, float, m * n);
  p.c = arena_array(memory, float, m * n);
  fill(p.a, (size_t)m * k, 1);
  fill(p.b, (size_t)n * k, 2);
  fill(p.start, (size_t)m * n, 3);
  p.r = (gemm_request){m, n, k, p.a, p.b, flags & 1, flags >> 1 & 1, p.c, flags & 4 ? 0.7f : 1.0f, flags >> 3 & 1};
  return p;
}

static double product_element(const gemm_request *r, const float *start, size_t i, size_t j) {
  double sum = 0;
  for (size_t q = 0; q < r->k; q++)
    sum += (double)r->a[r->a_transposed ? q * r->m + i : i * r->k + q] *
           r->b[r->b_transposed ? j * r->k + q : q * r->n + j];
  return r->alpha * sum + (r->accumulate ? start[i * r->n + j] : 0);
}

static void check_product(u32 m, u32 n, u32 k, u32 flags) {
  arena_mark mark = arena_save(memory);
  product p = product_of(m, n, k, flags);
  size_t size = (size_t)m * n;
  float *first = NULL;
  for (u32 l = 0; l < KERNELS_LEVELS; l++) {
    const kernels_level *level = kernels_level_get(l);
    if (!level) continue;
    memcpy(p.c, p.start, size * sizeof(float));
    level->gemm(&p.r, arena_array(memory, float, level->gemm_scratch_floats));
    if (!first) first = memcpy(arena_array(memory, float, size), p.c, size * sizeof(float));
    assert_memory_equal(first, p.c, size * sizeof(float));
  }
  double limit = 6e-8 * (k + 4); // half an ulp of 1 for each term
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      double exact = product_element(&p.r, p.start, i, j);
      if (fabs(exact - p.c[i * n + j]) > limit) fail_msg("%ux%ux%u flags %u at %zu %zu", m, n, k, flags, i, j);
    }
  arena_rewind(memory, mark);
}

static void test_products(void **s) {
  (void)s;
  static const u32 sizes[] = {1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 32, 33, 50};
  for (u32 i = 0; i < COUNT_OF(sizes); i++)
    for (u32 j = 0; j < COUNT_OF(sizes); j++)
      for (u32 flags = 0; flags < 16; flags++)
        check_product(sizes[i], sizes[j], sizes[(i * 5 + j * 3 + flags) % COUNT_OF(sizes)], flags);
  for (u32 flags = 0; flags < 16; flags++) { // beyond the blocks
    check_product(9, 70, 600, flags);
    check_product(70, 1000, 9, flags);
    check_product(33, 515, 257, flags);
  }
}

// ---- operation by operation

typedef struct shape {
  u32 layers, width, heads, vocab, seq;
  double mlp;
  u32 activation, position;
  bool tied, bias;
  u32 norm, block, attention, rotary_dims, rotary_layout;
} shape;

static graph built(const shape *h) {
  model_spec m;
  field_defaults(&model_table, &m);
  m.layers = h->layers, m.width = h->width, m.heads = h->heads, m.vocab = h->vocab, m.mlp = h->mlp;
  m.activation = h->activation, m.position = h->position, m.tied = h->tied, m.bias = h->bias;
  m.norm = h->norm, m.block = h->block, m.attention = h->attention;
  m.rotary_dims = h->rotary_dims, m.rotary_layout = h->rotary_layout;
  m.base_width = 16, m.embed_mult = 1.5;
  graph g;
  status st = {0};
  if (!graph_build(&m, (base_hyper){0.01, 0, 1e-8}, h->seq, memory, &g, &st)) fail_msg("%s", st.text);
  return g;
}

// Every tensor of a graph in memory of its own.
typedef struct tensors {
  const graph *g;
  float **data;
} tensors;

static size_t tensor_count(const graph *g, u32 t) {
  const graph_tensor *x = &g->tensors[t];
  bool per_token = x->kind != TENSOR_PARAM && x->kind != TENSOR_PARAM_GRAD && x->kind != TENSOR_SCALAR;
  return (size_t)(per_token ? g->seq : x->rows) * x->cols;
}

static void fill_param(const graph *g, u32 param, float *to) {
  u32 t = g->params[param];
  fill(to, tensor_count(g, t), 100 + param);
  bool gain = graph_param_is_gain(g, param), matrix = g->tensors[t].rows > 1;
  for (size_t i = 0; i < tensor_count(g, t); i++)
    to[i] = gain ? 1 + 0.25f * to[i] : matrix ? to[i] / sqrtf((float)g->tensors[t].cols) * 2 : 0.25f * to[i];
}

static void fill_ids(const graph *g, u32 stream, u32 *to, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = (u32)random_below(7, RANDOM_TEST, stream, i, g->model.vocab);
}

// An encoder predicts some tokens only.
static void fill_targets(const graph *g, u32 *to, size_t count) {
  fill_ids(g, 12, to, count);
  for (size_t i = 0; i < count; i++)
    if (g->model.attention == ATTENTION_BIDIRECTIONAL && i % 3 != 1) to[i] = TARGET_NONE;
}

static tensors filled(const graph *g) {
  tensors ts = {g, arena_array(memory, float *, g->tensor_count)};
  for (u32 t = 0; t < g->tensor_count; t++) ts.data[t] = arena_array(memory, float, tensor_count(g, t));
  for (u32 p = 0; p < g->param_count; p++) fill_param(g, p, ts.data[g->params[p]]);
  fill_ids(g, 11, (u32 *)(void *)ts.data[g->tokens], g->seq);
  fill_targets(g, (u32 *)(void *)ts.data[g->targets], g->seq);
  return ts;
}

static kernel_call call_of(const tensors *ts, const graph_node *n, float *const outs[NODE_OUT_MAX]) {
  kernel_call c = {.graph = ts->g, .node = n, .seq = ts->g->seq, .accumulate = n->accumulate, .loss_scale = 1.0 / ts->g->seq};
  for (u32 i = 0; i < NODE_IN_MAX; i++)
    if (n->in[i] != GRAPH_NONE) c.in[i] = ts->data[n->in[i]], c.in_cols[i] = ts->g->tensors[n->in[i]].cols;
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (n->out[i] != GRAPH_NONE) c.out[i] = outs[i], c.out_cols[i] = ts->g->tensors[n->out[i]].cols;
  return c;
}

static void compare(const char *what, const float *exact, const float *got, size_t count) {
  double top = 0, worst = 0;
  for (size_t i = 0; i < count; i++) {
    if (!(fabs((double)got[i] - exact[i]) <= worst)) worst = fabs((double)got[i] - exact[i]);
    if (fabs(exact[i]) > top) top = fabs(exact[i]);
  }
  if (!(worst <= 3e-6 * top + 1e-30)) fail_msg("%s: off by %g of %g", what, worst, top);
}

// Runs a table on copies of the outputs' present values.
static void run_copy(const kernel_table *k, const tensors *ts, const graph_node *n, float *outs[NODE_OUT_MAX]) {
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    outs[i] = NULL;
    if (n->out[i] == GRAPH_NONE) continue;
    size_t count = tensor_count(ts->g, n->out[i]);
    outs[i] = memcpy(arena_array(memory, float, count), ts->data[n->out[i]], count * sizeof(float));
  }
  kernel_call c = call_of(ts, n, outs);
  c.scratch = arena_array(memory, float, k->scratch_floats(ts->g) + 1);
  k->run[n->op](&c);
}

static const kernel_table *definition(precision_kind p) {
  return p == PRECISION_BF16 ? kernels_naive_bf16() : p == PRECISION_FP16 ? kernels_naive_fp16() : kernels_naive();
}

static const kernel_table *fast_table(u32 level, precision_kind p) {
  const kernels_level *k = kernels_level_get(level);
  return !k ? NULL : p == PRECISION_BF16 ? &k->bf16 : p == PRECISION_FP16 ? &k->fp16 : &k->table;
}

// Naive and all levels from the same state: levels agree in bytes, and with the definition.
static void check_precision(const tensors *ts, const graph_node *n, precision_kind p) {
  arena_mark mark = arena_save(memory);
  float *exact[NODE_OUT_MAX], *got[NODE_OUT_MAX], *first[NODE_OUT_MAX];
  run_copy(definition(p), ts, n, exact);
  for (u32 l = 0; l < KERNELS_LEVELS; l++) {
    if (!kernels_level_get(l)) continue;
    run_copy(fast_table(l, p), ts, n, got);
    if (l == 0) memcpy(first, got, sizeof got);
    for (u32 i = 0; i < NODE_OUT_MAX; i++) {
      if (!got[i]) continue;
      size_t count = tensor_count(ts->g, n->out[i]);
      if (memcmp(first[i], got[i], count * sizeof(float))) fail_msg("%s: level %u differs", n->name, l);
      if (l == 0) compare(n->name, exact[i], got[i], count);
    }
  }
  arena_rewind(memory, mark);
}

static void check_node(const tensors *ts, const graph_node *n) {
  bool linear = n->op == OP_LINEAR || n->op == OP_LINEAR_GRAD_X || n->op == OP_LINEAR_GRAD_W;
  for (precision_kind p = PRECISION_FP32; p <= (linear ? PRECISION_FP16 : PRECISION_FP32); p++) check_precision(ts, n, p);
}

// May this output of the operation be written as well as added to, by every table?
static bool free_accumulate(graph_op op) {
  switch (op) {
  case OP_LINEAR_GRAD_X: case OP_LINEAR_GRAD_W: case OP_LAYERNORM_GRAD: case OP_ATTENTION_GRAD:
  case OP_ACTIVATION_GRAD: case OP_RESIDUAL_GRAD: case OP_RMSNORM_GRAD: case OP_GATE_GRAD:
  case OP_ROTARY_GRAD: return true;
  default: return false;
  }
}

static void check_variants(const tensors *ts, const graph_node *n) {
  graph_node v = *n;
  check_node(ts, n);
  v.scale = -0.37;
  check_node(ts, &v);
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (n->out[i] != GRAPH_NONE && free_accumulate(n->op)) {
      v = *n;
      v.accumulate ^= 1u << i;
      check_node(ts, &v);
    }
  for (u32 i = 0; i < NODE_IN_MAX; i++) { // absent bias
    if (!(n->op == OP_LINEAR || n->op == OP_LAYERNORM) || i != 2 || n->in[i] == GRAPH_NONE) continue;
    v = *n;
    v.in[i] = GRAPH_NONE;
    check_node(ts, &v);
  }
}

static void check_shape(const shape *h) {
  arena_mark mark = arena_save(memory);
  graph g = built(h);
  tensors ts = filled(&g);
  for (u32 n = 0; n < g.backward_end; n++) {
    const graph_node *node = &g.nodes[n];
    check_variants(&ts, node);
    float *outs[NODE_OUT_MAX] = {0};
    for (u32 i = 0; i < NODE_OUT_MAX; i++)
      if (node->out[i] != GRAPH_NONE) outs[i] = ts.data[node->out[i]];
    kernel_call c = call_of(&ts, node, outs);
    kernels_naive()->run[node->op](&c);
  }
  arena_rewind(memory, mark);
}

static void test_operations(void **s) {
  (void)s;
  static const shape shapes[] = {
      {1, 16, 1, 17, 1, 4, ACT_RELU2, POSITION_ALIBI, false, .bias = true},
      {1, 8, 2, 256, 2, 2, ACT_GELU, POSITION_LEARNED, true, .bias = true},
      {2, 12, 3, 30, 7, 1.5, ACT_GELU_ERF, POSITION_NONE, false, .bias = false},
      {1, 36, 4, 65, 24, 4, ACT_GELU, POSITION_ALIBI, true, .bias = false},
      {1, 48, 3, 100, 25, 1, ACT_RELU2, POSITION_ALIBI, false, .bias = true},
      {1, 64, 4, 40, 33, 4, ACT_GELU_ERF, POSITION_LEARNED, false, .bias = true},
      {1, 66, 2, 50, 49, 0.5, ACT_GELU, POSITION_NONE, true, .bias = true},
      {1, 5, 5, 3, 50, 3, ACT_GELU, POSITION_ALIBI, false, .bias = true},
      {1, 128, 1, 33, 31, 1, ACT_RELU2, POSITION_ALIBI, false, .bias = true},
      {1, 34, 2, 700, 70, 9, ACT_GELU, POSITION_LEARNED, false, .bias = true},
      {1, 48, 3, 60, 37, 2.5, ACT_SWIGLU, POSITION_ROTARY, false, false, .norm = NORM_RMSNORM},
      {1, 40, 2, 30, 50, 1.1, ACT_SWIGLU, POSITION_ROTARY, false, true, .norm = NORM_RMSNORM, .rotary_dims = 6,
       .rotary_layout = ROTARY_INTERLEAVED},
      {2, 44, 2, 33, 26, 4, ACT_GELU, POSITION_ROTARY, false, true, .block = BLOCK_PARALLEL, .rotary_dims = 8,
       .rotary_layout = ROTARY_INTERLEAVED},
      {1, 6, 3, 9, 1, 1, ACT_SILU, POSITION_ROTARY, true, true, .norm = NORM_RMSNORM, .block = BLOCK_PARALLEL},
      {1, 36, 2, 600, 49, 4, ACT_GELU, POSITION_LEARNED, true, true, .attention = ATTENTION_BIDIRECTIONAL},
      {1, 20, 4, 17, 25, 1.3, ACT_SILU, POSITION_ALIBI, false, true, .attention = ATTENTION_BIDIRECTIONAL},
      {1, 132, 2, 17, 70, 0.5, ACT_SWIGLU, POSITION_ROTARY, false, true, .attention = ATTENTION_BIDIRECTIONAL},
  };
  for (u32 i = 0; i < COUNT_OF(shapes); i++) check_shape(&shapes[i]);
}

// Small integers: every order of summation is exact, so the definition and all levels agree in bytes.
static void test_exact_on_integers(void **s) {
  (void)s;
  shape h = {1, 40, 4, 60, 37, 3, ACT_RELU2, POSITION_ALIBI, false, .bias = true};
  graph g = built(&h);
  u64 hash = HASH_START;
  for (u32 n = 0; n < g.backward_end; n++) {
    graph_node node = g.nodes[n];
    bool linear = node.op == OP_LINEAR || node.op == OP_LINEAR_GRAD_X || node.op == OP_LINEAR_GRAD_W;
    if (!linear && node.op != OP_RESIDUAL && node.op != OP_EMBED && node.op != OP_EMBED_GRAD) continue;
    node.scale = 0.5;
    tensors ts = filled(&g);
    for (u32 t = 0; t < g.tensor_count; t++)
      for (size_t i = 0; g.tensors[t].kind != TENSOR_TOKENS && i < tensor_count(&g, t); i++)
        ts.data[t][i] = (float)random_below(9, RANDOM_TEST, t, i, 17) - 8;
    float *exact[NODE_OUT_MAX], *got[NODE_OUT_MAX];
    run_copy(kernels_naive(), &ts, &node, exact);
    run_copy(kernels_fast(), &ts, &node, got);
    for (u32 i = 0; i < NODE_OUT_MAX; i++) {
      if (!got[i]) continue;
      assert_memory_equal(exact[i], got[i], tensor_count(&g, node.out[i]) * sizeof(float));
      hash = hash_bytes(hash, got[i], tensor_count(&g, node.out[i]) * sizeof(float));
    }
  }
  assert_int_equal(hash, 0x5dab1ab7b111463bull);
}

// ---- the definition's gradients

typedef struct probe {
  const graph *g;
  executor *e;
  execute_batch batch;
  float **params, **grads;
} probe;

static probe probe_of(const graph *g, u32 batch) {
  status st = {0};
  probe p = {.g = g, .e = executor_create(g, kernels_naive(), batch, 1, memory, &st)};
  if (!p.e) fail_msg("%s", st.text);
  p.params = arena_array(memory, float *, g->param_count);
  p.grads = arena_array(memory, float *, g->param_count);
  for (u32 i = 0; i < g->param_count; i++) {
    p.params[i] = arena_array(memory, float, tensor_count(g, g->params[i]));
    p.grads[i] = arena_array(memory, float, tensor_count(g, g->params[i]));
    fill_param(g, i, p.params[i]);
  }
  u32 *inputs = arena_array(memory, u32, batch * g->seq), *targets = arena_array(memory, u32, batch * g->seq);
  fill_ids(g, 11, inputs, (size_t)batch * g->seq);
  fill_targets(g, targets, (size_t)batch * g->seq);
  p.batch = (execute_batch){batch, inputs, targets, p.params};
  return p;
}

// The loss with parameter `param` moved by `step` along +-1 per element.
static double loss_along(const probe *p, u32 param, double step) {
  size_t count = tensor_count(p->g, p->g->params[param]);
  float *original = p->params[param], *moved = arena_array(memory, float, count);
  for (size_t i = 0; i < count; i++)
    moved[i] = original[i] + (float)step * (value_at(900 + param, i) < 0 ? -1.0f : 1.0f);
  p->params[param] = moved;
  double loss = execute_forward(p->e, &p->batch);
  p->params[param] = original;
  return loss;
}

static void check_gradient(const probe *p, u32 param) {
  size_t count = tensor_count(p->g, p->g->params[param]);
  double along = 0, h = 0.02 / sqrt((double)count);
  for (size_t i = 0; i < count; i++) along += p->grads[param][i] * (value_at(900 + param, i) < 0 ? -1.0 : 1.0);
  double near = loss_along(p, param, h) - loss_along(p, param, -h);
  double far = loss_along(p, param, 2 * h) - loss_along(p, param, -2 * h);
  double numeric = (8 * near - far) / (12 * h);
  double noise = 3e-7 / h; // rounding of the loss
  if (fabs(numeric - along) > noise + 2e-3 * fabs(along))
    fail_msg("%s: %g by differences, %g by rule", p->g->tensors[p->g->params[param]].name, numeric, along);
}

static void test_finite_differences(void **s) {
  (void)s;
  static const shape shapes[] = {
      {2, 16, 2, 19, 6, 2, ACT_GELU, POSITION_LEARNED, true, .bias = true},
      {2, 12, 3, 13, 5, 1.5, ACT_GELU_ERF, POSITION_ALIBI, false, .bias = true},
      {1, 16, 4, 11, 9, 4, ACT_RELU2, POSITION_NONE, false, .bias = false},
      {2, 16, 2, 13, 6, 1.5, ACT_SWIGLU, POSITION_ROTARY, false, false, .norm = NORM_RMSNORM},
      {2, 16, 2, 13, 6, 2, ACT_GELU, POSITION_ROTARY, false, true, .block = BLOCK_PARALLEL, .rotary_dims = 4,
       .rotary_layout = ROTARY_INTERLEAVED},
      {1, 12, 2, 11, 7, 2, ACT_SILU, POSITION_LEARNED, true, true, .attention = ATTENTION_BIDIRECTIONAL},
      {1, 12, 3, 11, 7, 2, ACT_SWIGLU, POSITION_ALIBI, false, true, .norm = NORM_RMSNORM, .block = BLOCK_PARALLEL,
       .attention = ATTENTION_BIDIRECTIONAL},
  };
  for (u32 i = 0; i < COUNT_OF(shapes); i++) {
    graph g = built(&shapes[i]);
    probe p = probe_of(&g, 3);
    execute_gradients(p.e, &p.batch, p.grads);
    for (u32 param = 0; param < g.param_count; param++) check_gradient(&p, param);
  }
}

// Scores depend on the distance of two tokens only: the same q and the same k everywhere give rows of scores that
// are one row, moved; and turning back what was turned changes nothing.
static void test_rotary_is_relative(void **s) {
  (void)s;
  for (u32 layout = ROTARY_HALF; layout <= ROTARY_INTERLEAVED; layout++) {
    enum { SEQ = 600, WIDTH = 16, DIMS = 12, ROW = 3 * WIDTH };
    shape h = {1, WIDTH, 1, 9, SEQ, 1, ACT_GELU, POSITION_ROTARY, false, true, .rotary_dims = DIMS, .rotary_layout = layout};
    graph g = built(&h);
    static float x[SEQ * ROW], y[SEQ * ROW], back[SEQ * ROW];
    for (u32 i = 0; i < SEQ * ROW; i++) x[i] = value_at(3, i % ROW);
    kernel_call c = {.graph = &g, .seq = SEQ, .in = {x}, .out = {y}, .in_cols = {ROW}, .out_cols = {ROW}};
    c.scratch = arena_array(memory, float, kernels_fast()->scratch_floats(&g));
    kernels_fast()->run[OP_ROTARY](&c);
    for (u32 apart = 0; apart < 50; apart += 7) {
      double want = 0;
      for (u32 t = apart; t < SEQ; t += 31) {
        double score = 0;
        for (u32 i = 0; i < WIDTH; i++) score += (double)y[t * ROW + i] * y[(t - apart) * ROW + WIDTH + i];
        if (t == apart) want = score;
        if (fabs(score - want) > 3e-6) fail_msg("token %u, %u apart: %g, not %g", t, apart, score, want);
      }
    }
    c.in[0] = y, c.out[0] = back;
    kernels_fast()->run[OP_ROTARY_GRAD](&c);
    for (u32 i = 0; i < SEQ * ROW; i++) assert_true(fabs((double)back[i] - x[i]) < 5e-7);
  }
}

// The two layouts are one rotation of permuted features: pair i is (2i, 2i + 1) in one, (i, i + half) in the other.
static void test_rotary_layouts_are_permutations(void **s) {
  (void)s;
  enum { SEQ = 40, WIDTH = 16, DIMS = 8, ROW = 3 * WIDTH };
  float *y[2];
  for (u32 layout = ROTARY_HALF; layout <= ROTARY_INTERLEAVED; layout++) {
    shape h = {1, WIDTH, 1, 9, SEQ, 1, ACT_GELU, POSITION_ROTARY, false, true, .rotary_dims = DIMS, .rotary_layout = layout};
    graph g = built(&h);
    float *x = arena_array(memory, float, SEQ * ROW);
    y[layout] = arena_array(memory, float, SEQ * ROW);
    for (u32 i = 0; i < SEQ * ROW; i++) {
      u32 f = i % WIDTH, pair = f < DIMS / 2 ? 2 * f : 2 * (f - DIMS / 2) + 1;
      x[layout == ROTARY_INTERLEAVED && f < DIMS ? i - f + pair : i] = value_at(3, i);
    }
    kernel_call c = {.graph = &g, .seq = SEQ, .in = {x}, .out = {y[layout]}, .in_cols = {ROW}, .out_cols = {ROW}};
    c.scratch = arena_array(memory, float, kernels_fast()->scratch_floats(&g));
    kernels_fast()->run[OP_ROTARY](&c);
    if (layout == ROTARY_HALF) { // the first pair turns by one radian per token, the last of four by 10^-3
      float a = x[2 * ROW], b = x[2 * ROW + 4];
      assert_true(fabs(y[0][2 * ROW] - (a * cos(2) - b * sin(2))) < 3e-7);
      a = x[2 * ROW + 3], b = x[2 * ROW + 7];
      assert_true(fabs(y[0][2 * ROW + 3] - (a * cos(2e-3) - b * sin(2e-3))) < 3e-7);
    }
  }
  for (u32 i = 0; i < SEQ * ROW; i++) {
    u32 f = i % WIDTH, pair = f < DIMS / 2 ? 2 * f : 2 * (f - DIMS / 2) + 1;
    bool turned = i % ROW < 2 * WIDTH && f < DIMS;
    if (turned || f >= DIMS) assert_true(y[0][i] == y[1][turned ? i - f + pair : i]);
  }
}

// Numbers of every size, zeros, subnormals and infinities: the instruction and its emulation agree in bytes.
static void check_levels(precision_kind p) {
  shape h = {1, 40, 4, 60, 37, 3, ACT_RELU2, POSITION_ALIBI, false, .bias = true};
  graph g = built(&h);
  for (u32 n = 0; n < g.backward_end; n++) {
    const graph_node *node = &g.nodes[n];
    if (node->op != OP_LINEAR && node->op != OP_LINEAR_GRAD_X && node->op != OP_LINEAR_GRAD_W) continue;
    tensors ts = filled(&g);
    for (u32 t = 0; t < g.tensor_count; t++)
      for (size_t i = 0; g.tensors[t].kind != TENSOR_TOKENS && i < tensor_count(&g, t); i++) {
        int power = (int)random_below(9, RANDOM_TEST, t, i, 120) - 60;
        ts.data[t][i] = i % 97 == 5 ? 0x1p-140f : i % 991 == 7 ? INFINITY : ldexpf(value_at(t, i), power);
      }
    float *first[NODE_OUT_MAX], *got[NODE_OUT_MAX];
    run_copy(fast_table(0, p), &ts, node, first);
    for (u32 l = 1; l < KERNELS_LEVELS; l++) {
      if (!fast_table(l, p)) continue;
      run_copy(fast_table(l, p), &ts, node, got);
      for (u32 i = 0; i < NODE_OUT_MAX; i++)
        for (size_t k = 0; got[i] && k < tensor_count(&g, node->out[i]); k++)
          if (memcmp(&first[i][k], &got[i][k], sizeof(float)) && !(isnan(first[i][k]) && isnan(got[i][k])))
            fail_msg("%s: level %u has %a, not %a", node->name, l, got[i][k], first[i][k]);
    }
  }
}

static void test_bf16_levels_agree(void **s) {
  (void)s;
  check_levels(PRECISION_BF16);
}

static void test_fp16_levels_agree(void **s) {
  (void)s;
  check_levels(PRECISION_FP16);
}

// Products with 1: what comes out is the rounded operand. Boundaries, and every size between them.
static void test_fp16_rounding(void **s) {
  (void)s;
  static const float cases[][2] = {{1.00048828125f, 1}, {1.00048840045929f, 1.0009765625f}, {1.00146484375f, 1.001953125f},
                                   {65519, 65504}, {65520, INFINITY}, {-65520, -INFINITY}, {0x1p-25f, 0},
                                   {0x1.000002p-25f, 0x1p-24f}, {0x1.8p-24f, 0x1p-23f}, {0x1.ff8p-15f, 0x1.ff8p-15f},
                                   {0x1.fffp-15f, 0x1p-14f}, {-0x1p-14f, -0x1p-14f}, {3, 3}};
  shape h = {1, 16, 1, 17, 1, 1, ACT_RELU2, POSITION_NONE, false, .bias = false};
  graph g = built(&h);
  const graph_node *n = &g.nodes[0];
  while (n->op != OP_LINEAR || g.tensors[n->in[1]].rows != h.width) n++;
  tensors ts = filled(&g);
  for (u32 i = 0; i < COUNT_OF(cases); i++)
    for (u32 l = 0; l < KERNELS_LEVELS; l++) {
      if (!fast_table(l, PRECISION_FP16)) continue;
      memset(ts.data[n->in[0]], 0, h.width * sizeof(float));
      memset(ts.data[n->in[1]], 0, h.width * h.width * sizeof(float));
      ts.data[n->in[0]][0] = cases[i][0];
      ts.data[n->in[1]][0] = 1;
      float *got[NODE_OUT_MAX];
      run_copy(fast_table(l, PRECISION_FP16), &ts, n, got);
      if (got[0][0] != cases[i][1]) fail_msg("level %u: %a is %a, not %a", l, cases[i][0], got[0][0], cases[i][1]);
    }
}

static void test_best_level_is_chosen(void **s) {
  (void)s;
  const kernel_table *best = kernels_fast();
  for (u32 l = 0; l < KERNELS_LEVELS; l++) {
    const kernels_level *k = kernels_level_get(l);
    if (!k) continue;
    for (u32 op = 0; op < OP_COUNT; op++)
      assert_int_equal(k->table.run[op] == NULL, op == OP_GRAD_NORM || op == OP_ADAMW);
    if (l + 1 == KERNELS_LEVELS || !kernels_level_get(l + 1)) assert_string_equal(best->name, k->table.name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_function_errors, setup, teardown),
      cmocka_unit_test_setup_teardown(test_function_edges, setup, teardown),
      cmocka_unit_test_setup_teardown(test_products, setup, teardown),
      cmocka_unit_test_setup_teardown(test_operations, setup, teardown),
      cmocka_unit_test_setup_teardown(test_exact_on_integers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_finite_differences, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rotary_is_relative, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rotary_layouts_are_permutations, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bf16_levels_agree, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fp16_levels_agree, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fp16_rounding, setup, teardown),
      cmocka_unit_test_setup_teardown(test_best_level_is_chosen, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

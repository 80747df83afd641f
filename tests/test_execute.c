// The executor: the same bytes for any number of threads, gradients as sums over sequences, activations
// that can be read after a forward, and a memory plan in which no two living tensors meet.
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
#include "model/compute/memory_plan.h"
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

static graph built(u32 seq, bool tied) {
  model_spec m;
  field_defaults(&model_table, &m);
  m.layers = 3, m.width = 48, m.heads = 4, m.tied = tied, m.base_width = 16;
  m.vocab = seq > 300 ? 1100 : 70; // the long ones have chunks of logits too
  m.activation = tied ? ACT_GELU : ACT_RELU2;
  m.position = tied ? POSITION_LEARNED : POSITION_ALIBI;
  graph g;
  status st = {0};
  if (!graph_build(&m, (base_hyper){0.01, 0, 1e-8}, seq, memory, &g, &st)) fail_msg("%s", st.text);
  return g;
}

// Models of other families, small and with every new operation.
enum { FAMILIES = 4 };
static graph built_family(u32 kind, u32 seq) {
  model_spec m;
  field_defaults(&model_table, &m);
  m.layers = 3, m.width = 48, m.heads = 4, m.base_width = 16, m.vocab = seq > 300 ? 1100 : 70;
  m.position = kind < 2 ? POSITION_ROTARY : POSITION_LEARNED;
  m.activation = kind == 1 ? ACT_GELU : kind == 2 ? ACT_SILU : ACT_SWIGLU;
  m.norm = kind == 0 || kind == 3 ? NORM_RMSNORM : NORM_LAYERNORM;
  m.block = kind & 1 ? BLOCK_PARALLEL : BLOCK_SERIAL;
  m.attention = kind >= 2 ? ATTENTION_BIDIRECTIONAL : ATTENTION_CAUSAL;
  m.tied = kind == 2, m.bias = kind != 0, m.mlp = kind == 0 ? 2.75 : 4;
  if (kind == 1) m.rotary_dims = 8, m.rotary_layout = ROTARY_INTERLEAVED;
  graph g;
  status st = {0};
  if (!graph_build(&m, (base_hyper){0.01, 0, 1e-8}, seq, memory, &g, &st)) fail_msg("%s", st.text);
  return g;
}

typedef struct run {
  const graph *g;
  executor *e;
  execute_batch batch;
  float **params, **grads;
  size_t *counts;
} run;

static executor *created(const graph *g, const kernel_table *k, u32 max_batch, u32 threads) {
  status st = {0};
  executor *e = executor_create(g, k, max_batch, threads, memory, &st);
  if (!e) fail_msg("%s", st.text);
  return e;
}

static u32 *ids(const graph *g, u32 stream, size_t count) {
  u32 *to = arena_array(memory, u32, count);
  for (size_t i = 0; i < count; i++) to[i] = (u32)random_below(5, RANDOM_TEST, stream, i, g->model.vocab);
  return to;
}

// Values in steps of a power of two, so that they are the same on every machine.
static run run_of(const graph *g, const kernel_table *k, u32 batch, u32 threads) {
  run r = {.g = g, .e = created(g, k, batch, threads)};
  r.params = arena_array(memory, float *, g->param_count);
  r.grads = arena_array(memory, float *, g->param_count);
  r.counts = arena_array(memory, size_t, g->param_count);
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *t = &g->tensors[g->params[p]];
    r.counts[p] = (size_t)t->rows * t->cols;
    r.params[p] = arena_array(memory, float, r.counts[p]);
    r.grads[p] = arena_array(memory, float, r.counts[p]);
    for (size_t i = 0; i < r.counts[p]; i++) {
      float x = (float)random_below(5, RANDOM_TEST, 100 + p, i, 1025) / 512 - 1;
      r.params[p][i] = graph_param_is_gain(g, p) ? 1 + x / 4 : x / 4;
    }
  }
  u32 *targets = ids(g, 2, (size_t)batch * g->seq);
  for (u32 i = 0; i < batch * g->seq; i++)
    if (g->model.attention == ATTENTION_BIDIRECTIONAL && i % 7 != 3) targets[i] = TARGET_NONE;
  r.batch = (execute_batch){batch, ids(g, 1, (size_t)batch * g->seq), targets, r.params};
  return r;
}

// Loss and gradients as one number.
static u64 hash_of(run *r) {
  double loss = execute_gradients(r->e, &r->batch, r->grads);
  u64 hash = hash_bytes(HASH_START, &loss, sizeof loss);
  for (u32 p = 0; p < r->g->param_count; p++) hash = hash_bytes(hash, r->grads[p], r->counts[p] * sizeof(float));
  return hash;
}

static const u32 thread_counts[] = {1, 2, 3, 8};

static void test_threads_give_the_same_bytes(void **s) {
  (void)s;
  static const u32 batches[] = {1, 2, 3, 8, 11};
  graph g = built(37, false);
  for (u32 b = 0; b < COUNT_OF(batches); b++) {
    u64 first = 0;
    for (u32 t = 0; t < COUNT_OF(thread_counts); t++) {
      run r = run_of(&g, kernels_fast(), batches[b], thread_counts[t]);
      u64 hash = hash_of(&r);
      if (t == 0) first = hash;
      assert_int_equal(hash, first);
      assert_int_equal(hash_of(&r), first); // and when called again
    }
  }
}

// A literal: the kernels use IEEE operations in a stated order only, so this holds on every CPU, for
// every level, compiler and number of threads.
static void test_literal_hash(void **s) {
  (void)s;
  static const u64 expected[2] = {0x3c39d6818a01fc5eull, 0x40e7dc63cd8eaceaull};
  for (u32 tied = 0; tied < 2; tied++) {
    graph g = built(29, tied);
    for (u32 l = 0; l < KERNELS_LEVELS; l++) {
      if (!kernels_level_get(l)) continue;
      for (u32 t = 0; t < COUNT_OF(thread_counts); t++) {
        run r = run_of(&g, &kernels_level_get(l)->table, 10, thread_counts[t]);
        u64 hash = hash_of(&r);
        if (hash != expected[tied])
          fail_msg("level %u, %u threads, tied %u: 0x%016llxull", l, thread_counts[t], tied, (unsigned long long)hash);
      }
    }
  }
}

static u64 hash_with(const graph *g, const kernel_table *k, u32 batch, u32 threads, execute_options o) {
  run r = run_of(g, k, batch, 1);
  status st = {0};
  r.e = executor_open(&(executor_setup){g, k, batch, threads, o}, memory, &st);
  if (!r.e) fail_msg("%s", st.text);
  u64 hash = hash_of(&r);
  assert_int_equal(hash_of(&r), hash); // nothing is left over from the first time
  return hash;
}

// Literals as above, for the other families.
static void test_families_for_any_threads_and_level(void **s) {
  (void)s;
  static const u64 expected[FAMILIES] = {0xbc0744290c25ad5bull, 0x72e923440da95900ull, 0x48ea828720303676ull, 0xbc269f61215ac6f4ull};
  for (u32 kind = 0; kind < FAMILIES; kind++) {
    graph g = built_family(kind, 29);
    for (u32 l = 0; l < KERNELS_LEVELS; l++)
      for (u32 t = 0; kernels_level_get(l) && t < COUNT_OF(thread_counts); t++) {
        run r = run_of(&g, &kernels_level_get(l)->table, 10, thread_counts[t]);
        u64 hash = hash_of(&r);
        if (hash != expected[kind])
          fail_msg("level %u, %u threads, family %u: 0x%016llxull", l, thread_counts[t], kind, (unsigned long long)hash);
      }
  }
}

// Pairs, packed weights, slopes in place of inputs, recomputed blocks and a head done by all threads are other ways to the same bytes.
static void test_ways_give_the_same_bytes(void **s) {
  (void)s;
  const kernel_table *const tables[] = {kernels_fast(), kernels_fast_bf16(), kernels_fast_fp16()};
  for (u32 kind = 0; kind < 4 + 2 * FAMILIES; kind++) {
    u32 family = kind - 4;
    graph g = kind < 4 ? built(29 + 300 * (kind >> 1), kind & 1) : built_family(family % FAMILIES, family < FAMILIES ? 29 : 329);
    for (u32 i = 0; i < COUNT_OF(tables); i++) {
      const kernel_table *k = tables[i];
      kernel_table plain = *k;
      plain.pairs = NULL, plain.pack = NULL, plain.head_logits = NULL, plain.slopes = false;
      u64 want = hash_with(&g, &plain, 1, 1, (execute_options){0});
      assert_int_equal(hash_with(&g, k, 1, 1, (execute_options){0}), want);
      assert_int_equal(hash_with(&g, k, 1, 1, (execute_options){.recompute = true}), want);
      assert_int_equal(hash_with(&g, k, 1, 2, (execute_options){.head = HEAD_TOGETHER}), want);
      assert_int_equal(hash_with(&g, k, 1, 3, (execute_options){.recompute = true, .head = HEAD_TOGETHER}), want);
    }
  }
}

static void test_head_together_for_any_threads(void **s) {
  (void)s;
  graph g = built(37, true);
  for (u32 batch = 3; batch <= 11; batch += 8) {
    u64 first = hash_with(&g, kernels_fast(), batch, 1, (execute_options){.head = HEAD_TOGETHER});
    for (u32 t = 1; t < COUNT_OF(thread_counts); t++)
      assert_int_equal(hash_with(&g, kernels_fast(), batch, thread_counts[t], (execute_options){.head = HEAD_TOGETHER}),
                       first);
  }
}

static void test_fast_follows_the_definition(void **s) {
  (void)s;
  for (u32 kind = 0; kind < 2 + FAMILIES; kind++) {
    graph g = kind < 2 ? built(19, kind) : built_family(kind - 2, 19);
    run fast = run_of(&g, kernels_fast(), 3, 2), naive = run_of(&g, kernels_naive(), 3, 2);
    double a = execute_gradients(fast.e, &fast.batch, fast.grads);
    double b = execute_gradients(naive.e, &naive.batch, naive.grads);
    assert_true(fabs(a - b) < 2e-6);
    for (u32 p = 0; p < g.param_count; p++) {
      double top = 0, worst = 0;
      for (size_t i = 0; i < fast.counts[p]; i++) {
        top = fmax(top, fabs(naive.grads[p][i]));
        worst = fmax(worst, fabs((double)fast.grads[p][i] - naive.grads[p][i]));
      }
      if (!(worst <= 1e-5 * top)) fail_msg("%s: off by %g of %g", g.tensors[g.params[p]].name, worst, top);
    }
  }
}

// The gradient of a batch is the mean of its sequences' gradients, and so is the loss.
static void test_batch_is_the_mean_of_its_sequences(void **s) {
  (void)s;
  enum { BATCH = 11 };
  graph g = built(16, true);
  run r = run_of(&g, kernels_fast(), BATCH, 2);
  double loss = execute_gradients(r.e, &r.batch, r.grads), loss_sum = 0, grad_sum = 0, worst = 0;
  assert_true(execute_forward(r.e, &r.batch) == loss);
  run one = run_of(&g, kernels_fast(), 1, 2);
  float *sum = arena_array(memory, float, r.counts[0]);
  for (u32 i = 0; i < BATCH; i++) {
    execute_batch b = {1, r.batch.inputs + i * g.seq, r.batch.targets + i * g.seq, r.params};
    loss_sum += execute_gradients(one.e, &b, one.grads) / BATCH;
    for (size_t j = 0; j < r.counts[0]; j++) sum[j] += one.grads[0][j] / BATCH;
  }
  for (size_t j = 0; j < r.counts[0]; j++) {
    grad_sum = fmax(grad_sum, fabs(sum[j]));
    worst = fmax(worst, fabs((double)sum[j] - r.grads[0][j]));
  }
  assert_true(fabs(loss - loss_sum) < 1e-6);
  assert_true(worst < 1e-5 * grad_sum);
}

static void test_fewer_sequences_than_planned(void **s) {
  (void)s;
  graph g = built(16, false);
  run big = run_of(&g, kernels_fast(), 9, 3), small = run_of(&g, kernels_fast(), 4, 3);
  big.batch = small.batch;
  assert_int_equal(hash_of(&big), hash_of(&small));
}

static u32 find_tensor(const graph *g, const char *name) {
  for (u32 t = 0; t < g->tensor_count; t++)
    if (strcmp(g->tensors[t].name, name) == 0) return t;
  fail_msg("no tensor %s", name);
  return 0;
}

// Every activation stays readable: recompute each forward node from what was read.
static void test_activations_are_readable(void **s) {
  (void)s;
  graph g = built(21, false);
  run r = run_of(&g, kernels_naive(), 1, 3);
  execute_gradients(r.e, &r.batch, r.grads);
  execute_forward(r.e, &r.batch);
  float **data = arena_array(memory, float *, g.tensor_count);
  for (u32 t = 0; t < g.tensor_count; t++) {
    const graph_tensor *x = &g.tensors[t];
    if (x->kind == TENSOR_ACT) execute_read(r.e, t, data[t] = arena_array(memory, float, g.seq * x->cols));
    if (x->kind == TENSOR_PARAM) data[t] = r.params[x->param];
  }
  data[g.tokens] = (float *)(uintptr_t)r.batch.inputs;
  data[g.targets] = (float *)(uintptr_t)r.batch.targets;
  for (u32 n = 0; n < g.forward_end; n++) {
    const graph_node *node = &g.nodes[n];
    kernel_call c = {.graph = &g, .node = node, .seq = g.seq, .accumulate = node->accumulate};
    for (u32 i = 0; i < NODE_IN_MAX; i++)
      if (node->in[i] != GRAPH_NONE) c.in[i] = data[node->in[i]], c.in_cols[i] = g.tensors[node->in[i]].cols;
    for (u32 i = 0; i < NODE_OUT_MAX; i++)
      if (node->out[i] != GRAPH_NONE)
        c.out_cols[i] = g.tensors[node->out[i]].cols, c.out[i] = arena_array(memory, float, g.seq * c.out_cols[i]);
    kernels_naive()->run[node->op](&c);
    for (u32 i = 0; i < NODE_OUT_MAX; i++)
      if (c.out[i]) assert_memory_equal(c.out[i], data[node->out[i]], g.seq * c.out_cols[i] * sizeof(float));
  }
  assert_non_null(data[find_tensor(&g, "h0.attn_branch")]);
}

// Recomputed from the nodes alone: what is written must not be overwritten before its last reader.
static void test_plan_keeps_what_is_read(void **s) {
  (void)s;
  for (u32 kind = 0; kind < 2 + FAMILIES; kind++) {
    graph g = kind < 2 ? built(33, kind) : built_family(kind - 2, 33);
    memory_plan plan;
    status st = {0};
    node_order order;
    assert_true(node_order_build(&g, (order_options){0}, memory, &order, &st));
    assert_true(memory_plan_build(&g, &order, memory, &plan, &st));
    u32 *owner = arena_array(memory, u32, plan.floats);
    size_t total = 0;
    for (u32 n = 0; n < g.backward_end; n++) {
      const graph_node *node = &g.nodes[n];
      for (u32 i = 0; i < NODE_OUT_MAX; i++) {
        u32 t = node->out[i];
        if (t == GRAPH_NONE || g.tensors[t].kind == TENSOR_PARAM_GRAD) continue;
        size_t count = (size_t)g.seq * g.tensors[t].cols;
        assert_true(plan.offsets[t] % 16 == 0 && plan.offsets[t] + count <= plan.floats);
        if (!(node->accumulate >> i & 1)) total += count;
        for (size_t k = 0; k < count; k++) owner[plan.offsets[t] + k] = t;
      }
      // Inputs and outputs of this node are all still theirs after its outputs were written.
      for (u32 i = 0; i < NODE_IN_MAX; i++) {
        u32 t = node->in[i];
        if (t == GRAPH_NONE || g.tensors[t].kind == TENSOR_PARAM || g.tensors[t].kind == TENSOR_TOKENS) continue;
        for (size_t k = 0; k < (size_t)g.seq * g.tensors[t].cols; k++)
          assert_int_equal(owner[plan.offsets[t] + k], t);
      }
    }
    assert_true(plan.floats < total * 3 / 4); // memory is in fact shared
  }
}

static void test_lanes(void **s) {
  (void)s;
  graph g = built(16, false);
  assert_int_equal(execute_lanes(&g, 1), 1);
  assert_int_equal(execute_lanes(&g, 5), 5);
  assert_int_equal(execute_lanes(&g, 100), 8);
  model_spec m;
  field_defaults(&model_table, &m);
  m.layers = 2, m.width = 768, m.heads = 12, m.vocab = 50257;
  status st = {0};
  assert_true(graph_build(&m, (base_hyper){0.01, 0, 1e-8}, 64, memory, &g, &st));
  assert_int_equal(execute_lanes(&g, 8), 2); // 91 M parameters: 364 MB a lane
  assert_int_equal(execute_lanes(&g, 1), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_threads_give_the_same_bytes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_literal_hash, setup, teardown),
      cmocka_unit_test_setup_teardown(test_families_for_any_threads_and_level, setup, teardown),
      cmocka_unit_test_setup_teardown(test_ways_give_the_same_bytes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_head_together_for_any_threads, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fast_follows_the_definition, setup, teardown),
      cmocka_unit_test_setup_teardown(test_batch_is_the_mean_of_its_sequences, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fewer_sequences_than_planned, setup, teardown),
      cmocka_unit_test_setup_teardown(test_activations_are_readable, setup, teardown),
      cmocka_unit_test_setup_teardown(test_plan_keeps_what_is_read, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lanes, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

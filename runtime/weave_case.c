// A graph by hand, from values to values.
#include "runtime/weave_case.h"

#include "base/file.h"
#include "base/random.h"

#include <stdio.h>
#include <string.h>

weave_case *weave_case_begin(u32 seq, u32 sequences, u32 width, u32 heads) {
  arena *a = arena_create("weave case");
  weave_case *c = arena_array(a, weave_case, 1);
  c->memory = a;
  c->sequences = sequences;
  c->g = (graph){.seq = seq,
                 .tensors = c->tensors,
                 .nodes = c->nodes,
                 .tokens = GRAPH_NONE,
                 .targets = GRAPH_NONE,
                 .logits = GRAPH_NONE,
                 .loss = GRAPH_NONE};
  c->g.model =
      (model_spec){.layers = 1, .width = width, .heads = heads, .mlp = 4, .position = POSITION_NONE, .ln_eps = 1e-5};
  return c;
}

void weave_case_end(weave_case *c) {
  arena_destroy(c->memory);
}

u32 weave_case_tokens(const weave_case *c) {
  return c->g.seq * c->sequences;
}

// Parameters and their gradients: one for all tokens.
static bool is_shared(const graph_tensor *t) {
  return t->kind == TENSOR_PARAM || t->kind == TENSOR_PARAM_GRAD;
}

size_t weave_case_elements(const weave_case *c, u32 tensor) {
  const graph_tensor *t = &c->tensors[tensor];
  return (size_t)(is_shared(t) ? t->rows : weave_case_tokens(c)) * t->cols;
}

u32 weave_case_tensor(weave_case *c, tensor_kind kind, u32 rows, u32 cols) {
  const u32 i = c->g.tensor_count++;
  require(i < WEAVE_CASE_TENSORS);
  graph_tensor *t = &c->tensors[i];
  *t = (graph_tensor){.kind = kind, .rows = rows, .cols = cols, .layer = 0, .twin = GRAPH_NONE, .producer = GRAPH_NONE};
  if (!is_shared(t)) t->rows = c->g.seq;
  if (kind == TENSOR_TOKENS)
    c->ids[i] = arena_array(c->memory, u32, weave_case_elements(c, i));
  else
    c->values[i] = arena_array(c->memory, float, weave_case_elements(c, i));
  return i;
}

void weave_case_twin(weave_case *c, u32 tensor, u32 gradient) {
  c->tensors[tensor].twin = gradient;
  c->tensors[gradient].twin = tensor;
}

graph_node *weave_case_node(weave_case *c, graph_op op, double scale, const u32 in[NODE_IN_MAX],
                            const u32 out[NODE_OUT_MAX]) {
  const u32 i = c->g.node_count++;
  require(i < WEAVE_CASE_NODES);
  graph_node *n = &c->nodes[i];
  *n = (graph_node){.op = op, .layer = 0, .forward = GRAPH_NONE, .scale = scale};
  snprintf(n->name, sizeof n->name, "%s", graph_op_name(op));
  memcpy(n->in, in, sizeof n->in);
  memcpy(n->out, out, sizeof n->out);
  if (op < OP_LOSS_GRAD) c->g.forward_end = i + 1;
  c->g.backward_end = i + 1;
  return n;
}

float *weave_case_fill(weave_case *c, u32 tensor, u64 seed, bool whole) {
  float *v = c->values[tensor];
  for (size_t i = 0; i < weave_case_elements(c, tensor); i++) {
    const double u = random_unit(seed, RANDOM_TEST, tensor, i);
    v[i] = whole ? (float)((i32)(u * 7) - 3) : (float)((i32)(u * 256) - 128) / 128; // 8 bits: exact in BF16 too
  }
  c->given[tensor] = true;
  return v;
}

u32 *weave_case_ids(weave_case *c, u32 tensor, u64 seed, u32 below) {
  for (size_t i = 0; i < weave_case_elements(c, tensor); i++)
    c->ids[tensor][i] = (u32)(random_unit(seed, RANDOM_TEST, tensor, i) * below);
  return c->ids[tensor];
}

// ---- by the host's operations

static float *operand(const weave_case *c, float *const *values, u32 tensor, u32 sequence, u32 *ret_cols) {
  const graph_tensor *t = &c->tensors[tensor];
  *ret_cols = t->cols;
  if (t->kind == TENSOR_TOKENS) return (float *)(c->ids[tensor] + (size_t)sequence * c->g.seq);
  return values[tensor] + (is_shared(t) ? 0 : (size_t)sequence * c->g.seq * t->cols);
}

static void define_node(const weave_case *c, const kernel_table *table, const graph_node *n, float *const *values,
                        float *scratch) {
  for (u32 s = 0; s < c->sequences; s++) {
    kernel_call k = {.graph = &c->g,
                     .node = n,
                     .seq = c->g.seq,
                     .accumulate = n->accumulate,
                     .loss_scale = 1.0 / weave_case_tokens(c),
                     .scratch = scratch};
    for (u32 i = 0; i < NODE_IN_MAX; i++)
      if (n->in[i] != GRAPH_NONE) k.in[i] = operand(c, values, n->in[i], s, &k.in_cols[i]);
    for (u32 i = 0; i < NODE_OUT_MAX; i++)
      if (n->out[i] != GRAPH_NONE) k.out[i] = operand(c, values, n->out[i], s, &k.out_cols[i]);
    table->run[n->op](&k);
  }
}

float **weave_case_define(const weave_case *c, const kernel_table *table) {
  float **values = arena_array(c->memory, float *, c->g.tensor_count);
  for (u32 t = 0; t < c->g.tensor_count; t++) {
    if (!c->values[t]) continue;
    values[t] = arena_array(c->memory, float, weave_case_elements(c, t));
    memcpy(values[t], c->values[t], weave_case_elements(c, t) * sizeof(float));
  }
  float *scratch = arena_array(c->memory, float, table->scratch_floats(&c->g) + 1);
  for (u32 n = 0; n < c->g.backward_end; n++) define_node(c, table, &c->nodes[n], values, scratch);
  return values;
}

// ---- by the fabric

// Right before the phase that touches it first: before, its memory is others'.
static void write_given(weave_case *c, const graph_node *node) {
  for (u32 k = 0; k < NODE_IN_MAX + NODE_OUT_MAX; k++) {
    const u32 t = k < NODE_IN_MAX ? node->in[k] : node->out[k - NODE_IN_MAX];
    if (t == GRAPH_NONE || !c->given[t] || !wafer_holds(&c->w, t)) continue;
    wafer_write(&c->w, t, c->values[t]);
    c->given[t] = false;
  }
}

// Right after the phase: memory goes to others later.
static void read_written(weave_case *c, const graph_node *node) {
  for (u32 k = 0; k < NODE_OUT_MAX; k++)
    if (node->out[k] != GRAPH_NONE && wafer_holds(&c->w, node->out[k]))
      wafer_read(&c->w, node->out[k], c->values[node->out[k]]);
}

bool weave_case_weave(weave_case *c, const machine *m, u32 width, u32 height, df_type type, status *st) {
  c->m = *m;
  const weave_request r = {.graph = &c->g,
                           .machine = &c->m,
                           .width = width,
                           .height = height,
                           .microbatch = c->sequences,
                           .batch = c->sequences,
                           .loss_scale = 1,
                           .type = (u8)type,
                           .axpy_fp32 = c->axpy_fp32};
  return weave_step(&r, c->memory, &c->step, st) && wafer_open(&c->step, &c->m, c->memory, &c->w, st);
}

bool weave_case_run(weave_case *c, status *st) {
  for (u32 i = 0; i < c->g.tensor_count; i++) c->w.host[i] = (wafer_host){c->values[i], c->ids[i]};
  c->cycles = 0;
  c->counts = (sim_counts){0};
  for (u32 p = 0; p < c->step.phase_count; p++) {
    const graph_node *node = &c->nodes[c->step.phases[p].node];
    weave_case_run_facts *facts = &c->runs[p];
    write_given(c, node);
    const double begin = clock_seconds();
    if (!wafer_run(&c->w, p, NULL, UINT64_MAX, &facts->result, st)) return false;
    facts->wall_s = clock_seconds() - begin;
    c->cycles += facts->result.cycles;
    sim_counts_add(&c->counts, &facts->result.counts);
    read_written(c, node);
  }
  return true;
}

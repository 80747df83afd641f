// A graph by hand, from values to values.
#include "tests/weave_support.h"

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

static size_t elements(const weave_case *c, u32 tensor) {
  const graph_tensor *t = &c->tensors[tensor];
  const bool tokens = t->kind != TENSOR_PARAM && t->kind != TENSOR_PARAM_GRAD;
  return (size_t)(tokens ? weave_case_tokens(c) : t->rows) * t->cols;
}

u32 weave_case_tensor(weave_case *c, tensor_kind kind, u32 rows, u32 cols) {
  const u32 i = c->g.tensor_count++;
  assert_true(i < WEAVE_CASE_TENSORS);
  c->tensors[i] = (graph_tensor){.kind = kind,
                                 .rows = kind == TENSOR_PARAM || kind == TENSOR_PARAM_GRAD ? rows : c->g.seq,
                                 .cols = cols,
                                 .layer = 0,
                                 .twin = GRAPH_NONE,
                                 .producer = GRAPH_NONE};
  if (kind == TENSOR_TOKENS)
    c->ids[i] = arena_array(c->memory, u32, elements(c, i));
  else
    c->values[i] = arena_array(c->memory, float, elements(c, i));
  return i;
}

void weave_case_twin(weave_case *c, u32 tensor, u32 gradient) {
  c->tensors[tensor].twin = gradient;
  c->tensors[gradient].twin = tensor;
}

graph_node *weave_case_node(weave_case *c, graph_op op, double scale, const u32 in[NODE_IN_MAX],
                            const u32 out[NODE_OUT_MAX]) {
  const u32 i = c->g.node_count++;
  assert_true(i < WEAVE_CASE_NODES);
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
  for (size_t i = 0; i < elements(c, tensor); i++) {
    const double u = random_unit(seed, RANDOM_TEST, tensor, i);
    v[i] = whole ? (float)((i32)(u * 7) - 3) : (float)((i32)(u * 256) - 128) / 128; // 8 bits: exact in BF16 too
  }
  c->given[tensor] = true;
  return v;
}

u32 *weave_case_ids(weave_case *c, u32 tensor, u64 seed, u32 below) {
  for (size_t i = 0; i < elements(c, tensor); i++)
    c->ids[tensor][i] = (u32)(random_unit(seed, RANDOM_TEST, tensor, i) * below);
  return c->ids[tensor];
}

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

void weave_case_run(weave_case *c, const char *preset, u32 width, u32 height, df_type type) {
  status st = {0};
  c->m = sim_machine(preset, NULL);
  const weave_request r = {.graph = &c->g,
                           .machine = &c->m,
                           .width = width,
                           .height = height,
                           .microbatch = c->sequences,
                           .batch = c->sequences,
                           .loss_scale = 1,
                           .type = (u8)type,
                           .axpy_fp32 = c->axpy_fp32};
  if (!weave_step(&r, c->memory, &c->step, &st)) fail_msg("%ux%u: %s", width, height, st.text);
  if (!wafer_open(&c->step, &c->m, c->memory, &c->w, &st)) fail_msg("%s", st.text);
  for (u32 i = 0; i < c->g.tensor_count; i++) {
    c->w.host[i] = (wafer_host){c->values[i], c->ids[i]};
  }
  c->cycles = 0;
  c->counts = (sim_counts){0};
  for (u32 p = 0; p < c->step.phase_count; p++) {
    fabric_result result;
    write_given(c, &c->nodes[c->step.phases[p].node]);
    if (!wafer_run(&c->w, p, NULL, 100000000, &result, &st))
      fail_msg("%ux%u, phase %u (%s): %s", width, height, p, c->nodes[c->step.phases[p].node].name, st.text);
    c->cycles += result.cycles;
    sim_counts_add(&c->counts, &result.counts);
    read_written(c, &c->nodes[c->step.phases[p].node]);
  }
}

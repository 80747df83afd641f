// What stays inside a PE, and the embedding at the edge: MemoryX looks rows up and streams them in, and
// takes the gradient of the embedded tokens back.
#include "mapper/lower.h"

// `part` of `whole` features are treated; 0 of 0: all.
static void lower_part(lowering *l, const graph_node *node, feature_axis axis, lower_formula f, u32 part, u32 whole) {
  program_phase *ph = lower_phase(l, FAMILY_ELEMENTWISE, node);
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 features = lower_share(pe.column, axis);
      if (whole) features = (features * part + whole - 1) / whole;
      lower_class(l, ph, pe);
      lower_constants(l, f.constants);
      lower_op(l, OPCODE_COPY32, f.rows, (u64)f.rows * pe.row->tokens, 0);
      lower_formula_ops(l, &f, features, pe.row->tokens);
      lower_turns(l, features);
    }
}

static void lower_elements(lowering *l, const graph_node *node, feature_axis axis, lower_formula f) {
  lower_part(l, node, axis, f, 0, 0);
}

// As weave_elementwise.c has them; SiLU, gates and rotations, which have no form there, in 16 bit.
static const lower_formula forward_work[] = {
    [ACT_GELU] = {{{OPCODE_FMA32, 5}, {OPCODE_ADD32, 2}, {OPCODE_TANH, 1}, {OPCODE_FMA16, 1}}, 3, 1},
    [ACT_GELU_ERF] = {{{OPCODE_FMA32, 2}, {OPCODE_ADD32, 1}, {OPCODE_TANH, 1}, {OPCODE_FMA16, 1}}, 2, 1},
    [ACT_RELU2] = {{{OPCODE_ADD32, 1}, {OPCODE_FMA16, 1}}, 0, 1},
    [ACT_SILU] = {.terms = {{OPCODE_FMA16, 2}, {OPCODE_TANH, 1}}}};
// Up to the slope; then its product with dy.
static const lower_formula slope_work[] = {
    [ACT_GELU] = {{{OPCODE_FMA32, 10}, {OPCODE_ADD32, 4}, {OPCODE_AXPY32, 1}, {OPCODE_TANH, 1}}, 4, 2},
    [ACT_GELU_ERF] = {{{OPCODE_FMA32, 6}, {OPCODE_ADD32, 2}, {OPCODE_TANH, 1}, {OPCODE_EXP, 1}}, 4, 2},
    [ACT_RELU2] = {{{OPCODE_ADD32, 1}, {OPCODE_FMA32, 1}}, 1, 2},
    [ACT_SILU] = {.terms = {{OPCODE_FMA16, 4}, {OPCODE_TANH, 1}}}};

static void add_term(lower_formula *f, opcode op, u32 times) {
  u32 i = 0;
  while (f->terms[i].times) i++;
  require(i < LOWER_TERMS);
  f->terms[i] = (lower_term){op, times};
}

// A product into a tensor, or onto what is there.
static void add_product(lower_formula *f, bool accumulate) {
  add_term(f, accumulate ? OPCODE_FMA32 : OPCODE_FMA16, 1);
  if (accumulate) add_term(f, OPCODE_ADD16, 1);
}

void lower_activation(lowering *l, const graph_node *node) {
  lower_elements(l, node, AXIS_HIDDEN, forward_work[l->graph->model.activation]);
}

void lower_activation_grad(lowering *l, const graph_node *node) {
  lower_formula f = slope_work[l->graph->model.activation];
  add_product(&f, node->accumulate & 1);
  lower_elements(l, node, AXIS_HIDDEN, f);
}

// SiLU of the gate, and its product with the other projection.
void lower_gate(lowering *l, const graph_node *node) {
  lower_elements(l, node, AXIS_HIDDEN, (lower_formula){.terms = {{OPCODE_FMA16, 3}, {OPCODE_TANH, 1}}});
}

// The sigmoid s from tanh (2), silu = x s, dup = dy silu, the slope s + silu (1 - s) (2), dgate = dy up slope (2).
void lower_gate_grad(lowering *l, const graph_node *node) {
  lower_elements(l, node, AXIS_HIDDEN, (lower_formula){.terms = {{OPCODE_FMA16, 8}, {OPCODE_TANH, 1}}});
}

// Q and K, two multiply-adds each per feature and a cosine or sine that both use. Which features make a pair is an
// order of the weights' rows, so pairs are taken to lie inside a PE and rotated ones evenly over a head's columns.
void lower_rotary(lowering *l, const graph_node *node) {
  const model_spec *m = &l->graph->model;
  lower_part(l, node, AXIS_WIDTH, (lower_formula){.terms = {{OPCODE_FMA16, 4}, {OPCODE_TANH, 1}}}, model_rotary_dims(m),
             model_head_width(m));
}

void lower_residual(lowering *l, const graph_node *node) {
  lower_elements(l, node, AXIS_WIDTH, (lower_formula){{{OPCODE_FMA32, 1}, {OPCODE_ADD16, 1}}, 1, 0});
}

// The branch's gradient is scaled, the stream's copied, unless they are added to what is there.
void lower_residual_grad(lowering *l, const graph_node *node) {
  lower_formula f = {.constants = 1};
  add_product(&f, node->accumulate & 2);
  add_term(&f, node->accumulate & 1 ? OPCODE_ADD16 : OPCODE_COPY16, 1);
  lower_elements(l, node, AXIS_WIDTH, f);
}

static program_phase *lower_edge(lowering *l, const graph_node *node, u32 values_per_wavelet) {
  const plan_tiles *t = &l->plan->tiles;
  program_phase *ph = lower_phase(l, FAMILY_EMBED, node);
  ph->iterations = lower_tokens_max(l);
  ph->own_stream = true; // each system embeds its own tokens
  ph->latency_cycles = timing_path(l->machine, t->rows);
  // every wavelet for the rows below passes the first link of its column
  ph->column_wavelets = (u64)t->rows * lower_tokens_max(l) * t->features_max / values_per_wavelet;
  return ph;
}

void lower_embed(lowering *l, const graph_node *node) {
  program_phase *ph = lower_edge(l, node, 2);
  ph->stream_in = (lower_tokens(l) * l->graph->model.width + 1) / 2;
  ph->stream_in_hops = l->plan->tiles.rows / 2 + 1; // on average
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, features = pe.column->features;
      lower_class(l, ph, pe);
      lower_op(l, OPCODE_RECV16, tokens, tokens * features, 0);
    }
}

void lower_embed_grad(lowering *l, const graph_node *node) {
  program_phase *ph = lower_edge(l, node, 1); // fp32: gradients of weights never narrow
  u32 hops = l->plan->tiles.rows / 2 + 1;
  u64 params = 0;
  ph->stream_out = lower_tokens(l) * l->graph->model.width;
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (node->out[i] != GRAPH_NONE) {
      const graph_tensor *t = &l->graph->tensors[node->out[i]];
      if (lower_completes(l, node, node->out[i])) params += (u64)t->rows * t->cols;
    }
  lower_update(l, ph, node, params);
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, features = pe.column->features;
      lower_class(l, ph, pe);
      lower_op(l, OPCODE_SEND32, tokens, tokens * features, hops);
    }
}

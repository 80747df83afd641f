// What stays inside a PE, and the embedding at the edge: MemoryX looks rows up and streams them in, and
// takes the gradient of the embedded tokens back.
#include "mapper/lower.h"

typedef struct element_work {
  feature_axis axis;
  u32 vector_ops;  // multiply-adds per feature over the tokens
  u32 functions;   // tanh, erf or sine per element
  u32 part, whole; // of the features that are treated; 0 of 0: all
} element_work;

static void lower_elements(lowering *l, const graph_node *node, element_work w) {
  program_phase *ph = lower_phase(l, FAMILY_ELEMENTWISE, node);
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, features = lower_share(pe.column, w.axis);
      if (w.whole) features = (features * w.part + w.whole - 1) / w.whole;
      lower_class(l, ph, pe, 1);
      lower_op(l, OPCODE_FMA16, w.vector_ops * features, w.vector_ops * features * tokens, 0);
      lower_op(l, OPCODE_TANH, w.functions * features, w.functions * features * tokens, 0);
    }
}

// Of an activation, forward and in its gradient: x^2 of max(x, 0); the polynomial inside tanh and the product
// outside; x / 2 inside tanh and the product outside.
static const element_work forward_work[] = {[ACT_GELU] = {AXIS_HIDDEN, 4, 1, 0, 0},
                                            [ACT_GELU_ERF] = {AXIS_HIDDEN, 4, 1, 0, 0},
                                            [ACT_RELU2] = {AXIS_HIDDEN, 2, 0, 0, 0},
                                            [ACT_SILU] = {AXIS_HIDDEN, 2, 1, 0, 0}};
static const element_work gradient_work[] = {[ACT_GELU] = {AXIS_HIDDEN, 7, 1, 0, 0},
                                             [ACT_GELU_ERF] = {AXIS_HIDDEN, 7, 1, 0, 0},
                                             [ACT_RELU2] = {AXIS_HIDDEN, 2, 0, 0, 0},
                                             [ACT_SILU] = {AXIS_HIDDEN, 5, 1, 0, 0}};

void lower_activation(lowering *l, const graph_node *node) {
  lower_elements(l, node, forward_work[l->graph->model.activation]);
}

void lower_activation_grad(lowering *l, const graph_node *node) {
  lower_elements(l, node, gradient_work[l->graph->model.activation]);
}

// SiLU of the gate, and its product with the other projection.
void lower_gate(lowering *l, const graph_node *node) {
  lower_elements(l, node, (element_work){.axis = AXIS_HIDDEN, .vector_ops = 3, .functions = 1});
}

// The sigmoid s from tanh (2), silu = x s, dup = dy silu, the slope s + silu (1 - s) (2), dgate = dy up slope (2).
void lower_gate_grad(lowering *l, const graph_node *node) {
  lower_elements(l, node, (element_work){.axis = AXIS_HIDDEN, .vector_ops = 8, .functions = 1});
}

// Q and K, two multiply-adds each per feature and a cosine or sine that both use. Which features make a pair is an
// order of the weights' rows, so pairs are taken to lie inside a PE and rotated ones evenly over a head's columns.
void lower_rotary(lowering *l, const graph_node *node) {
  const model_spec *m = &l->graph->model;
  lower_elements(l, node,
                 (element_work){.axis = AXIS_WIDTH,
                                .vector_ops = 4,
                                .functions = 1,
                                .part = model_rotary_dims(m),
                                .whole = model_head_width(m)});
}

void lower_residual(lowering *l, const graph_node *node) {
  lower_elements(l, node, (element_work){.axis = AXIS_WIDTH, .vector_ops = 1});
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
      lower_class(l, ph, pe, tokens);
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
      lower_class(l, ph, pe, tokens);
      lower_op(l, OPCODE_SEND32, tokens, tokens * features, hops);
    }
}

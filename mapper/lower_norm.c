// Norms and their gradients: local sums over the PE's features, a chain along the row for each (two of LayerNorm,
// one of RMSNorm), the sums back to every PE, then elementwise work. Gains and biases stream in like weights, their
// gradients out.
#include "mapper/lower.h"

typedef struct norm_work {
  u32 vector_ops;  // multiply-adds over the tokens, per feature
  u32 row_sums;    // per token, chained along the row
  u32 column_sums; // dots over the tokens per feature, chained down the column
  u32 roots;       // 1: the reciprocal root is computed here (backward has kept it)
  u32 streamed;    // parameter vectors in (and, with column_sums, as many gradients out)
} norm_work;

static void lower_norm_work(lowering *l, const graph_node *node, norm_work w) {
  const plan_tiles *t = &l->plan->tiles;
  u64 width = l->graph->model.width;
  program_phase *ph = lower_phase(l, FAMILY_NORM, node);
  ph->latency_cycles = timing_chain(l->machine, t->group_width) + timing_path(l->machine, t->group_width);
  ph->row_wavelets = (u64)w.row_sums * lower_tokens_max(l);
  ph->column_wavelets = (u64)(w.streamed > w.column_sums ? w.streamed : w.column_sums) * t->features_max;
  ph->stream_in = w.streamed * width * t->replicas;
  ph->stream_in_hops = t->rows;
  if (w.column_sums) {
    ph->latency_cycles += timing_chain(l->machine, t->rows);
    ph->stream_out = w.column_sums * width * t->replicas;
    ph->stream_out_hops = 0; // the last hop of the column chain crosses the edge
    lower_update(l, ph, node, w.column_sums * width);
  }
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, features = pe.column->features;
      lower_class(l, ph, pe, w.row_sums);
      lower_op(l, OPCODE_FMA16, w.vector_ops * features, w.vector_ops * features * tokens, 0);
      lower_row_sums(l, pe, w.row_sums);
      lower_op(l, OPCODE_RSQRT, 1, w.roots * tokens, 0);
      lower_op(l, OPCODE_DOT16, w.column_sums * features, w.column_sums * features * tokens, 0);
      lower_op(l, OPCODE_CHAIN32, w.column_sums, w.column_sums * features, 1);
    }
}

void lower_norm(lowering *l, const graph_node *node) {
  bool rms = node->op == OP_RMSNORM;
  u32 vectors = node->in[2] == GRAPH_NONE ? 1 : 2;
  // (sum,) sum of squares; (subtract and) scale; gain (and bias) folded into one multiply-add
  lower_norm_work(l, node,
                  (norm_work){.vector_ops = rms ? 3 : 4, .row_sums = rms ? 1 : 2, .roots = 1, .streamed = vectors});
}

void lower_norm_grad(lowering *l, const graph_node *node) {
  u32 vectors = node->out[2] == GRAPH_NONE ? 1 : 2;
  bool rms = node->op == OP_RMSNORM_GRAD;
  // xhat; dy * gain; its sum (not of RMSNorm) and its sum with xhat; dx from three terms (two)
  lower_norm_work(
      l, node, (norm_work){.vector_ops = rms ? 5 : 7, .row_sums = rms ? 1 : 2, .column_sums = vectors, .streamed = 1});
}

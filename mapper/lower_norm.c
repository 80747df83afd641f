// Norms and their gradients, as weave_norm.c has them (RMSNorm, which has no form there, likewise, without the mean):
// sums over the PE's features, a chain along the row, the sums back to every PE, feature by feature in F32. All on the
// task's own thread. Gains and biases stream in like weights, their gradients out.
#include "mapper/lower.h"

typedef struct norm_work {
  lower_formula features, tokens; // per feature of the PE, and once
  u32 row_times, row_each;        // sums along the row one after the other; values per token in each
  u32 column_sums;                // dots over the tokens per feature, chained down the column
  u32 loops;                      // over the features
  u32 streamed;                   // parameter vectors in (and, with column_sums, as many gradients out)
} norm_work;

static void lower_norm_work(lowering *l, const graph_node *node, norm_work w) {
  const plan_tiles *t = &l->plan->tiles;
  u64 width = l->graph->model.width;
  program_phase *ph = lower_phase(l, FAMILY_NORM, node);
  ph->latency_cycles =
      w.row_times * (timing_chain(l->machine, t->group_width) + timing_path(l->machine, t->group_width));
  ph->row_wavelets = (u64)w.row_times * w.row_each * lower_tokens_max(l);
  ph->column_wavelets = (u64)(w.streamed > w.column_sums ? w.streamed : w.column_sums) * t->features_max;
  ph->stream_in = w.streamed * width * t->replicas;
  ph->stream_in_hops = t->rows - 1;
  if (w.column_sums) {
    ph->latency_cycles += timing_chain(l->machine, t->rows);
    ph->stream_out = w.column_sums * width * t->replicas;
    ph->stream_out_hops = 0; // the last hop of the column chain crosses the edge
    lower_update(l, ph, node, w.column_sums * width);
  }
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, features = pe.column->features, gradients = w.column_sums * features;
      lower_class(l, ph, pe);
      lower_formula_ops(l, &w.features, features, tokens);
      lower_formula_ops(l, &w.tokens, 1, tokens);
      lower_turns(l, w.loops * features);
      lower_constants(l, w.column_sums ? 1 : 2); // of one over the width, and eps
      lower_op(l, OPCODE_COPY32, 1, gradients, 0);
      lower_row_sums(l, pe, w.row_times, w.row_each);
      lower_op(l, OPCODE_RECV32, 1, w.column_sums ? features : 0, 0); // gains; forward takes them as factors
      lower_op(l, OPCODE_CHAIN32, 1, gradients, 1);
    }
}

void lower_norm(lowering *l, const graph_node *node) {
  const bool rms = node->op == OP_RMSNORM, bias = node->in[2] != GRAPH_NONE;
  // sum, x - mean twice; squares, root, gain; bias; the result
  const lower_formula features = {.terms = {{OPCODE_ADD32, rms ? 0 : 3},
                                            {OPCODE_FMA32, bias ? 3 : 2},
                                            {OPCODE_AXPY32, bias},
                                            {bias ? OPCODE_COPY16 : OPCODE_FMA16, 1}}};
  // ones and sums; divided by the width; eps; root
  const lower_formula tokens = {
      .terms = {{OPCODE_COPY32, rms ? 2 : 3}, {OPCODE_FMA32, rms ? 1 : 2}, {OPCODE_AXPY32, 1}, {OPCODE_RSQRT, 1}}};
  lower_norm_work(l, node,
                  (norm_work){features, tokens, rms ? 1 : 2, 1, .loops = rms ? 2 : 3, .streamed = bias ? 2 : 1});
}

void lower_norm_grad(lowering *l, const graph_node *node) {
  const bool rms = node->op == OP_RMSNORM_GRAD, bias = node->out[2] != GRAPH_NONE, add = node->accumulate & 1;
  // xhat twice, dy gain twice, its sum (not of RMSNorm) and its sum with xhat, dx of three terms (two)
  const lower_formula features = {.terms = {{OPCODE_ADD32, rms ? 1 : 5},
                                            {OPCODE_FMA32, add ? 7 : 6},
                                            {OPCODE_DOT16, bias ? 2 : 1},
                                            {OPCODE_COPY32, bias},
                                            {add ? OPCODE_ADD16 : OPCODE_FMA16, 1}}};
  const u32 sums = rms ? 1 : 2;
  const lower_formula tokens = {.terms = {{OPCODE_COPY32, sums}, {OPCODE_FMA32, sums}}};
  lower_norm_work(l, node,
                  (norm_work){features, tokens, 1, sums, .column_sums = bias ? 2 : 1, .loops = 2, .streamed = 1});
}

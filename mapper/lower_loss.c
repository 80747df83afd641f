// Cross-entropy beside the unembedding: each PE owns outputs of the vocabulary; maximum and sum of
// exponentials chain along the row and come back. Logits never exist whole, so backward streams the
// unembedding once more and rebuilds each of them.
#include "mapper/lower.h"

static void loss_ops(lowering *l, pe_share pe, u32 vector_ops) {
  u64 tokens = pe.row->tokens, outputs = pe.column->vocab;
  lower_op(l, OPCODE_FMA16, vector_ops * outputs, vector_ops * outputs * tokens, 0);
  lower_op(l, OPCODE_EXP, outputs, outputs * tokens, 0);
}

void lower_loss(lowering *l, const graph_node *node) {
  const plan_tiles *t = &l->plan->tiles;
  program_phase *ph = lower_phase(l, FAMILY_LOSS, node);
  ph->latency_cycles = timing_chain(l->machine, t->group_width) + timing_path(l->machine, t->group_width);
  ph->row_wavelets = 2ull * lower_tokens_max(l);
  ph->stream_in = lower_tokens(l); // targets
  ph->own_stream = true;
  ph->stream_in_hops = t->rows / 2 + 1;
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      lower_class(l, ph, pe, 2);
      loss_ops(l, pe, 2); // maximum, sum
      lower_row_sums(l, pe, 2);
    }
}

// The second stream of the unembedding and what turns a logit into its gradient, in one phase.
void lower_loss_grad(lowering *l, const graph_node *node) {
  const plan_tiles *t = &l->plan->tiles;
  program_phase *ph = lower_phase(l, FAMILY_LOSS, node);
  u64 outputs = lower_total(l, AXIS_VOCAB);
  ph->iterations = outputs;
  ph->latency_cycles = timing_path(l->machine, t->rows) + timing_chain(l->machine, t->group_width);
  ph->row_wavelets = outputs * lower_tokens_max(l);
  ph->column_wavelets = outputs * t->features_max;
  ph->stream_in = outputs * l->graph->model.width * t->replicas;
  ph->stream_in_hops = t->rows;
  opcode axpy = l->plan->axpy == AXPY_FP16 ? OPCODE_AXPY16 : OPCODE_AXPY32;
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      u64 tokens = pe.row->tokens, features = pe.column->features;
      lower_class(l, ph, pe, outputs);
      lower_op(l, axpy, outputs * features, outputs * features * tokens, 0);
      u64 own = pe.column->vocab, sides = t->group_width > 2 ? 2 : t->group_width - 1;
      lower_op(l, OPCODE_CHAIN32, outputs - own, (outputs - own) * tokens, 1);
      lower_op(l, OPCODE_RECV32, sides * own, sides * own * tokens, 0);
      loss_ops(l, pe, 1);
    }
}

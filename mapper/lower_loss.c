// Cross-entropy beside the unembedding: each PE owns outputs of the vocabulary; maximum and sum of
// exponentials chain along the row and come back. Logits never exist whole, so backward streams the
// unembedding once more and rebuilds each of them.
#include "mapper/lower.h"

// Per output of the PE; the target is found by counting outputs up.
static void loss_ops(lowering *l, pe_share pe, const lower_formula *f, u32 loops) {
  u64 outputs = pe.column->vocab;
  lower_turns(l, loops * outputs);
  lower_formula_ops(l, f, outputs, pe.row->tokens);
  lower_op(l, OPCODE_ADD32, outputs, outputs, 0);
}

// What the row's end does with the sums, per token, and the sum of that.
static void end_ops(lowering *l, pe_share pe) {
  static const lower_formula end = {
      .terms = {{OPCODE_LOG, 1}, {OPCODE_ADD32, 2}, {OPCODE_COPY32, 1}, {OPCODE_FMA32, 1}}};
  if (pe.column->row_end) lower_formula_ops(l, &end, 1, pe.row->tokens);
  lower_op(l, OPCODE_CHAIN32, 1, pe.column->row_end ? 1 : 0, 1);
}

void lower_loss(lowering *l, const graph_node *node) {
  const plan_tiles *t = &l->plan->tiles;
  program_phase *ph = lower_phase(l, FAMILY_LOSS, node);
  // two sums along the row one after the other, and the loss down the last column
  ph->latency_cycles = 2 * (timing_chain(l->machine, t->group_width) + timing_path(l->machine, t->group_width)) +
                       timing_chain(l->machine, t->rows);
  ph->row_wavelets = 3ull * lower_tokens_max(l);
  const u64 targets = (u64)t->rows * lower_tokens_max(l); // every column hears all of them
  ph->column_wavelets = targets;
  ph->stream_in = lower_tokens(l) * t->group_width;
  ph->stream_out = 1;
  ph->own_stream = true;
  ph->stream_in_hops = t->rows - 1;
  // largest; less that, its exponential, their sum; hit, times the logit, their sum
  static const lower_formula work = {.terms = {{OPCODE_ADD32, 5}, {OPCODE_FMA32, 1}, {OPCODE_EXP, 1}}};
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      lower_class(l, ph, pe);
      lower_op(l, OPCODE_RECV32, 3, targets, 0); // those before the own ones, the own ones, those behind
      lower_op(l, OPCODE_COPY32, 2, 3 * (u64)pe.row->tokens, 0);
      loss_ops(l, pe, &work, 2); // to the largest, and the rest
      lower_row_sums(l, pe, 1, 1);
      lower_row_sums(l, pe, 1, 2);
      end_ops(l, pe);
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
  ph->stream_in_hops = t->rows - 1;
  static const lower_formula slope = {
      .terms = {{OPCODE_ADD32, 2}, {OPCODE_FMA32, 2}, {OPCODE_EXP, 1}, {OPCODE_ADD16, 1}}};
  for (u32 r = 0; r < l->map.size_count; r++)
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.sizes[r]};
      lower_class(l, ph, pe);
      lower_products(l, pe, outputs, outputs * pe.column->features, pe.column->vocab);
      loss_ops(l, pe, &slope, 1);
    }
}

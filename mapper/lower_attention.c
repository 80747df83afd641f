// Causal attention: every key triggers an AXPY per feature over the row's queries, scores chain along
// the columns of a head, the softmax is online and shared between them, probabilities go back along the
// head, and values are accumulated like weights. Where a sequence spans rows, keys and values rotate
// down the column; in backward their gradients go with them.
#include "mapper/lower.h"

// Work of one row, over one microbatch.
typedef struct row_work {
  u64 keys;           // that pass the row's queries, over its sequences
  u64 pairs;          // (query, key) with key <= query
  u64 blocks;         // of keys, for rescaling the online softmax
  u64 received, sent; // keys that come from above, that go on below
} row_work;

static row_work work_of(const lowering *l, const tile_row *r) {
  u64 t = r->tokens, s = r->sequences;
  row_work w;
  if (l->plan->tiles.row_seqs > 1 || l->plan->tiles.seq_rows == 1) {
    u64 seq = t / s;
    w = (row_work){.keys = t, .pairs = s * (seq * (seq + 1) / 2), .blocks = 1};
  } else {
    bool last = r->position + 1 == l->plan->tiles.seq_rows;
    w = (row_work){.keys = r->before + t,
                   .pairs = t * r->before + t * (t + 1) / 2,
                   .blocks = r->position + 1,
                   .received = r->before,
                   .sent = last ? 0 : r->before + t};
  }
  return w;
}

// Columns over which the scores of one head are shared, and the scores that fall to one PE.
static u64 score_share(const lowering *l, const tile_column *c, u64 pairs) {
  u32 pes = l->plan->tiles.head_pes;
  if (!pes || pes == 1) return c->heads * pairs;
  return (c->heads * pairs + pes - 1) / pes;
}

static void score_ops(lowering *l, const tile_column *c, row_work w, u32 times) {
  u32 pes = l->plan->tiles.head_pes;
  u64 share = score_share(l, c, w.pairs), heads = c->heads;
  u64 spread = pes > 1 ? times : 0; // a head inside one column sends nothing
  lower_op(l, OPCODE_CHAIN32, spread * w.keys * heads, spread * w.pairs * heads, 1);
  lower_op(l, OPCODE_SEND16, spread * w.keys, spread * share, pes > 1 ? pes - 1 : 0);
  lower_op(l, OPCODE_RECV16, spread * w.keys * heads, spread * w.pairs * heads, 0);
  lower_op(l, OPCODE_FMA16, 3 * times * w.keys, 3 * times * share, 0); // bias, maximum or scale, sum
}

static void forward_ops(lowering *l, pe_share pe, row_work w) {
  u64 n = pe.column->features, t = pe.row->tokens;
  opcode axpy = l->plan->axpy == AXPY_FP16 ? OPCODE_AXPY16 : OPCODE_AXPY32;
  lower_op(l, axpy, 2 * w.keys * n, 2 * w.pairs * n, 0); // scores, values
  score_ops(l, pe.column, w, 1);
  lower_op(l, OPCODE_EXP, w.keys, score_share(l, pe.column, w.pairs), 0);
  lower_op(l, OPCODE_FMA16, (w.blocks + 1) * n, (w.blocks + 1) * n * t, 0); // rescale per block, divide at the end
  lower_op(l, OPCODE_DIV, pe.column->heads, pe.column->heads * t, 0);
  lower_op(l, OPCODE_RECV16, w.received ? 2 * w.blocks : 0, 2 * n * w.received, 0);
  lower_op(l, OPCODE_SEND16, w.sent ? 2 * w.blocks : 0, 2 * n * w.sent, 1);
}

static void backward_ops(lowering *l, pe_share pe, row_work w) {
  u64 n = pe.column->features, t = pe.row->tokens;
  opcode axpy = l->plan->axpy == AXPY_FP16 ? OPCODE_AXPY16 : OPCODE_AXPY32;
  lower_op(l, axpy, 3 * w.keys * n, 3 * w.pairs * n, 0);         // scores again, dP = dy V^T, dQ
  lower_op(l, OPCODE_DOT16, 2 * w.keys * n, 2 * w.pairs * n, 0); // dK, dV
  score_ops(l, pe.column, w, 2);                                 // scores and dP
  lower_op(l, OPCODE_EXP, w.keys, score_share(l, pe.column, w.pairs), 0);
  lower_op(l, OPCODE_FMA16, n, n * t, 0); // dy . y
  u64 heads = l->plan->tiles.head_pes > 1 ? pe.column->heads : 0;
  lower_op(l, OPCODE_CHAIN32, heads, heads * t, 1);
  lower_op(l, OPCODE_RECV16, w.received ? 2 * w.blocks : 0, 2 * n * w.received, 0);
  lower_op(l, OPCODE_SEND16, w.sent ? 2 * w.blocks : 0, 2 * n * w.sent, 1);
  lower_op(l, OPCODE_RECV32, w.received ? 2 * w.blocks : 0, 2 * n * w.received, 0);
  lower_op(l, OPCODE_SEND32, w.sent ? 2 * w.blocks : 0, 2 * n * w.sent, 1);
}

static void lower_keys(lowering *l, const graph_node *node, u32 passes) {
  const plan_tiles *t = &l->plan->tiles;
  program_phase *ph = lower_phase(l, FAMILY_ATTENTION, node);
  u64 keys = 0, pairs = 0, rotated = 0;
  for (u32 r = 0; r < l->map.row_count; r++) {
    row_work w = work_of(l, &l->map.rows[r]);
    if (w.keys > keys) keys = w.keys;
    if (w.pairs > pairs) pairs = w.pairs;
    if (w.sent > rotated) rotated = w.sent;
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.rows[r]};
      lower_class(l, ph, pe, w.keys);
      if (passes == 1)
        forward_ops(l, pe, w);
      else
        backward_ops(l, pe, w);
    }
  }
  u32 span = t->head_pes ? t->head_pes : 1;
  ph->iterations = keys;
  ph->latency_cycles =
      timing_chain(l->machine, span) + timing_path(l->machine, span) + timing_path(l->machine, t->seq_rows);
  u64 heads = t->heads_aligned ? 1 : 2;
  ph->row_wavelets = span > 1 ? passes * heads * (pairs + (pairs + 1) / 2) : 0; // fp32 sums one way, fp16 back
  // K and V in fp16; in backward dK and dV in fp32 beside them
  ph->column_wavelets = rotated * t->features_max * (passes == 1 ? 1 : 3);
}

void lower_attention(lowering *l, const graph_node *node) {
  lower_keys(l, node, 1);
}
void lower_attention_grad(lowering *l, const graph_node *node) {
  lower_keys(l, node, 2);
}

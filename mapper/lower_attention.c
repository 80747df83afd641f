// Attention: every key triggers an AXPY per feature over the row's queries, scores chain along
// the columns of a head, the softmax is online and shared between them, probabilities go back along the
// head, and values are accumulated like weights. As in weave_attention.c and weave_attention_grad.c products that add
// to different places are on different microthreads, forward those of values only. Where a sequence spans rows, keys
// and values rotate down the column, and up as well where tokens see those behind them; in backward their gradients go
// with them.
#include "mapper/lower.h"

// Work of one row, over one microbatch.
typedef struct row_work {
  u64 keys;           // that pass the row's queries, over its sequences
  u64 pairs;          // (query, key) that the query sees
  u64 blocks;         // of keys, for rescaling the online softmax
  u64 received, sent; // keys that come from other rows, that go on to the next
  u64 busiest;        // of `sent` in one direction
} row_work;

// Keys go down and up the column where every row sees all of them: without a mask, and where row r holds
// tokens r, r + rows, ..., so that rows see nearly equal numbers of pairs.
static row_work work_of(const lowering *l, const tile_row *r) {
  u64 t = r->tokens, s = r->sequences, seq = l->graph->seq, rows = l->plan->tiles.seq_rows;
  bool causal = l->graph->model.attention == ATTENTION_CAUSAL, mixed = l->plan->tiles.interleaved;
  if (l->plan->tiles.row_seqs > 1 || rows == 1)
    return (row_work){.keys = t, .pairs = s * (causal ? seq * (seq + 1) / 2 : seq * seq), .blocks = 1};
  bool first = r->position == 0, last = r->position + 1 == rows;
  u64 down = last ? 0 : r->before + t, up = first ? 0 : seq - r->before;
  row_work w = {.keys = seq, .pairs = t * seq, .received = seq - t, .sent = down + up};
  w.busiest = down > up ? down : up;
  if (causal && mixed) w.pairs = t * (r->position + 1) + rows * (t * (t - 1) / 2);
  if (causal && !mixed)
    w = (row_work){.keys = r->before + t,
                   .pairs = t * r->before + t * (t + 1) / 2,
                   .received = r->before,
                   .sent = down,
                   .busiest = down};
  u32 block = tiles_rotated_keys(l->graph, &l->plan->tiles);
  w.blocks = (w.keys + block - 1) / block;
  return w;
}

// Heads that a column shares with its neighbours; a head inside one column sends nothing.
static u64 split_heads(const tile_column *c) {
  return (c->spans[0] ? 1u : 0u) + (c->spans[1] ? 1u : 0u);
}

// What falls to one PE of `amount` per split head, divided over the columns of the head.
static u64 split_share(const tile_column *c, u64 amount) {
  u64 share = 0;
  for (u32 i = 0; i < COUNT_OF(c->spans); i++)
    if (c->spans[i]) share += (amount + c->spans[i] - 1) / c->spans[i];
  return share;
}

static u64 score_share(const tile_column *c, u64 pairs) {
  return (c->heads - split_heads(c)) * pairs + split_share(c, pairs);
}

// A score's partial sums chain to the column of its head that owns it, which sends the probability back
// to the others: a PE passes on what it does not own and receives those probabilities.
static void score_ops(lowering *l, const tile_column *c, row_work w, u32 times) {
  u64 split = split_heads(c), own = split_share(c, w.pairs);
  u32 span = c->spans[0] > c->spans[1] ? c->spans[0] : c->spans[1];
  lower_op(l, OPCODE_CHAIN32, times * w.keys * split, times * (w.pairs * split - own), 1);
  lower_op(l, OPCODE_RECV32, times * split_share(c, w.keys), times * own, 0);
  lower_op(l, OPCODE_SEND16, times * w.keys, times * own, span ? span - 1 : 0);
  lower_op(l, OPCODE_RECV16, times * w.keys * split, times * (w.pairs * split - own), 0);
  // bias, maximum or scale, sum
  lower_op(l, OPCODE_FMA16, 3 * times * w.keys, 3 * times * score_share(c, w.pairs), 0);
}

static void forward_ops(lowering *l, pe_share pe, row_work w) {
  u64 n = pe.column->features, t = pe.row->tokens;
  opcode axpy = l->plan->axpy == AXPY_FP16 ? OPCODE_AXPY16 : OPCODE_AXPY32;
  lower_op(l, axpy, w.keys * n, w.pairs * n, 0); // scores
  const u64 half = n / 2, parts[] = {n % 2 ? n : half, n % 2 ? 0 : half};
  for (u32 i = 0; i < COUNT_OF(parts); i++) // values
    lower_beside(l, 1 + i, axpy, w.keys * parts[i], w.pairs * parts[i], 0);
  score_ops(l, pe.column, w, 1);
  lower_op(l, OPCODE_EXP, w.keys, score_share(pe.column, w.pairs), 0);
  lower_op(l, OPCODE_FMA16, (w.blocks + 1) * n, (w.blocks + 1) * n * t, 0); // rescale per block, divide at the end
  lower_op(l, OPCODE_DIV, pe.column->heads, pe.column->heads * t, 0);
  lower_op(l, OPCODE_RECV16, w.received ? 2 * w.blocks : 0, 2 * n * w.received, 0);
  lower_op(l, OPCODE_SEND16, w.sent ? 2 * w.blocks : 0, 2 * n * w.sent, 1);
}

static void backward_ops(lowering *l, pe_share pe, row_work w) {
  u64 n = pe.column->features, t = pe.row->tokens;
  opcode axpy = l->plan->axpy == AXPY_FP16 ? OPCODE_AXPY16 : OPCODE_AXPY32;
  const u64 issues = w.keys * n, products = w.pairs * n;
  lower_beside(l, 1, axpy, 2 * issues, 2 * products, 0);                              // scores again; dQ
  lower_beside(l, 2, axpy, issues, products, 0);                                      // dP = dy V^T
  for (u32 i = 2; i <= 3; i++) lower_beside(l, i, OPCODE_DOT16, issues, products, 0); // dK, dV
  score_ops(l, pe.column, w, 2);                                                      // scores and dP
  lower_op(l, OPCODE_EXP, w.keys, score_share(pe.column, w.pairs), 0);
  lower_op(l, OPCODE_FMA16, n, n * t, 0); // dy . y
  lower_op(l, OPCODE_CHAIN32, split_heads(pe.column), split_heads(pe.column) * t, 1);
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
    if (w.busiest > rotated) rotated = w.busiest;
    for (u32 c = 0; c < l->map.column_count; c++) {
      pe_share pe = {&l->map.columns[c], &l->map.rows[r]};
      lower_class(l, ph, pe);
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
  u64 heads = t->heads_aligned ? 1 : 2;                                         // that share a link
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

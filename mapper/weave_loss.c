// Cross-entropy over logits that lie divided over the row: the largest and the sum of exponentials are collected along
// it, targets stream down the columns, and the loss leaves as one word.
#include "mapper/weave_parts.h"

enum { FEATURE = 0 };                           // register
enum { SUM, PICKED, LARGEST, TERM, HIT, ROWS }; // F32 rows of tokens; the first two are summed together

typedef struct loss {
  weave *w;
  const graph_node *node;
  const weave_axis *axis;
  weave_row_sum sum;
  u32 color, rows, targets, id; // targets: I32 per token; id: two I32, this entry of the vocabulary and 1
  weave_run columns, at;        // the open class
  u32 tokens, tile;
} loss;

static void op(const loss *l, df_opcode code, u32 to, u32 a, u32 b) {
  df_build_op(l->w->b, df_vvv(code, to, a, b));
}
static void of(const loss *l, df_opcode code, u32 to, u32 a) {
  df_build_op(l->w->b, df_vv(code, to, a));
}

static u32 row(const loss *l, u32 i) {
  return weave_at(l->w, "row", DF_F32, l->rows + 4 * i * l->w->tokens.row_max, df_just((i32)l->tokens));
}

static void fill(const loss *l, u32 vector, df_affine value) {
  df_build_op(l->w->b, df_vn(DF_FILL, vector, value));
}
static void begin_loop(const loss *l) {
  df_build_op(l->w->b, df_rn(DF_LOOP, FEATURE, df_just((i32)l->tile)));
}
static void end_loop(const loss *l) {
  df_build_op(l->w->b, df_none(DF_END));
}

static void total(const loss *l, df_opcode code, u32 first, u32 count) {
  const u32 max = l->w->tokens.row_max;
  const weave_span span = {l->rows + 4 * first * max, df_just((i32)(count * max)), DF_NO_REGISTER};
  weave_row_sum_emit(l->w, &l->sum, l->columns, code, span);
}

static void keep_targets(weave *w, u32 tokens, u32 color, const void *of_loss) {
  const loss *l = of_loss;
  const u32 in = weave_in(w, "ids", DF_I32, df_just((i32)tokens), color);
  df_build_op(w->b, df_vv(DF_MOV, weave_at(w, "targets", DF_I32, l->targets, df_just((i32)tokens)), in));
}

static u32 logit(const loss *l) {
  return weave_feature(l->w, "l", l->node->in[0], l->tokens, FEATURE, DF_NO_REGISTER);
}

// HIT = 1 where the target is the entry that the loop is at; steps on.
static void emit_hit(const loss *l) {
  const u32 id = weave_at(l->w, "id", DF_I32, l->id, df_just(1)),
            one = weave_at(l->w, "one", DF_I32, l->id + 4, df_just(1));
  op(l, DF_EQUAL, row(l, HIT), weave_at(l->w, "targets", DF_I32, l->targets, df_just((i32)l->tokens)), id);
  op(l, DF_ADD, id, id, one);
}

static void first_id(const loss *l) {
  fill(l, weave_at(l->w, "id", DF_I32, l->id, df_just(1)), weave_first_along(l->axis, l->columns));
  fill(l, weave_at(l->w, "one", DF_I32, l->id + 4, df_just(1)), df_just(1));
}

// LARGEST, and SUM of e^(logit - LARGEST), of whole rows; PICKED: the target's logit, where it is wanted.
static void softmax_sums(const loss *l, bool pick) {
  const u32 largest = row(l, LARGEST), term = row(l, TERM), x = logit(l);
  const u32 first = weave_at(l->w, "l0", l->w->places[l->node->in[0]].type, l->w->places[l->node->in[0]].address,
                             df_just((i32)l->tokens));
  weave_keep_own(l->w, l->at, 1, l->color, keep_targets, l);
  of(l, DF_MOV, largest, first);
  begin_loop(l);
  op(l, DF_MAX, largest, largest, x);
  end_loop(l);
  total(l, DF_MAX, LARGEST, 1);
  fill(l, weave_at(l->w, "sums", DF_F32, l->rows, df_just((i32)(2 * l->w->tokens.row_max))), df_just(0));
  first_id(l);
  begin_loop(l);
  op(l, DF_SUB, term, x, largest);
  of(l, DF_EXP, term, term);
  op(l, DF_ADD, row(l, SUM), row(l, SUM), term);
  if (pick) {
    emit_hit(l);
    op(l, DF_MUL, term, row(l, HIT), x);
    op(l, DF_ADD, row(l, PICKED), row(l, PICKED), term);
  }
  end_loop(l);
  total(l, DF_ADD, SUM, pick ? 2 : 1);
}

static void open_cell(loss *l, weave_run columns, weave_run rows) {
  l->columns = columns;
  l->at = rows;
  l->tokens = weave_row_tokens(&l->w->tokens, rows.first);
  l->tile = weave_tile(l->axis, columns.first);
  weave_class(l->w, columns, rows);
  df_build_task(l->w->b, "main");
  df_build_start_active(l->w->b);
}

static loss begin(weave *w, const graph_node *node) {
  loss l = {.w = w, .node = node, .axis = &w->places[node->in[0]].axis};
  require(w->places[node->in[0]].blocks == 1);
  weave_begin(w, node, FAMILY_LOSS);
  l.sum = weave_row_sum_routes(w, l.axis->parts, l.axis->parts);
  l.color = weave_new_color(w);
  l.rows = weave_scratch(w, 4 * ROWS * w->tokens.row_max);
  l.targets = weave_scratch(w, 4 * w->tokens.row_max);
  l.id = weave_scratch(w, 8);
  weave_down_routes(w, (weave_run){0, l.axis->parts, 1}, l.color);
  for (u32 x = 0; x < l.axis->parts; x++) {
    const woven_item item = {.tensor = node->in[1], .count = w->tokens.seq * w->tokens.sequences, .stride = 1};
    weave_stream(w, x, l.color, false, DF_I32);
    weave_segment(w, 1, &item, 1);
  }
  return l;
}

// ---- the loss

static void total_loss(const loss *l, const weave_column_sum *down) {
  const u32 sum = row(l, SUM), ones = row(l, TERM),
            one = weave_at(l->w, "total", DF_F32, weave_scratch(l->w, 4), df_just(1));
  of(l, DF_LOG, sum, sum);
  op(l, DF_ADD, sum, sum, row(l, LARGEST));
  op(l, DF_SUB, sum, sum, row(l, PICKED));
  fill(l, ones, df_just(1));
  fill(l, one, df_just(0));
  op(l, DF_DOT, one, sum, ones);
  df_build_op(l->w->b, weave_column_sum_step(l->w, down, l->at, one, df_just(1)));
}

bool weave_loss(weave *w, const graph_node *node) {
  loss l = begin(w, node);
  const weave_axis *axes[] = {l.axis, NULL};
  const weave_run last = {l.axis->parts - 1, 1, 1};
  const weave_column_sum down = weave_column_sum_routes(w, last);
  const woven_item word = {.tensor = node->out[0], .count = 1};
  weave_stream(w, last.first, weave_column_sum_gate(w, &down), true, DF_F32);
  weave_segment(w, 1, &word, 1);
  const weave_runs columns = weave_columns(l.axis->parts, axes, true);
  for (u32 c = 0; c < columns.count; c++) {
    const bool at_end = columns.run[c].first == last.first;
    const weave_runs rows = weave_rows(w, at_end, at_end);
    for (u32 r = 0; r < rows.count; r++) {
      open_cell(&l, columns.run[c], rows.run[r]);
      softmax_sums(&l, true);
      if (at_end) total_loss(&l, &down);
    }
  }
  return weave_end(w);
}

// ---- its gradient: (softmax - onehot) scale / tokens

static void gradient_cell(const loss *l) {
  const weave_request *r = l->w->request;
  const u32 factor =
      weave_constant(l->w, "factor", r->loss_scale * l->node->scale / ((double)r->batch * l->w->tokens.seq));
  const u32 term = row(l, TERM), hit = row(l, HIT), sum = row(l, SUM);
  const u32 dlogit = weave_feature(l->w, "dl", l->node->out[0], l->tokens, FEATURE, DF_NO_REGISTER);
  const bool accumulate = l->node->accumulate & 1;
  fill(l, term, df_just(1));
  op(l, DF_DIV, sum, term, sum);
  op(l, DF_SCALE, sum, sum, factor);
  begin_loop(l);
  op(l, DF_SUB, term, logit(l), row(l, LARGEST));
  of(l, DF_EXP, term, term);
  op(l, DF_MUL, term, term, sum);
  emit_hit(l);
  op(l, DF_SCALE, hit, hit, factor);
  op(l, DF_SUB, accumulate ? term : dlogit, term, hit);
  if (accumulate) op(l, DF_ADD, dlogit, dlogit, term);
  end_loop(l);
}

bool weave_loss_grad(weave *w, const graph_node *node) {
  loss l = begin(w, node);
  const weave_axis *axes[] = {l.axis, NULL};
  const weave_runs columns = weave_columns(l.axis->parts, axes, true), rows = weave_rows(w, false, false);
  for (u32 r = 0; r < rows.count; r++)
    for (u32 c = 0; c < columns.count; c++) {
      open_cell(&l, columns.run[c], rows.run[r]);
      softmax_sums(&l, false);
      gradient_cell(&l);
    }
  return weave_end(w);
}

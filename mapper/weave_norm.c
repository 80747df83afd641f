// LayerNorm: statistics of a token are sums over the columns of its row; gains and biases stream down the columns that
// own their feature, and so do their gradients, on to the edge. Everything between x and y is F32.
#include "mapper/weave_parts.h"

enum { FEATURE = 0 }; // register

typedef struct norm {
  weave *w;
  const graph_node *node;
  const weave_axis *axis;
  bool bias;
  weave_row_sum sum;
  weave_column_sum down;     // gradients
  u32 color;                 // of gains (and biases)
  u32 rows[4], gains, parts; // scratch: rows of tokens side by side; F32 per feature: gains, gradients of both
  // the open class
  weave_run columns, at;
  u32 tokens, tile;
} norm;

static void op(const norm *n, df_opcode code, u32 to, u32 a, u32 b) {
  df_build_op(n->w->b, df_vvv(code, to, a, b));
}

static u32 row(const norm *n, u32 i) {
  return weave_at(n->w, "row", DF_F32, n->rows[i], df_just((i32)n->tokens));
}

static u32 feature(const norm *n, u32 tensor) {
  return weave_feature(n->w, "f", tensor, n->tokens, FEATURE, DF_NO_REGISTER);
}

// Row `i` of the statistics: mean, root.
static u32 statistic(const norm *n, u32 tensor, u32 i) {
  const weave_place *p = &n->w->places[tensor];
  return weave_at(n->w, "stat", DF_F32, p->address + i * p->pitch, df_just((i32)n->tokens));
}

static void begin_loop(const norm *n) {
  df_build_op(n->w->b, df_rn(DF_LOOP, FEATURE, df_just((i32)n->tile)));
}
static void end_loop(const norm *n) {
  df_build_op(n->w->b, df_none(DF_END));
}
static void fill(const norm *n, u32 vector, i32 value) {
  df_build_op(n->w->b, df_vn(DF_FILL, vector, df_just(value)));
}

// Totals of rows `first` to `first + count - 1` over the row of PEs; they lie side by side.
static void total(const norm *n, u32 first, u32 count) {
  const weave_span span = {n->rows[first], df_just((i32)(count * n->w->tokens.row_max)), DF_NO_REGISTER};
  weave_row_sum_emit(n->w, &n->sum, n->columns, DF_ADD, span);
}

typedef void norm_cell(const norm *n);

static norm begin(weave *w, const graph_node *node, u32 x, bool bias) {
  norm n = {.w = w, .node = node, .axis = &w->places[x].axis, .bias = bias};
  require(w->places[x].blocks == 1);
  weave_begin(w, node, FAMILY_NORM);
  n.sum = weave_row_sum_routes(w, n.axis->parts, n.axis->parts);
  n.color = weave_new_color(w);
  weave_down_routes(w, (weave_run){0, n.axis->parts, 1}, n.color);
  const u32 rows = weave_scratch(w, 4 * COUNT_OF(n.rows) * w->tokens.row_max);
  for (u32 i = 0; i < COUNT_OF(n.rows); i++) n.rows[i] = rows + 4 * i * w->tokens.row_max;
  return n;
}

// Per feature of a column: the gain, and the bias where there is one.
static void stream_pairs(const norm *n, u32 color, bool out, u32 gain, u32 bias) {
  for (u32 x = 0; x < n->axis->parts; x++) {
    const u64 first = weave_first(n->axis, x);
    const woven_item items[] = {{.tensor = gain, .count = 1, .base = first, .step = 1},
                                {.tensor = bias, .count = 1, .base = first, .step = 1}};
    weave_stream(n->w, x, color, out, DF_F32);
    weave_segment(n->w, weave_tile(n->axis, x), items, bias == GRAPH_NONE ? 1 : 2);
  }
}

static bool each_cell(norm *n, weave_runs rows, norm_cell *cell) {
  const weave_axis *axes[] = {n->axis, NULL};
  const weave_runs columns = weave_columns(n->axis->parts, axes, true);
  for (u32 r = 0; r < rows.count; r++)
    for (u32 c = 0; c < columns.count; c++) {
      n->columns = columns.run[c];
      n->at = rows.run[r];
      n->tokens = weave_row_tokens(&n->w->tokens, n->at.first);
      n->tile = weave_tile(n->axis, n->columns.first);
      weave_class(n->w, n->columns, n->at);
      df_build_task(n->w->b, "main");
      df_build_start_active(n->w->b);
      cell(n);
    }
  return weave_end(n->w);
}

// Over all features of the model, not the column's.
static u32 one_over_width(const norm *n) {
  return weave_constant(n->w, "n", 1.0 / (n->axis->unit * n->axis->units));
}

// ---- forward

enum { SUM, ONES, DIFFERENCE }; // rows

static void mean_and_root(const norm *n, u32 x) {
  const u32 sum = row(n, SUM), ones = row(n, ONES), d = row(n, DIFFERENCE), width = one_over_width(n);
  const u32 mean = statistic(n, n->node->out[1], 0), root = statistic(n, n->node->out[1], 1);
  fill(n, ones, 1);
  fill(n, sum, 0);
  begin_loop(n);
  op(n, DF_ADD, sum, sum, x);
  end_loop(n);
  total(n, SUM, 1);
  op(n, DF_SCALE, mean, sum, width);
  fill(n, sum, 0);
  begin_loop(n);
  op(n, DF_SUB, d, x, mean);
  op(n, DF_FMA, sum, d, d);
  end_loop(n);
  total(n, SUM, 1);
  op(n, DF_SCALE, sum, sum, width);
  op(n, DF_AXPY, sum, ones, weave_constant(n->w, "eps", n->w->graph->model.ln_eps));
  df_build_op(n->w->b, df_vv(DF_RSQRT, root, sum));
}

static void forward_cell(const norm *n) {
  const u32 x = feature(n, n->node->in[0]), y = feature(n, n->node->out[0]);
  mean_and_root(n, x);
  const u32 d = row(n, DIFFERENCE), ones = row(n, ONES), streamed = weave_in(n->w, "g", DF_F32, df_just(1), n->color);
  begin_loop(n);
  op(n, DF_SUB, d, x, statistic(n, n->node->out[1], 0));
  op(n, DF_MUL, d, d, statistic(n, n->node->out[1], 1));
  op(n, DF_SCALE, n->bias ? d : y, d, streamed);
  if (n->bias) op(n, DF_AXPY, d, ones, streamed);
  if (n->bias) df_build_op(n->w->b, df_vv(DF_MOV, y, d));
  end_loop(n);
}

bool weave_norm(weave *w, const graph_node *node) {
  norm n = begin(w, node, node->in[0], node->in[2] != GRAPH_NONE);
  stream_pairs(&n, n.color, false, node->in[1], node->in[2]);
  return each_cell(&n, weave_rows(w, false, false), forward_cell);
}

// ---- gradient

enum { PLAIN, WITH_X, XHAT, TERM }; // rows; the first two are sums, side by side

static u32 of_feature(const norm *n, const char *name, u32 address, i32 stride) {
  const u32 v = weave_at(n->w, name, DF_F32, address, df_just(1));
  df_build_moved_by(n->w->b, v, FEATURE, stride);
  return v;
}

// XHAT = (x - mean) root
static void emit_xhat(const norm *n, u32 x) {
  op(n, DF_SUB, row(n, XHAT), x, statistic(n, n->node->in[3], 0));
  op(n, DF_MUL, row(n, XHAT), row(n, XHAT), statistic(n, n->node->in[3], 1));
}

static void gather_sums(const norm *n, u32 dy, u32 x) {
  const u32 pair = n->bias ? 8 : 4, tile = n->tile;
  const u32 gains = weave_at(n->w, "gains", DF_F32, n->gains, df_just((i32)tile));
  const u32 all = weave_at(n->w, "parts", DF_F32, n->parts, df_just((i32)(tile * pair / 4)));
  const u32 gain = of_feature(n, "gain", n->gains, 4), dgain = of_feature(n, "dg", n->parts, (i32)pair);
  const u32 dbias = of_feature(n, "db", n->parts + 4, (i32)pair),
            ones = weave_at(n->w, "ones", DF_F32, n->rows[TERM], df_just((i32)n->tokens));
  df_build_op(n->w->b, df_vv(DF_MOV, gains, weave_in(n->w, "g", DF_F32, df_just((i32)tile), n->color)));
  fill(n, weave_at(n->w, "sums", DF_F32, n->rows[PLAIN], df_just((i32)(2 * n->w->tokens.row_max))), 0);
  fill(n, all, 0);
  begin_loop(n);
  emit_xhat(n, x);
  op(n, DF_DOT, dgain, dy, row(n, XHAT));
  if (n->bias) fill(n, ones, 1);
  if (n->bias) op(n, DF_DOT, dbias, dy, ones);
  op(n, DF_SCALE, row(n, TERM), dy, gain);
  op(n, DF_ADD, row(n, PLAIN), row(n, PLAIN), row(n, TERM));
  op(n, DF_FMA, row(n, WITH_X), row(n, TERM), row(n, XHAT));
  end_loop(n);
  df_build_op(n->w->b, weave_column_sum_step(n->w, &n->down, n->at, all, df_just((i32)(tile * pair / 4))));
}

static void give_dx(const norm *n, u32 dy, u32 x, u32 dx) {
  const u32 gain = of_feature(n, "gain", n->gains, 4);
  const bool accumulate = n->node->accumulate & 1;
  begin_loop(n);
  emit_xhat(n, x);
  op(n, DF_MUL, row(n, XHAT), row(n, XHAT), row(n, WITH_X));
  op(n, DF_ADD, row(n, XHAT), row(n, XHAT), row(n, PLAIN));
  op(n, DF_SCALE, row(n, TERM), dy, gain);
  op(n, DF_SUB, row(n, TERM), row(n, TERM), row(n, XHAT));
  op(n, DF_MUL, accumulate ? row(n, TERM) : dx, row(n, TERM), statistic(n, n->node->in[3], 1));
  if (accumulate) op(n, DF_ADD, dx, dx, row(n, TERM));
  end_loop(n);
}

static void gradient_cell(const norm *n) {
  const u32 dy = feature(n, n->node->in[0]), x = feature(n, n->node->in[1]), dx = feature(n, n->node->out[0]);
  gather_sums(n, dy, x);
  total(n, PLAIN, 2);
  const u32 width = one_over_width(n);
  op(n, DF_SCALE, row(n, PLAIN), row(n, PLAIN), width);
  op(n, DF_SCALE, row(n, WITH_X), row(n, WITH_X), width);
  give_dx(n, dy, x, dx);
}

bool weave_norm_grad(weave *w, const graph_node *node) {
  norm n = begin(w, node, node->in[1], node->out[2] != GRAPH_NONE);
  n.down = weave_column_sum_routes(w, (weave_run){0, n.axis->parts, 1});
  n.gains = weave_scratch(w, 4 * weave_tile_max(n.axis));
  n.parts = weave_scratch(w, 8 * weave_tile_max(n.axis));
  stream_pairs(&n, n.color, false, node->in[2], GRAPH_NONE);
  stream_pairs(&n, weave_column_sum_gate(w, &n.down), true, node->out[1], node->out[2]);
  return each_cell(&n, weave_rows(w, true, true), gradient_cell);
}

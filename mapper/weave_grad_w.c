// dW[o][i] = scale sum over t of dy[o][t] x[i][t], and dbias[o] = scale sum over t of dy[o][t], added to the host's.
// One output after the other: the column that holds it sends its dy along the row, every PE multiplies it with its
// own x, and the sums run down the columns and out at the southern end while the next dy comes.
//
// The order of outputs is column by column (feature by feature, and of each feature block by block), and dy travels
// on two baton lines. A column hears those before it on the eastern line; then it may send, and hears on the western
// line itself and those behind it. What it sends east last is what tells the next column to begin: by then all that
// it sends west is on its way, so the western line keeps the order too.
//
// Products are on one microthread: an instruction is issued when the one before it is complete. The sums of an output
// leave when the next one's first product has been issued.
#include "mapper/weave_product.h"

// R_NEXT: the output whose dy is received. The buffers of that one, of the one before it, which is multiplied, and of
// the one before that, which leaves, are told by R_HEARD, R_SUMS and R_LEAVING.
enum { R_NEXT, R_HEARD, R_SUMS, R_LEAVING, R_IN, R_BLOCK };
enum { CHAIN = 1, HEAR, WEST, EAST, CLEAR, DROP, PRODUCTS }; // microthreads
enum { BUFFERS = 4 };                                        // of dy, and of sums, which may still be leaving
enum { NONE = UINT32_MAX };

typedef struct reduction {
  const graph_node *node;
  const weave_place *dy, *x;
  u32 weights, bias;            // gradients; bias may be GRAPH_NONE
  u32 inputs, outputs, columns; // columns with features of x, of dy, of either
  u32 east, west;               // colors
  weave_column_sum down;
  u32 heard, heard_bytes; // dy
  u32 sums, sums_bytes;   // of the column's weights
  u32 biases;             // sums of the column's biases
  u32 packed;             // own dy in the order in which it is sent, where it has several blocks
  u32 one, dropped;
} reduction;

// The class of some columns and rows.
typedef struct cell {
  const reduction *r;
  weave_run rows;
  u32 tokens, in, out;  // features; of dy in all blocks
  u8 wire;              // type of dy on its way
  df_affine first, end; // of the order: before the own ones, and with them
  i32 total;
  bool sends_east, hears_east, on_west; // hears_east: somebody sends before it
  u32 scale;                            // NONE: 1
} cell;

// Columns from which something leaves.
static u32 columns_that_reach(const reduction *r) {
  return r->bias != GRAPH_NONE ? r->columns : r->inputs;
}

// ---- dy on its way

static void hear(weave *w, const cell *c, u32 color) {
  const df_affine length = df_just((i32)c->tokens);
  const u32 to = weave_at(w, "heard", w->type, c->r->heard, length);
  df_build_moved_by(w->b, to, R_HEARD, (i32)c->r->heard_bytes);
  df_build_op(w->b, df_on(df_vv(DF_MOV, to, weave_in(w, "hear", c->wire, length, color)), HEAR));
}

// Receives the next dy, when the one before it is complete: from the west before the own ones, then from the east.
static void hear_next(weave *w, const cell *c) {
  u32 over_all = 0, over_west = 0, ends[2], end_count = 0;
  if (c->hears_east) over_all = weave_skip(w, df_skip_less(R_NEXT, c->first, 0));
  if (c->on_west) {
    over_west = weave_skip(w, df_skip_less(R_NEXT, df_just(c->total), 0));
    weave_await(w, HEAR);
    ends[end_count++] = weave_skip(w, df_skip(0));
    df_build_skip_to_here(w->b, over_west);
    hear(w, c, c->r->west);
  } else {
    weave_await(w, HEAR);
  }
  if (c->hears_east) {
    ends[end_count++] = weave_skip(w, df_skip(0));
    df_build_skip_to_here(w->b, over_all);
    hear(w, c, c->r->east);
  }
  while (end_count) df_build_skip_to_here(w->b, ends[--end_count]);
}

// Words for others, and those that come back from the own router.
static void drop(weave *w, const cell *c, df_affine outputs, u32 color, u32 thread) {
  const df_affine length = weave_times(outputs, c->tokens);
  const u32 to = weave_at(w, "dropped", w->type, c->r->dropped, length);
  df_build_stride(w->b, to, 0);
  df_build_op(w->b, df_on(df_vv(DF_MOV, to, weave_in(w, "drop", c->wire, length, color)), thread));
}

// `count` own outputs from the at-th on.
static void send(weave *w, const cell *c, u32 at, u32 count, u32 color, u32 thread) {
  const reduction *r = c->r;
  const u32 address = r->dy->blocks > 1 ? r->packed : r->dy->address;
  const u32 own =
      weave_table(w, "own", (weave_rows_at){w->type, address + at * r->dy->pitch, c->tokens, count, r->dy->pitch});
  const u32 out = weave_out(w, "send", c->wire, df_just((i32)(c->tokens * count)), color);
  df_build_op(w->b, df_on(df_vv(DF_MOV, out, own), thread));
}

// The column's turn. All but the last are under way both ways at once.
static void begin_turn(weave *w, const cell *c) {
  send(w, c, 0, c->out, c->r->west, WEST);
  if (!c->sends_east) return;
  drop(w, c, df_just((i32)c->out), c->r->east, DROP);
  if (c->out > 1) send(w, c, 0, c->out - 1, c->r->east, EAST);
}

static void end_turn(weave *w, const cell *c) {
  if (!c->sends_east) return;
  weave_await(w, WEST);
  send(w, c, c->out - 1, 1, c->r->east, EAST);
}

// In the iterations of the own outputs: the turn begins in the first and ends in the last.
static void take_turn(weave *w, const cell *c) {
  u32 over[3];
  over[0] = weave_skip(w, df_skip_less(R_NEXT, c->first, 0));
  df_build_op(w->b, df_skip_less(R_NEXT, c->end, 1));
  over[1] = weave_skip(w, df_skip(0));
  df_build_op(w->b, df_skip_less(R_NEXT, weave_plus(c->first, 1), 1));
  over[2] = weave_skip(w, df_skip(0));
  begin_turn(w, c);
  df_build_skip_to_here(w->b, over[2]);
  if (c->sends_east) {
    over[2] = weave_skip(w, df_skip_less(R_NEXT, weave_plus(c->end, -1), 0));
    end_turn(w, c);
    df_build_skip_to_here(w->b, over[2]);
  }
  df_build_skip_to_here(w->b, over[0]);
  df_build_skip_to_here(w->b, over[1]);
}

// dy of several blocks: each feature's side by side.
static void pack(weave *w, const cell *c) {
  const weave_place *dy = c->r->dy;
  const u32 features = c->out / dy->blocks;
  for (u32 b = 0; b < dy->blocks && dy->blocks > 1; b++) {
    const u32 from = weave_table(
        w, "block", (weave_rows_at){w->type, dy->address + b * dy->block_bytes, c->tokens, features, dy->pitch});
    const u32 to = weave_table(
        w, "packed",
        (weave_rows_at){w->type, c->r->packed + b * dy->pitch, c->tokens, features, dy->blocks * dy->pitch});
    df_build_op(w->b, df_vv(DF_MOV, to, from));
  }
}

// ---- products and sums

static u32 sums_of(weave *w, const cell *c, u32 reg) {
  const u32 v = weave_at(w, "sums", DF_F32, c->r->sums, df_just((i32)(c->in * c->r->x->blocks)));
  df_build_moved_by(w->b, v, reg, (i32)c->r->sums_bytes);
  return v;
}

static void add_term(weave *w, const cell *c, u32 feature, u32 block, bool looped) {
  const weave_place *x = c->r->x;
  const df_affine length = df_just((i32)c->tokens);
  const u32 dy = weave_at(w, "dy", w->type, c->r->heard, length);
  const u32 own = weave_at(w, "x", x->type, x->address + block * x->block_bytes + feature * x->pitch, length);
  const u32 sum = weave_at(w, "sum", DF_F32, c->r->sums + 4 * (block * c->in + feature), df_just(1));
  df_build_moved_by(w->b, dy, R_SUMS, (i32)c->r->heard_bytes);
  df_build_moved_by(w->b, sum, R_SUMS, (i32)c->r->sums_bytes);
  if (looped) {
    df_build_moved_by(w->b, own, R_IN, (i32)x->pitch);
    df_build_moved_by(w->b, sum, R_IN, 4);
  }
  df_build_op(w->b, df_on(df_vvv(DF_DOT, sum, own, dy), PRODUCTS));
}

static void add_features(weave *w, const cell *c, u32 from, u32 block) {
  if (from == c->in) return;
  df_build_op(w->b, df_rn(DF_LOOP, R_IN, df_just((i32)(c->in - from))));
  add_term(w, c, from, block, true);
  df_build_op(w->b, df_none(DF_END));
}

// Adds what comes from the north and sends it south.
static void link_sums(weave *w, const cell *c, u32 own, u32 count) {
  if (c->scale != NONE) df_build_op(w->b, df_vvv(DF_SCALE, own, own, c->scale));
  df_build_op(w->b, df_on(weave_column_sum_step(w, &c->r->down, c->rows, own, df_just((i32)count)), CHAIN));
}

static void leave(weave *w, const cell *c) {
  link_sums(w, c, sums_of(w, c, R_LEAVING), c->in * c->r->x->blocks);
  weave_turn(w, R_LEAVING, BUFFERS);
}

static void multiply(weave *w, const cell *c) {
  add_term(w, c, 0, 0, false);
  const u32 over = weave_skip(w, df_skip_less(R_NEXT, df_just(2), 0));
  leave(w, c);
  df_build_skip_to_here(w->b, over);
  for (u32 block = 0; block < c->r->x->blocks; block++) add_features(w, c, block == 0, block);
  weave_turn(w, R_SUMS, BUFFERS);
}

// One more round than there are outputs: each receives one and multiplies the one before it.
static void each_output(weave *w, const cell *c) {
  df_build_op(w->b, df_rn(DF_LOOP, R_NEXT, df_just(c->total + 1)));
  hear_next(w, c);
  df_build_op(w->b, df_on(df_vn(DF_FILL, sums_of(w, c, R_HEARD), df_just(0)), CLEAR));
  if (c->out) take_turn(w, c);
  const u32 over = weave_skip(w, df_skip_less(R_NEXT, df_just(1), 0));
  multiply(w, c);
  df_build_skip_to_here(w->b, over);
  weave_turn(w, R_HEARD, BUFFERS);
  df_build_op(w->b, df_none(DF_END));
  weave_await(w, PRODUCTS);
  leave(w, c);
}

// Without features of x: it hears the others to know its turn.
static void only_send(weave *w, const cell *c) {
  if (c->hears_east) drop(w, c, c->first, c->r->east, 0);
  const df_affine others = {c->total - c->first.base, -c->first.dx, -c->first.dy};
  drop(w, c, others, c->r->west, HEAR);
  begin_turn(w, c);
  end_turn(w, c);
}

static void reduce_bias(weave *w, const cell *c) {
  const weave_place *dy = c->r->dy;
  const u32 features = c->out / dy->blocks;
  const u32 biases = weave_at(w, "biases", DF_F32, c->r->biases, df_just((i32)c->out));
  const u32 bias = weave_at(w, "bias", DF_F32, c->r->biases, df_just(1));
  df_build_moved_by(w->b, bias, R_IN, 4);
  df_build_moved_by(w->b, bias, R_BLOCK, (i32)(4 * features));
  const u32 own = weave_feature(w, "own", c->r->node->in[0], c->tokens, R_IN, R_BLOCK);
  const u32 one = weave_at(w, "one", w->type, c->r->one, df_just((i32)c->tokens));
  df_build_stride(w->b, one, 0);
  df_build_op(w->b, df_vn(DF_FILL, one, df_just(1)));
  df_build_op(w->b, df_vn(DF_FILL, biases, df_just(0)));
  df_build_op(w->b, df_rn(DF_LOOP, R_BLOCK, df_just((i32)dy->blocks)));
  df_build_op(w->b, df_rn(DF_LOOP, R_IN, df_just((i32)features)));
  df_build_op(w->b, df_vvv(DF_DOT, bias, own, one));
  df_build_op(w->b, df_none(DF_END));
  df_build_op(w->b, df_none(DF_END));
  link_sums(w, c, biases, c->out);
}

// ---- classes

static cell cell_of(weave *w, const reduction *r, weave_run columns, weave_run rows) {
  const weave_place *dy = r->dy;
  cell c = {.r = r, .rows = rows, .tokens = weave_row_tokens(&w->tokens, rows.first)};
  c.in = weave_tile(&r->x->axis, columns.first);
  c.out = weave_tile(&dy->axis, columns.first) * dy->blocks;
  c.wire = c.tokens % 2 ? DF_F32 : w->type; // both ends pair 16-bit elements alike
  c.first = weave_times(weave_first_along(&dy->axis, columns), dy->blocks);
  c.end = weave_plus(c.first, (i32)c.out);
  c.total = (i32)(weave_block(dy) * dy->blocks);
  c.hears_east = columns.first > 0;
  c.sends_east = c.out && columns.first + 1 < r->columns;
  c.on_west = columns.first < r->outputs;
  c.scale = NONE;
  return c;
}

static void build_class(weave *w, const reduction *r, weave_run columns, weave_run rows) {
  weave_class(w, columns, rows);
  df_build_task(w->b, "main");
  df_build_start_active(w->b);
  cell c = cell_of(w, r, columns, rows);
  if (r->node->scale != 1 && columns.first < columns_that_reach(r))
    c.scale = weave_constant(w, "scale", r->node->scale);
  if (c.out) pack(w, &c);
  if (c.in)
    each_output(w, &c);
  else
    only_send(w, &c);
  if (c.out && r->bias != GRAPH_NONE) reduce_bias(w, &c);
}

// ---- streams and routes

// Per output the gradients of the weights of the column's features; behind them the own outputs' biases'.
static void stream_gradients(weave *w, const reduction *r, u32 column) {
  const u32 in = weave_tile(&r->x->axis, column), out = weave_tile(&r->dy->axis, column);
  const u64 outputs = weave_block(r->dy), inputs = weave_block(r->x), width = inputs * r->x->blocks;
  woven_item weights[WOVEN_ITEMS_MAX], biases[WOVEN_ITEMS_MAX];
  u32 count = 0;
  for (u32 b = 0; b < r->dy->blocks; b++) {
    biases[b] = (woven_item){r->bias, out, b * outputs + weave_first(&r->dy->axis, column), 0, 1};
    for (u32 k = 0; k < r->x->blocks; k++) {
      require(count < WOVEN_ITEMS_MAX);
      const u64 first = k * inputs + weave_first(&r->x->axis, column);
      weights[count++] = (woven_item){r->weights, in, b * outputs * width + first, width, 1};
    }
  }
  weave_stream(w, column, weave_column_sum_gate(w, &r->down), true, DF_F32);
  if (in) weave_segment(w, outputs, weights, count);
  if (out && r->bias != GRAPH_NONE) weave_segment(w, 1, biases, r->dy->blocks);
}

// ---- the phase

static void take_memory(weave *w, reduction *r) {
  r->heard_bytes = weave_row_bytes(w, w->type);
  r->heard = weave_scratch_rows(w, w->type, BUFFERS);
  r->sums_bytes = weave_tile_max(&r->x->axis) * r->x->blocks * 4;
  r->sums = weave_scratch(w, BUFFERS * r->sums_bytes);
  r->one = weave_scratch(w, 4);
  r->dropped = weave_scratch(w, 4);
  const u32 own = weave_tile_max(&r->dy->axis) * r->dy->blocks;
  if (r->bias != GRAPH_NONE) r->biases = weave_scratch(w, 4 * own);
  if (r->dy->blocks > 1) r->packed = weave_scratch(w, r->dy->pitch * own);
}

bool weave_grad_w(weave *w, const graph_node *node) {
  reduction r = {.node = node,
                 .dy = &w->places[node->in[0]],
                 .x = &w->places[node->in[1]],
                 .weights = node->out[0],
                 .bias = node->out[1]};
  weave_begin(w, node, FAMILY_GRAD_W);
  r.inputs = r.x->axis.parts;
  r.outputs = r.dy->axis.parts;
  r.columns = r.inputs > r.outputs ? r.inputs : r.outputs;
  r.east = weave_new_color(w);
  r.west = weave_new_color(w);
  r.down = weave_column_sum_routes(w, (weave_run){0, columns_that_reach(&r), 1});
  take_memory(w, &r);
  const u32 rows_used = w->tokens.rows;
  if (r.columns > 1) weave_baton_routes(w, df_block(0, 0, r.columns, rows_used), r.columns, r.east, PORT_EAST);
  weave_baton_routes(w, df_block(0, 0, r.outputs, rows_used), r.outputs, r.west, PORT_WEST);
  const weave_runs columns = weave_product_columns(&r.x->axis, &r.dy->axis, false), rows = weave_rows(w, true, true);
  for (u32 i = 0; i < columns.count; i++)
    for (u32 k = 0; k < rows.count; k++) build_class(w, &r, columns.run[i], rows.run[k]);
  for (u32 column = 0; column < columns_that_reach(&r); column++) stream_gradients(w, &r, column);
  return weave_end(w);
}

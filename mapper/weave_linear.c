// y = scale (x W^T + bias), and dx = scale dy W. The weights of one output after the other come down the columns,
// each in the column that holds its input feature, and each is an AXPY over the PE's tokens. The partial sums of an
// output run along the row, from both ends to the column that holds it, while the next weights come.
//
// Columns [0, inputs) have input features, columns [0, outputs) output features. The chain to the west has its links
// between the former, the chain to the east between the latter; a column that has outputs only hands eastbound sums on.
//
// All products are on one microthread, so that an instruction is issued when the one before it is complete, and what
// else there is to do for an output is done in the shadow of the next one's first product.
#include "mapper/weave_product.h"

// R_OUT: the output whose products are issued; R_SUMS its partial sums, R_LEAVING those of the one before it;
// R_OWN: own outputs that have begun to come in
enum { R_BLOCK, R_OUT, R_IN_BLOCK, R_IN, R_SUMS, R_LEAVING, R_OWN };
enum { CHAIN = 1, EASTERN, PRODUCTS }; // microthreads: links, own sums that come from the east, products
enum { BUFFERS = 3 };                  // of partial sums: one is summed up, one leaves, one may still be leaving
enum { NO_VECTOR = UINT32_MAX };

typedef struct product {
  const graph_node *node;
  const weave_place *in, *out;
  u32 weights, bias;           // tensors; bias may be GRAPH_NONE
  u64 in_stride, out_stride;   // in elements of the weights, from one feature to the next
  u32 inputs, outputs;         // columns
  u32 color, east[2], west[2]; // weights; links by the parity of the column that sends
  u32 sums, sums_bytes;        // partial sums
  u32 totals, total_pitch;     // F32 sums of the own outputs of a block; in place where they can be
  bool in_place;
  u32 bias_words;
} product;

// The class of some columns and rows.
typedef struct cell {
  const product *p;
  u32 tokens, in, out;                        // features in each block
  df_affine first, end;                       // outputs of a block before the own ones, and with them
  bool odd, before, after;                    // other columns have outputs before, after the own ones
  u32 from_west, to_west, from_east, to_east; // links of the chains: NO_VECTOR where there is none
  u32 weight, partial, leaving;
} cell;

static u32 total_at(weave *w, const cell *c, i32 rows_before) {
  const product *p = c->p;
  const u32 v = weave_at(w, "total", DF_F32, p->totals - (u32)rows_before * p->total_pitch, df_just((i32)c->tokens));
  df_build_moved_by(w->b, v, R_OWN, (i32)p->total_pitch);
  if (p->in_place) df_build_moved_by(w->b, v, R_BLOCK, (i32)p->out->block_bytes);
  return v;
}

static u32 totals_of(weave *w, const cell *c) {
  const product *p = c->p;
  const u32 v = weave_table(w, "totals", (weave_rows_at){DF_F32, p->totals, c->tokens, c->out, p->total_pitch});
  if (p->in_place) df_build_moved_by(w->b, v, R_BLOCK, (i32)p->out->block_bytes);
  return v;
}

// ---- the products of one output

static void add_term(weave *w, const cell *c, df_opcode op, u32 address, bool in_blocks) {
  const weave_place *in = c->p->in;
  const u32 x = weave_at(w, "x", in->type, address, df_just((i32)c->tokens));
  if (op == DF_AXPY) df_build_moved_by(w->b, x, R_IN, (i32)in->pitch);
  if (in_blocks) df_build_moved_by(w->b, x, R_IN_BLOCK, (i32)in->block_bytes);
  df_build_op(w->b, df_on(df_vvv(op, c->partial, x, c->weight), PRODUCTS));
}

static void add_features(weave *w, const cell *c, u32 address, u32 count, bool in_blocks) {
  if (!count) return;
  df_build_op(w->b, df_rn(DF_LOOP, R_IN, df_just((i32)count)));
  add_term(w, c, DF_AXPY, address, in_blocks);
  df_build_op(w->b, df_none(DF_END));
}

static void add_others(weave *w, const cell *c) {
  const weave_place *in = c->p->in;
  add_features(w, c, in->address + in->pitch, c->in - 1, false);
  if (in->blocks == 1) return;
  df_build_op(w->b, df_rn(DF_LOOP, R_IN_BLOCK, df_just((i32)in->blocks - 1)));
  add_features(w, c, in->address + in->block_bytes, c->in, true);
  df_build_op(w->b, df_none(DF_END));
}

// ---- where the sum of the output before R_OUT goes

static void link_sums(weave *w, u32 to, u32 from, u32 own) {
  df_build_op(w->b, df_on(from == NO_VECTOR ? df_vv(DF_MOV, to, own) : df_vvv(DF_ADD, to, from, own), CHAIN));
}

// What came from the west is in the latest own output's total (the chain's next link has been issued): adds what
// comes from the east.
static void add_eastern(weave *w, const cell *c) {
  const u32 total = total_at(w, c, 1);
  df_build_op(w->b, df_on(df_vvv(DF_ADD, total, c->from_east, total), EASTERN));
}

static bool both_sides(const cell *c) {
  return c->from_west != NO_VECTOR && c->from_east != NO_VECTOR;
}

static void keep_own(weave *w, const cell *c) {
  link_sums(w, total_at(w, c, 0), c->from_west != NO_VECTOR ? c->from_west : c->from_east, c->leaving);
  if (both_sides(c) && c->out > 1) {
    df_build_op(w->b, df_skip_less(R_OWN, df_just(1), 1));
    add_eastern(w, c);
  }
  df_build_op(w->b, df_rn(DF_STEP, R_OWN, df_just(1)));
}

static void send_east(weave *w, const cell *c) {
  link_sums(w, c->to_east, c->from_west, c->leaving);
  if (!c->out || !both_sides(c)) return;
  df_build_op(w->b, df_skip_less(R_OUT, weave_plus(c->end, 2), 1));
  df_build_op(w->b, df_skip(1));
  add_eastern(w, c);
}

// East for outputs behind the own ones, west for those before them.
static void pass_on(weave *w, const cell *c) {
  u32 ends[2], end_count = 0;
  const bool others[] = {c->after, c->out > 0, c->before};
  for (u32 k = 0; k < COUNT_OF(others); k++) {
    if (!others[k]) continue;
    const bool last = k == 2 || (!c->before && (k == 1 || !c->out));
    const u32 over = last ? 0 : weave_skip(w, df_skip_less(R_OUT, weave_plus(k ? c->first : c->end, 1), 0));
    if (k == 0) send_east(w, c);
    if (k == 1) keep_own(w, c);
    if (k == 2) link_sums(w, c->to_west, c->from_east, c->leaving);
    if (last) break;
    ends[end_count++] = weave_skip(w, df_skip(0));
    df_build_skip_to_here(w->b, over);
  }
  while (end_count) df_build_skip_to_here(w->b, ends[--end_count]);
  weave_turn(w, R_LEAVING, BUFFERS);
}

// The last output is the last column's that has outputs.
static void pass_last(weave *w, const cell *c) {
  weave_await(w, PRODUCTS);
  if (c->after)
    send_east(w, c);
  else if (c->out)
    keep_own(w, c);
  else
    link_sums(w, c->to_west, c->from_east, c->leaving);
  weave_turn(w, R_LEAVING, BUFFERS);
}

// ---- the own outputs of a block

// Until all of them are in `totals`.
static void await_own(weave *w, const cell *c) {
  if (!c->after) weave_await(w, CHAIN);
  if (!both_sides(c)) return;
  if (!c->after) add_eastern(w, c);
  weave_await(w, EASTERN);
}

static u32 receive_bias(weave *w, const cell *c) {
  const product *p = c->p;
  const df_affine count = df_just((i32)c->out);
  df_build_op(w->b, df_vv(DF_MOV, weave_at(w, "bias_words", DF_I32, p->bias_words, count),
                          weave_in(w, "bias_in", DF_I32, count, p->color)));
  const u32 v = weave_at(w, "bias", w->type, p->bias_words, df_just((i32)(c->tokens * c->out)));
  df_build_stride(w->b, v, 0);
  df_build_rows(w->b, v, df_just((i32)c->tokens), 4);
  return v;
}

static void finish_own(weave *w, const cell *c, u32 scale) {
  const product *p = c->p;
  const bool add = p->node->accumulate & 1, scaled = scale != NO_VECTOR;
  const u32 y = weave_table(w, "y", (weave_rows_at){p->out->type, p->out->address, c->tokens, c->out, p->out->pitch});
  df_build_moved_by(w->b, y, R_BLOCK, (i32)p->out->block_bytes);
  const u32 all = p->in_place ? y : totals_of(w, c);
  if (p->bias != GRAPH_NONE) {
    const u32 bias = receive_bias(w, c);
    df_build_op(w->b, df_vvv(DF_ADD, scaled || add ? all : y, all, bias));
  }
  if (scaled)
    df_build_op(w->b, df_vvv(add ? DF_AXPY : DF_SCALE, y, all, scale));
  else if (add)
    df_build_op(w->b, df_vvv(DF_ADD, y, y, all));
  else if (p->bias == GRAPH_NONE && !p->in_place)
    df_build_op(w->b, df_vv(DF_MOV, y, all));
}

// ---- classes

static void each_output(weave *w, const cell *c) {
  df_build_op(w->b, df_rn(DF_LOOP, R_OUT, df_just((i32)weave_block(c->p->out))));
  add_term(w, c, DF_SCALE, c->p->in->address, false);
  const u32 over = weave_skip(w, df_skip_less(R_OUT, df_just(1), 0));
  pass_on(w, c);
  df_build_skip_to_here(w->b, over);
  add_others(w, c);
  weave_turn(w, R_SUMS, BUFFERS);
  df_build_op(w->b, df_none(DF_END));
  pass_last(w, c);
  if (c->out) await_own(w, c);
}

// Without input features: own sums come from the west, those behind them are handed on.
static void hand_on(weave *w, const cell *c) {
  const product *p = c->p;
  const u32 own = c->tokens * c->out, color = p->east[!c->odd];
  const u32 own_in = weave_in(w, "own_in", DF_F32, df_just((i32)own), color);
  df_build_op(w->b, df_on(df_vv(DF_MOV, totals_of(w, c), own_in), CHAIN));
  if (!c->after) {
    weave_await(w, CHAIN);
    return;
  }
  const i32 block = (i32)weave_block(p->out), tokens = (i32)c->tokens;
  const df_affine rest = {(block - c->end.base) * tokens, -c->end.dx * tokens, -c->end.dy * tokens};
  const u32 rest_in = weave_in(w, "rest_in", DF_F32, rest, color);
  df_build_op(w->b, df_on(df_vv(DF_MOV, weave_out(w, "rest_out", DF_F32, rest, p->east[c->odd]), rest_in), CHAIN));
}

static cell cell_of(weave *w, const product *p, weave_run columns, u32 tokens) {
  const weave_axis *in = &p->in->axis, *out = &p->out->axis;
  cell c = {.p = p, .tokens = tokens, .in = weave_tile(in, columns.first), .out = weave_tile(out, columns.first)};
  c.odd = weave_is_odd(columns);
  c.first = weave_first_along(out, columns);
  c.end = weave_plus(c.first, (i32)c.out);
  c.before = columns.first > 0;
  c.after = columns.first + 1 < p->outputs;
  c.from_west = c.to_west = c.from_east = c.to_east = NO_VECTOR;
  if (!c.in) return c;
  const df_affine length = df_just((i32)tokens);
  if (c.before && c.out) c.from_west = weave_in(w, "from_west", DF_F32, length, p->east[!c.odd]);
  if (c.after) c.to_east = weave_out(w, "to_east", DF_F32, length, p->east[c.odd]);
  if (columns.first + 1 < p->inputs) c.from_east = weave_in(w, "from_east", DF_F32, length, p->west[!c.odd]);
  if (c.before) c.to_west = weave_out(w, "to_west", DF_F32, length, p->west[c.odd]);
  c.weight = weave_in(w, "weight", w->type, df_just(1), p->color);
  c.partial = weave_at(w, "partial", w->acc_type, p->sums, length);
  c.leaving = weave_at(w, "leaving", w->acc_type, p->sums, length);
  df_build_moved_by(w->b, c.partial, R_SUMS, (i32)p->sums_bytes);
  df_build_moved_by(w->b, c.leaving, R_LEAVING, (i32)p->sums_bytes);
  return c;
}

static void build_class(weave *w, const product *p, weave_run columns, weave_run rows) {
  weave_class(w, columns, rows);
  df_build_task(w->b, "main");
  df_build_start_active(w->b);
  const cell c = cell_of(w, p, columns, weave_row_tokens(&w->tokens, rows.first));
  const u32 scale = p->node->scale != 1 && c.out ? weave_constant(w, "scale", p->node->scale) : NO_VECTOR;
  const bool repeat = p->out->blocks > 1;
  if (repeat) df_build_op(w->b, df_rn(DF_LOOP, R_BLOCK, df_just((i32)p->out->blocks)));
  df_build_op(w->b, df_rn(DF_SET, R_OWN, df_just(0)));
  if (c.in)
    each_output(w, &c);
  else
    hand_on(w, &c);
  if (c.out) finish_own(w, &c, scale);
  if (repeat) df_build_op(w->b, df_none(DF_END));
}

// ---- streams and routes

static bool hears_host(const product *p, u32 column) {
  return column < p->inputs || (p->bias != GRAPH_NONE && column < p->outputs);
}

// Per output of a block the weights of the column's features; behind the block the own outputs' biases.
static void stream_weights(weave *w, const product *p, u32 column) {
  const u32 in = weave_tile(&p->in->axis, column), out = weave_tile(&p->out->axis, column);
  const u64 outputs = weave_block(p->out), inputs = weave_block(p->in);
  weave_stream(w, column, p->color, false, w->type);
  for (u32 block = 0; block < p->out->blocks; block++) {
    woven_item items[WOVEN_ITEMS_MAX];
    for (u32 b = 0; b < p->in->blocks; b++)
      items[b] = (woven_item){.tensor = p->weights,
                              .count = in,
                              .base = block * outputs * p->out_stride +
                                      (b * inputs + weave_first(&p->in->axis, column)) * p->in_stride,
                              .step = p->out_stride,
                              .stride = p->in_stride};
    if (in) weave_segment(w, outputs, items, p->in->blocks);
    const woven_item bias = {p->bias, out, block * outputs + weave_first(&p->out->axis, column), 0, 1};
    if (out && p->bias != GRAPH_NONE) weave_segment(w, 1, &bias, 1);
  }
}

static void link_routes(weave *w, const product *p, weave_run columns) {
  const df_rect rect = weave_rect(columns, (weave_run){0, w->tokens.rows, 1});
  const bool odd = weave_is_odd(columns);
  const u32 first = columns.first;
  if (first && first < p->outputs) df_build_route(w->b, rect, p->east[!odd], PORT_WEST, PORT_RAMP);
  if (first + 1 < p->outputs) df_build_route(w->b, rect, p->east[odd], PORT_RAMP, PORT_EAST);
  if (first && first < p->inputs) df_build_route(w->b, rect, p->west[odd], PORT_RAMP, PORT_WEST);
  if (first + 1 < p->inputs) df_build_route(w->b, rect, p->west[!odd], PORT_EAST, PORT_RAMP);
}

// ---- phases

static void take_memory(weave *w, product *p) {
  p->sums_bytes = weave_row_bytes(w, w->acc_type);
  p->sums = weave_scratch_rows(w, w->acc_type, BUFFERS);
  p->in_place = p->out->type == DF_F32 && !(p->node->accumulate & 1);
  p->totals = p->out->address;
  p->total_pitch = p->out->pitch;
  if (!p->in_place) {
    p->total_pitch = w->tokens.row_max * 4;
    p->totals = weave_scratch(w, weave_tile_max(&p->out->axis) * p->total_pitch);
  }
  if (p->bias != GRAPH_NONE) p->bias_words = weave_scratch(w, weave_tile_max(&p->out->axis) * 4);
}

static bool build_product(weave *w, product p, phase_family family) {
  weave_begin(w, p.node, family);
  p.inputs = p.in->axis.parts;
  p.outputs = p.out->axis.parts;
  p.color = weave_new_color(w);
  for (u32 odd = 0; odd < 2; odd++) p.east[odd] = weave_new_color(w), p.west[odd] = weave_new_color(w);
  take_memory(w, &p);
  const weave_runs columns = weave_product_columns(&p.in->axis, &p.out->axis, true), rows = weave_rows(w, false, false);
  for (u32 i = 0; i < columns.count; i++) {
    const weave_run run = columns.run[i];
    for (u32 k = 0; k < rows.count; k++) build_class(w, &p, run, rows.run[k]);
    link_routes(w, &p, run);
    if (!hears_host(&p, run.first)) continue;
    weave_down_routes(w, run, p.color);
    for (u32 k = 0; k < run.count; k++) stream_weights(w, &p, run.first + k * run.step);
  }
  return weave_end(w);
}

bool weave_linear(weave *w, const graph_node *node) {
  return build_product(w,
                       (product){.node = node,
                                 .in = &w->places[node->in[0]],
                                 .out = &w->places[node->out[0]],
                                 .weights = node->in[1],
                                 .bias = node->in[2],
                                 .in_stride = 1,
                                 .out_stride = w->graph->tensors[node->in[0]].cols},
                       FAMILY_LINEAR);
}

bool weave_grad_x(weave *w, const graph_node *node) {
  return build_product(w,
                       (product){.node = node,
                                 .in = &w->places[node->in[0]],
                                 .out = &w->places[node->out[0]],
                                 .weights = node->in[1],
                                 .bias = GRAPH_NONE,
                                 .in_stride = w->graph->tensors[node->out[0]].cols,
                                 .out_stride = 1},
                       FAMILY_GRAD_X);
}

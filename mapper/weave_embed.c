// The embedding at the edge: its output streams down the columns and everyone keeps the part of its row; its gradient
// streams out at their southern ends, row after row.
#include "mapper/weave_parts.h"

enum { FEATURE = 0 }; // register
enum { OTHERS = 1 };  // microthread

// A column's words in order: row by row, its features, their tokens.
static void stream_rows(weave *w, u32 tensor, u32 column) {
  const weave_axis *axis = &w->places[tensor].axis;
  const u32 cols = w->graph->tensors[tensor].cols;
  for (u32 y = 0; y < w->tokens.rows; y++) {
    const woven_item item = {.tensor = tensor,
                             .count = weave_row_tokens(&w->tokens, y),
                             .base = (u64)weave_row_first(&w->tokens, y) * cols + weave_first(axis, column),
                             .step = 1,
                             .stride = cols};
    weave_segment(w, weave_tile(axis, column), &item, 1);
  }
}

static u32 drop(weave *w, df_affine length) {
  const u32 v = weave_at(w, "drop", DF_F32, weave_scratch(w, 4), length);
  df_build_stride(w->b, v, 0);
  return v;
}

static df_affine times(df_affine v, i32 n) {
  return df_affine_of(v.base * n, v.dx * n, v.dy * n);
}

// Receives and forgets.
static void pass_over(weave *w, df_affine words, u32 color) {
  df_build_op(w->b, df_vv(DF_MOV, drop(w, words), weave_in(w, "pass", DF_F32, words, color)));
}

void weave_keep_own(weave *w, weave_run rows, u32 features, u32 color, weave_keep *keep, const void *of) {
  const u32 tokens = weave_row_tokens(&w->tokens, rows.first), all = w->tokens.seq * w->tokens.sequences;
  const df_affine before = times(weave_tokens_before(&w->tokens, rows), (i32)features);
  pass_over(w, before, color);
  keep(w, tokens, color, of);
  pass_over(w, df_affine_of((i32)((all - tokens) * features) - before.base, -before.dx, -before.dy), color);
}

typedef struct own_tile {
  u32 tensor, tile;
} own_tile;

static void keep_tile(weave *w, u32 tokens, u32 color, const void *of) {
  const own_tile *own = of;
  const u32 in = weave_in(w, "x_in", DF_F32, df_just((i32)tokens), color);
  const u32 x = weave_feature(w, "x", own->tensor, tokens, FEATURE, DF_NO_REGISTER);
  df_build_op(w->b, df_rn(DF_LOOP, FEATURE, df_just((i32)own->tile)));
  df_build_op(w->b, df_vv(DF_MOV, x, in));
  df_build_op(w->b, df_none(DF_END));
}

bool weave_embed(weave *w, const graph_node *node) {
  const u32 tensor = node->out[0];
  const weave_axis *axis = &w->places[tensor].axis, *axes[] = {axis, NULL};
  weave_begin(w, node, FAMILY_EMBED);
  const u32 color = weave_new_color(w);
  const weave_runs columns = weave_columns(axis->parts, axes, false), rows = weave_rows(w, false, false);
  weave_down_routes(w, (weave_run){0, axis->parts, 1}, color);
  for (u32 x = 0; x < axis->parts; x++) {
    weave_stream(w, x, color, false, DF_F32);
    stream_rows(w, tensor, x);
  }
  for (u32 r = 0; r < rows.count; r++)
    for (u32 c = 0; c < columns.count; c++) {
      const own_tile own = {tensor, weave_tile(axis, columns.run[c].first)};
      weave_class(w, columns.run[c], rows.run[r]);
      df_build_task(w->b, "main");
      df_build_start_active(w->b);
      weave_keep_own(w, rows.run[r], own.tile, color, keep_tile, &own);
    }
  return weave_end(w);
}

// A baton line down the column that goes on over its southern end.
static void leaving_routes(weave *w, u32 columns, u32 color) {
  df_build_route(w->b, df_block(0, 0, columns, 1), color, PORT_RAMP, PORT_RAMP | PORT_SOUTH);
  if (w->tokens.rows > 1)
    df_build_route(w->b, df_block(0, 1, columns, w->tokens.rows - 1), color, PORT_NORTH | PORT_RAMP,
                   PORT_RAMP | PORT_SOUTH);
}

// Hears the rows before, then sends, hearing itself.
static void send_own(weave *w, weave_run rows, own_tile own, u32 color) {
  const u32 tokens = weave_row_tokens(&w->tokens, rows.first);
  const df_affine itself = df_just((i32)(tokens * own.tile));
  pass_over(w, times(weave_tokens_before(&w->tokens, rows), (i32)own.tile), color);
  df_build_op(w->b, df_on(df_vv(DF_MOV, drop(w, itself), weave_in(w, "itself", DF_F32, itself, color)), OTHERS));
  const u32 dx = weave_feature(w, "dx", own.tensor, tokens, FEATURE, DF_NO_REGISTER);
  const u32 out = weave_out(w, "dx_out", DF_F32, df_just((i32)tokens), color);
  df_build_op(w->b, df_rn(DF_LOOP, FEATURE, df_just((i32)own.tile)));
  df_build_op(w->b, df_vv(DF_MOV, out, dx));
  df_build_op(w->b, df_none(DF_END));
}

bool weave_embed_grad(weave *w, const graph_node *node) {
  const u32 tensor = node->in[0];
  const weave_axis *axis = &w->places[tensor].axis, *axes[] = {axis, NULL};
  weave_begin(w, node, FAMILY_EMBED);
  const u32 color = weave_new_color(w);
  const weave_runs columns = weave_columns(axis->parts, axes, false), rows = weave_rows(w, false, false);
  leaving_routes(w, axis->parts, color);
  for (u32 x = 0; x < axis->parts; x++) {
    weave_stream(w, x, color, true, DF_F32);
    stream_rows(w, tensor, x);
  }
  for (u32 r = 0; r < rows.count; r++)
    for (u32 c = 0; c < columns.count; c++) {
      weave_class(w, columns.run[c], rows.run[r]);
      df_build_task(w->b, "main");
      df_build_start_active(w->b);
      send_own(w, rows.run[r], (own_tile){tensor, weave_tile(axis, columns.run[c].first)}, color);
    }
  return weave_end(w);
}

// What the families of weaving share.
#include "mapper/weave_parts.h"

#include <stdio.h>
#include <string.h>

// ---- runs

static void add_run(weave_runs *r, u32 first, u32 count, u32 step) {
  if (!count) return;
  require(r->count < WEAVE_RUNS_MAX);
  r->run[r->count++] = (weave_run){first, count, step};
}

static void add_span(weave_runs *r, u32 first, u32 end, bool parity) {
  if (!parity || end - first < 2)
    add_run(r, first, end - first, 1);
  else {
    add_run(r, first, (end - first + 1) / 2, 2);
    add_run(r, first + 1, (end - first) / 2, 2);
  }
}

weave_runs weave_columns(u32 columns, const weave_axis *const *axes, bool parity) {
  weave_runs r = {0};
  for (u32 first = 0, end; first < columns; first = end) {
    for (end = first + 1; end < columns; end++) {
      bool same = first != 0 && end != columns - 1;
      for (u32 k = 0; axes && k < 4 && axes[k]; k++)
        same = same && weave_tile(axes[k], end) == weave_tile(axes[k], first);
      if (!same) break;
    }
    add_span(&r, first, end, parity);
  }
  return r;
}

weave_runs weave_rows(const weave *w, bool ends, bool parity) {
  weave_runs r = {0};
  const u32 rows = w->tokens.rows;
  for (u32 first = 0, end; first < rows; first = end) {
    for (end = first + 1; end < rows; end++) {
      if (ends && (first == 0 || end == rows - 1)) break;
      if (weave_row_tokens(&w->tokens, end) != weave_row_tokens(&w->tokens, first)) break;
    }
    add_span(&r, first, end, parity);
  }
  return r;
}

weave_runs weave_group_columns(u32 columns, u32 group) {
  weave_runs r = {0};
  const u32 groups = columns / group;
  require(groups * group == columns);
  if (4 * groups < group) {
    for (u32 k = 0; k < groups; k++) {
      const u32 first = k * group;
      add_run(&r, first, 1, 1);
      if (group > 2) add_run(&r, first + 1, (group - 1) / 2, 2);
      if (group > 3) add_run(&r, first + 2, (group - 2) / 2, 2);
      add_run(&r, first + group - 1, 1, 1);
    }
    return r;
  }
  for (u32 p = 0; p < group; p++) add_run(&r, p, groups, group);
  return r;
}

df_affine weave_first_along(const weave_axis *a, weave_run c) {
  return df_affine_of((i32)weave_first(a, c.first), (i32)(weave_tile(a, c.first) * c.step), 0);
}

df_affine weave_tokens_before(const weave_tokens *t, weave_run rows) {
  return df_affine_of((i32)weave_row_first(t, rows.first), 0, (i32)(weave_row_tokens(t, rows.first) * rows.step));
}

// ---- phases

static void *grown(arena *a, void *old, u32 count, u32 *room, size_t each) {
  if (count < *room) return old;
  *room = *room ? 2 * *room : 64;
  void *more = arena_take(a, *room * each);
  if (count) memcpy(more, old, count * each);
  return more;
}

void weave_begin(weave *w, const graph_node *node, phase_family family) {
  w->phases = grown(w->memory, w->phases, w->phase_count, &w->phase_room, sizeof *w->phases);
  w->phases[w->phase_count] =
      (woven_phase){.node = (u32)(node - w->graph->nodes), .family = family, .first_stream = w->stream_count};
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "p%u", w->phase_count);
  w->b = df_build_begin(w->memory, name, w->width, w->height);
  w->scratch = w->color_count = w->class_count = w->vector_count = 0;
}

static void build_ports(weave *w, const woven_phase *p) {
  for (u32 i = 0; i < p->stream_count; i++) {
    woven_stream *s = &w->streams[p->first_stream + i];
    const weave_gate *g = &w->gates[p->first_stream + i];
    char name[DF_NAME_MAX];
    snprintf(name, sizeof name, "%s%u", g->out ? "out" : "in", i);
    s->port = i;
    df_build_port(w->b, name,
                  (df_port){.x = g->column,
                            .y = g->out ? w->tokens.rows - 1 : 0,
                            .port = g->out ? PORT_SOUTH : PORT_NORTH,
                            .color = (u8)g->color,
                            .out = g->out,
                            .wavelets = woven_stream_words(w->segments, s)});
  }
}

bool weave_end(weave *w) {
  woven_phase *p = &w->phases[w->phase_count++];
  p->stream_count = w->stream_count - p->first_stream;
  for (u32 i = 0; i < w->class_count; i++) {
    df_build_class(w->b, df_build_class_name(w->b, i));
    df_build_data_bytes(w->b, w->tensor_bytes + w->scratch);
  }
  build_ports(w, p);
  df_build_finish(w->b, &p->flow);
  w->b = NULL;
  if (w->scratch > w->scratch_max) w->scratch_max = w->scratch;
  return dataflow_check(&p->flow, w->request->machine, w->st);
}

void weave_class(weave *w, weave_run columns, weave_run rows) {
  char name[DF_NAME_MAX];
  snprintf(name, sizeof name, "c%u", w->class_count++);
  df_build_class(w->b, name);
  w->in_count = w->out_count = 0;
  weave_class_also(w, columns, rows);
}

void weave_class_also(weave *w, weave_run columns, weave_run rows) {
  df_build_region(w->b, weave_rect(columns, rows), df_build_class_name(w->b, w->class_count - 1));
}

u32 weave_scratch(weave *w, u32 bytes) {
  const u32 address = w->tensor_bytes + w->scratch;
  w->scratch += (bytes + 3) & ~3u;
  return address;
}

u32 weave_row_bytes(const weave *w, u32 type) {
  const u32 bytes = w->tokens.row_max * df_type_bytes((df_type)type);
  return df_type_bytes((df_type)type) == 2 ? weave_pair(bytes) : bytes;
}

u32 weave_scratch_rows(weave *w, u32 type, u32 rows) {
  const bool narrow = df_type_bytes((df_type)type) == 2;
  if (narrow && timing_bank(w->tensor_bytes + w->scratch) % 2 == 0) weave_scratch(w, BANK_BYTES);
  return weave_scratch(w, rows * weave_row_bytes(w, type));
}

u32 weave_new_color(weave *w) {
  return w->color_count++;
}

// ---- vectors

static const char *numbered(weave *w, const char *name) {
  return arena_format(w->memory, "%s%u", name, w->vector_count++);
}

u32 weave_feature(weave *w, const char *name, u32 tensor, u32 tokens, u32 feature_reg, u32 block_reg) {
  const weave_place *p = &w->places[tensor];
  require(p->placed);
  const u32 v =
      df_build_view(w->b, numbered(w, name), (df_type)p->type, df_just((i32)p->address), df_just((i32)tokens));
  if (feature_reg != DF_NO_REGISTER) df_build_moved_by(w->b, v, feature_reg, (i32)p->pitch);
  if (block_reg != DF_NO_REGISTER) df_build_moved_by(w->b, v, block_reg, (i32)p->block_bytes);
  return v;
}

u32 weave_at(weave *w, const char *name, u32 type, u32 address, df_affine length) {
  return df_build_view(w->b, numbered(w, name), (df_type)type, df_just((i32)address), length);
}

// The queue of a color in the open class.
static u32 queue_for(u32 *colors, u32 *count, u32 color) {
  for (u32 i = 0; i < *count; i++)
    if (colors[i] == color) return i;
  require(*count < WEAVE_QUEUES);
  colors[*count] = color;
  return (*count)++;
}

u32 weave_in(weave *w, const char *name, u32 type, df_affine length, u32 color) {
  return df_build_in(w->b, numbered(w, name), (df_type)type, length, color,
                     queue_for(w->in_colors, &w->in_count, color));
}

u32 weave_out(weave *w, const char *name, u32 type, df_affine length, u32 color) {
  return df_build_out(w->b, numbered(w, name), (df_type)type, length, color,
                      queue_for(w->out_colors, &w->out_count, color));
}

u32 weave_constant(weave *w, const char *name, double value) {
  const u32 v = weave_at(w, name, DF_F32, weave_scratch(w, 4), df_just(1));
  df_build_op(w->b, df_vn(DF_CONST, v, df_number((float)value)));
  return v;
}

// ---- streams

u64 woven_stream_words(const woven_segment *segments, const woven_stream *s) {
  u64 words = 0;
  for (u32 i = 0; i < s->segment_count; i++) {
    const woven_segment *g = &segments[s->first_segment + i];
    for (u32 k = 0; k < g->item_count; k++) words += g->repeat * g->items[k].count;
  }
  return words;
}

void weave_stream(weave *w, u32 column, u32 color, bool out, u32 type) {
  u32 room = w->stream_room;
  w->gates = grown(w->memory, w->gates, w->stream_count, &room, sizeof *w->gates);
  w->streams = grown(w->memory, w->streams, w->stream_count, &w->stream_room, sizeof *w->streams);
  w->streams[w->stream_count] = (woven_stream){.type = (u8)type, .first_segment = w->segment_count};
  w->gates[w->stream_count++] = (weave_gate){column, color, out};
}

void weave_segment(weave *w, u64 repeat, const woven_item *items, u32 item_count) {
  require(item_count <= WOVEN_ITEMS_MAX && w->stream_count);
  if (!repeat || !item_count) return;
  w->segments = grown(w->memory, w->segments, w->segment_count, &w->segment_room, sizeof *w->segments);
  woven_segment *s = &w->segments[w->segment_count++];
  *s = (woven_segment){.repeat = repeat, .item_count = item_count};
  memcpy(s->items, items, item_count * sizeof *items);
  w->streams[w->stream_count - 1].segment_count++;
}

// ---- routes

void weave_down_routes(weave *w, weave_run columns, u32 color) {
  const u32 rows = w->tokens.rows;
  if (rows > 1)
    df_build_route(w->b, weave_rect(columns, (weave_run){0, rows - 1, 1}), color, PORT_NORTH, PORT_RAMP | PORT_SOUTH);
  df_build_route(w->b, weave_rect(columns, (weave_run){rows - 1, 1, 1}), color, PORT_NORTH, PORT_RAMP);
}

weave_row_sum weave_row_sum_routes(weave *w, u32 columns, u32 group) {
  weave_row_sum s = {.columns = columns, .group = group};
  if (group < 2) return s;
  s.color[0] = weave_new_color(w);
  s.color[1] = weave_new_color(w);
  s.back = weave_new_color(w);
  const weave_run rows = {0, w->tokens.rows, 1};
  const weave_runs runs = weave_group_columns(columns, group);
  for (u32 i = 0; i < runs.count; i++) {
    const u32 p = runs.run[i].first % group;
    const df_rect rect = weave_rect(runs.run[i], rows);
    const bool last = p == group - 1;
    if (p) df_build_route(w->b, rect, s.color[(p - 1) & 1], PORT_WEST, PORT_RAMP);
    if (!last) df_build_route(w->b, rect, s.color[p & 1], PORT_RAMP, PORT_EAST);
    df_build_route(w->b, rect, s.back, last ? PORT_RAMP : PORT_EAST,
                   last ? PORT_WEST
                   : p  ? PORT_WEST | PORT_RAMP
                        : PORT_RAMP);
  }
  return s;
}

static u32 spanned(weave *w, u32 vector, const weave_span *at) {
  if (at->length_reg != DF_NO_REGISTER) df_build_longer_by(w->b, vector, at->length_reg);
  return vector;
}

void weave_row_sum_emit(weave *w, const weave_row_sum *s, weave_run columns, df_opcode op, weave_span at) {
  if (s->group < 2) return;
  const u32 p = columns.first % s->group;
  const bool last = p == s->group - 1;
  const u32 own = spanned(w, weave_at(w, "sum", DF_F32, at.address, at.length), &at);
  const u32 in = p ? spanned(w, weave_in(w, "sum_in", DF_F32, at.length, s->color[(p - 1) & 1]), &at) : 0;
  const u32 out = last ? 0 : spanned(w, weave_out(w, "sum_out", DF_F32, at.length, s->color[p & 1]), &at);
  if (last) {
    df_build_op(w->b, df_vvv(op, own, in, own));
    df_build_op(w->b, df_vv(DF_MOV, spanned(w, weave_out(w, "back_out", DF_F32, at.length, s->back), &at), own));
    return;
  }
  df_build_op(w->b, p ? df_vvv(op, out, in, own) : df_vv(DF_MOV, out, own));
  df_build_op(w->b, df_vv(DF_MOV, own, spanned(w, weave_in(w, "back_in", DF_F32, at.length, s->back), &at)));
}

weave_column_sum weave_column_sum_routes(weave *w, weave_run columns) {
  const weave_column_sum s = {{weave_new_color(w), w->tokens.rows > 1 ? weave_new_color(w) : 0}};
  const weave_runs rows = weave_rows(w, true, true);
  for (u32 i = 0; i < rows.count; i++) {
    const u32 y = rows.run[i].first;
    df_build_route(w->b, weave_rect(columns, rows.run[i]), s.color[y & 1], PORT_RAMP, PORT_SOUTH);
    if (y) df_build_route(w->b, weave_rect(columns, rows.run[i]), s.color[(y - 1) & 1], PORT_NORTH, PORT_RAMP);
  }
  return s;
}

u32 weave_column_sum_gate(const weave *w, const weave_column_sum *s) {
  return s->color[(w->tokens.rows - 1) & 1];
}

df_instruction weave_column_sum_step(weave *w, const weave_column_sum *s, weave_run rows, u32 vector,
                                     df_affine length) {
  const u32 y = rows.first, out = weave_out(w, "down_out", DF_F32, length, s->color[y & 1]);
  if (!y) return df_vv(DF_MOV, out, vector);
  return df_vvv(DF_ADD, out, weave_in(w, "down_in", DF_F32, length, s->color[(y - 1) & 1]), vector);
}

// first: nobody sends before it; last: nobody hears it.
static void baton_place(weave *w, df_rect rect, u32 color, u32 towards, bool first, bool last) {
  const u32 from = towards == PORT_SOUTH   ? PORT_NORTH
                   : towards == PORT_NORTH ? PORT_SOUTH
                   : towards == PORT_EAST  ? PORT_WEST
                                           : PORT_EAST;
  df_build_route(w->b, rect, color, PORT_RAMP | (first ? 0 : from), PORT_RAMP | (last ? 0 : towards));
}

void weave_baton_routes(weave *w, df_rect r, u32 length, u32 color, u32 towards) {
  const bool down = towards == PORT_SOUTH || towards == PORT_NORTH,
             back = towards == PORT_NORTH || towards == PORT_WEST;
  require(r.step_x == 1 && r.step_y == 1 && length && (down ? r.h : r.w) % length == 0);
  const u32 lines = (down ? r.h : r.w) / length;
  for (u32 k = 0; k < lines; k++) {
    const struct { u32 at, count; } part[] = {{0, 1}, {1, length > 2 ? length - 2 : 0}, {length - 1, length > 1}};
    for (u32 i = 0; i < COUNT_OF(part); i++) {
      if (!part[i].count) continue;
      const bool low = part[i].at == 0, high = part[i].at + part[i].count == length;
      const u32 at = k * length + part[i].at;
      const df_rect place =
          down ? df_block(r.x, r.y + at, r.w, part[i].count) : df_block(r.x + at, r.y, part[i].count, r.h);
      baton_place(w, place, color, towards, back ? high : low, back ? low : high);
    }
  }
}

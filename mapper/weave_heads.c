// Heads over columns, sequences over rows, and the parts of attention's code that both directions have.
#include "mapper/weave_heads.h"

// ---- who holds what

static u32 head_of(const weave_heads *h, u32 heads, u32 column) {
  const weave_axis whole = {1, heads, h->columns};
  return h->spread > 1 ? column / h->spread : weave_first(&whole, column);
}

static i32 slope_bits(const weave *w, const weave_heads *h, u32 column, u32 local) {
  const u32 heads = w->graph->model.heads;
  return df_number((float)graph_alibi_slope(head_of(h, heads, column) + local, heads)).base;
}

// The slopes of a local head along columns, as numbers' bits. False: they are not affine.
static bool slopes_along(const weave *w, const weave_heads *h, weave_run columns, u32 local, df_affine *ret) {
  const i64 first = slope_bits(w, h, columns.first, local);
  const i64 step = columns.count > 1 ? slope_bits(w, h, columns.first + columns.step, local) - first : 0;
  *ret = df_affine_of((i32)first, (i32)step, 0);
  for (u32 k = 0; k < columns.count; k++)
    if (slope_bits(w, h, columns.first + k * columns.step, local) != first + k * step) return false;
  return true;
}

// In a head's columns, of the k-th column of a run: one step after the other, or the same in every head.
static u32 place_of(const weave_heads *h, weave_run columns, u32 k) {
  return (columns.first + k * columns.step) % h->spread;
}

static void add_class(weave *w, weave_heads *h, heads_class c) {
  const weave_axis *axis = &w->places[h->qkv].axis;
  c.place = c.columns.first % h->spread;
  c.features = h->width / h->spread;
  c.heads = weave_tile(axis, c.columns.first) / c.features;
  c.queries = h->seq / h->seq_rows;
  c.sequences = h->seq_rows > 1 ? 1 : weave_row_tokens(&w->tokens, c.rows.first) / h->seq;
  if (h->seq_rows > 1) {
    c.above = df_affine_of((i32)c.rows.first, 0, (i32)c.rows.step);
    c.before = df_affine_of((i32)(c.rows.first * c.queries), 0, (i32)(c.rows.step * c.queries));
  }
  const weave_run all = c.columns;
  bool alike = (c.place < h->shares) == (place_of(h, all, all.count - 1) < h->shares);
  df_affine slopes;
  for (u32 k = 0; h->alibi && k < c.heads; k++) alike = alike && slopes_along(w, h, all, k, &slopes);
  for (u32 k = 0; k < (alike ? 1 : all.count); k++) {
    if (!alike) c.columns = (weave_run){all.first + k * all.step, 1, 1};
    c.place = c.columns.first % h->spread;
    h->classes[h->class_count++] = c;
  }
}

static void add_columns(weave *w, weave_heads *h, heads_class c) {
  const weave_axis *const axes[] = {&w->places[h->qkv].axis, NULL};
  const weave_runs runs =
      h->spread > 1 ? weave_group_columns(h->columns, h->spread) : weave_columns(h->columns, axes, false);
  for (u32 i = 0; i < runs.count; i++) {
    c.columns = runs.run[i];
    add_class(w, h, c);
  }
}

static void add_classes(weave *w, weave_heads *h) {
  const u32 r = h->seq_rows;
  if (r > 1) {
    const weave_run parts[] = {{0, 1, 1}, {1, (r - 1) / 2, 2}, {2, (r - 2) / 2, 2}, {r - 1, 1, 1}};
    h->classes = arena_array(w->memory, heads_class, COUNT_OF(parts) * h->columns);
    for (u32 i = 0; i < COUNT_OF(parts); i++)
      if (parts[i].count)
        add_columns(w, h,
                    (heads_class){.rows = parts[i],
                                  .odd = parts[i].first & 1,
                                  .top = parts[i].first == 0,
                                  .bottom = parts[i].first == r - 1});
    return;
  }
  const weave_runs rows = weave_rows(w, false, false);
  h->classes = arena_array(w->memory, heads_class, rows.count * h->columns);
  for (u32 i = 0; i < rows.count; i++)
    add_columns(w, h, (heads_class){.rows = rows.run[i], .top = true, .bottom = true});
}

// Every exponent takes many cycles and all columns of a head need all of them: they divide the keys in turn, and a sum
// over the columns puts them together, where that is faster in the row with the most keys. Its columns share alike, so
// that a row's share is affine: their number divides a row's queries.
static u32 share_exponents(const weave *w, const weave_heads *h) {
  const machine *m = w->request->machine;
  const u32 queries = h->seq / h->seq_rows;
  u32 shares = queries < h->spread ? queries : h->spread;
  while (queries % shares) shares--;
  const u64 keys = h->seq - (queries - 1) / 2; // of the middle query
  const double alone = timing_dsd(m, OPCODE_EXP, 1, keys);
  const double sum = 2 * timing_dsd(m, OPCODE_CHAIN32, 1, keys) + timing_dsd(m, OPCODE_COPY32, 1, keys) +
                     timing_chain(m, h->spread) + timing_path(m, h->spread);
  return timing_dsd(m, OPCODE_EXP, 1, h->seq / shares) + sum < alone ? shares : 1;
}

weave_heads weave_heads_begin(weave *w, const graph_node *node, u32 qkv) {
  const weave_axis *axis = &w->places[qkv].axis;
  weave_heads h = {.qkv = qkv,
                   .scale = node->scale,
                   .seq = w->tokens.seq,
                   .seq_rows = w->tokens.seq_rows,
                   .width = model_head_width(&w->graph->model),
                   .columns = axis->parts,
                   .alibi = w->graph->model.position == POSITION_ALIBI};
  h.spread = axis->unit < h.width ? h.width / axis->unit : 1;
  h.sum = weave_row_sum_routes(w, h.columns, h.spread);
  h.factor = weave_scratch(w, 4);
  h.queries = weave_scratch(w, 4 * h.width / h.spread);
  if (h.alibi) {
    h.slopes = weave_scratch(w, 4 * (h.spread > 1 ? 1 : weave_tile_max(axis) / h.width));
    h.distances = weave_scratch(w, 4 * h.seq);
  }
  // Behind the distances: their address falls as their length grows, which dataflow_check takes for independent.
  h.scores = weave_scratch(w, 4 * h.seq);
  h.shares = share_exponents(w, &h);
  h.exponents = h.shares > 1 ? weave_scratch(w, 4 * h.seq) : h.scores;
  if (h.seq_rows > 1) {
    h.baton = weave_new_color(w);
    weave_baton_routes(w, df_block(0, 0, h.columns, w->tokens.rows), h.seq_rows, h.baton, PORT_SOUTH);
    h.gathered_bytes = (weave_tile_max(axis) * h.seq * df_type_bytes(w->type) + 3) & ~3u;
    h.gathered = weave_scratch(w, 2 * h.gathered_bytes);
  }
  add_classes(w, &h);
  return h;
}

// ---- loops

static const u32 loop_registers[] = {
    [HEADS_EACH] = HEADS_HEAD,
    [HEADS_SEQUENCES] = HEADS_SEQUENCE,
    [HEADS_QUERIES] = HEADS_QUERY,
    [HEADS_FEATURES] = HEADS_FEATURE,
};

static u32 times(const heads_class *c, heads_loop over) {
  return over == HEADS_EACH        ? c->heads
         : over == HEADS_SEQUENCES ? c->sequences
         : over == HEADS_QUERIES   ? c->queries
                                   : c->features;
}

static void step(weave *w, u32 reg, i32 by) {
  df_build_op(w->b, df_rn(DF_STEP, reg, df_just(by)));
}

void weave_heads_loop(weave *w, const heads_class *c, heads_loop over) {
  if (over == HEADS_EACH && c->heads > 1) df_build_op(w->b, df_rn(DF_SET, HEADS_TILE, df_just(0)));
  if (over == HEADS_SEQUENCES && c->sequences > 1) df_build_op(w->b, df_rn(DF_SET, HEADS_TOKEN, df_just(0)));
  if (times(c, over) > 1) df_build_op(w->b, df_rn(DF_LOOP, loop_registers[over], df_just((i32)times(c, over))));
}

// HEADS_TOKEN goes on from sequence to sequence. HEADS_TILE runs through the features of a head time and again, and to
// the next head at last.
void weave_heads_loop_end(weave *w, const heads_class *c, heads_loop over) {
  const i32 features = (i32)c->features;
  if (over == HEADS_QUERIES && c->sequences > 1) step(w, HEADS_TOKEN, 1);
  if (over == HEADS_FEATURES && c->heads > 1) step(w, HEADS_TILE, 1);
  if (over == HEADS_EACH && c->heads > 1) step(w, HEADS_TILE, features);
  if (times(c, over) > 1) df_build_op(w->b, df_none(DF_END));
  if (over == HEADS_FEATURES && c->heads > 1) step(w, HEADS_TILE, -features);
}

void weave_heads_join(weave *w, u32 thread) {
  const u32 nothing = weave_heads_array(w, w->tensor_bytes, 0);
  df_build_op(w->b, df_on(df_vv(DF_MOV, nothing, nothing), thread));
}

// ---- vectors

u32 weave_heads_view(weave *w, u32 type, df_affine address, df_affine length) {
  const char *name = arena_format(w->memory, "v%u", w->vector_count++);
  return df_build_view(w->b, name, (df_type)type, address, length);
}

u32 weave_heads_array(weave *w, u32 address, u32 count) {
  return weave_heads_view(w, DF_F32, df_just((i32)address), df_just((i32)count));
}

u32 weave_heads_at(weave *w, u32 address, u32 reg) {
  const u32 v = weave_heads_array(w, address, 1);
  df_build_moved_by(w->b, v, reg, 4);
  return v;
}

static u32 by_keys(weave *w, const heads_class *c, u32 type, df_affine address) {
  df_affine length = c->before;
  length.base++;
  const u32 v = weave_heads_view(w, type, address, length);
  df_build_longer_by(w->b, v, HEADS_QUERY);
  return v;
}

u32 weave_heads_keys(weave *w, const heads_class *c, u32 address) {
  return by_keys(w, c, DF_F32, df_just((i32)address));
}

u32 weave_heads_repeat(weave *w, const heads_class *c, u32 address, u32 reg) {
  const u32 v = weave_heads_keys(w, c, address);
  df_build_stride(w->b, v, 0);
  if (reg != DF_NO_REGISTER) df_build_moved_by(w->b, v, reg, 4);
  return v;
}

u32 weave_heads_seen(weave *w, const weave_heads *h, const heads_class *c, u32 block, u32 first) {
  const weave_place *p = &w->places[h->qkv];
  const i32 row = (i32)(h->seq * df_type_bytes(w->type));
  const bool own = h->seq_rows == 1;
  const u32 address = own ? p->address + block * p->block_bytes : h->gathered + (block - 1) * h->gathered_bytes;
  const i32 pitch = own ? (i32)p->pitch : row;
  const u32 v = by_keys(w, c, w->type, df_just((i32)address + (i32)first * pitch));
  df_build_moved_by(w->b, v, weave_heads_feature_reg(c), pitch);
  if (c->sequences > 1) df_build_moved_by(w->b, v, HEADS_SEQUENCE, row);
  return v;
}

u32 weave_heads_query(weave *w, const heads_class *c, u32 tensor, u32 block) {
  const weave_place *p = &w->places[tensor];
  const u32 v =
      weave_heads_view(w, p->type, df_just((i32)(p->address + block * p->block_bytes)), df_just((i32)c->features));
  df_build_stride(w->b, v, (i32)p->pitch);
  df_build_moved_by(w->b, v, weave_heads_token_reg(c), (i32)df_type_bytes(p->type));
  if (c->heads > 1) df_build_moved_by(w->b, v, HEADS_HEAD, (i32)(c->features * p->pitch));
  return v;
}

u32 weave_heads_statistics(weave *w, const heads_class *c, u32 tensor) {
  const weave_place *p = &w->places[tensor];
  const u32 v = weave_heads_array(w, p->address, c->sequences * c->queries);
  if (c->heads > 1) df_build_moved_by(w->b, v, HEADS_HEAD, (i32)p->pitch);
  return v;
}

u32 weave_heads_statistic(weave *w, const heads_class *c, u32 tensor) {
  const weave_place *p = &w->places[tensor];
  const u32 v = weave_heads_at(w, p->address, weave_heads_token_reg(c));
  if (c->heads > 1) df_build_moved_by(w->b, v, HEADS_HEAD, (i32)p->pitch);
  return v;
}

// ---- what begins a class

static void emit(weave *w, df_instruction i) {
  df_build_op(w->b, i);
}

void weave_heads_constant(weave *w, u32 address, double value) {
  emit(w, df_vn(DF_CONST, weave_heads_array(w, address, 1), df_number((float)value)));
}

// -(seq - 1), ..., -1, 0: what is there, and as much again with its length added.
static void emit_distances(weave *w, const weave_heads *h) {
  const u32 far = weave_heads_array(w, h->scores, h->seq);
  df_build_stride(w->b, far, 0);
  emit(w, df_vn(DF_FILL, weave_heads_array(w, h->distances, 1), df_just(1 - (i32)h->seq)));
  for (u32 n = 1; n < h->seq; n *= 2) {
    const u32 more = n < h->seq - n ? n : h->seq - n;
    emit(w, df_vn(DF_FILL, weave_heads_array(w, h->scores, 1), df_just((i32)n)));
    emit(w, df_vvv(DF_ADD, weave_heads_array(w, h->distances + 4 * n, more), weave_heads_array(w, h->distances, more),
                   far));
  }
}

static void emit_slopes(weave *w, const weave_heads *h, const heads_class *c) {
  for (u32 k = 0; k < c->heads; k++) {
    df_affine slopes;
    require(slopes_along(w, h, c->columns, k, &slopes));
    emit(w, df_vn(DF_CONST, weave_heads_array(w, h->slopes + 4 * k, 1), slopes));
  }
}

// Keys or values of a row of the sequence among those of all: rows heard and own.
static void hear(weave *w, const weave_heads *h, const heads_class *c, u32 block, bool own) {
  const i32 bytes = (i32)df_type_bytes(w->type), part = (i32)c->queries * bytes;
  df_affine at = df_just((i32)(h->gathered + (block - 1) * h->gathered_bytes));
  if (own) at.base += c->before.base * bytes, at.dy = c->before.dy * bytes;
  const df_affine length = df_just((i32)(c->heads * c->features * c->queries));
  const u32 to = weave_heads_view(w, w->type, at, length);
  df_build_rows(w->b, to, df_just((i32)c->queries), (i32)h->seq * bytes);
  if (!own) df_build_moved_by(w->b, to, HEADS_ROW, part);
  emit(w, df_vv(DF_MOV, to, weave_in(w, "heard", w->type, length, h->baton)));
}

static void tell(weave *w, const weave_heads *h, const heads_class *c, u32 block) {
  const weave_place *p = &w->places[h->qkv];
  const df_affine length = df_just((i32)(c->heads * c->features * c->queries));
  require(p->pitch == c->queries * df_type_bytes(w->type));
  const u32 from = weave_heads_view(w, w->type, df_just((i32)(p->address + block * p->block_bytes)), length);
  emit(w, df_on(df_vv(DF_MOV, weave_out(w, "told", w->type, length, h->baton), from), 1));
}

static void emit_exchange(weave *w, const weave_heads *h, const heads_class *c) {
  if (!c->top) {
    emit(w, df_rn(DF_LOOP, HEADS_ROW, c->above));
    for (u32 block = 1; block <= 2; block++) hear(w, h, c, block, false);
    emit(w, df_none(DF_END));
  }
  for (u32 block = 1; block <= 2; block++) {
    tell(w, h, c, block);
    hear(w, h, c, block, true);
  }
}

void weave_heads_open(weave *w, const weave_heads *h, const heads_class *c) {
  weave_class(w, c->columns, c->rows);
  for (u32 row = h->seq_rows; h->seq_rows > 1 && row < w->tokens.rows; row += h->seq_rows)
    weave_class_also(w, c->columns, (weave_run){c->rows.first + row, c->rows.count, c->rows.step});
  df_build_task(w->b, "main");
  df_build_start_active(w->b);
  weave_heads_constant(w, h->factor, h->scale);
  if (h->alibi && c->place == 0) {
    emit_distances(w, h);
    emit_slopes(w, h, c);
  }
  if (h->seq_rows > 1) emit_exchange(w, h, c);
}

// ---- parts of a query

void weave_heads_scale(weave *w, const weave_heads *h, const heads_class *c) {
  emit(w, df_vvv(DF_SCALE, weave_heads_array(w, h->queries, c->features), weave_heads_query(w, c, h->qkv, 0),
                 weave_heads_array(w, h->factor, 1)));
}

void weave_heads_start(weave *w, const heads_class *c, u32 to, u32 from) {
  emit(w, c->place ? df_vn(DF_FILL, to, df_just(0)) : df_vv(DF_MOV, to, from));
}

void weave_heads_distances(weave *w, const weave_heads *h, const heads_class *c) {
  if (!h->alibi || c->place) return;
  const df_affine at = {(i32)(h->distances + 4 * (h->seq - 1)) - 4 * c->before.base, 0, -4 * c->before.dy};
  const u32 distances = by_keys(w, c, DF_F32, at), slope = weave_heads_at(w, h->slopes, HEADS_HEAD);
  df_build_moved_by(w->b, distances, HEADS_QUERY, -4);
  emit(w, df_vvv(DF_AXPY, weave_heads_keys(w, c, h->scores), distances, slope));
}

void weave_heads_sum(weave *w, const weave_heads *h, const heads_class *c, u32 address) {
  df_affine length = c->before;
  length.base++;
  weave_row_sum_emit(w, &h->sum, c->columns, DF_ADD, (weave_span){address, length, HEADS_QUERY});
}

// Keys of a line whose exponents the class takes: all that the query sees, or every shares-th one of all that a query
// of the row sees at most; what is beyond the query's own is nobody's. `one`: a single F32 for all of them.
static u32 share(weave *w, const weave_heads *h, const heads_class *c, u32 address, bool one) {
  const i32 n = (i32)h->shares, next = c->columns.count > 1 ? (i32)place_of(h, c->columns, 1) - (i32)c->place : 0;
  u32 v;
  if (n == 1) {
    v = weave_heads_keys(w, c, address);
  } else {
    const df_affine at = {(i32)(address + 4 * c->place), 4 * next, 0};
    const df_affine length = {(c->before.base + (i32)c->queries) / n, 0, c->before.dy / n};
    v = weave_heads_view(w, DF_F32, one ? df_just((i32)address) : at, length);
  }
  df_build_stride(w->b, v, one ? 0 : 4 * n);
  return v;
}

void weave_heads_exponents(weave *w, const weave_heads *h, const heads_class *c, u32 top) {
  if (h->shares > 1) emit(w, df_vn(DF_FILL, weave_heads_keys(w, c, h->exponents), df_just(0)));
  if (h->shares == 1 || c->place < h->shares) {
    const u32 scores = share(w, h, c, h->scores, false);
    if (top != HEADS_NO_TOP) emit(w, df_vvv(DF_SUB, scores, scores, share(w, h, c, top, true)));
    emit(w, df_vv(DF_EXP, share(w, h, c, h->exponents, false), scores));
  }
  if (h->shares > 1) weave_heads_sum(w, h, c, h->exponents);
}

// The gradient of attention: query by query its probabilities again, from the logarithms that forward kept, and what it
// adds to the gradients of the keys and values that it sees. Those are summed in F32; with several rows to a sequence a
// row's keys have a share in every row from it on, and the sums travel north, those for the topmost row first.
#include "mapper/weave_heads.h"

typedef struct grad {
  weave_heads heads;
  u32 dy, y, lse, dqkv; // tensors
  // Sums for keys [feature][key of the sequence], and so many bytes on for values: in scratch, for one head and
  // sequence; or where they belong, if that is F32 and needs no other row.
  bool in_place;
  u32 sums, sums_bytes;
  u32 minus;                // addresses of F32: the constant -1
  u32 start, share, slopes; // minus lse, minus dy . y, by token; by key the gradient of the score
  u32 dys, dq;              // of the query, by feature
  u32 up[2];                // colors north, by the parity of the sender's rows above
} grad;

// ---- sums of keys (block 1) and values (2)

// Where they belong: all of the head's features of the sequence's tokens in the row.
static u32 belonging(weave *w, const grad *g, const heads_class *c, u32 block) {
  const weave_place *p = &w->places[g->dqkv];
  const u32 v = weave_heads_view(w, p->type, df_just((i32)(p->address + block * p->block_bytes)),
                                 df_just((i32)(c->features * c->queries)));
  df_build_rows(w->b, v, df_just((i32)c->queries), (i32)p->pitch);
  if (c->heads > 1) df_build_moved_by(w->b, v, HEADS_HEAD, (i32)(c->features * p->pitch));
  if (c->sequences > 1) df_build_moved_by(w->b, v, HEADS_SEQUENCE, (i32)(c->queries * df_type_bytes(p->type)));
  return v;
}

// A row's tokens of `features`, in scratch; keys' features are followed by values'.
static u32 part_of_sums(weave *w, const grad *g, const heads_class *c, u32 address, u32 features, bool own) {
  df_affine at = df_just((i32)address);
  if (own) at.base += 4 * c->before.base, at.dy = 4 * c->before.dy;
  const u32 v = weave_heads_view(w, DF_F32, at, df_just((i32)(features * c->queries)));
  df_build_rows(w->b, v, df_just((i32)c->queries), (i32)(4 * g->heads.seq));
  if (!own) df_build_moved_by(w->b, v, HEADS_ROW, (i32)(4 * c->queries));
  return v;
}

// What the query sees of a feature.
static u32 seen_sums(weave *w, const grad *g, const heads_class *c, u32 block) {
  const weave_place *p = &w->places[g->dqkv];
  if (!g->in_place) {
    const u32 v = weave_heads_keys(w, c, g->sums + (block - 1) * g->sums_bytes);
    df_build_moved_by(w->b, v, HEADS_FEATURE, (i32)(4 * g->heads.seq));
    return v;
  }
  const u32 v = weave_heads_keys(w, c, p->address + block * p->block_bytes);
  df_build_moved_by(w->b, v, weave_heads_feature_reg(c), (i32)p->pitch);
  if (c->sequences > 1) df_build_moved_by(w->b, v, HEADS_SEQUENCE, (i32)(4 * g->heads.seq));
  return v;
}

static void emit_zeros(weave *w, const grad *g, const heads_class *c) {
  if (!g->in_place) {
    df_build_op(w->b, df_vn(DF_FILL, weave_heads_array(w, g->sums, 2 * c->features * g->heads.seq), df_just(0)));
    return;
  }
  for (u32 block = 1; block <= 2; block++) df_build_op(w->b, df_vn(DF_FILL, belonging(w, g, c, block), df_just(0)));
}

// One link north: `part` plus what comes from the south, where there is a row.
static void emit_link(weave *w, const grad *g, const heads_class *c, u32 to, u32 part) {
  const df_affine length = df_just((i32)(2 * c->features * c->queries));
  df_build_op(w->b, c->bottom ? df_vv(DF_MOV, to, part)
                              : df_vvv(DF_ADD, to, weave_in(w, "from_south", DF_F32, length, g->up[!c->odd]), part));
}

static void emit_up(weave *w, const grad *g, const heads_class *c) {
  const u32 all = 2 * c->features, own = part_of_sums(w, g, c, g->sums, all, true);
  if (!c->top) {
    const u32 out = weave_out(w, "north", DF_F32, df_just((i32)(all * c->queries)), g->up[c->odd]);
    df_build_op(w->b, df_rn(DF_LOOP, HEADS_ROW, c->above));
    emit_link(w, g, c, out, part_of_sums(w, g, c, g->sums, all, false));
    df_build_op(w->b, df_none(DF_END));
  }
  if (!c->bottom) emit_link(w, g, c, own, own);
}

static void emit_sums(weave *w, const grad *g, const heads_class *c) {
  if (g->heads.seq_rows > 1) emit_up(w, g, c);
  for (u32 block = 1; block <= 2 && !g->in_place; block++)
    df_build_op(w->b, df_vv(DF_MOV, belonging(w, g, c, block),
                            part_of_sums(w, g, c, g->sums + (block - 1) * g->sums_bytes, c->features, true)));
}

// ---- a head

// Minus the logarithms, and minus dy . y by the column's features, of all tokens of the row: scores and their gradients
// begin there, and sums over the head's columns make them whole.
static void emit_starts(weave *w, const grad *g, const heads_class *c) {
  const u32 tokens = c->sequences * c->queries, start = weave_heads_array(w, g->start, tokens),
            share = weave_heads_array(w, g->share, tokens), minus = weave_heads_array(w, g->minus, 1),
            reg = weave_heads_feature_reg(c);
  df_build_op(w->b, df_vvv(DF_SCALE, start, weave_heads_statistics(w, c, g->lse), minus));
  df_build_op(w->b, df_vn(DF_FILL, share, df_just(0)));
  weave_heads_loop(w, c, HEADS_FEATURES);
  df_build_op(w->b, df_vvv(DF_FMA, share, weave_feature(w, "dy", g->dy, tokens, reg, DF_NO_REGISTER),
                           weave_feature(w, "y", g->y, tokens, reg, DF_NO_REGISTER)));
  weave_heads_loop_end(w, c, HEADS_FEATURES);
  df_build_op(w->b, df_vvv(DF_SCALE, share, share, minus));
}

// ---- a query

// Its probabilities, in `exponents`, and the gradients of its scores.
static void emit_slopes(weave *w, const grad *g, const heads_class *c) {
  const weave_heads *h = &g->heads;
  const u32 scores = weave_heads_keys(w, c, h->scores), slopes = weave_heads_keys(w, c, g->slopes),
            token = weave_heads_token_reg(c);
  weave_heads_scale(w, h, c);
  df_build_op(w->b, df_vv(DF_MOV, weave_heads_array(w, g->dys, c->features), weave_heads_query(w, c, g->dy, 0)));
  weave_heads_start(w, c, scores, weave_heads_repeat(w, c, g->start, token));
  df_build_op(w->b, df_vv(DF_MOV, slopes, weave_heads_repeat(w, c, g->share, token)));
  weave_heads_distances(w, h, c);
  weave_heads_loop(w, c, HEADS_FEATURES);
  weave_heads_on(
      w, 1, df_vvv(DF_AXPY, scores, weave_heads_seen(w, h, c, 1, 0), weave_heads_at(w, h->queries, HEADS_FEATURE)));
  weave_heads_on(w, 2,
                 df_vvv(DF_AXPY, slopes, weave_heads_seen(w, h, c, 2, 0), weave_heads_at(w, g->dys, HEADS_FEATURE)));
  weave_heads_loop_end(w, c, HEADS_FEATURES);
  weave_heads_join(w, 1);
  weave_heads_sum(w, h, c, h->scores);
  weave_heads_join(w, 2);
  weave_heads_sum(w, h, c, g->slopes);
  weave_heads_exponents(w, h, c, HEADS_NO_TOP);
  df_build_op(w->b, df_vvv(DF_MUL, slopes, slopes, weave_heads_keys(w, c, h->exponents)));
}

static void emit_query(weave *w, const grad *g, const heads_class *c) {
  const weave_heads *h = &g->heads;
  const u32 exponents = weave_heads_keys(w, c, h->exponents), slopes = weave_heads_keys(w, c, g->slopes),
            dq = weave_heads_array(w, g->dq, c->features);
  emit_slopes(w, g, c);
  df_build_op(w->b, df_vn(DF_FILL, dq, df_just(0)));
  weave_heads_loop(w, c, HEADS_FEATURES);
  weave_heads_on(w, 1,
                 df_vvv(DF_DOT, weave_heads_at(w, g->dq, HEADS_FEATURE), slopes, weave_heads_seen(w, h, c, 1, 0)));
  weave_heads_on(w, 2, df_vvv(DF_AXPY, seen_sums(w, g, c, 1), slopes, weave_heads_at(w, h->queries, HEADS_FEATURE)));
  weave_heads_on(w, 3, df_vvv(DF_AXPY, seen_sums(w, g, c, 2), exponents, weave_heads_at(w, g->dys, HEADS_FEATURE)));
  weave_heads_loop_end(w, c, HEADS_FEATURES);
  for (u32 thread = 1; thread <= 3; thread++) weave_heads_join(w, thread);
  df_build_op(w->b, df_vvv(DF_SCALE, weave_heads_query(w, c, g->dqkv, 0), dq, weave_heads_array(w, h->factor, 1)));
}

static void emit_class(weave *w, const grad *g, const heads_class *c) {
  weave_heads_open(w, &g->heads, c);
  weave_heads_constant(w, g->minus, -1);
  weave_heads_loop(w, c, HEADS_EACH);
  emit_starts(w, g, c);
  weave_heads_loop(w, c, HEADS_SEQUENCES);
  emit_zeros(w, g, c);
  weave_heads_loop(w, c, HEADS_QUERIES);
  emit_query(w, g, c);
  weave_heads_loop_end(w, c, HEADS_QUERIES);
  emit_sums(w, g, c);
  weave_heads_loop_end(w, c, HEADS_SEQUENCES);
  weave_heads_loop_end(w, c, HEADS_EACH);
}

static void build_up(weave *w, grad *g) {
  const u32 n = g->heads.seq_rows, columns = g->heads.columns;
  for (u32 i = 0; i < 2; i++) g->up[i] = weave_new_color(w);
  for (u32 row = 0; row < w->tokens.rows; row++) {
    const u32 above = row % n;
    const df_rect line = df_block(0, row, columns, 1);
    if (above) df_build_route(w->b, line, g->up[above & 1], PORT_RAMP, PORT_NORTH);
    if (above < n - 1) df_build_route(w->b, line, g->up[!(above & 1)], PORT_SOUTH, PORT_RAMP);
  }
}

bool weave_attention_grad(weave *w, const graph_node *node) {
  require(!node->accumulate);
  weave_begin(w, node, FAMILY_ATTENTION);
  grad g = {.heads = weave_heads_begin(w, node, node->in[1]),
            .dy = node->in[0],
            .y = node->in[2],
            .lse = node->in[3],
            .dqkv = node->out[0]};
  const u32 features = g.heads.width / g.heads.spread;
  g.in_place = w->places[g.dqkv].type == DF_F32 && g.heads.seq_rows == 1;
  g.sums_bytes = 4 * features * g.heads.seq;
  if (!g.in_place) g.sums = weave_scratch(w, 2 * g.sums_bytes);
  g.minus = weave_scratch(w, 4);
  g.start = weave_scratch(w, 4 * w->tokens.row_max);
  g.share = weave_scratch(w, 4 * w->tokens.row_max);
  g.slopes = weave_scratch(w, 4 * g.heads.seq);
  g.dys = weave_scratch(w, 4 * features);
  g.dq = weave_scratch(w, 4 * features);
  if (g.heads.seq_rows > 1) build_up(w, &g);
  for (u32 i = 0; i < g.heads.class_count; i++) emit_class(w, &g, &g.heads.classes[i]);
  return weave_end(w);
}

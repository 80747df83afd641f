// Attention: one query at a time, its scores over all keys that it sees, their softmax, and the values by it.
#include "mapper/weave_heads.h"

#include <math.h>

typedef struct attention {
  weave_heads heads;
  u32 y, lse;            // tensors
  u32 one;               // addresses of F32: the constant
  u32 top, sum, inverse; // of the query: the largest score; the sum of exponents, and what is to be multiplied by
  u32 mixed;             // [feature]: values times exponents
} attention;

static void emit_scores(weave *w, const attention *t, const heads_class *c) {
  const weave_heads *h = &t->heads;
  const u32 scores = weave_heads_keys(w, c, h->scores);
  weave_heads_scale(w, h, c);
  df_build_op(w->b, df_vn(DF_FILL, scores, df_just(0)));
  weave_heads_distances(w, h, c);
  weave_heads_loop(w, c, HEADS_FEATURES);
  df_build_op(w->b,
              df_vvv(DF_AXPY, scores, weave_heads_seen(w, h, c, 1, 0), weave_heads_at(w, h->queries, HEADS_FEATURE)));
  weave_heads_loop_end(w, c, HEADS_FEATURES);
  weave_heads_sum(w, h, c, h->scores);
}

static void emit_exponents(weave *w, const attention *t, const heads_class *c) {
  const u32 top = weave_heads_array(w, t->top, 1);
  df_build_op(w->b, df_vn(DF_CONST, top, df_number(-INFINITY)));
  df_build_op(w->b, df_vv(DF_TOP, top, weave_heads_keys(w, c, t->heads.scores)));
  weave_heads_exponents(w, &t->heads, c, t->top);
}

enum { SUM = 1, VALUES = 2 }; // microthreads

// Features in two halves, where they divide: a set-up of one falls into the time of the other. Divided by their sum at
// the end, where there is an element for each feature and no longer for each key.
static void emit_values(weave *w, const attention *t, const heads_class *c) {
  const weave_heads *h = &t->heads;
  const u32 parts = c->features % 2 ? 1 : 2;
  const u32 exponents = weave_heads_keys(w, c, h->exponents), sum = weave_heads_array(w, t->sum, 1),
            inverse = weave_heads_array(w, t->inverse, 1), lse = weave_heads_statistic(w, c, t->lse);
  df_build_op(w->b, df_vn(DF_FILL, weave_heads_array(w, t->mixed, c->features), df_just(0)));
  df_build_op(w->b, df_vn(DF_FILL, sum, df_just(0)));
  weave_heads_on(w, SUM, df_vvv(DF_DOT, sum, exponents, weave_heads_repeat(w, c, t->one, DF_NO_REGISTER)));
  heads_class part = *c;
  part.features /= parts;
  if (part.features == 1) df_build_op(w->b, df_rn(DF_SET, HEADS_FEATURE, df_just(0))); // no loop does
  weave_heads_loop(w, &part, HEADS_FEATURES);
  for (u32 k = 0; k < parts; k++) {
    const u32 first = k * part.features;
    weave_heads_on(w, VALUES + k,
                   df_vvv(DF_DOT, weave_heads_at(w, t->mixed + 4 * first, HEADS_FEATURE), exponents,
                          weave_heads_seen(w, h, c, 2, first)));
  }
  weave_heads_loop_end(w, &part, HEADS_FEATURES);
  for (u32 thread = SUM; thread < VALUES + parts; thread++) weave_heads_join(w, thread);
  df_build_op(w->b, df_vvv(DF_DIV, inverse, weave_heads_array(w, t->one, 1), sum));
  df_build_op(w->b,
              df_vvv(DF_SCALE, weave_heads_query(w, c, t->y, 0), weave_heads_array(w, t->mixed, c->features), inverse));
  df_build_op(w->b, df_vv(DF_LOG, lse, sum));
  df_build_op(w->b, df_vvv(DF_ADD, lse, lse, weave_heads_array(w, t->top, 1)));
}

static void emit_class(weave *w, const attention *t, const heads_class *c) {
  weave_heads_open(w, &t->heads, c);
  weave_heads_constant(w, t->one, 1);
  for (heads_loop l = HEADS_EACH; l <= HEADS_QUERIES; l++) weave_heads_loop(w, c, l);
  emit_scores(w, t, c);
  emit_exponents(w, t, c);
  emit_values(w, t, c);
  for (u32 l = HEADS_QUERIES + 1; l-- > HEADS_EACH;) weave_heads_loop_end(w, c, (heads_loop)l);
}

bool weave_attention(weave *w, const graph_node *node) {
  weave_begin(w, node, FAMILY_ATTENTION);
  attention t = {.heads = weave_heads_begin(w, node, node->in[0]), .y = node->out[0], .lse = node->out[1]};
  u32 *const numbers[] = {&t.one, &t.top, &t.sum, &t.inverse};
  for (u32 i = 0; i < COUNT_OF(numbers); i++) *numbers[i] = weave_scratch(w, 4);
  t.mixed = weave_scratch(w, 4 * t.heads.width / t.heads.spread);
  for (u32 i = 0; i < t.heads.class_count; i++) emit_class(w, &t, &t.heads.classes[i]);
  return weave_end(w);
}

// Attention head by head in strips of queries: scores exist for one strip at a time, and the
// backward pass computes the probabilities again from the log-sum-exp.
#pragma once

#include "model/compute/gemm.h"
#include "model/compute/kernel_norm.h"
#include "model/compute/vecmath.h"

// Queries per strip, the same on all levels because dK and dV are rounded once per strip. A group of queries or
// keys is whole micro-tiles on every level (8, 6 or 4 rows), so that what is left out is the same on all of them.
enum { GROUP = 24, STRIP = 4 * GROUP, PAD = 32 };
_Static_assert(GROUP % GEMM_MR == 0 && STRIP % LANES == 0, "tiles lie in groups, strips are whole vectors");

// Scratch of one head; panels as gemm_pack_b makes them.
typedef struct attention_work {
  float *k_across, *v_across; // B operands of q k^T and dy v^T: [dh][keys]
  float *k_along, *v_along;   // B operands of dS k and P v: [keys][dh]
  float *q_along, *dy_along;  // B operands of dS^T q and P^T dy: [STRIP][dh]
  float *p, *ds;              // [STRIP][p_row]
  size_t p_row;
} attention_work;

// One head of one sequence.
typedef struct attention_head {
  const float *q, *k, *v; // rows `row` apart
  size_t row;
  u32 seq, dh, head, heads;
  float scale, slope;
  bool causal;
} attention_head;

typedef struct attention_strip {
  u32 start, rows, keys; // queries start .. start + rows see keys 0 .. keys
  u32 first;             // keys that the first of them sees; each further one sees one more, up to `keys`
} attention_strip;

INLINE u32 strip_sees(const attention_strip *s, u32 i) { return s->first + i < s->keys ? s->first + i : s->keys; }

static size_t padded(size_t n) { return (n + PAD - 1) / PAD * PAD; }

// Lays the work out from `at`, or just measures it.
static size_t attention_layout(u32 seq, u32 dh, float *at, attention_work *w) {
  w->p_row = padded(seq) + LANES; // not a multiple of 4 KiB, whose lines would evict each other
  size_t keys = padded(seq), wide_dh = padded(dh), used = 0;
  struct part {
    float **p;
    size_t count;
  } parts[] = {{&w->k_across, keys * dh},       {&w->v_across, keys * dh},
               {&w->k_along, keys * wide_dh},   {&w->v_along, keys * wide_dh},
               {&w->q_along, STRIP * wide_dh},  {&w->dy_along, STRIP * wide_dh},
               {&w->p, STRIP * w->p_row},       {&w->ds, STRIP * w->p_row}};
  for (u32 i = 0; i < COUNT_OF(parts); i++) {
    *parts[i].p = at ? at + used : NULL;
    used += padded(parts[i].count);
  }
  return used;
}

static size_t attention_scratch_floats(const graph *g) {
  attention_work w;
  return attention_layout(g->seq, model_head_width(&g->model), NULL, &w);
}

static attention_head attention_head_of(const kernel_call *c, const float *qkv, u32 head) {
  const model_spec *m = &c->graph->model;
  u32 width = m->width, dh = model_head_width(m);
  double slope = m->position == POSITION_ALIBI ? graph_alibi_slope(head, m->heads) : 0;
  const float *q = qkv + (size_t)head * dh;
  return (attention_head){.q = q, .k = q + width, .v = q + 2 * (size_t)width,
                          .row = 3 * (size_t)width,
                          .seq = c->seq, .dh = dh, .head = head, .heads = m->heads,
                          .scale = (float)c->node->scale, .slope = (float)slope,
                          .causal = m->attention == ATTENTION_CAUSAL};
}

static attention_strip strip_at(const attention_head *h, u32 start) {
  u32 rows = h->seq - start < STRIP ? h->seq - start : STRIP;
  return h->causal ? (attention_strip){start, rows, start + rows, start + 1}
                   : (attention_strip){start, rows, h->seq, h->seq};
}

// Columns j.. of a product's row i..: `out` is its first tile.
INLINE gemm_tile tile_at(gemm_tile out, u32 i, u32 rows, u32 j, u32 cols) {
  out.c += i * out.c_row + j;
  out.rows = rows - i < GEMM_MR ? rows - i : GEMM_MR;
  out.cols = cols - j < GEMM_NR ? cols - j : GEMM_NR;
  return out;
}

// [strip][keys] = rows x panels, as far as the last query of a micro-tile sees; whole panels, zeros beyond the
// sequence.
static void strip_scores(const attention_strip *s, u32 dh, matrix_view rows, const float *across, gemm_tile out) {
  for (u32 i = 0; i < s->rows; i += GEMM_MR)
    for (u32 j = 0; j < strip_sees(s, i + GEMM_MR - 1); j += GEMM_NR) {
      gemm_tile t = tile_at(out, i, s->rows, j, j + GEMM_NR);
      gemm_micro(dh, rows.p + i * rows.row, rows.row, 1, across + (size_t)j * dh, &t);
    }
}

// [queries][dh] = weights x panels of all keys, as far as the last query of a micro-tile sees.
static void strip_by_query(const attention_strip *s, const attention_head *h, matrix_view weights, const float *panels,
                           gemm_tile out) {
  for (u32 i = 0; i < s->rows; i += GEMM_MR)
    for (u32 j = 0; j < h->dh; j += GEMM_NR) {
      gemm_tile t = tile_at(out, i, s->rows, j, h->dh);
      gemm_micro(strip_sees(s, i + GEMM_MR - 1), weights.p + i * weights.row, weights.row, 1, panels + (size_t)j * h->seq, &t);
    }
}

// [keys][dh] (+)= transposed weights x panels of the strip's queries, from the first group that sees the keys.
// The first strip to see a key writes, unless the caller wants all of them added.
static void strip_by_key(const attention_strip *s, const attention_head *h, matrix_view weights, const float *panels,
                         gemm_tile out) {
  bool add = out.accumulate;
  for (u32 i = 0; i < s->keys; i += GEMM_MR) {
    bool within = h->causal && i >= s->start;
    u32 skip = within ? (i - s->start) / GROUP * GROUP : 0;
    out.accumulate = add || (s->start && !within);
    for (u32 j = 0; j < h->dh; j += GEMM_NR) {
      gemm_tile t = tile_at(out, i, s->keys, j, h->dh);
      gemm_micro(s->rows - skip, weights.p + skip * weights.row + i, 1, weights.row,
                 panels + (size_t)j * s->rows + (size_t)skip * GEMM_NR, &t);
    }
  }
}

// A query and the keys that it sees; weights of further keys up to `keys` are zeros.
typedef struct attention_query {
  u32 index, seen, keys;
  float slope;
} attention_query;

INLINE attention_query strip_query(const attention_head *h, const attention_strip *s, u32 i) {
  u32 group_end = (s->start + i) / GROUP * GROUP + GROUP;
  return (attention_query){s->start + i, strip_sees(s, i), h->causal && group_end < s->keys ? group_end : s->keys, h->slope};
}

INLINE vf seen_or(vf x, u32 j, const attention_query *a, float other) {
  if (j + VW <= a->seen) return x;
  return vf_select(vi_iota() < (i32)(a->seen - j), x, vf_set(other));
}

// Scores of keys j .. j + VW with their bias; -inf where they are not seen.
INLINE vf biased(const float *s, u32 j, const attention_query *a) {
  vf x = vf_load(s + j);
  if (a->slope != 0) x = vf_fma(vf_set(-a->slope), vf_abs(vf_iota() + ((float)j - (float)a->index)), x);
  return seen_or(x, j, a, -INFINITY);
}

INLINE u32 whole_lanes(u32 n) { return (n + LANES - 1) / LANES * LANES; }

INLINE void clear_unseen(float *s, const attention_query *a) {
  for (u32 j = whole_lanes(a->seen); j < a->keys; j += LANES)
    for (u32 q = 0; q < PARTS; q++) vf_store(s + j + q * VW, vf_set(0));
}

// Scores of one query become e^(score - max); returns max and sum.
INLINE void softmax_row(float *s, attention_query a, float *ret_max, float *ret_sum) {
  u32 end = whole_lanes(a.seen);
  wide most = wide_set(-INFINITY), sum = wide_set(0);
  for (u32 j = 0; j < end; j += LANES)
    for (u32 q = 0; q < PARTS; q++) most.part[q] = vf_max(biased(s, j + q * VW, &a), most.part[q]);
  float top = wide_max(most);
  for (u32 j = 0; j < end; j += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      vf e = vf_exp_low(biased(s, j + q * VW, &a) - top);
      vf_store(s + j + q * VW, e);
      sum.part[q] += e;
    }
  clear_unseen(s, &a);
  *ret_max = top;
  *ret_sum = wide_sum(sum);
}

static void attention_forward_strip(const attention_head *h, const attention_work *w, float *y, float *lse, u32 start) {
  attention_strip s = strip_at(h, start);
  size_t width = h->row / 3;
  float top[STRIP], sum[STRIP];
  strip_scores(&s, h->dh, (matrix_view){h->q + start * h->row, h->row, 1}, w->k_across,
               (gemm_tile){.c = w->p, .c_row = w->p_row, .alpha = h->scale});
  for (u32 i = 0; i < s.rows; i++) softmax_row(w->p + i * w->p_row, strip_query(h, &s, i), &top[i], &sum[i]);
  for (u32 i = s.rows; i < STRIP; i++) top[i] = 0, sum[i] = 1;
  for (u32 i = 0; i < STRIP; i += VW) {
    vf all = vf_load(sum + i);
    vf_store(top + i, vf_load(top + i) + vf_log(all));
    vf_store(sum + i, 1.0f / all);
  }
  float *out = y + start * width;
  strip_by_query(&s, h, (matrix_view){w->p, w->p_row, 1}, w->v_along, (gemm_tile){.c = out, .c_row = width, .alpha = 1});
  for (u32 i = 0; i < s.rows; i++) {
    lse[(size_t)(start + i) * h->heads + h->head] = top[i];
    float *row = out + i * width;
    for (u32 d = 0; d < h->dh; d += VW) row_put(row, d, h->dh, row_part(row, d, h->dh, 0) * sum[i]);
  }
}

static void attention_forward_head(const attention_head *h, const attention_work *w, float *y, float *lse) {
  gemm_pack_b((matrix_view){h->k, 1, h->row}, h->seq, h->dh, w->k_across);
  gemm_pack_b((matrix_view){h->v, h->row, 1}, h->dh, h->seq, w->v_along);
  for (u32 start = 0; start < h->seq; start += STRIP) attention_forward_strip(h, w, y, lse, start);
}

static void attention(const kernel_call *c) {
  u32 dh = model_head_width(&c->graph->model);
  attention_work w;
  attention_layout(c->seq, dh, c->scratch, &w);
  require(!c->accumulate);
  for (u32 head = 0; head < c->graph->model.heads; head++) {
    attention_head h = attention_head_of(c, c->in[0], head);
    attention_forward_head(&h, &w, c->out[0] + (size_t)head * dh, c->out[1]);
  }
}

INLINE float row_dot(const float *a, const float *b, u32 n) {
  wide sum = wide_set(0);
  for (u32 i = 0; i < n; i += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      u32 at = i + q * VW;
      sum.part[q] = vf_fma(row_part(a, at, n, 0), row_part(b, at, n, 0), sum.part[q]);
    }
  return wide_sum(sum);
}

// Scores become probabilities p and dP becomes dS = p (dP - delta), both zero for keys that are not seen.
INLINE void softmax_grad_row(float *p, float *ds, attention_query a, float lse, float delta) {
  u32 end = whole_lanes(a.seen);
  for (u32 j = 0; j < end; j += VW) {
    vf e = vf_exp_low(biased(p, j, &a) - lse);
    vf_store(p + j, e);
    vf_store(ds + j, seen_or(e * (vf_load(ds + j) - delta), j, &a, 0));
  }
  clear_unseen(p, &a);
  clear_unseen(ds, &a);
}

// What the gradient reads and writes of one head; dy and y have rows of the model's width.
typedef struct attention_grads {
  const float *dy, *y, *lse;
  float *dq, *dk, *dv; // rows as q, k and v
  bool accumulate;
} attention_grads;

static void attention_grad_strip(const attention_head *h, const attention_work *w, const attention_grads *g,
                                 u32 start) {
  attention_strip s = strip_at(h, start);
  size_t width = h->row / 3;
  const float *q = h->q + start * h->row, *dy = g->dy + start * width, *y = g->y + start * width;
  strip_scores(&s, h->dh, (matrix_view){q, h->row, 1}, w->k_across, (gemm_tile){.c = w->p, .c_row = w->p_row, .alpha = h->scale});
  strip_scores(&s, h->dh, (matrix_view){dy, width, 1}, w->v_across, (gemm_tile){.c = w->ds, .c_row = w->p_row, .alpha = 1});
  for (u32 i = 0; i < s.rows; i++)
    softmax_grad_row(w->p + i * w->p_row, w->ds + i * w->p_row, strip_query(h, &s, i),
                     g->lse[(size_t)(start + i) * h->heads + h->head], row_dot(dy + i * width, y + i * width, h->dh));
  gemm_pack_b((matrix_view){q, h->row, 1}, h->dh, s.rows, w->q_along);
  gemm_pack_b((matrix_view){dy, width, 1}, h->dh, s.rows, w->dy_along);
  gemm_tile to = {.c_row = h->row, .alpha = h->scale, .accumulate = g->accumulate};
  matrix_view p = {w->p, w->p_row, 1}, ds = {w->ds, w->p_row, 1};
  to.c = g->dq + start * h->row, strip_by_query(&s, h, ds, w->k_along, to);
  to.c = g->dk, strip_by_key(&s, h, ds, w->q_along, to);
  to.c = g->dv, to.alpha = 1, strip_by_key(&s, h, p, w->dy_along, to);
}

static void attention_grad_head(const attention_head *h, const attention_work *w, const attention_grads *g) {
  gemm_pack_b((matrix_view){h->k, 1, h->row}, h->seq, h->dh, w->k_across);
  gemm_pack_b((matrix_view){h->v, 1, h->row}, h->seq, h->dh, w->v_across);
  gemm_pack_b((matrix_view){h->k, h->row, 1}, h->dh, h->seq, w->k_along);
  for (u32 start = 0; start < h->seq; start += STRIP) attention_grad_strip(h, w, g, start);
}

static void attention_grad(const kernel_call *c) {
  u32 width = c->graph->model.width, dh = model_head_width(&c->graph->model);
  float *dqkv = c->out[0];
  bool accumulate = c->accumulate & 1;
  attention_work w;
  attention_layout(c->seq, dh, c->scratch, &w);
  for (u32 head = 0; head < c->graph->model.heads; head++) {
    size_t at = (size_t)head * dh;
    attention_head h = attention_head_of(c, c->in[1], head);
    attention_grads g = {c->in[0] + at, c->in[2] + at, c->in[3],       dqkv + at,
                         dqkv + width + at, dqkv + 2 * (size_t)width + at, accumulate};
    attention_grad_head(&h, &w, &g);
  }
}

// Attention head by head in strips of queries: scores exist for one strip at a time, and the
// backward pass computes the probabilities again from the log-sum-exp.
#pragma once

#include "model/compute/gemm.h"
#include "model/compute/kernel_norm.h"
#include "model/compute/vecmath.h"

// Queries per strip: whole micro-tiles on every level (8, 6 or 4 rows), and the same on all of them because
// dK and dV are rounded once per strip.
enum { STRIP = 24, PAD = 32 };

// Scratch of one head; panels as gemm_pack_b makes them.
typedef struct attention_work {
  float *k_across, *v_across; // B operands of q k^T and dy v^T: [dh][keys]
  float *k_along, *v_along;   // B operands of dS k and P v: [keys][dh]
  float *q_rows, *dy_rows;    // A operands of the strip: panels [dh][GEMM_MR]
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
               {&w->q_rows, STRIP * wide_dh},   {&w->dy_rows, STRIP * wide_dh},
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

// Packs rows of a strip as an A operand.
static void strip_rows(const float *from, size_t row, u32 rows, u32 dh, float *to) {
  for (u32 i = 0; i < rows; i += GEMM_MR)
    gemm_pack((matrix_view){from + i * row, row, 1}, rows - i < GEMM_MR ? rows - i : GEMM_MR, dh, GEMM_MR,
              to + (size_t)i * dh);
}

// out.c[strip][keys] = out.alpha rows x panels, as far as the last query of a group of rows sees; whole
// panels, zeros beyond the sequence.
static void strip_scores(const attention_strip *s, u32 dh, const float *rows, const float *across, gemm_tile out) {
  for (u32 i = 0; i < s->rows; i += GEMM_MR) {
    u32 count = s->rows - i < GEMM_MR ? s->rows - i : GEMM_MR;
    for (u32 j = 0; j < strip_sees(s, i + count - 1); j += GEMM_NR) {
      gemm_tile t = {out.c + i * out.c_row + j, out.c_row, count, GEMM_NR, out.alpha, false, NULL};
      gemm_micro_packed(dh, rows + (size_t)i * dh, across + (size_t)j * dh, &t);
    }
  }
}

// A product whose left operand is read where it lies.
typedef struct strip_product {
  matrix_view a;
  u32 m, k, n;
  const float *panels;
  size_t panel_k; // rows of a panel
  float *c;
  size_t c_row;
  float alpha;
  bool accumulate;
  u32 causal; // nonzero: row i uses the first i + causal of k only, the others are zeros
} strip_product;

static void strip_multiply(const strip_product *p) {
  for (u32 i = 0; i < p->m; i += GEMM_MR)
    for (u32 j = 0; j < p->n; j += GEMM_NR) {
      u32 rows = p->m - i < GEMM_MR ? p->m - i : GEMM_MR, cols = p->n - j < GEMM_NR ? p->n - j : GEMM_NR;
      u32 k = p->causal && i + rows - 1 + p->causal < p->k ? i + rows - 1 + p->causal : p->k;
      gemm_tile t = {p->c + i * p->c_row + j, p->c_row, rows, cols, p->alpha, p->accumulate, NULL};
      gemm_micro(k, p->a.p + i * p->a.row, p->a.row, p->a.col, p->panels + j * p->panel_k, &t);
    }
}

// The lane's share of the bias and mask: scores of keys j .. j + VW for query i.
INLINE vf biased(const float *s, u32 j, u32 i, float slope) {
  vf distance = vf_abs(vf_iota() + ((float)j - (float)i));
  return vf_fma(vf_set(-slope), distance, vf_load(s + j));
}

// Makes keys beyond those that are seen harmless up to a whole number of lanes; returns that number.
INLINE u32 mask_row(float *s, u32 seen, float masked) {
  u32 end = (seen + LANES - 1) / LANES * LANES;
  for (u32 j = seen; j < end; j++) s[j] = masked;
  return end;
}

// A query of a strip and what it sees.
typedef struct attention_query {
  u32 index, seen, keys;
  float slope;
} attention_query;

INLINE attention_query strip_query(const attention_head *h, const attention_strip *s, u32 i) {
  return (attention_query){s->start + i, strip_sees(s, i), s->keys, h->slope};
}

// Scores of one query become e^(score - max), zeros up to `keys`; returns max and sum.
static void softmax_row(float *s, attention_query a, float ret_max_sum[2]) {
  u32 end = mask_row(s, a.seen, -INFINITY);
  wide most = wide_set(-INFINITY), sum = wide_set(0);
  for (u32 j = 0; j < end; j += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      vf x = biased(s, j + q * VW, a.index, a.slope);
      vf_store(s + j + q * VW, x);
      most.part[q] = vf_max(x, most.part[q]);
    }
  float top = wide_max(most);
  for (u32 j = 0; j < end; j += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      vf e = vf_exp(vf_load(s + j + q * VW) - top);
      vf_store(s + j + q * VW, e);
      sum.part[q] += e;
    }
  if (end < a.keys) memset(s + end, 0, (a.keys - end) * sizeof *s);
  ret_max_sum[0] = top;
  ret_max_sum[1] = wide_sum(sum);
}

static void attention_forward_head(const attention_head *h, const attention_work *w, float *y, float *lse) {
  size_t width = h->row / 3;
  gemm_pack_b((matrix_view){h->k, 1, h->row}, h->seq, h->dh, w->k_across);
  gemm_pack_b((matrix_view){h->v, h->row, 1}, h->dh, h->seq, w->v_along);
  for (u32 start = 0; start < h->seq; start += STRIP) {
    attention_strip s = strip_at(h, start);
    float inverse[STRIP];
    strip_rows(h->q + start * h->row, h->row, s.rows, h->dh, w->q_rows);
    strip_scores(&s, h->dh, w->q_rows, w->k_across, (gemm_tile){.c = w->p, .c_row = w->p_row, .alpha = h->scale});
    for (u32 i = 0; i < s.rows; i++) {
      float max_sum[2];
      softmax_row(w->p + i * w->p_row, strip_query(h, &s, i), max_sum);
      inverse[i] = 1.0f / max_sum[1];
      lse[(size_t)(start + i) * h->heads + h->head] = max_sum[0] + vf_log(vf_set(max_sum[1]))[0];
    }
    float *out = y + start * width;
    strip_multiply(&(strip_product){{w->p, w->p_row, 1}, s.rows, s.keys, h->dh, w->v_along, h->seq, out, width,
                                    1, false, s.first});
    for (u32 i = 0; i < s.rows; i++)
      for (u32 d = 0; d < h->dh; d++) out[i * width + d] *= inverse[i];
  }
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
static void softmax_grad_row(float *p, float *ds, attention_query a, const float lse_delta[2]) {
  u32 end = mask_row(p, a.seen, -INFINITY);
  mask_row(ds, a.seen, 0);
  for (u32 j = 0; j < end; j += VW) {
    vf e = vf_exp(biased(p, j, a.index, a.slope) - lse_delta[0]);
    vf_store(p + j, e);
    vf_store(ds + j, e * (vf_load(ds + j) - lse_delta[1]));
  }
  if (end < a.keys) {
    memset(p + end, 0, (a.keys - end) * sizeof *p);
    memset(ds + end, 0, (a.keys - end) * sizeof *ds);
  }
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
  strip_rows(q, h->row, s.rows, h->dh, w->q_rows);
  strip_rows(dy, width, s.rows, h->dh, w->dy_rows);
  strip_scores(&s, h->dh, w->q_rows, w->k_across, (gemm_tile){.c = w->p, .c_row = w->p_row, .alpha = h->scale});
  strip_scores(&s, h->dh, w->dy_rows, w->v_across, (gemm_tile){.c = w->ds, .c_row = w->p_row, .alpha = 1});
  for (u32 i = 0; i < s.rows; i++) {
    float lse_delta[2] = {g->lse[(size_t)(start + i) * h->heads + h->head],
                          row_dot(dy + i * width, y + i * width, h->dh)};
    softmax_grad_row(w->p + i * w->p_row, w->ds + i * w->p_row, strip_query(h, &s, i), lse_delta);
  }
  gemm_pack_b((matrix_view){q, h->row, 1}, h->dh, s.rows, w->q_along);
  gemm_pack_b((matrix_view){dy, width, 1}, h->dh, s.rows, w->dy_along);
  strip_multiply(&(strip_product){{w->ds, w->p_row, 1}, s.rows, s.keys, h->dh, w->k_along, h->seq,
                                  g->dq + start * h->row, h->row, h->scale, g->accumulate, s.first});
  strip_multiply(&(strip_product){{w->ds, 1, w->p_row}, s.keys, s.rows, h->dh, w->q_along, s.rows, g->dk,
                                  h->row, h->scale, true, 0});
  strip_multiply(&(strip_product){{w->p, 1, w->p_row}, s.keys, s.rows, h->dh, w->dy_along, s.rows, g->dv,
                                  h->row, 1, true, 0});
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
  if (!accumulate) memset(dqkv, 0, (size_t)c->seq * 3 * width * sizeof *dqkv); // dk and dv add up strips
  for (u32 head = 0; head < c->graph->model.heads; head++) {
    size_t at = (size_t)head * dh;
    attention_head h = attention_head_of(c, c->in[1], head);
    attention_grads g = {c->in[0] + at, c->in[2] + at, c->in[3],       dqkv + at,
                         dqkv + width + at, dqkv + 2 * (size_t)width + at, accumulate};
    attention_grad_head(&h, &w, &g);
  }
}

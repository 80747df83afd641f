// LayerNorm and RMSNorm over the features of each token, and their gradients.
#pragma once

#include "model/compute/vector.h"

// One part of a row; parts beyond the row read as `fill`.
INLINE vf row_part(const float *p, u32 i, u32 n, float fill) {
  if (i + VW <= n) return vf_load(p + i);
  return i < n ? vf_load_some(p + i, n - i, fill) : vf_set(fill);
}

INLINE void row_put(float *p, u32 i, u32 n, vf v) {
  if (i + VW <= n)
    vf_store(p + i, v);
  else if (i < n)
    vf_store_some(p + i, n - i, v);
}

INLINE float row_sum(const float *x, u32 n) {
  wide sum = wide_set(0);
  for (u32 i = 0; i < n; i += LANES)
    for (u32 q = 0; q < PARTS; q++) sum.part[q] += row_part(x, i + q * VW, n, 0);
  return wide_sum(sum);
}

// Sum of (x - mean)^2; the fill makes lanes beyond the row contribute 0.
INLINE float row_square_sum(const float *x, u32 n, float mean) {
  wide sum = wide_set(0);
  for (u32 i = 0; i < n; i += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      vf d = row_part(x, i + q * VW, n, mean) - mean;
      sum.part[q] = vf_fma(d, d, sum.part[q]);
    }
  return wide_sum(sum);
}

static void layernorm(const kernel_call *c) {
  u32 n = c->in_cols[0];
  const float *g = c->in[1], *b = c->in[2];
  float eps = (float)c->graph->model.ln_eps;
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    float *y = c->out[0] + t * n;
    float mean = row_sum(x, n) / (float)n;
    float rstd = 1.0f / sqrtf(row_square_sum(x, n, mean) / (float)n + eps);
    for (u32 i = 0; i < n; i += VW) {
      vf v = (row_part(x, i, n, 0) - mean) * rstd * row_part(g, i, n, 0);
      row_put(y, i, n, b ? v + row_part(b, i, n, 0) : v);
    }
    c->out[1][2 * t] = mean;
    c->out[1][2 * t + 1] = rstd;
  }
}

// What one token needs of its statistics.
typedef struct norm_row {
  const float *dy, *x, *g;
  u32 n;
  float mean, rstd;
} norm_row;

// Means over the row of dy g and of dy g xhat.
INLINE void norm_means(const norm_row *r, float ret_mean[2]) {
  wide plain = wide_set(0), with_x = wide_set(0);
  for (u32 i = 0; i < r->n; i += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      u32 at = i + q * VW;
      vf d = row_part(r->dy, at, r->n, 0) * row_part(r->g, at, r->n, 0);
      vf xhat = (row_part(r->x, at, r->n, 0) - r->mean) * r->rstd;
      plain.part[q] += d;
      with_x.part[q] = vf_fma(d, xhat, with_x.part[q]);
    }
  ret_mean[0] = wide_sum(plain) / (float)r->n;
  ret_mean[1] = wide_sum(with_x) / (float)r->n;
}

// dx = rstd (dy g - mean(dy g) - xhat mean(dy g xhat)) ; dg += sum_t dy xhat ; db += sum_t dy
static void layernorm_grad(const kernel_call *c) {
  u32 n = c->in_cols[1], add = c->accumulate;
  float *dg = c->out[1], *db = c->out[2];
  if (dg && !(add & 2)) memset(dg, 0, n * sizeof *dg);
  if (db && !(add & 4)) memset(db, 0, n * sizeof *db);
  for (size_t t = 0; t < c->seq; t++) {
    const float *stats = c->in[3] + 2 * t;
    norm_row r = {c->in[0] + t * n, c->in[1] + t * n, c->in[2], n, stats[0], stats[1]};
    float *dx = c->out[0] + t * n, mean[2];
    norm_means(&r, mean);
    for (u32 i = 0; i < n; i += VW) {
      vf dy = row_part(r.dy, i, n, 0), xhat = (row_part(r.x, i, n, 0) - r.mean) * r.rstd;
      vf d = (dy * row_part(r.g, i, n, 0) - mean[0] - xhat * mean[1]) * r.rstd;
      row_put(dx, i, n, add & 1 ? row_part(dx, i, n, 0) + d : d);
      if (dg) row_put(dg, i, n, vf_fma(dy, xhat, row_part(dg, i, n, 0)));
      if (db) row_put(db, i, n, row_part(db, i, n, 0) + dy);
    }
  }
}

static void rmsnorm(const kernel_call *c) {
  u32 n = c->in_cols[0];
  const float *g = c->in[1];
  float eps = (float)c->graph->model.ln_eps;
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    float *y = c->out[0] + t * n;
    float rstd = 1.0f / sqrtf(row_square_sum(x, n, 0) / (float)n + eps);
    for (u32 i = 0; i < n; i += VW) row_put(y, i, n, row_part(x, i, n, 0) * rstd * row_part(g, i, n, 0));
    c->out[1][t] = rstd;
  }
}

// dx = rstd (dy g - xhat mean(dy g xhat)) ; dg += sum_t dy xhat
static void rmsnorm_grad(const kernel_call *c) {
  u32 n = c->in_cols[1], add = c->accumulate;
  float *dg = c->out[1];
  if (!(add & 2)) memset(dg, 0, n * sizeof *dg);
  for (size_t t = 0; t < c->seq; t++) {
    norm_row r = {c->in[0] + t * n, c->in[1] + t * n, c->in[2], n, 0, c->in[3][t]};
    float *dx = c->out[0] + t * n, mean[2];
    norm_means(&r, mean);
    for (u32 i = 0; i < n; i += VW) {
      vf dy = row_part(r.dy, i, n, 0), xhat = row_part(r.x, i, n, 0) * r.rstd;
      vf d = (dy * row_part(r.g, i, n, 0) - xhat * mean[1]) * r.rstd;
      row_put(dx, i, n, add & 1 ? row_part(dx, i, n, 0) + d : d);
      row_put(dg, i, n, vf_fma(dy, xhat, row_part(dg, i, n, 0)));
    }
  }
}

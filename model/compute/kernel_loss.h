// Cross-entropy of the logits of each token that has a target, and its gradient.
#pragma once

#include "model/compute/kernel_norm.h"
#include "model/compute/vecmath.h"

INLINE float row_max(const float *x, u32 n) {
  wide most = wide_set(x[0]);
  for (u32 i = 0; i < n; i += LANES)
    for (u32 q = 0; q < PARTS; q++) most.part[q] = vf_max(row_part(x, i + q * VW, n, x[0]), most.part[q]);
  return wide_max(most);
}

// Sum of e^(x - most); the terms go to `ret_terms` unless it is NULL.
INLINE float row_exp_sum(const float *x, u32 n, float most, float *ret_terms) {
  wide sum = wide_set(0);
  for (u32 i = 0; i < n; i += LANES)
    for (u32 q = 0; q < PARTS; q++) {
      u32 at = i + q * VW;
      vf e = vf_exp(row_part(x, at, n, -INFINITY) - most);
      if (ret_terms) row_put(ret_terms, at, n, e);
      sum.part[q] += e;
    }
  return wide_sum(sum);
}

// Largest value and sum of e^(x - largest), over chunks of HEAD_CHUNK so that a chunk can be done alone.
typedef struct loss_part {
  float most, sum;
} loss_part;

INLINE loss_part loss_chunk(const float *x, u32 n) {
  float most = row_max(x, n);
  return (loss_part){most, row_exp_sum(x, n, most, NULL)};
}

INLINE float exp_one(float x) { return vf_exp(vf_set(x))[0]; }

INLINE loss_part loss_join(loss_part a, loss_part b) {
  float most = b.most > a.most || b.most != b.most ? b.most : a.most;
  return (loss_part){most, a.sum * exp_one(a.most - most) + b.sum * exp_one(b.most - most)};
}

static loss_part loss_row(const float *x, u32 n) {
  loss_part all = loss_chunk(x, n < HEAD_CHUNK ? n : HEAD_CHUNK);
  for (u32 j = HEAD_CHUNK; j < n; j += HEAD_CHUNK)
    all = loss_join(all, loss_chunk(x + j, n - j < HEAD_CHUNK ? n - j : HEAD_CHUNK));
  return all;
}

INLINE float loss_of(loss_part p, float target) { return vf_log(vf_set(p.sum))[0] + (p.most - target); }

// d (may be x) = e^(x - most) share, the target's less factor; `target` is n or more where it is elsewhere.
INLINE void loss_grad_part(const float *x, u32 n, loss_part p, float factor, u32 target, float *d) {
  float share = factor / p.sum;
  for (u32 i = 0; i < n; i += VW) row_put(d, i, n, vf_exp(row_part(x, i, n, 0) - p.most) * share);
  if (target < n) d[target] -= factor;
}

static void loss(const kernel_call *c) {
  u32 n = c->in_cols[0];
  const u32 *targets = (const u32 *)(const void *)c->in[1];
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    require(targets[t] < n || targets[t] == TARGET_NONE);
    c->out[0][t] = targets[t] == TARGET_NONE ? 0 : loss_of(loss_row(x, n), x[targets[t]]);
  }
}

// dlogits = (softmax - onehot) scale / (targets of the step)
static void loss_grad(const kernel_call *c) {
  u32 n = c->in_cols[0];
  const u32 *targets = (const u32 *)(const void *)c->in[1];
  float factor = (float)(c->node->scale * c->loss_scale);
  require(!(c->accumulate & 1));
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    require(targets[t] < n || targets[t] == TARGET_NONE);
    if (targets[t] == TARGET_NONE)
      memset(c->out[0] + t * n, 0, n * sizeof(float));
    else
      loss_grad_part(x, n, loss_row(x, n), factor, targets[t], c->out[0] + t * n);
  }
}

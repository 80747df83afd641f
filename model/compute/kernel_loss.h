// Cross-entropy of each token's logits, and its gradient.
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

static void loss(const kernel_call *c) {
  u32 n = c->in_cols[0];
  const u32 *targets = (const u32 *)(const void *)c->in[1];
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    require(targets[t] < n);
    float most = row_max(x, n), sum = row_exp_sum(x, n, most, NULL);
    float log_sum = vf_log(vf_set(sum))[0];
    c->out[0][t] = log_sum + (most - x[targets[t]]);
  }
}

// dlogits = (softmax - onehot) scale / (tokens of the step)
static void loss_grad(const kernel_call *c) {
  u32 n = c->in_cols[0];
  const u32 *targets = (const u32 *)(const void *)c->in[1];
  float factor = (float)(c->node->scale * c->loss_scale);
  require(!(c->node->accumulate & 1));
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    float *d = c->out[0] + t * n;
    require(targets[t] < n);
    float most = row_max(x, n), share = factor / row_exp_sum(x, n, most, d);
    for (u32 i = 0; i < n; i += VW) row_put(d, i, n, row_part(d, i, n, 0) * share);
    d[targets[t]] -= factor;
  }
}

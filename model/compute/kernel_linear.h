// Linear layers: three products with the operands as they lie in memory.
#pragma once

#include "model/compute/gemm.h"

// y = scale (x W^T + bias)
static void linear(const kernel_call *c) {
  u32 rows = c->seq, in = c->in_cols[0], out = c->out_cols[0];
  const float *bias = c->in[2];
  float scale = (float)c->node->scale, *y = c->out[0];
  bool accumulate = c->node->accumulate & 1;
  for (size_t t = 0; bias && t < rows; t++)
    for (u32 j = 0; j < out; j++) y[t * out + j] = scale * bias[j] + (accumulate ? y[t * out + j] : 0.0f);
  gemm_run(&(gemm_job){.m = rows, .n = out, .k = in,
                       .a = {c->in[0], in, 1},
                       .b = {c->in[1], 1, in},
                       .c = y, .c_row = out,
                       .alpha = scale,
                       .accumulate = bias || accumulate,
                       .scratch = c->scratch});
}

// dx = scale dy W
static void linear_grad_x(const kernel_call *c) {
  u32 out = c->in_cols[0], in = c->out_cols[0];
  gemm_run(&(gemm_job){.m = c->seq, .n = in, .k = out,
                       .a = {c->in[0], out, 1},
                       .b = {c->in[1], in, 1},
                       .c = c->out[0], .c_row = in,
                       .alpha = (float)c->node->scale,
                       .accumulate = c->node->accumulate & 1,
                       .scratch = c->scratch});
}

// to[j] = factor * sum over rows of x[row][j] (+ to[j])
static inline void column_sums(const float *x, u32 rows, u32 cols, float factor, float *to, bool accumulate) {
  for (u32 j = 0; j < cols; j += VW) {
    u32 n = cols - j < VW ? cols - j : VW;
    vf sum = {0};
    for (size_t t = 0; t < rows; t++) {
      const float *p = x + t * cols + j;
      sum += n == VW ? vf_load(p) : vf_load_some(p, n, 0);
    }
    sum = sum * factor;
    if (accumulate) sum += n == VW ? vf_load(to + j) : vf_load_some(to + j, n, 0);
    vf_store_some(to + j, n, sum);
  }
}

// dW (+)= scale dy^T x ; dbias (+)= scale sum_t dy
static void linear_grad_w(const kernel_call *c) {
  u32 out = c->in_cols[0], in = c->in_cols[1];
  float scale = (float)c->node->scale;
  gemm_run(&(gemm_job){.m = out, .n = in, .k = c->seq,
                       .a = {c->in[0], 1, out},
                       .b = {c->in[1], in, 1},
                       .c = c->out[0], .c_row = in,
                       .alpha = scale,
                       .accumulate = c->node->accumulate & 1,
                       .scratch = c->scratch});
  if (c->out[1]) column_sums(c->in[0], c->seq, out, scale, c->out[1], c->node->accumulate >> 1 & 1);
}

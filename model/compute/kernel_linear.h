// Linear layers: three products with the operands as they lie in memory, or the weight as packed once per
// step; and pairs of a product with the elementwise operation behind it, done while its blocks are cached.
#pragma once

#include "model/compute/gemm_bf16.h"
#include "model/compute/kernel_elementwise.h"

// Every kernel here exists for operands in fp32, and rounded to bfloat16 or to fp16.
typedef enum operand_kind { OPERANDS_FP32, OPERANDS_BF16, OPERANDS_FP16 } operand_kind;

INLINE void product(const gemm_job *g, operand_kind kind) {
  if (kind == OPERANDS_BF16)
    bf16_run(g);
  else
    gemm_run(g);
}

static size_t weight_packed_words(u32 out, u32 in, bool backward) {
  return backward ? (out + 1) / 2 * gemm_whole_panels(in) : (in + 1) / 2 * gemm_whole_panels(out);
}

static size_t weight_packed_floats(u32 out, u32 in, bool backward) {
  return backward ? out * gemm_whole_panels(in) : in * gemm_whole_panels(out);
}

static u32 weight_pack_tasks(const weight_pack *w) { return ((w->backward ? w->out : w->in) + GEMM_KC - 1) / GEMM_KC; }

INLINE void weight_pack_task_of(const weight_pack *w, u32 task, bool fp16) {
  if (w->backward)
    gemm_pack_weight((matrix_view){w->weight, w->in, 1}, w->in, w->out, task, fp16, w->to);
  else
    gemm_pack_weight((matrix_view){w->weight, 1, w->in}, w->out, w->in, task, fp16, w->to);
}

static void weight_pack_task(const weight_pack *w, u32 task) { weight_pack_task_of(w, task, false); }
static void weight_pack_task_fp16(const weight_pack *w, u32 task) { weight_pack_task_of(w, task, true); }

static void weight_pack_task_bf16(const weight_pack *w, u32 task) {
  if (w->backward)
    bf16_pack_weight((matrix_view){w->weight, w->in, 1}, w->in, w->out, task, w->to);
  else
    bf16_pack_weight((matrix_view){w->weight, 1, w->in}, w->out, w->in, task, w->to);
}

// Of a job's left operand where that is a gradient.
INLINE float gradient_scale(double of_mean, operand_kind kind) { return kind == OPERANDS_FP16 ? fp16_gradient_scale(of_mean) : 0; }

// What is done with the blocks of a product as they are finished.
typedef struct linear_then {
  gemm_after *after;
  const void *user;
} linear_then;

// y = scale (x W^T + bias); the scaled bias lies behind the product's scratch.
INLINE void linear_of(const kernel_call *c, linear_then then, operand_kind kind) {
  u32 in = c->in_cols[0], out = c->out_cols[0];
  float scale = (float)c->node->scale, *init = c->in[2] ? c->scratch + GEMM_SCRATCH : NULL;
  for (u32 j = 0; init && j < out; j++) init[j] = scale * c->in[2][j];
  product(&(gemm_job){.m = c->seq, .n = out, .k = in,
                       .a = {c->in[0], in, 1},
                       .b = {c->in[1], 1, in},
                       .c = c->out[0], .c_row = out,
                       .alpha = scale,
                       .accumulate = c->accumulate & 1,
                       .init = init, .packed = c->packed,
                       .fp16 = kind == OPERANDS_FP16,
                       .after = then.after, .after_user = then.user,
                       .scratch = c->scratch}, kind);
}


// dx = scale dy W
INLINE void linear_grad_x_of(const kernel_call *c, linear_then then, operand_kind kind) {
  u32 out = c->in_cols[0], in = c->out_cols[0];
  product(&(gemm_job){.m = c->seq, .n = in, .k = out,
                       .a = {c->in[0], out, 1},
                       .b = {c->in[1], in, 1},
                       .c = c->out[0], .c_row = in,
                       .alpha = (float)c->node->scale,
                       .accumulate = c->accumulate & 1,
                       .packed = c->packed, .fp16 = gradient_scale(c->loss_scale, kind),
                       .after = then.after, .after_user = then.user,
                       .scratch = c->scratch}, kind);
}


// to[j] = factor * sum over rows of x[row][j] (+ to[j]); a few vectors of columns side by side, whose sums do not
// wait for each other.
static inline void column_sums(const float *x, u32 rows, u32 cols, float factor, float *to, bool accumulate) {
  enum { SIDE = 8 };
  for (u32 j = 0; j < cols; j += SIDE * VW) {
    vf sum[SIDE] = {0};
    if (j + SIDE * VW <= cols) {
      for (size_t t = 0; t < rows; t++)
        for (u32 q = 0; q < SIDE; q++) sum[q] += vf_load(x + t * cols + j + q * VW);
    } else {
      for (size_t t = 0; t < rows; t++)
        for (u32 q = 0; q < SIDE; q++) sum[q] += row_part(x + t * cols, j + q * VW, cols, 0);
    }
    for (u32 q = 0; q < SIDE; q++) {
      vf all = sum[q] * factor;
      row_put(to, j + q * VW, cols, accumulate ? all + row_part(to, j + q * VW, cols, 0) : all);
    }
  }
}

// dW (+)= scale dy^T x ; dbias (+)= scale sum_t dy
INLINE void linear_grad_w_of(const kernel_call *c, operand_kind kind) {
  u32 out = c->in_cols[0], in = c->in_cols[1];
  float scale = (float)c->node->scale;
  product(&(gemm_job){.m = out, .n = in, .k = c->seq,
                       .a = {c->in[0], 1, out},
                       .b = {c->in[1], in, 1},
                       .c = c->out[0], .c_row = in,
                       .alpha = scale,
                       .accumulate = c->accumulate & 1,
                       .fp16 = gradient_scale(c->loss_scale, kind),
                       .scratch = c->scratch}, kind);
  if (c->out[1]) column_sums(c->in[0], c->seq, out, scale, c->out[1], c->accumulate >> 1 & 1);
}

// ---- pairs

// The elementwise operation on a finished block: whole rows at once, or row by row as rows of its columns.
static void after_elementwise(const void *user, gemm_area area) {
  const kernel_call *second = user;
  u32 width = second->out_cols[0], rows = area.cols == width ? 1 : area.rows;
  kernel_call c = *second;
  c.seq = area.rows / rows;
  c.in_cols[0] = area.cols;
  for (u32 i = 0; i < rows; i++) {
    size_t at = (size_t)(area.row + i) * width + area.col;
    for (u32 k = 0; k < NODE_IN_MAX; k++) c.in[k] = second->in[k] ? second->in[k] + at : NULL;
    for (u32 k = 0; k < NODE_OUT_MAX; k++) c.out[k] = second->out[k] ? second->out[k] + at : NULL;
    switch (c.node->op) {
    case OP_ACTIVATION: activation(&c); break;
    case OP_RESIDUAL: residual(&c); break;
    case OP_GATE: gate(&c); break;
    case OP_GATE_GRAD: gate_grad(&c); break;
    default: activation_grad(&c); break;
    }
  }
}

static bool linear_pairs(graph_op first, graph_op second) {
  return (first == OP_LINEAR && (second == OP_ACTIVATION || second == OP_GATE || second == OP_RESIDUAL)) ||
         (first == OP_LINEAR_GRAD_X && (second == OP_ACTIVATION_GRAD || second == OP_GATE_GRAD));
}

INLINE void linear_pair_of(const kernel_call *first, const kernel_call *second, operand_kind kind) {
  linear_then then = {after_elementwise, second};
  if (first->node->op == OP_LINEAR)
    linear_of(first, then, kind);
  else
    linear_grad_x_of(first, then, kind);
}

#define LINEAR_KERNELS(suffix, kind)                                                                                  \
  static void linear##suffix(const kernel_call *c) { linear_of(c, (linear_then){0}, kind); }                          \
  static void linear_grad_x##suffix(const kernel_call *c) { linear_grad_x_of(c, (linear_then){0}, kind); }            \
  static void linear_grad_w##suffix(const kernel_call *c) { linear_grad_w_of(c, kind); }                              \
  static void linear_pair##suffix(const kernel_call *first, const kernel_call *second) { linear_pair_of(first, second, kind); }
LINEAR_KERNELS(, OPERANDS_FP32)
LINEAR_KERNELS(_bf16, OPERANDS_BF16)
LINEAR_KERNELS(_fp16, OPERANDS_FP16)
#undef LINEAR_KERNELS

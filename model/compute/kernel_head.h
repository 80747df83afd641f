// The unembedding and the loss in tasks (kernels.h, head_call): products on chunks of the vocabulary, the
// same sums in the same order as the operations one by one.
#pragma once

#include "model/compute/kernel_linear.h"
#include "model/compute/kernel_loss.h"

_Static_assert(HEAD_CHUNK % GEMM_KC == 0, "the sums of dx are cut at the same places as in one product");
_Static_assert(HEAD_ROWS % GEMM_KC == 0, "the sums of dweight are cut at the same places as in one product");

typedef struct head_part {
  u32 first, count;
} head_part;

INLINE head_part head_part_of(u32 index, u32 size, u32 all) {
  u32 first = index * size;
  return (head_part){first, all - first < size ? all - first : size};
}

// A chunk's logits, [rows][HEAD_CHUNK]: chunks lie apart, so that one is as good as a small matrix.
INLINE float *head_chunk(const head_call *h, u32 index) { return h->logits + (size_t)index * HEAD_ROWS * HEAD_CHUNK; }

INLINE void head_logits_of(const head_call *h, u32 index, float *scratch, operand_kind kind) {
  head_part p = head_part_of(index, HEAD_CHUNK, h->vocab);
  float *chunk = head_chunk(h, index);
  product(&(gemm_job){.m = h->rows, .n = p.count, .k = h->width,
                       .a = {h->x, h->width, 1},
                       .b = {h->weight + (size_t)p.first * h->width, 1, h->width},
                       .c = chunk, .c_row = HEAD_CHUNK,
                       .alpha = h->scale, .fp16 = kind == OPERANDS_FP16, .scratch = scratch}, kind);
  for (size_t t = 0; t < h->rows; t++) {
    loss_part got = loss_chunk(chunk + t * HEAD_CHUNK, p.count);
    float *to = h->parts + 2 * ((size_t)index * HEAD_ROWS + t);
    to[0] = got.most;
    to[1] = got.sum;
  }
}

static void head_loss(const head_call *h, u32 index, float *scratch) {
  (void)scratch;
  head_part p = head_part_of(index, HEAD_ROW_BLOCK, h->rows);
  for (size_t t = p.first; t < p.first + p.count; t++) {
    const float *from = h->parts + 2 * t;
    loss_part all = {from[0], from[1]};
    for (u32 j = HEAD_CHUNK; j < h->vocab; j += HEAD_CHUNK) {
      from += 2 * (size_t)HEAD_ROWS;
      all = loss_join(all, (loss_part){from[0], from[1]});
    }
    u32 target = h->targets[t];
    require(target < h->vocab || target == TARGET_NONE);
    h->loss[t] = target == TARGET_NONE
                     ? 0
                     : loss_of(all, head_chunk(h, target / HEAD_CHUNK)[t * HEAD_CHUNK + target % HEAD_CHUNK]);
    h->sums[2 * t] = all.most;
    h->sums[2 * t + 1] = all.sum;
  }
}

INLINE void head_grad_w_of(const head_call *h, u32 index, float *scratch, operand_kind kind) {
  head_part p = head_part_of(index, HEAD_CHUNK, h->vocab);
  float *chunk = head_chunk(h, index);
  for (size_t t = 0; t < h->rows; t++) {
    float *x = chunk + t * HEAD_CHUNK;
    loss_part all = {h->sums[2 * t], h->sums[2 * t + 1]};
    if (h->targets[t] == TARGET_NONE)
      memset(x, 0, p.count * sizeof *x);
    else
      loss_grad_part(x, p.count, all, h->factor, h->targets[t] - p.first, x); // wraps to a large number before it
  }
  product(&(gemm_job){.m = p.count, .n = h->width, .k = h->rows,
                       .a = {chunk, 1, HEAD_CHUNK},
                       .b = {h->x, h->width, 1},
                       .c = h->dweight + (size_t)p.first * h->width, .c_row = h->width,
                       .alpha = h->scale,
                       .accumulate = h->accumulate_dweight,
                       .fp16 = gradient_scale(h->factor, kind), .scratch = scratch}, kind);
}

INLINE void head_grad_x_of(const head_call *h, u32 index, float *scratch, operand_kind kind) {
  head_part p = head_part_of(index, HEAD_COLUMN_BLOCK, h->width);
  for (u32 i = 0; i * HEAD_CHUNK < h->vocab; i++) {
    head_part v = head_part_of(i, HEAD_CHUNK, h->vocab);
    product(&(gemm_job){.m = h->rows, .n = p.count, .k = v.count,
                         .a = {head_chunk(h, i), HEAD_CHUNK, 1},
                         .b = {h->weight + (size_t)v.first * h->width + p.first, h->width, 1},
                         .c = h->dx + p.first, .c_row = h->width,
                         .alpha = h->scale,
                         .accumulate = i > 0,
                         .fp16 = gradient_scale(h->factor, kind), .scratch = scratch}, kind);
  }
}

#define HEAD_TASK(name)                                                                                        \
  static void name(const head_call *h, u32 index, float *scratch) { name##_of(h, index, scratch, OPERANDS_FP32); } \
  static void name##_bf16(const head_call *h, u32 index, float *scratch) { name##_of(h, index, scratch, OPERANDS_BF16); } \
  static void name##_fp16(const head_call *h, u32 index, float *scratch) { name##_of(h, index, scratch, OPERANDS_FP16); }
HEAD_TASK(head_logits)
HEAD_TASK(head_grad_w)
HEAD_TASK(head_grad_x)
#undef HEAD_TASK

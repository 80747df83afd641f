// The table of one CPU level, tying its bodies together.
#pragma once

#include "model/compute/kernel_attention.h"
#include "model/compute/kernel_elementwise.h"
#include "model/compute/kernel_head.h"
#include "model/compute/kernel_linear.h"
#include "model/compute/kernel_loss.h"
#include "model/compute/kernel_norm.h"
#include "model/compute/kernel_rotary.h"

#define LEVEL_NAME_(level) kernels_v##level
#define LEVEL_NAME(level) LEVEL_NAME_(level)
#define LEVEL_TEXT_(level) "fast-v" #level
#define LEVEL_TEXT(level) LEVEL_TEXT_(level)

static size_t scratch_floats(const graph *g) {
  size_t widest = model_hidden_width(&g->model); // of a layer's scaled bias
  if (widest < 3 * (size_t)g->model.width) widest = 3 * (size_t)g->model.width;
  size_t gemm = GEMM_SCRATCH + widest, attention = attention_scratch_floats(g), turns = rotary_scratch_floats(g);
  size_t most = gemm > attention ? gemm : attention;
  return most > turns ? most : turns;
}

static void gemm_one(const gemm_request *r, float *scratch) {
  matrix_view a = r->a_transposed ? (matrix_view){r->a, 1, r->m} : (matrix_view){r->a, r->k, 1};
  matrix_view b = r->b_transposed ? (matrix_view){r->b, 1, r->k} : (matrix_view){r->b, r->n, 1};
  gemm_run(&(gemm_job){r->m, r->n, r->k, a, b, r->c, r->n, r->alpha, r->accumulate, .scratch = scratch});
}

#define MAP(name, function, fill)                                                                                      \
  static void name(size_t n, const float *x, float *y) {                                                               \
    size_t i = 0;                                                                                                      \
    for (; i + VW <= n; i += VW) vf_store(y + i, function(vf_load(x + i)));                                            \
    if (i < n) vf_store_some(y + i, (u32)(n - i), function(vf_load_some(x + i, (u32)(n - i), fill)));                  \
  }
MAP(map_exp, vf_exp, 0)
MAP(map_tanh, vf_tanh, 0)
MAP(map_erf, vf_erf, 0)
MAP(map_log, vf_log, 1)

// The tables, with a suffix for what they do otherwise.
#define TABLE(text, suffix, packed)                                                                                    \
  {                                                                                                                    \
    .name = text, .run = KERNELS_BY_NAME(suffix), .scratch_floats = scratch_floats, .slopes = true,                    \
    .pairs = linear_pairs, .pair = linear_pair##suffix, .packed_floats = packed, .pack_tasks = weight_pack_tasks,      \
    .pack = weight_pack_task##suffix, .head_logits = head_logits##suffix, .head_loss = head_loss,                      \
    .head_grad_w = head_grad_w##suffix, .head_grad_x = head_grad_x##suffix                                             \
  }

const kernels_level LEVEL_NAME(LEVEL) = {
    .table = TABLE(LEVEL_TEXT(LEVEL), , weight_packed_floats),
    .bf16 = TABLE(LEVEL_TEXT(LEVEL) "-bf16", _bf16, weight_packed_words),
    .fp16 = TABLE(LEVEL_TEXT(LEVEL) "-fp16", _fp16, weight_packed_floats),
    .exp = map_exp,
    .tanh = map_tanh,
    .erf = map_erf,
    .log = map_log,
    .gemm_scratch_floats = GEMM_SCRATCH,
    .gemm = gemm_one,
};

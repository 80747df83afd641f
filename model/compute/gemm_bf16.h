// The product of gemm.h with operands rounded to bfloat16 and sums in fp32: two terms at a time by
// vdpbf16ps where it exists, by two fused multiply-adds elsewhere. The bytes are the same: values below 2^-56 are
// rounded to zero, so no product or sum is subnormal, which is all that the instruction treats otherwise.
#pragma once

#include "model/compute/gemm.h"

// Rows of A converted at a time, and the words (pairs of terms) of a block of terms.
enum { BF16_MC = 256 / GEMM_MR * GEMM_MR, BF16_WORDS = GEMM_KC / 2 };
_Static_assert(BF16_WORDS *(GEMM_NC + BF16_MC + GEMM_MR) + GEMM_KC + GEMM_MR <= GEMM_SCRATCH, "the packed blocks fit the scratch");

// To nearest, ties to even; the value is in the upper half, the lower is not cleared.
INLINE vi bf16_round(vf x) {
  vi bits = (vi)x, even = (bits >> 16) & 1;
  vi rounded = bits + 0x7fff + even;
  vi kept = ~(vf_abs(x) < 0x1p-56f), nan = (x != x);
  return (nan & (bits | 0x400000)) | (~nan & kept & rounded);
}

INLINE vi bf16_pair(vi even, vi odd) { return ((even >> 16) & 0xffff) | (odd & (i32)0xffff0000); }

// Words of two rows: (even[i], odd[i]); odd may be NULL.
static inline void bf16_zip(const float *even, const float *odd, u32 n, float *to) {
  for (u32 i = 0; i < n; i += VW) {
    u32 left = n - i < VW ? n - i : VW;
    vf a = left == VW ? vf_load(even + i) : vf_load_some(even + i, left, 0), b = vf_set(0);
    if (odd) b = left == VW ? vf_load(odd + i) : vf_load_some(odd + i, left, 0);
    vf words = (vf)bf16_pair(bf16_round(a), bf16_round(b));
    if (left == VW)
      vf_store(to + i, words);
    else
      vf_store_some(to + i, left, words);
  }
}

INLINE vi bf16_words(vi low, vi high) {
#if LEVEL >= 4
  vi even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  vi odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif LEVEL == 3
  vi even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
  vi odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  vi even = __builtin_shufflevector(low, high, 0, 2, 4, 6);
  vi odd = __builtin_shufflevector(low, high, 1, 3, 5, 7);
#endif
  return bf16_pair(even, odd);
}

// Words of one row of k values: (row[2i], row[2i + 1]), the last with a zero where k is odd.
static inline void bf16_row(const float *row, u32 k, float *to) {
  u32 i = 0;
  for (; i + 2 * VW <= k; i += 2 * VW)
    vf_store(to + i / 2, (vf)bf16_words(bf16_round(vf_load(row + i)), bf16_round(vf_load(row + i + VW))));
  for (; i < k; i += 2) {
    float pair[2] = {row[i], i + 1 < k ? row[i + 1] : 0};
    vf word = (vf)bf16_pair(bf16_round(vf_set(pair[0])), bf16_round(vf_set(pair[1])));
    to[i / 2] = word[0];
  }
}

// k terms of `lines` lines of a view into to[word][width], zeros beyond; temp holds GEMM_KC floats. As in
// gemm_pack, lines are rows of A or columns of B.
static inline void bf16_pack(matrix_view of, u32 lines, u32 k, u32 width, float *to, float *temp) {
  u32 words = (k + 1) / 2;
  if (of.row == 1) { // terms are rows in memory
    for (u32 w = 0; w < words; w++) {
      const float *even = of.p + 2 * w * of.col;
      float *line = to + (size_t)w * width;
      bf16_zip(even, 2 * w + 1 < k ? even + of.col : NULL, lines, line);
      for (u32 l = lines; l < width; l++) line[l] = 0;
    }
    return;
  }
  for (u32 l = 0; l < width; l++) {
    if (l < lines) bf16_row(of.p + l * of.row, k, temp);
    for (u32 w = 0; w < words; w++) to[(size_t)w * width + l] = l < lines ? temp[w] : 0;
  }
}

// B as panels of GEMM_NR columns, [words][GEMM_NR] each.
static inline void bf16_pack_b(matrix_view b, u32 n, u32 k, float *to, float *temp) {
  for (u32 j = 0; j < n; j += GEMM_NR)
    bf16_pack((matrix_view){b.p + j * b.col, b.col, b.row}, n - j < GEMM_NR ? n - j : GEMM_NR, k, GEMM_NR,
              to + (size_t)j * ((k + 1) / 2), temp);
}

INLINE vf bf16_add_product(vf sum, vi a, vi b) {
#if LEVEL == 5
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  const i32 high = (i32)0xffff0000;
  sum = vf_fma((vf)(a & high), (vf)(b & high), sum);
  return vf_fma((vf)(a << 16), (vf)(b << 16), sum);
#endif
}

// One micro-tile; A's word (i, w) is a[i * row + w * col].
INLINE void bf16_micro(u32 words, const float *a, size_t row, size_t col, const float *b, const gemm_tile *t) {
  vf acc[GEMM_MR][GEMM_NV] = {0};
  const float *ai[GEMM_MR];
  gemm_expect(t);
  for (u32 i = 0; i < GEMM_MR; i++) ai[i] = a + (i < t->rows ? i : t->rows - 1) * row;
  for (size_t w = 0; w < words; w++) {
    vi bv[GEMM_NV];
    for (u32 v = 0; v < GEMM_NV; v++) bv[v] = (vi)vf_load(b + w * GEMM_NR + v * VW);
    for (u32 i = 0; i < GEMM_MR; i++) {
      vi av = (vi)vf_set(ai[i][w * col]);
      for (u32 v = 0; v < GEMM_NV; v++) acc[i][v] = bf16_add_product(acc[i][v], av, bv[v]);
    }
  }
  gemm_store(acc, t);
}

// Rows of A as far as they are converted at a time: as they are where terms follow each other in memory,
// panels [words][GEMM_MR] otherwise, cut from whole lines of words in temp.
static inline void bf16_pack_a(const gemm_job *g, const gemm_part *p, gemm_area rows, float *to, float *temp) {
  const float *from = g->a.p + rows.row * g->a.row + p->q * g->a.col;
  if (g->a.col == 1) {
    for (u32 i = 0; i < rows.rows; i++) bf16_row(from + i * g->a.row, p->k, to + (size_t)i * BF16_WORDS);
    return;
  }
  for (u32 w = 0; w < (p->k + 1) / 2; w++) {
    const float *even = from + 2 * w * g->a.col;
    bf16_zip(even, 2 * w + 1 < p->k ? even + g->a.col : NULL, rows.rows, temp);
    for (u32 i = 0; i < rows.rows; i += GEMM_MR)
      memcpy(to + (size_t)i * BF16_WORDS + (size_t)w * GEMM_MR, temp + i, sizeof(float) * GEMM_MR);
  }
}

static inline void bf16_block(const gemm_job *g, const gemm_part *p, gemm_area at, const float *words_a) {
  u32 words = (p->k + 1) / 2;
  bool accumulate = g->accumulate || p->q, last = p->q + p->k == g->k;
  const float *init = g->init && !p->q ? g->init + p->j : NULL;
  for (u32 i = 0; i < at.rows; i += GEMM_MR) {
    u32 rows = at.rows - i < GEMM_MR ? at.rows - i : GEMM_MR;
    const float *a = words_a + (size_t)i * BF16_WORDS;
    for (u32 j = 0; j < p->n; j += GEMM_NR) {
      u32 cols = p->n - j < GEMM_NR ? p->n - j : GEMM_NR;
      gemm_tile t = {g->c + (at.row + i) * g->c_row + p->j + j, g->c_row, rows, cols, g->alpha, accumulate, init ? init + j : NULL};
      if (g->a.col == 1)
        bf16_micro(words, a, BF16_WORDS, 1, p->panels + (size_t)j * words, &t);
      else
        bf16_micro(words, a, 1, GEMM_MR, p->panels + (size_t)j * words, &t);
    }
    if (g->after && last) g->after(g->after_user, (gemm_area){at.row + i, rows, p->j, p->n});
  }
}

static inline void bf16_run(const gemm_job *g) {
  float *words_b = g->scratch, *words_a = words_b + (size_t)BF16_WORDS * GEMM_NC, *temp = words_a + (size_t)BF16_WORDS * (BF16_MC + GEMM_MR);
  for (u32 j = 0; j < g->n; j += GEMM_NC)
    for (u32 q = 0; q < g->k; q += GEMM_KC) {
      gemm_part p = {j, g->n - j < GEMM_NC ? g->n - j : GEMM_NC, q, g->k - q < GEMM_KC ? g->k - q : GEMM_KC, words_b};
      if (g->packed)
        p.panels = g->packed + q / 2 * gemm_whole_panels(g->n) + (size_t)j * ((p.k + 1) / 2);
      else
        bf16_pack_b((matrix_view){g->b.p + q * g->b.row + j * g->b.col, g->b.row, g->b.col}, p.n, p.k, words_b, temp);
      for (u32 i = 0; i < g->m; i += BF16_MC) {
        gemm_area rows = {i, g->m - i < BF16_MC ? g->m - i : BF16_MC, 0, 0};
        bf16_pack_a(g, &p, rows, words_a, temp);
        bf16_block(g, &p, rows, words_a);
      }
    }
}

// As gemm_pack_weight, in words; temp holds GEMM_KC floats.
static inline void bf16_pack_weight(matrix_view b, u32 n, u32 k, u32 block, float *to) {
  float temp[GEMM_KC];
  u32 q = block * GEMM_KC;
  bf16_pack_b((matrix_view){b.p + q * b.row, b.row, b.col}, n, k - q < GEMM_KC ? k - q : GEMM_KC,
              to + q / 2 * gemm_whole_panels(n), temp);
}

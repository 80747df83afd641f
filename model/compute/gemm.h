// C (+)= alpha A B on one thread, compiled once per CPU level. Each element of C is one chain of fused
// multiply-adds over k, cut into blocks of GEMM_KC, so every level gives the same bytes.
#pragma once

#include "model/compute/fp16.h"

// A micro-tile is GEMM_MR rows by GEMM_NR columns held in registers.
#if LEVEL >= 4
#define GEMM_ROWS 8
#define GEMM_COLS 32
#elif LEVEL == 3
#define GEMM_ROWS 6
#define GEMM_COLS 16
#else
#define GEMM_ROWS 4
#define GEMM_COLS 8
#endif
enum { GEMM_MR = GEMM_ROWS, GEMM_NR = GEMM_COLS, GEMM_NV = GEMM_NR / VW };
// A packed block of B, KC x NC floats, stays in a second-level cache of 1 MiB.
enum { GEMM_KC = 256, GEMM_NC = 512 };
enum { GEMM_SCRATCH = GEMM_KC * (GEMM_NC + GEMM_MR) };

// A strided view: element (i, j) is at p[i * row + j * col], and one of the strides is 1.
typedef struct matrix_view {
  const float *p;
  size_t row, col;
} matrix_view;

// A finished block of C: rows [row, row + rows) and columns [col, col + cols).
typedef struct gemm_area {
  u32 row, rows, col, cols;
} gemm_area;
typedef void gemm_after(const void *user, gemm_area area);

typedef struct gemm_job {
  u32 m, n, k;
  matrix_view a, b; // m x k, k x n
  float *c;         // m x n, rows c_row apart
  size_t c_row;
  float alpha;
  bool accumulate;     // add to C instead of writing it
  const float *init;   // n values that C begins with in every row, or NULL
  const float *packed; // B as gemm_pack_weight leaves it, and then rows of fp32 A are read where they lie; or NULL
  gemm_after *after;   // called on blocks of C as they are finished, while they are in the cache; or NULL
  const void *after_user;
  float fp16;          // not 0: operands are rounded to fp16, A multiplied by this power of two and C divided by it
  float *scratch;      // GEMM_SCRATCH floats, aligned to 64 bytes
} gemm_job;

// Where a micro-tile goes: the first rows x cols of it.
typedef struct gemm_tile {
  float *c;
  size_t c_row;
  u32 rows, cols;
  float alpha;
  bool accumulate;
  const float *init; // added to the product in every row, or NULL
} gemm_tile;

INLINE quad quad_load(const float *p) {
  quad q;
  memcpy(&q, p, sizeof q);
  return q;
}

INLINE void quad_store(float *p, quad q) { memcpy(p, &q, sizeof q); }

// to[j * to_row + i] = from[i * from_row + j] for 4 x 4.
INLINE void quad_transpose(const float *from, size_t from_row, float *to, size_t to_row) {
  quad a = quad_load(from), b = quad_load(from + from_row);
  quad c = quad_load(from + 2 * from_row), d = quad_load(from + 3 * from_row);
  quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  quad_store(to, __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5));
  quad_store(to + to_row, __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7));
  quad_store(to + 2 * to_row, __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5));
  quad_store(to + 3 * to_row, __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7));
}

// Packs `lines` (at most `width`) rows of a view, k long, into to[k][width], zeros beyond. What is packed
// are rows of A, and columns of B as rows of its transpose.
INLINE void gemm_pack(matrix_view of, u32 lines, u32 k, u32 width, float *to) {
  const float *from = of.p;
  const size_t line = of.row, step = of.col;
  if (lines == width && line == 1) {
    for (u32 i = 0; i < k; i++) memcpy(to + (size_t)i * width, from + i * step, sizeof(float) * width);
    return;
  }
  u32 l = 0;
  for (; step == 1 && l + 4 <= lines; l += 4) {
    u32 i = 0;
    for (; i + 4 <= k; i += 4) quad_transpose(from + l * line + i, line, to + (size_t)i * width + l, width);
    for (; i < k; i++)
      for (u32 q = l; q < l + 4; q++) to[(size_t)i * width + q] = from[q * line + i];
  }
  for (u32 i = 0; i < k; i++)
    for (u32 q = l; q < width; q++) to[(size_t)i * width + q] = q < lines ? from[q * line + i * step] : 0;
}

// B as panels of GEMM_NR columns, [k][GEMM_NR] each, zeros beyond column n.
static inline void gemm_pack_b(matrix_view b, u32 n, u32 k, float *to) {
  u32 j = 0;
  if (b.col == 1) { // whole rows in turn: memory is read in order
    u32 whole = n / GEMM_NR * GEMM_NR;
    for (size_t i = 0; i < k; i++)
      for (j = 0; j < whole; j += GEMM_NR)
        memcpy(to + (size_t)j * k + i * GEMM_NR, b.p + i * b.row + j, sizeof(float) * GEMM_NR);
    j = whole;
  }
  for (; j < n; j += GEMM_NR) {
    u32 lines = n - j < GEMM_NR ? n - j : GEMM_NR;
    gemm_pack((matrix_view){b.p + j * b.col, b.col, b.row}, lines, k, GEMM_NR, to + (size_t)j * k);
  }
}

INLINE void gemm_store(const vf acc[GEMM_MR][GEMM_NV], const gemm_tile *t) {
  if (t->rows == GEMM_MR && t->cols == GEMM_NR) {
    for (u32 i = 0; i < GEMM_MR; i++)
      for (u32 v = 0; v < GEMM_NV; v++) {
        float *c = t->c + i * t->c_row + v * VW;
        vf value = acc[i][v] * t->alpha;
        vf_store(c, t->accumulate ? vf_load(c) + value : t->init ? vf_load(t->init + v * VW) + value : value);
      }
    return;
  }
  float part[GEMM_MR][GEMM_NR];
  for (u32 i = 0; i < GEMM_MR; i++)
    for (u32 v = 0; v < GEMM_NV; v++) vf_store(&part[i][v * VW], acc[i][v] * t->alpha);
  for (u32 i = 0; i < t->rows; i++)
    for (u32 j = 0; j < t->cols; j++) {
      float *c = t->c + i * t->c_row + j;
      *c = t->accumulate ? *c + part[i][j] : t->init ? t->init[j] + part[i][j] : part[i][j];
    }
}

// What will be written is on its way while the product is computed.
INLINE void gemm_expect(const gemm_tile *t) {
  for (u32 i = 0; i < t->rows; i++)
    for (u32 j = 0; j < GEMM_NR; j += 16) __builtin_prefetch(t->c + i * t->c_row + j, 1);
}

// One micro-tile: A's element (i, q) is a[i * row + q * col], B is a packed panel. Rows beyond t->rows
// read the last one again.
INLINE void gemm_micro(u32 k, const float *a, size_t row, size_t col, const float *b, const gemm_tile *t) {
  vf acc[GEMM_MR][GEMM_NV] = {0};
  const float *ai[GEMM_MR];
  gemm_expect(t);
  for (u32 i = 0; i < GEMM_MR; i++) ai[i] = a + (i < t->rows ? i : t->rows - 1) * row;
  for (size_t q = 0; q < k; q++) {
    vf bv[GEMM_NV];
    for (u32 v = 0; v < GEMM_NV; v++) bv[v] = vf_load(b + q * GEMM_NR + v * VW);
    for (u32 i = 0; i < GEMM_MR; i++)
      for (u32 v = 0; v < GEMM_NV; v++) acc[i][v] = vf_fma(vf_set(ai[i][q * col]), bv[v], acc[i][v]);
  }
  gemm_store(acc, t);
}

// The same on a packed panel of A, [k][GEMM_MR].
INLINE void gemm_micro_packed(u32 k, const float *a, const float *b, const gemm_tile *t) {
  vf acc[GEMM_MR][GEMM_NV] = {0};
  gemm_expect(t);
  for (u32 q = 0; q < k; q++, a += GEMM_MR, b += GEMM_NR) {
    vf bv[GEMM_NV];
    for (u32 v = 0; v < GEMM_NV; v++) bv[v] = vf_load(b + v * VW);
    for (u32 i = 0; i < GEMM_MR; i++)
      for (u32 v = 0; v < GEMM_NV; v++) acc[i][v] = vf_fma(vf_set(a[i]), bv[v], acc[i][v]);
  }
  gemm_store(acc, t);
}

// One block of B against all rows of A.
typedef struct gemm_part {
  u32 j, n, q, k; // columns j .. j + n, terms q .. q + k of the sums
  const float *panels;
} gemm_part;

static inline void gemm_block(const gemm_job *g, const gemm_part *p) {
  float *a_panel = g->scratch + (size_t)GEMM_KC * GEMM_NC;
  bool accumulate = g->accumulate || p->q, last = p->q + p->k == g->k;
  const float *init = g->init && !p->q ? g->init + p->j : NULL;
  float alpha = g->fp16 != 0 ? g->alpha / g->fp16 : g->alpha;
  bool in_place = g->packed && g->fp16 == 0;
  for (u32 i = 0; i < g->m; i += GEMM_MR) {
    u32 rows = g->m - i < GEMM_MR ? g->m - i : GEMM_MR;
    const float *a = g->a.p + i * g->a.row + p->q * g->a.col;
    if (!in_place) gemm_pack((matrix_view){a, g->a.row, g->a.col}, rows, p->k, GEMM_MR, a_panel);
    if (g->fp16 != 0) fp16_round_packed(a_panel, (size_t)p->k * GEMM_MR, g->fp16);
    for (u32 j = 0; j < p->n; j += GEMM_NR) {
      u32 cols = p->n - j < GEMM_NR ? p->n - j : GEMM_NR;
      gemm_tile t = {g->c + i * g->c_row + p->j + j, g->c_row, rows, cols, alpha, accumulate, init ? init + j : NULL};
      if (in_place)
        gemm_micro(p->k, a, g->a.row, 1, p->panels + (size_t)j * p->k, &t);
      else
        gemm_micro_packed(p->k, a_panel, p->panels + (size_t)j * p->k, &t);
    }
    if (g->after && last) g->after(g->after_user, (gemm_area){i, rows, p->j, p->n});
  }
}

INLINE size_t gemm_whole_panels(size_t n) { return (n + GEMM_NR - 1) / GEMM_NR * GEMM_NR; }

static inline void gemm_run(const gemm_job *g) {
  require(!(g->init && g->accumulate) && (!g->packed || g->a.col == 1));
  for (u32 j = 0; j < g->n; j += GEMM_NC)
    for (u32 q = 0; q < g->k; q += GEMM_KC) {
      gemm_part p = {j, g->n - j < GEMM_NC ? g->n - j : GEMM_NC, q, g->k - q < GEMM_KC ? g->k - q : GEMM_KC, g->scratch};
      if (g->packed)
        p.panels = g->packed + q * gemm_whole_panels(g->n) + (size_t)j * p.k;
      else
        gemm_pack_b((matrix_view){g->b.p + q * g->b.row + j * g->b.col, g->b.row, g->b.col}, p.n, p.k, g->scratch);
      if (!g->packed && g->fp16 != 0) fp16_round_packed(g->scratch, gemm_whole_panels(p.n) * p.k, 1);
      gemm_block(g, &p);
    }
}

// All of B as gemm_run takes it in job.packed: blocks of GEMM_KC terms one after the other, panels in each.
// Block `block` of them, rounded to fp16 if wanted.
static inline void gemm_pack_weight(matrix_view b, u32 n, u32 k, u32 block, bool fp16, float *to) {
  u32 q = block * GEMM_KC, terms = k - q < GEMM_KC ? k - q : GEMM_KC;
  to += q * gemm_whole_panels(n);
  gemm_pack_b((matrix_view){b.p + q * b.row, b.row, b.col}, n, terms, to);
  if (fp16) fp16_round_packed(to, gemm_whole_panels(n) * terms, 1);
}

// Vectors of one CPU level, for kernel bodies that are compiled once per level (kernels_level.h). The
// arithmetic is the same on every level: explicit fused multiply-adds, and sums over 16 fixed lanes.
#pragma once

#ifndef LEVEL
#error "included by kernels_v2.c to kernels_v5.c only"
#endif

#if LEVEL >= 4
#define VECTOR_WIDTH 16
#elif LEVEL == 3
#define VECTOR_WIDTH 8
#else
#define VECTOR_WIDTH 4
#endif

#define INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(4 * VECTOR_WIDTH)));
typedef i32 vi __attribute__((vector_size(4 * VECTOR_WIDTH)));

enum { VW = VECTOR_WIDTH, LANES = 16, PARTS = LANES / VW };

// Sixteen lanes as parts of the level's width.
typedef struct wide {
  vf part[PARTS];
} wide;

INLINE vf vf_load(const float *p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

#define FOUR(x) x, x, x, x
INLINE vf vf_set(float x) {
#if LEVEL >= 4
  return (vf){FOUR(x), FOUR(x), FOUR(x), FOUR(x)};
#elif LEVEL == 3
  return (vf){FOUR(x), FOUR(x)};
#else
  return (vf){FOUR(x)};
#endif
}
#undef FOUR

// a * b + c, rounded once on every level.
INLINE vf vf_fma(vf a, vf b, vf c) {
#if LEVEL >= 4
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LEVEL == 3
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  vf r;
  for (u32 i = 0; i < VW; i++) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return r;
#endif
}

INLINE vf vf_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

// b where the comparison fails, so a NaN in `a` is dropped and one in `b` stays.
INLINE vf vf_max(vf a, vf b) {
#if LEVEL >= 4
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif LEVEL == 3
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return vf_select(a > b, a, b);
#endif
}

INLINE vf vf_min(vf a, vf b) {
#if LEVEL >= 4
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif LEVEL == 3
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return vf_select(a < b, a, b);
#endif
}

INLINE vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }

// The first n < VW values; the others are `fill`.
INLINE vf vf_load_some(const float *p, u32 n, float fill) {
  float values[VW];
  for (u32 i = 0; i < VW; i++) values[i] = i < n ? p[i] : fill;
  return vf_load(values);
}

INLINE void vf_store_some(float *p, u32 n, vf v) {
  float values[VW];
  vf_store(values, v);
  for (u32 i = 0; i < n; i++) p[i] = values[i];
}

INLINE vf vf_iota(void) {
  vf v = {0};
  for (u32 i = 0; i < VW; i++) v[i] = (float)i;
  return v;
}

INLINE vi vi_iota(void) {
  vi v = {0};
  for (i32 i = 0; i < VW; i++) v[i] = i;
  return v;
}

INLINE wide wide_set(float x) {
  wide w;
  for (u32 i = 0; i < PARTS; i++) w.part[i] = vf_set(x);
  return w;
}

typedef float quad __attribute__((vector_size(16)));

typedef struct quads {
  quad q[LANES / 4];
} quads;

INLINE quads quads_of(wide w) {
#define QUAD(v, i) __builtin_shufflevector(v, v, 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3)
#if LEVEL >= 4
  return (quads){{QUAD(w.part[0], 0), QUAD(w.part[0], 1), QUAD(w.part[0], 2), QUAD(w.part[0], 3)}};
#elif LEVEL == 3
  return (quads){{QUAD(w.part[0], 0), QUAD(w.part[0], 1), QUAD(w.part[1], 0), QUAD(w.part[1], 1)}};
#else
  return (quads){{w.part[0], w.part[1], w.part[2], w.part[3]}};
#endif
#undef QUAD
}

// Lanes folded in halves: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
INLINE float wide_sum(wide w) {
  quads s = quads_of(w);
  quad r = (s.q[0] + s.q[2]) + (s.q[1] + s.q[3]);
  r += __builtin_shufflevector(r, r, 2, 3, 2, 3);
  return r[0] + r[1];
}

// The second where the comparison fails.
INLINE quad quad_max(quad a, quad b) {
  typedef i32 mask_type __attribute__((vector_size(16)));
  mask_type more = a > b;
  return (quad)((more & (mask_type)a) | (~more & (mask_type)b));
}

INLINE float wide_max(wide w) {
  quads s = quads_of(w);
  quad r = quad_max(quad_max(s.q[0], s.q[2]), quad_max(s.q[1], s.q[3]));
  r = quad_max(r, __builtin_shufflevector(r, r, 2, 3, 2, 3));
  return r[0] > r[1] ? r[0] : r[1];
}

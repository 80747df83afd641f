// Values rounded to IEEE half precision, to nearest with ties to even, and kept as fp32: products of two such
// values are exact in fp32, so the product of gemm.h needs no other kernel.
#pragma once

#include "model/compute/vector.h"

// Subnormals are kept, 65520 and above is infinite. The same bytes with the instruction and without.
INLINE vf fp16_round(vf x) {
#if LEVEL >= 4
  return (vf)_mm512_cvtph_ps(_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  const float magic = 0.75f; // one ulp is 2^-24, the smallest subnormal
  vi bits = (vi)x, sign = bits & (i32)0x80000000, nan = x != x;
  vf size = vf_abs(x);
  vi rounded = ((vi)size + 0xfff + (((vi)size >> 13) & 1)) & ~0x1fff;
  vi small = (vi)((size + magic) - magic);
  vi result = (vi)vf_select(size < 0x1p-14f, (vf)small, (vf)rounded);
  result = (vi)vf_select(size >= 65520.0f, vf_set(INFINITY), (vf)result);
  return vf_select(nan, (vf)((bits | 0x400000) & ~0x1fff), (vf)(result | sign));
#endif
}

// Whole vectors of packed values, multiplied by a power of two first.
static inline void fp16_round_packed(float *p, size_t count, float scale) {
  for (size_t i = 0; i < count; i += VW) {
    vf x = i + VW <= count ? vf_load(p + i) : vf_load_some(p + i, (u32)(count - i), 0);
    x = fp16_round(x * scale);
    if (i + VW <= count)
      vf_store(p + i, x);
    else
      vf_store_some(p + i, (u32)(count - i), x);
  }
}

// Gradients of a mean over many tokens would vanish below half precision's range. They are rounded as gradients of
// the sum: multiplied by the next power of two above the number of tokens, which is divided out again behind the
// product.
INLINE float fp16_gradient_scale(double of_mean) {
  int exponent;
  frexp(1 / of_mean, &exponent);
  return ldexpf(1, exponent);
}

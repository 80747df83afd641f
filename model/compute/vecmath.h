// exp, tanh, erf and log in single precision from additions, multiplications and fused multiply-adds
// alone, so results are the same on every CPU and with every libm. Polynomials are Chebyshev fits made for
// these intervals; the errors stated were measured over all of the interval (tests/test_kernels.c).
#pragma once

#include "model/compute/vector.h"

// A polynomial by Horner's rule, the highest coefficient first.
INLINE vf vf_poly(vf x, const float *c, u32 n) {
  vf r = vf_set(c[0]);
  for (u32 i = 1; i < n; i++) r = vf_fma(r, x, vf_set(c[i]));
  return r;
}

// vf_exp for x that is never above 88.3.
INLINE vf vf_exp_low(vf x) {
  static const float c[] = {0.001392620336f, 0.008363194882f, 0.0416665545f, 0.1666657689f, 0.5f};
  const float lowest = -87.3f, magic = 12582912.0f; // 1.5 x 2^23: adding it rounds to an integer
  vi tiny = x < lowest;
  x = vf_max(vf_set(lowest), x);
  vf t = vf_fma(x, vf_set(1.44269504f), vf_set(magic));
  vf n = t - magic;
  vf r = vf_fma(n, vf_set(-0.693145752f), x); // ln 2 in two pieces
  r = vf_fma(n, vf_set(-1.42860677e-6f), r);
  vf p = vf_fma(vf_poly(r, c, COUNT_OF(c)), r * r, r);
  vi power = ((vi)t - 0x4b400000 + 127) << 23; // 0x4b400000 is magic
  vf y = vf_fma(p, (vf)power, (vf)power);
  return (vf)((vi)y & ~tiny);
}

// Error below 1.1 ulp on [-87.3, 88.3]; below that 0, above it the value at 88.3; NaN stays NaN.
INLINE vf vf_exp(vf x) { return vf_exp_low(vf_min(vf_set(88.3f), x)); }

// Error below 2 ulp.
INLINE vf vf_tanh(vf x) {
  static const float c[] = {0.002292557699f, -0.00834378037f, 0.02176886821f,
                            -0.05395925338f, 0.1333330353f,   -0.3333333317f};
  vf s = x * x, a = vf_abs(x);
  vf near = vf_fma(vf_poly(s, c, COUNT_OF(c)) * s, x, x);
  vf e = vf_exp(-2.0f * a);
  vf far = (1.0f - e) / (1.0f + e);
  far = (vf)((vi)far | ((vi)x & (i32)0x80000000));
  return vf_select(a < 0.625f, near, far);
}

// Error below 2 ulp.
INLINE vf vf_erf(vf x) {
  static const float near_c[] = {8.349440663e-5f, -0.0008138209958f, 0.005200678286f, -0.02685927657f,
                                 0.1128369378f,   -0.3761263366f,    0.1283791666f};
  static const float far_c[] = {1.643569654e-6f, -4.617791279e-5f, 0.000597743472f,
                                -0.004763575249f, 0.0264310176f,  -0.1100944808f,
                                -0.6318145167f,   -1.130237616f,  0.0003204415313f};
  vf s = x * x, a = vf_abs(x);
  vf near = vf_fma(vf_poly(s, near_c, COUNT_OF(near_c)), x, x);
  vf far = 1.0f - vf_exp(vf_poly(vf_min(vf_set(4.0f), a), far_c, COUNT_OF(far_c))); // 1 - e^ln(erfc)
  far = (vf)((vi)far | ((vi)x & (i32)0x80000000));
  return vf_select(a < 0.92f, near, far);
}

// Error below 1 ulp for normal positive x.
INLINE vf vf_log(vf x) {
  static const float c[] = {0.06972518634f, -0.1148121206f, 0.1168578472f, -0.1242552336f, 0.1424900724f,
                            -0.1666780713f, 0.2000071721f,  -0.2499999693f, 0.3333333117f};
  vi bits = (vi)x - 0x3f3504f3; // the exponent counts from sqrt(1/2)
  vi e = bits >> 23;
  vf f = (vf)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  vf n = __builtin_convertvector(e, vf), s = f * f;
  vf tail = vf_fma(vf_poly(f, c, COUNT_OF(c)) * f, s, n * -2.12194440e-4f);
  tail = vf_fma(vf_set(-0.5f), s, tail);
  return vf_fma(n, vf_set(0.693359375f), f + tail);
}

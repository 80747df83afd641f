// Numbers as PEs hold them: fp32, fp16 and bf16 with rounding to the nearest even, and 32-bit integers.
#pragma once

#include "base/types.h"

#include <string.h>

static inline float number_of_bits(u32 bits) {
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

static inline u32 number_bits(float v) {
  u32 bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

static inline float number_from_bf16(u16 h) { return number_of_bits((u32)h << 16); }

static inline u16 number_to_bf16(float v) {
  u32 b = number_bits(v);
  if ((b & 0x7fffffff) > 0x7f800000) return (u16)(b >> 16 | 0x40); // NaN stays one
  return (u16)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static inline float number_from_f16(u16 h) {
  u32 sign = (u32)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
  if (exponent == 31) return number_of_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent) return number_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
  float tiny = (float)fraction * 0x1p-24f; // exact
  return sign ? -tiny : tiny;
}

static inline u16 number_to_f16(float v) {
  u32 b = number_bits(v), sign = b >> 16 & 0x8000, magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return (u16)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (u16)(sign | 0x7c00); // rounds to 65536 or more
  if (magnitude < 0x38800000) {                            // below 2^-14: the sum's own rounding does it
    float shifted = number_of_bits(magnitude) + 0.5f;
    return (u16)(sign | (number_bits(shifted) - number_bits(0.5f)));
  }
  u32 rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return (u16)(sign | (rounded - (112u << 23)) >> 13);
}

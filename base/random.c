// Philox 4x32-10 and what is drawn from its blocks. The logarithm and cosine are written out here,
// in basic operations only, because a C library's last bit differs between processors.
#include "base/random.h"

#include <math.h>

void random_block(u64 seed, random_purpose purpose, u32 stream, u64 index, u32 ret_words[4]) {
  u32 c0 = (u32)index, c1 = (u32)(index >> 32), c2 = stream, c3 = (u32)purpose;
  u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
  for (u32 round = 0; round < 10; round++) {
    const u64 p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
    c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
    c1 = (u32)p1;
    c3 = (u32)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  ret_words[0] = c0;
  ret_words[1] = c1;
  ret_words[2] = c2;
  ret_words[3] = c3;
}

static u64 join(u32 low, u32 high) {
  return (u64)high << 32 | low;
}

u64 random_below(u64 seed, random_purpose purpose, u32 stream, u64 index, u64 n) {
  require(n > 0);
  u32 w[4];
  random_block(seed, purpose, stream, index, w);
  __extension__ typedef unsigned __int128 u128;
  return (u64)(((u128)join(w[0], w[1]) * n) >> 64);
}

double random_unit(u64 seed, random_purpose purpose, u32 stream, u64 index) {
  u32 w[4];
  random_block(seed, purpose, stream, index, w);
  return (double)(join(w[0], w[1]) >> 11) * 0x1p-53;
}

// ln(x) for 0 < x <= 1: 2 atanh((m-1)/(m+1)) on m in [sqrt(1/2), sqrt(2)); the series' first
// omitted term is below 2^-56 there.
static double natural_log(double x) {
  int exponent;
  double m = frexp(x, &exponent);
  if (m < 0.70710678118654752440) m *= 2, exponent--;
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double sum = 0;
  for (int k = 21; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return 2 * s * sum + exponent * 0.69314718055994530942;
}

// cos(2 pi u) for 0 <= u < 1: quarter turns taken off exactly, then the Taylor series on |x| <=
// pi/4.
static double cosine_of_turn(double u) {
  const double quarters = floor(4 * u + 0.5);
  const double x = (4 * u - quarters) * 1.57079632679489661923, x2 = x * x;
  const u32 quadrant = (u32)quarters & 3;
  double sum = 1;
  const int last = quadrant & 1 ? 17 : 18; // highest power of x kept
  for (int k = last; k >= 2; k -= 2) sum = 1 - sum * x2 / (k * (k - 1));
  if (quadrant & 1) sum *= x;
  return quadrant == 1 || quadrant == 2 ? -sum : sum;
}

double random_normal(u64 seed, random_purpose purpose, u32 stream, u64 index) {
  u32 w[4];
  random_block(seed, purpose, stream, index, w);
  const double u = ((double)(join(w[0], w[1]) >> 11) + 1) * 0x1p-53; // (0, 1]: the log is finite
  const double v = (double)(join(w[2], w[3]) >> 11) * 0x1p-53;
  return sqrt(-2 * natural_log(u)) * cosine_of_turn(v);
}

// Clocks, medians, and the peak: independent chains of the widest multiply-add that this CPU has.
#include "bench/measure.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#if defined __x86_64__
#include <immintrin.h>
#endif

double measure_wall_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double thread_cpu_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double measure_cpu_s(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + 1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int by_value(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

double measure_median(double *values, u32 count) {
  qsort(values, count, sizeof *values, by_value);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

// Enough chains to cover the latency of two units. They are variables, not an array, and the empty assembly
// keeps each of them a chain and in a register.
enum { CHAINS = 12, ROUNDS = 20000 };
#if defined __x86_64__
#define IN_REGISTER(x) "+v"(x)
#else
#define IN_REGISTER(x) "+w"(x)
#endif
#define EACH_CHAIN(F) F(c0) F(c1) F(c2) F(c3) F(c4) F(c5) F(c6) F(c7) F(c8) F(c9) F(c10) F(c11)
#define KEEP(c) __asm__ volatile("" : IN_REGISTER(c));
#define CHAIN_LOOP(type, zero, STEP)                                                               \
  type c0 = zero, c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0, c6 = c0, c7 = c0, c8 = c0, c9 = c0, c10 = c0, c11 = c0; \
  for (u32 r = 0; r < ROUNDS; r++) {                                                               \
    EACH_CHAIN(STEP)                                                                               \
    EACH_CHAIN(KEEP)                                                                               \
  }

#if defined __x86_64__
__attribute__((target("avx512f"))) static double flop_avx512(void) {
  __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
#define STEP(c) c = _mm512_fmadd_ps(c, a, b);
  CHAIN_LOOP(__m512, b, STEP)
#undef STEP
  return 32.0 * CHAINS * ROUNDS;
}

__attribute__((target("avx2,fma"))) static double flop_avx2(void) {
  __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
#define STEP(c) c = _mm256_fmadd_ps(c, a, b);
  CHAIN_LOOP(__m256, b, STEP)
#undef STEP
  return 16.0 * CHAINS * ROUNDS;
}

__attribute__((target("avx512f,avx512bf16"))) static double flop_bf16(void) {
  __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
#define STEP(c) c = _mm512_dpbf16_ps(c, a, a);
  CHAIN_LOOP(__m512, _mm512_set1_ps(1), STEP)
#undef STEP
  return 64.0 * CHAINS * ROUNDS;
}
#endif

static double flop_plain(void) {
#define STEP(c) c = c * 0.5f + 0.25f;
  CHAIN_LOOP(float, 1, STEP)
#undef STEP
  return 2.0 * CHAINS * ROUNDS;
}

typedef double flop_loop(void);

static flop_loop *loop_of(peak_kind kind, const char **ret_name) {
#if defined __x86_64__
  if (kind == PEAK_BF16) {
    *ret_name = "vdpbf16ps, 512 bits";
    return __builtin_cpu_supports("avx512bf16") ? flop_bf16 : NULL;
  }
  *ret_name = "fused multiply-add, 512 bits";
  if (__builtin_cpu_supports("avx512f")) return flop_avx512;
  *ret_name = "fused multiply-add, 256 bits";
  if (__builtin_cpu_supports("fma")) return flop_avx2;
#endif
  *ret_name = "multiplication and addition";
  return kind == PEAK_FP32 ? flop_plain : NULL;
}

const char *measure_peak_name(peak_kind kind) {
  const char *name;
  loop_of(kind, &name);
  return name;
}

bool measure_peak_exists(peak_kind kind) {
  const char *name;
  return loop_of(kind, &name) != NULL;
}

double measure_peak(peak_kind kind, u32 threads, double seconds) {
  const char *name;
  flop_loop *loop = loop_of(kind, &name);
  double flop = 0, cpu = 0;
  if (!loop) return 0;
#pragma omp parallel num_threads(threads) reduction(+ : flop, cpu)
  {
    double wall = measure_wall_s(), start = thread_cpu_s();
    while (measure_wall_s() - wall < seconds) flop += loop();
    cpu += thread_cpu_s() - start;
  }
  return flop / cpu;
}

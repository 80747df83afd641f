// The fast kernels exist once per CPU level, from one source: kernels_vN.c sets LEVEL and the target and
// includes the bodies (kernel_*.h, gemm.h, vecmath.h). All levels compute the same bytes; the baseline does so
// slowly, through fmaf, for machines that are older than 2013 or not x86.
#pragma once

#include "model/compute/kernels.h"

typedef void vecmath_map(size_t n, const float *x, float *y);

// C[m][n] (+)= alpha A B, for tests of the product alone.
typedef struct gemm_request {
  u32 m, n, k;
  const float *a, *b;
  bool a_transposed, b_transposed; // stored [k][m], [n][k]
  float *c, alpha;
  bool accumulate;
} gemm_request;

typedef struct kernels_level {
  kernel_table table;
  kernel_table bf16, fp16; // products of operands rounded to bfloat16 or fp16, everything else as it is
  vecmath_map *exp, *tanh, *erf, *log;
  size_t gemm_scratch_floats;
  void (*gemm)(const gemm_request *r, float *scratch);
} kernels_level;

extern const kernels_level kernels_v2; // portable
extern const kernels_level kernels_v3; // AVX2 and FMA (x86 only, as the next)
extern const kernels_level kernels_v4; // AVX-512
extern const kernels_level kernels_v5; // AVX-512 with products of bfloat16

// Level `index` (0 is the portable one), or NULL where this CPU cannot run it.
enum { KERNELS_LEVELS = 4 };
const kernels_level *kernels_level_get(u32 index);

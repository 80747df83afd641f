// The fast kernels for AVX-512 with its bfloat16 products. System headers come before the target is raised, so that
// their inline functions stay fit for any CPU.
#include <math.h>
#include <string.h>

#include "model/compute/kernels_level.h"

#if defined __x86_64__
#include <immintrin.h>

#define LEVEL 5
#if defined __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq,avx512bf16"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")
#endif
#include "model/compute/kernels_body.h"
#if defined __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

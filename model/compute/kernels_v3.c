// The fast kernels for AVX2 and FMA (x86-64-v3). System headers come before the target is raised, so that
// their inline functions stay fit for any CPU.
#include <math.h>
#include <string.h>

#include "model/compute/kernels_level.h"

#if defined __x86_64__
#include <immintrin.h>

#define LEVEL 3
#if defined __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "model/compute/kernels_body.h"
#if defined __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

// The fast kernels of this CPU: the highest level that it can run.
#include "model/compute/kernels_level.h"

const kernels_level *kernels_level_get(u32 index) {
#if defined __x86_64__
  if (index == 3 && kernels_level_get(2) && __builtin_cpu_supports("avx512bf16")) return &kernels_v5;
  if (index == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return &kernels_v4;
  if (index == 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_v3;
#endif
  return index == 0 ? &kernels_v2 : NULL;
}

static const kernels_level *best(void) {
  u32 i = KERNELS_LEVELS - 1;
  while (!kernels_level_get(i)) i--;
  return kernels_level_get(i);
}

const kernel_table *kernels_fast(void) { return &best()->table; }
const kernel_table *kernels_fast_bf16(void) { return &best()->bf16; }
const kernel_table *kernels_fast_fp16(void) { return &best()->fp16; }

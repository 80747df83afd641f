// Kernels of a transformer: an operation of the training step, woven for a grid and run by itself on the fabric, its
// values beside those of the host's operations (model/compute, in fp32).
#pragma once

#include "runtime/kernel_run.h"

typedef struct kernel_woven_facts {
  const char *name, *sentence;
  const char *patterns; // "a|b", the first unless stated; "": there is one form
  const char *options;  // of those below, which it looks at
} kernel_woven_facts;
u32 kernel_woven_count(void);
const kernel_woven_facts *kernel_woven_get(u32 index);
const kernel_woven_facts *kernel_woven_find(const char *name); // NULL: none

// Sizes that may be stated; 0: the default, which kernel_woven_run and _print fill in.
#define KERNEL_WOVEN_SIZES(F) F(features) F(outputs) F(tokens) F(sequences) F(heads)
typedef struct kernel_woven_request {
  const char *name, *pattern;
  const machine *machine;
  u32 width, height; // of the grid
#define SIZE(name) u32 name;
  KERNEL_WOVEN_SIZES(SIZE)
#undef SIZE
  u32 type;    // df_type: F32, F16 or BF16
  bool random; // data: small whole numbers, or random by the seed
  u64 seed;
} kernel_woven_request;

// The outcome is that of the kernel's own phase; what the phase needs (statistics, a forward pass) is made on the
// fabric before it. CODE_CONFIG where the operation does not fit.
bool kernel_woven_run(kernel_woven_request *r, kernel_outcome *ret_outcome, status *st);
// The dataflow of its own phase, in text form.
bool kernel_woven_print(kernel_woven_request *r, text *out, status *st);

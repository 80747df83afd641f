// The kernel library: small programs of their own, written for any grid, size and type, with the data that
// the host fills in and what a plain C reference says must come out. The reference is for comparison only:
// every value of a result is computed by instructions of the program.
#pragma once

#include "sim/isa/dataflow_build.h"

// How much of a case is made: large products leave the reference out, questions about memory the data as well.
typedef enum kernel_extent { KERNEL_WHOLE, KERNEL_NO_REFERENCE, KERNEL_PROGRAM_ONLY } kernel_extent;

typedef struct kernel_request {
  const char *name, *pattern; // pattern NULL: the kernel's first
  const machine *machine;     // kernels that depend on how much a queue holds ask it
  u32 width, height;
  u32 tile, words, repeat; // words: elements of the type
  u32 type;                // df_type: F32, F16 or BF16
  bool random;             // data: small integers, exact in every order of summation; or random by the seed
  u64 seed;
  kernel_extent extent; // summa only; the others make the whole
} kernel_request;

// Values of a symbol: PE by PE of its rectangle, row by row, `count` each.
typedef struct kernel_values {
  u32 symbol;
  float *values;
} kernel_values;

enum { KERNEL_INPUTS_MAX = 4 };
typedef struct kernel_case {
  dataflow program;
  kernel_values inputs[KERNEL_INPUTS_MAX];
  u32 input_count;
  kernel_values result; // what must be there afterwards
  bool checked;         // result is filled in
  const u32 *feed;      // what every input port gets; NULL: there is none
  // Largest deviation from the reference that rounding explains; 0: it must be equal.
  double tolerance;
  // What the rate counts: work / cycles, or cycles / work.
  double work;
  const char *rate_unit;
  bool cycles_per_work;
} kernel_case;

typedef struct kernel_facts {
  const char *name, *sentence;
  const char *patterns;                   // "a|b"; "": there is one form
  const char *options;                    // of grid, tile, words, repeat: those it looks at
  u32 width, height, words, tile, repeat; // unless stated
} kernel_facts;
u32 kernel_count(void);
const kernel_facts *kernel_find(const char *name); // NULL: none
// CODE_USAGE with the nearest of the names and all of them.
void kernel_fail_name(const char *name, const char *const *names, u32 count, status *st);
const kernel_facts *kernel_get(u32 index);
bool kernel_is_choice(const char *choices, const char *word); // one of "a|b|c"

// The largest sizes are dataflow_check's to refuse (CODE_CONFIG); an unknown name, a pattern or a grid that
// the kernel has no form for is CODE_USAGE.
bool kernel_build(const kernel_request *r, arena *a, kernel_case *ret_case, status *st);
double kernel_rate(const kernel_case *k, double cycles);

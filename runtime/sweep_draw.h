// Random points of a sweep: each value a function of (seed, key, draw), so that adding a key or more draws
// changes none of the others.
#pragma once

#include "runtime/sweep_spec.h"

typedef struct sweep_range {
  const char *key;
  const field *field;
  const char **choices; // NULL: a range
  u32 choice_count;
  const char *min, *max; // as stated
  double low, high;      // as the field reads them
  bool log;
} sweep_range;

typedef struct sweep_draw {
  u64 seed;
  sweep_range ranges[SWEEP_KEYS_MAX];
} sweep_draw;

// Reads min and max as the field does; NULL, or what is wrong with them.
const char *sweep_range_check(sweep_range *r, const config_section *section);
// Fills the rows of a factor whose keys are the draw's ranges.
void sweep_draw_rows(const sweep_draw *d, sweep_factor *f, u32 count, arena *a);

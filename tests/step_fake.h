// A modelled step made up for tests of pictures, reports and traces: plausible, fixed, and as long as
// wanted; no mapper or engine is asked.
#pragma once

#include "runtime/step_sim.h"

typedef struct fake_options {
  u32 layers;
  u64 repeat;    // of the only group; the plan has as many microbatches
  u32 transfers; // out of the first layers and back, with windows that overlap
  double host_cycles;
} fake_options;

void fake_step(const fake_options *o, arena *a, step_sim *ret_sim);

// Published measurements of real systems beside what weft models for them.
#pragma once

#include "runtime/step_sim.h"
#include "runtime/validation_fabric.h"

// One way of looking at a row: the bare machine, or with a stated number changed.
typedef struct validation_row {
  const char *id; // "V18"
  const char *workload, *machine, *unit, *class, *source;
  double measured;
  double gate;         // largest |error| that passes
  const char *variant; // "bare" is the one that is gated; others show what a choice is worth
  // what was found
  double ours, error; // error = ours / measured - 1
  bool gated, pass;
  char bound[120];     // what bounds the step
  char breakdown[256]; // share of the step by family
} validation_row;

// Runs every row that this version can run, with its variants, in a fixed order.
bool validation_run(arena *a, const validation_row **ret_rows, u32 *ret_count, status *st);
// Fills sim->error_band: the gated rows of the same class as the modelled step.
bool validation_band(const run_spec *r, arena *a, step_sim *sim, status *st);
// Rows of the reference list that cannot run yet, as "id: reason" lines.
u32 validation_missing(const char *const **ret_lines);
// docs/VALIDATION.md: the rows of the fabric and those of training throughput.
typedef struct validation {
  const fabric_row *fabric;
  const validation_row *rows;
  u32 fabric_count, count;
} validation;
void validation_markdown(const validation *v, text *out);

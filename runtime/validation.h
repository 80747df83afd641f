// Published measurements of real systems beside what weft models for them.
#pragma once

#include "runtime/step_sim.h"
#include "runtime/validation_fabric.h"

// One way of looking at a row: the bare machine, or with a stated number changed. The first three show what one
// number per machine generation, fitted on one row, would do, and the rate that nobody has measured.
typedef enum validation_variant {
  VARIANT_BARE, // the one that is gated
  VARIANT_FITTED,
  VARIANT_UPPER,
  VARIANT_UPPER_FITTED,
  VARIANT_OTHER // others show what a choice is worth
} validation_variant;

typedef struct validation_row {
  const char *id; // "V18"
  const char *workload, *machine, *unit, *class, *source;
  double measured;
  double gate;         // largest |error| that passes
  const char *variant; // in words
  u32 kind;            // validation_variant
  // what was found
  double ours, error; // error = ours / measured - 1
  double fitted;      // axpy_issue_cycles of a fitted variant
  bool gated, pass;
  char bound[120];     // what bounds the step
  char breakdown[320]; // share of the step by family, or where the loss went
} validation_row;

// Runs every row with its variants, in a fixed order; only: the bare row and its upper variant alone.
bool validation_run(const char *only, arena *a, const validation_row **ret_rows, u32 *ret_count, status *st);
// Fills sim->error_band: the gated rows of the same class (streaming or pipelined) as the modelled step; of the
// fabric's steps none is published.
bool validation_band(const run_spec *r, arena *a, step_sim *sim, status *st);
// docs/VALIDATION.md: the rows of the fabric and those of training throughput.
typedef struct validation {
  const fabric_row *fabric;
  const validation_row *rows;
  u32 fabric_count, count;
} validation;
void validation_markdown(const validation *v, text *out); // validation_page.c

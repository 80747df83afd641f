// Does the fabric compute what the compute backend computes? Every activation and gradient of one step, compared as the
// phases go by.
#pragma once

#include "runtime/fabric_step.h"
#include "runtime/run_spec.h"

typedef struct number_row {
  const char *tensor, *node; // and the node that wrote it last
  double deviation;          // largest, of the tensor's largest magnitude
  bool pass;
} number_row;

typedef struct number_check {
  u32 row_count;
  const number_row *rows;  // in the order in which the fabric made them
  const number_row *first; // beyond the limit; NULL: none
  double loss, loss_backend, limit;
  u64 cycles;
} number_check;

// Weights are initialised from the run's seed, tokens come from its data. A difference is an outcome; failing is a
// step that does not fit or stalls.
// `sabotage`, for tests that show that a difference is found: called before the step runs; NULL in production.
typedef void number_sabotage(fabric_step *f);
bool check_numbers(const run_spec *r, number_sabotage *sabotage, arena *a, number_check *ret_check, status *st);

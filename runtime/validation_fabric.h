// Rows V1-V17 of the reference list: kernels run on the fabric engine beside published measurements.
#pragma once

#include "runtime/kernel_run.h"

enum { FABRIC_POINTS_MAX = 8 };

// What is published. A row may have several points (hops, sizes).
typedef struct fabric_facts {
  const char *id, *workload, *machine, *unit, *class, *source;
  const char *note; // what is measured how, or why the row misses; NULL: nothing to say
  double gate;      // largest |error| that passes
  bool calibrates;  // a machine number comes from this row alone: shown, not judged
  bool in_median;   // measured on silicon or by the vendor's simulator, and no parameter comes from it
  u32 count;
  double at[FABRIC_POINTS_MAX], measured[FABRIC_POINTS_MAX]; // measured NAN: only the shape is published
} fabric_facts;

// What was found; the error is that of the worst point.
typedef struct fabric_row {
  const fabric_facts *facts;
  double ours[FABRIC_POINTS_MAX];
  u32 worst;
  double error;
  bool pass;
} fabric_row;

// only: the id of one row; NULL: all, in order. Every result is checked against its reference on the way.
bool validation_fabric_run(const char *only, arena *a, const fabric_row **ret_rows, u32 *ret_count, status *st);
double validation_fabric_median(const fabric_row *rows, u32 count); // of |error|; NAN: no row is in it
void validation_fabric_markdown(const fabric_row *rows, u32 count, text *out);
void validation_fabric_table(const fabric_row *rows, u32 count, text *out);
// The points of a row, "1.5 2 2.5"; `ours` or what was measured.
void validation_fabric_points(const fabric_row *r, bool ours, text *out);

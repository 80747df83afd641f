// The same training step by both engines, phase by phase: how far what flow costs is from what the fabric runs. Flow
// knows nothing of the fabric, so a difference is one between the laws of time and what happens, or between the
// description of a phase (mapper/lower_*.c) and its program (mapper/weave_*.c).
#pragma once

#include "runtime/step_sim.h"

// A model of one block on a grid of cs3.
typedef struct parity_case {
  u32 width, height;          // of the grid
  u32 features, heads, vocab; // of the model
  u32 seq, batch;
  const char *precision;
} parity_case;

typedef struct parity_row {
  parity_case of;
  const char *node;    // of the graph
  u32 op;              // graph_op
  double fabric, flow; // cycles, the change of routes before the phase apart
  double error;        // flow / fabric - 1
  sim_counts fabric_counts, flow_counts;
} parity_row;

typedef struct parity {
  const parity_row *rows;
  u32 count;
} parity;

// Every phase of every case, in a fixed order; `few`: of some small cases, which takes a second or two.
bool parity_run(bool few, arena *a, parity *ret_parity, status *st);

typedef enum parity_count {
  PARITY_MACS,
  PARITY_WAVELETS,
  PARITY_HOPS,
  PARITY_SRAM, // bytes read and written
  PARITY_TASKS,
  PARITY_COUNTS
} parity_count;
const char *parity_count_name(parity_count c);
u64 parity_count_of(const sim_counts *n, parity_count c);

// Rows of one operation of the graph and of one precision.
typedef struct parity_summary {
  u32 rows;                 // 0: none
  double median;            // of |error|
  const parity_row *worst;  // by |error|
  u32 equal[PARITY_COUNTS]; // rows where both engines count the same
} parity_summary;
parity_summary parity_summarize(const parity *p, u32 op, const char *precision, arena *a);

void parity_markdown(const parity *p, arena *a, text *out); // docs/PARITY.md
void parity_table(const parity *p, text *out);              // every row

// One modelled training step: graph -> plan -> program -> engine, with the figures that people ask for.
#pragma once

#include "runtime/run_spec.h"
#include "sim/flow/flow.h"

typedef struct step_sensitivity {
  const char *name;  // "clock", "rate", "axpy_issue_cycles", "edge_io", "memoryx", "hop"
  double throughput; // relative change of throughput per +10% of it
} step_sensitivity;
enum { STEP_SENSITIVITIES = 6 };

// Joules of one step over all systems, from what is counted.
typedef struct step_energy {
  double mac, sram, wire, io, idle, total;
} step_energy;

typedef struct step_stretch { // of cycles; until 0: there is none
  double from, until;
} step_stretch;

// A phase as the fabric ran it, from the first wavelet to the last: those that entered at the edge, that PEs sent
// (sums, multicasts), that left; and MemoryX's update of the parameters whose gradients it completes, in the last
// microbatch.
typedef struct step_activity {
  step_stretch in, reduce, out, update;
} step_activity;

typedef struct step_map {
  const char *name, *unit, *sentence;
  const float *values; // per PE, row by row
} step_map;
enum { STEP_MAPS = 3 };

// What only a step on the fabric knows.
typedef struct step_fabric {
  const step_activity *phases; // in cycles of the step
  u32 width, height;           // of the grid
  step_map maps[STEP_MAPS];    // links, compute, sram
} step_fabric;

// Chain of types for one run. Constant once built; lives in one arena.
typedef struct step_sim {
  graph graph;
  machine machine;
  plan plan;
  program program;
  engine_result result;
  const step_fabric *fabric; // NULL: modelled by counts
  const char *engine;        // that gave it
  // Modelled figures, over all systems. utilization: 6 x parameters x tokens per second against the
  // dense fp16 peak; mac_per_cycle_per_pe: executed, of the usable PEs; joules: power x time.
  double step_s, tokens_per_s, samples_per_s, utilization, mac_per_cycle_per_pe, joules_per_step;
  step_energy energy;                        // from counts, beside joules_per_step from power
  double time_to_train_s, energy_to_train_j; // 0 unless train.tokens is stated
  char bottleneck[320];
  char error_band[200];
  step_sensitivity sensitivity[STEP_SENSITIVITIES];
  bool has_sensitivity;
  double wall_s; // host time that the simulation took
} step_sim;

// The vocabulary must be stated in r->model (the caller takes it from the data where it was 0).
bool step_sim_run(const run_spec *r, bool with_sensitivity, arena *a, step_sim *ret_sim, status *st);
// The trace of the modelled step, one slice per phase, as a .pftrace.
bool step_sim_trace(const step_sim *s, const char *path, status *st);

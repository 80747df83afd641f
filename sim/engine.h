// The door: whatever executes a program on a machine and reports time and counts. The mapper and the
// runtime know engines only as this.
#pragma once

#include "sim/isa/program.h"

typedef enum { ENGINE_FLOW, ENGINE_FABRIC } engine_kind;

#define ENGINE_FIELDS(F)                                                                                               \
  F(ENUM, name, "name", UNIT_NONE, "flow", 0, 0, "flow|fabric",                                       \
    "counts only, over the whole wafer; or every wavelet and value, on plan.width x plan.height PEs (16 x 16 unless stated)")

typedef struct engine_options {
  ENGINE_FIELDS(FIELD_MEMBER)
} engine_options;
extern const field_table engine_table; // section "engine"

// What bounds a stretch of time.
typedef enum engine_resource {
  RESOURCE_COMPUTE, // datapaths of the busiest PEs
  RESOURCE_FABRIC,  // links
  RESOURCE_IO_IN,
  RESOURCE_IO_OUT, // the edge
  RESOURCE_SWITCH, // changing routes, filling and draining
  RESOURCE_HOST,   // MemoryX update and latency, SwarmX
  RESOURCE_COUNT
} engine_resource;

typedef struct engine_span { // one phase of one microbatch
  double start_cycle, end_cycle;
  double wait_cycles; // before start_cycle, for a transfer
  double work_cycles; // of the busiest PE
  u32 resource;       // that bounds it
} engine_span;

typedef struct engine_result {
  double cycles;     // one optimizer step
  sim_counts counts; // one step, one system
  u32 sram_peak_bytes, pes_used;
  const engine_span *spans; // first repetition of each phase, in program order
  u32 span_count;
  double first_repeat_cycles; // start of the second repetition, for drawing (= cycles when there is none)
  // Cycles by resource and by phase (all repetitions); both sum to `cycles` (the host's exposed part is
  // in no phase).
  double by_resource[RESOURCE_COUNT];
  const double *by_phase;
  const sim_counts *phase_counts; // of one repetition of each phase; transfers are in none
  double transfer_wait_cycles, host_cycles; // exposed
  double io_in_busy_cycles, io_out_busy_cycles, compute_busy_cycles;
} engine_result;

typedef struct engine {
  const char *name;
  u32 version; // part of the key under which results are cached
  bool (*run)(const program *p, const machine *m, arena *a, engine_result *ret_result, status *st);
} engine;

const char *engine_resource_name(u32 resource);

// A training step on the fabric: MemoryX streams weights in layer by layer and in reverse order backward, takes
// gradients, and the wafer between computes everything. What it gives is a source of gradients for the trainer, whose
// AdamW with the rule of each parameter group is MemoryX's optimizer.
#pragma once

#include "runtime/run_spec.h"
#include "model/compute/trainer.h"
#include "runtime/wafer.h"

typedef struct fabric_step fabric_step;

typedef struct fabric_step_setup {
  const graph *graph;
  const machine *machine;
  u32 width, height; // of the grid
  u32 batch;         // sequences of a step
  u32 microbatch;    // sequences at once; 0: the most that fit
  u8 type;           // df_type of activations and streamed weights
  bool axpy_fp32;
  u32 threads;
  bool keep; // activations stay readable after a forward
  bool load; // what each router and PE has to do is counted
} fabric_step_setup;

// What a run states: the grid of its plan (where it states none, as much of the machine as 16 x 16), the precision of
// its training.
const fabric_step_setup *fabric_step_wanted(const run_spec *r, const graph *g, const machine *m, arena *a);
// The stated microbatch, or the largest that divides the batch and fits. CODE_CONFIG with what does not fit.
fabric_step *fabric_step_open(const fabric_step_setup *s, arena *a, status *st);
// For the trainer. A stall is NaN there and the sentence here.
const trainer_source *fabric_step_source(fabric_step *f);
const status *fabric_step_status(const fabric_step *f);

// The phases of a microbatch, and what they have taken the last time they ran.
const woven *fabric_step_woven(const fabric_step *f);
u32 fabric_step_microbatches(const fabric_step *f);
typedef struct fabric_phase_time {
  u64 start, cycles; // from the beginning of the microbatch, route changes between phases included in `start`
  u64 busy;          // of them the datapath of the busiest PE worked
  fabric_stretch entered, sent, left; // of the phase's own cycles, as fabric_result
  sim_counts counts;
} fabric_phase_time;
const fabric_phase_time *fabric_step_times(const fabric_step *f); // of every phase
u64 fabric_step_cycles(const fabric_step *f); // of the latest step: all microbatches, one after the other
// Of the latest step, per PE of the woven grid; NULL where the setup did not ask.
const fabric_load *fabric_step_load(const fabric_step *f);

// Called after each phase of a gradient run, with the wafer as it is then and the sequences of the microbatch; for
// those who compare. NULL: nobody.
typedef void fabric_step_watch(void *user, const wafer *w, u32 phase, u32 first_sequence);
void fabric_step_observe(fabric_step *f, fabric_step_watch *watch, void *user);
// For tests: the n-th wavelet-hop is hit the next time that this phase runs.
void fabric_step_flip(fabric_step *f, u32 phase, u64 nth_hop);

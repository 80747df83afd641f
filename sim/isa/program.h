// What the machine is told: phases on the mesh with the work of each class of PEs, the streams through
// the edge, and the order of it all. Count-static, stored by class and never by PE. No decision left.
#pragma once

#include "sim/isa/timing.h"

// Invariants (program_check lists and recomputes them):
//  1. every index lies inside its array; names end in a zero
//  2. the PEs of a phase's classes fit its rectangle, and the rectangle fits the machine
//  3. SRAM: code + data of every phase within the PE
//  4. groups tile the phases in order; repeat >= 1
//  5. a transfer ends at a phase that comes after the one that starts it, in the same group
//  6. colors of a phase within the machine's
//  7. phases side by side do not overlap
//  8. parameters are used again by a phase that exists
//  9. a thread that the machine has

typedef struct program_op { // totals of one PE over the phase
  u32 opcode;
  u32 hops;     // links that each sent wavelet crosses (all branches of a multicast); 0: sends nothing
  u32 thread;   // 0: the task's own, in sequence with all; else the microthread, beside others (timing_load)
  u64 issues;   // vector instructions
  u64 elements; // elements over all of them
} program_op;

typedef struct program_class { // PEs with the same work
  u32 pes;
  u32 first_op, op_count;
  u64 tasks; // task starts per PE
  u64 turns; // of loops, in sequence with the task's own instructions; those in the shadow of microthreads are not here
} program_class;

typedef enum phase_family {
  FAMILY_EMBED,
  FAMILY_LINEAR,
  FAMILY_GRAD_X,
  FAMILY_GRAD_W,
  FAMILY_NORM,
  FAMILY_ATTENTION,
  FAMILY_ELEMENTWISE,
  FAMILY_LOSS,
  FAMILY_COUNT
} phase_family;

enum { PROGRAM_NAME_MAX = 40 };

typedef struct program_phase {
  char origin[PROGRAM_NAME_MAX]; // graph node that it computes
  u32 family;
  u32 layer;                           // UINT32_MAX outside the blocks
  u32 first_class, class_count;        // equal phases share them
  u32 x, y, width, height;             // rectangle
  u64 iterations;                      // of the dataflow loop (outputs of a linear layer, keys of attention, ...)
  double latency_cycles;               // fill and drain: the longest path that the first and last iteration cross
  u64 row_wavelets, column_wavelets;   // on the busiest link of a row, of a column, over the phase
  u64 stream_in, stream_out;           // wavelets through the edge, in step with the loop
  u64 stream_in_hops, stream_out_hops; // links that one of them crosses
  bool own_stream;                     // its streams are each system's own: not broadcast, not summed
  u64 update_params;                   // parameters whose gradient is complete after it (last microbatch)
  u32 update_use;                      // first phase of the next step that streams them
  u32 sram_bytes;                      // live data and buffers of the busiest PE while it runs, without code
  u32 colors;
} program_phase;

// Wavelets that cross the edge beside the phases: from the end of phase `after` to the start of phase
// `before` of the same repetition of their group (the first group's where neither end is stated). One
// that nobody waits for has crossed before it starts again, and before the step ends. Each system has its own.
typedef struct program_transfer {
  char name[PROGRAM_NAME_MAX];
  u32 after, before; // UINT32_MAX: no constraint at that end
  u64 wavelets;
  u32 hops;
  bool out; // leaves the wafer
} program_transfer;

// Phases [first, first + count) run `repeat` times in a row before the next group. Side by side they do so
// on rectangles of their own, each handing what it has done to the next, so all work at once.
typedef struct program_group {
  u32 first, count;
  u64 repeat;
  bool beside;
} program_group;

typedef struct program {
  char name[PROGRAM_NAME_MAX];
  u64 machine_hash, plan_hash;
  u32 phase_count, class_count, op_count, group_count, transfer_count;
  const program_phase *phases;
  const program_class *classes;
  const program_op *ops;
  const program_group *groups;
  const program_transfer *transfers;
  u32 code_bytes, task_kinds, op_kinds; // code = base + per task + per op
  u32 systems;                          // equal wafers that run it side by side
} program;

// What a program does in total, per step and per system.
typedef struct sim_counts {
  u64 wavelets; // sent by a PE or entering at the edge
  u64 hops;     // links crossed by them
  u64 macs, sram_read_bytes, sram_write_bytes, tasks;
} sim_counts;

static inline void sim_counts_add(sim_counts *to, const sim_counts *from) {
  to->wavelets += from->wavelets;
  to->hops += from->hops;
  to->macs += from->macs;
  to->sram_read_bytes += from->sram_read_bytes;
  to->sram_write_bytes += from->sram_write_bytes;
  to->tasks += from->tasks;
}

bool program_check(const program *p, const machine *m, status *st);
u64 program_hash(const program *p);
void program_print(const program *p, text *out); // text form, one line per phase, class and op
const char *phase_family_name(u32 family);

// What tests of the fabric share: runs of a dataflow whose outcome can be compared, and random legal
// programs by seed.
#pragma once

#include "sim/fabric/fabric.h"
#include "sim/isa/dataflow_build.h"
#include "tests/sim_support.h"

// All that can be seen of a run.
typedef struct fabric_outcome {
  bool ok;
  status st;
  fabric_result result;
  u64 load;  // hash of what each router and each PE had to do
  u64 state; // hash of every PE's memory and of what left at the ports
  u64 log;   // hash of what was seen, where there was a watch
  u32 entries, left_out;
} fabric_outcome;

// Writes memory and ports before a run, reads them after.
typedef void fabric_use(fabric *f, void *of);

typedef struct fabric_how {
  fabric_options options;
  u64 max_cycles;     // 0: a million
  fabric_use *before, *after;
  void *of;
} fabric_how;
fabric_outcome fabric_try(const dataflow *d, const machine *m, const fabric_how *how);
// Fails the test where two outcomes of one program differ; `what` and `seed` name it.
void fabric_same(const fabric_outcome *a, const fabric_outcome *b, const char *what, u64 seed);

// A random program: trees of routes (streams with multicast, merges, switched streams), PEs that send,
// receive, forward, start late, wait in order or on microthreads, and take wavelets by data tasks.
typedef struct random_case {
  arena *memory;
  machine machine;
  dataflow program;
  u64 wavelets, received, hops;  // of a run that ends, from the trees alone
  struct random_check *checks;   // memory that must hold a stream's words
  u32 check_count;
  struct maker *made;            // of what it was made
} random_case;
// spin: cycles that a PE of its own keeps busy, in a row that is added below; 0: no such PE, but the row.
random_case random_case_make(u64 seed, u32 spin);
void random_case_free(random_case *c);
fabric_outcome random_case_run(random_case *c, fabric_options options);
// Values and sums of a run that ended: memory holds what the streams carried, and no wavelet was lost or made.
void random_case_verify(const random_case *c, const fabric_outcome *o, u64 seed);

// A small program, its machine and its fabric: begin, build on `b`, open, write memory, run, look, end.
typedef struct desk {
  arena *memory, *engine;
  df_builder *b;
  machine m;
  dataflow d;
  fabric *f;
  fabric_result result;
  status st;
} desk;
desk desk_begin(const char *preset, const char *changes, u32 w, u32 h);
void desk_open(desk *k);
bool desk_run(desk *k, u64 most);
void desk_run_well(desk *k); // to an end that is no stall
void desk_end(desk *k);
u32 desk_word(const desk *k, u32 x, u32 y, u32 address);
void desk_expect(const desk *k, u32 x, u32 y, u32 address, const u32 *words, u32 n);
void desk_active_task(df_builder *b, const char *name);

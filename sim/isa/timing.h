// The laws of time, written once and asked by engines and mapper alike. All results are cycles.
#pragma once

#include "sim/isa/opcode.h"

typedef struct opcode_facts {
  const char *name, *effect;
  u32 macs, read_bytes, write_bytes; // per element
  u32 half_wavelets;                 // sent per element, in halves
  u32 half_received;
} opcode_facts;
const opcode_facts *opcode_get(opcode op);

// `issues` vector instructions over `elements` elements in total, one after the other.
double timing_dsd(const machine *of, opcode op, u64 issues, u64 elements);
// Banks of the SRAM are words, and what is read of them at once is free where they differ modulo BANKS. Source:
// 8 banks, 32 bit wide, two operand reads are free of conflict when their banks differ mod 4 (FABRICA 2608.25124).
enum { BANK_BYTES = 4, BANKS = 4 };
static inline u32 timing_bank(u32 address) {
  return address / BANK_BYTES % BANKS;
}
// Do elements of that cost wait for banks? Those of 16 bit that read two operands or three: published rates of 32 bit
// are of memory operands in general, so they contain what they wait.
bool timing_has_banks(opcode op);
// Factor on the time of an element where `share` of the elements find two operands in one bank.
double timing_banks(const machine *m, double share);

// Of that the time in which the elements occupy the datapath: without set-ups, and without waiting for the ramp.
double timing_datapath(const machine *of, opcode op, u64 elements);

// What the vector instructions of a PE come to. Thread 0 is the task's own, which waits for each of its vector
// instructions: they are in sequence with everything. Those of microthreads go on beside each other.
enum { TIMING_THREADS = 8 };
typedef struct timing_load {
  double alone[TIMING_THREADS]; // each thread's instructions one after the other
  double datapath, ramp;        // of the microthreads together
} timing_load;
void timing_load_add(timing_load *l, const machine *m, u32 thread, opcode op, u64 issues, u64 elements);
void timing_load_turns(timing_load *l, const machine *m, u64 turns); // of loops, on thread 0
double timing_load_cycles(const timing_load *l);
// First wavelet along a straight path: a ramp, the links, a ramp.
double timing_path(const machine *m, u32 hops);
// Latency that a reduction chain of `pes` PEs adds before the first sum leaves its end.
// Source: arXiv 2404.15888, chain = B + (2 T_R + 2)(P - 1); hop and the add take one cycle each there.
double timing_chain(const machine *m, u32 pes);
// `wavelets` through the edge in one direction.
double timing_io(const machine *m, u64 wavelets);
// The same for what is each system's own, so that MemoryX sends or takes it once per system.
double timing_io_own(const machine *m, u64 wavelets, u32 systems);
double timing_cycles(const machine *m, double seconds);

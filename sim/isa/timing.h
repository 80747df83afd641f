// The laws of time, written once and asked by engines and mapper alike. All results are cycles.
#pragma once

#include "sim/isa/opcode.h"

typedef struct opcode_facts {
  const char *name, *effect;
  u32 macs, read_bytes, write_bytes; // per element
  u32 half_wavelets;                 // sent per element, in halves
} opcode_facts;
const opcode_facts *opcode_get(opcode op);

// `issues` vector instructions over `elements` elements in total.
double timing_dsd(const machine *of, opcode op, u64 issues, u64 elements);
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

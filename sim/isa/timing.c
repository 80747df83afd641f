// The laws of time.
#include "sim/isa/timing.h"

#include <math.h>

#define FACTS(name, setup, element, macs, reads, writes, halves, effect) {#name, effect, macs, reads, writes, halves},
static const opcode_facts facts[OPCODE_COUNT] = {OPCODES(FACTS)};

const opcode_facts *opcode_get(opcode op) {
  require((u32)op < OPCODE_COUNT);
  return &facts[op];
}

double timing_dsd(const machine *of, opcode op, u64 issues, u64 elements) {
  const machine_spec *m = &of->spec;
  double setup = 0, element = 0;
  switch (op) {
#define COST(name, set_up, per_element, ...)                                                                           \
  case OPCODE_##name:                                                                                                  \
    setup = set_up;                                                                                                    \
    element = per_element;                                                                                             \
    break;
    OPCODES(COST)
  case OPCODE_COUNT:
    require(op < OPCODE_COUNT);
  }
  return setup * (double)issues + element * (double)elements;
}

bool timing_has_banks(opcode op) {
  return op == OPCODE_AXPY16 || op == OPCODE_DOT16 || op == OPCODE_FMA16 || op == OPCODE_ADD16;
}

double timing_banks(const machine *m, double share) {
  return 1 + share * (m->spec.bank_conflict_factor - 1);
}

double timing_path(const machine *m, u32 hops) {
  return 2 * m->spec.ramp_cycles + m->spec.hop_cycles * hops;
}

double timing_chain(const machine *m, u32 pes) {
  double per_pe = 2 * m->spec.ramp_cycles + m->spec.hop_cycles + 1;
  return pes > 1 ? per_pe * (pes - 1) : 0;
}

double timing_io(const machine *m, u64 wavelets) {
  return (double)wavelets / m->io_wavelets_per_cycle;
}

double timing_io_own(const machine *m, u64 wavelets, u32 systems) {
  double bits_per_s = fmin(m->spec.io_bits_per_s, m->spec.memoryx_bits_per_s / systems);
  return timing_cycles(m, (double)wavelets * 32 / bits_per_s);
}

double timing_cycles(const machine *m, double seconds) {
  return seconds * m->spec.clock_hz;
}

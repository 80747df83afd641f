// The laws of time.
#include "sim/isa/timing.h"

#include <math.h>

#define FACTS(name, setup, element, macs, reads, writes, sent, received, effect)                                       \
  {#name, effect, macs, reads, writes, sent, received},
static const opcode_facts facts[OPCODE_COUNT] = {OPCODES(FACTS)};

const opcode_facts *opcode_get(opcode op) {
  require((u32)op < OPCODE_COUNT);
  return &facts[op];
}

typedef struct opcode_cost {
  double setup, element;
} opcode_cost;

static opcode_cost cost_of(const machine *of, opcode op) {
  const machine_spec *m = &of->spec;
  switch (op) {
#define COST(name, set_up, per_element, ...)                                                                           \
  case OPCODE_##name:                                                                                                  \
    return (opcode_cost){set_up, per_element};
    OPCODES(COST)
  case OPCODE_COUNT:
    break;
  }
  bug_fail(__FILE__, __LINE__, "the cost of no instruction");
}

// From one element to the next: wavelets pass the ramp one in wavelet_cycles.
static double pace_of(const machine *m, opcode op) {
  const opcode_facts *f = opcode_get(op);
  const u32 halves = f->half_wavelets > f->half_received ? f->half_wavelets : f->half_received;
  return fmax(cost_of(m, op).element, m->spec.wavelet_cycles * halves / 2);
}

double timing_dsd(const machine *of, opcode op, u64 issues, u64 elements) {
  return cost_of(of, op).setup * (double)issues + pace_of(of, op) * (double)elements;
}

double timing_datapath(const machine *of, opcode op, u64 elements) {
  return cost_of(of, op).element * (double)elements;
}

void timing_load_add(timing_load *l, const machine *m, u32 thread, opcode op, u64 issues, u64 elements) {
  require(thread < TIMING_THREADS);
  l->alone[thread] += timing_dsd(m, op, issues, elements);
  if (!thread) return;
  l->datapath += timing_datapath(m, op, elements);
  l->ramp += m->spec.wavelet_cycles * opcode_get(op)->half_wavelets / 2 * (double)elements;
}

void timing_load_turns(timing_load *l, const machine *m, u64 turns) {
  l->alone[0] += m->spec.loop_cycles * (double)turns;
}

// A set-up elapses without the datapath, an element occupies it; a thread's instructions are one after the other. Let
// thread k have set-ups S_k and elements E_k (on the datapath). Three things take their time whatever the order:
//   a thread's own chain        S_k + E_k, more where its wavelets come slower than the datapath takes them
//   the datapath                the sum of all E_k
//   the ramp                    all wavelets that are sent
// and threads beside each other take the largest of them: a thread finds the datapath free in the set-ups of another,
// where it fits. It does: what is beside is given the datapath wavelet by wavelet, and has all the phase to find its
// gaps. With a thread m that has most to do and E_b beside it that is S_m + E_m + max(0, E_b - S_m). It is a lower
// bound, which an order of dependences may miss: nothing here says which instruction needs which.
// Thread 0's come before or after all that, since the task waits for them and for the microthreads whose results it
// uses.
double timing_load_cycles(const timing_load *l) {
  double beside = fmax(l->datapath, l->ramp);
  for (u32 i = 1; i < TIMING_THREADS; i++) beside = fmax(beside, l->alone[i]);
  return l->alone[0] + beside;
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

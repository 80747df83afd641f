// The vector instructions that programs use, one line each: what a line says is the manual, and the
// costs and counts of an instruction are taken from here by everyone who needs them.
#pragma once

#include "sim/isa/machine.h"

// X(name, set-up, per element, MACs, bytes read, bytes written, wavelets sent x 2, received x 2, effect)
// Set-up: cycles once per issue. Per element: cycles of the datapath for one more element. Both are expressions over
// machine_spec *m. Bytes and MACs are per element; wavelets are doubled because a wavelet carries two
// fp16 values. What sends or receives is not faster than its wavelets (timing_dsd).
#define OPCODES(X)                                                                                                     \
  X(AXPY16, m->axpy_issue_cycles, 1 / m->fma16_rate, 1, 4, 2, 0, 0,                                                    \
    "y[i] += w * x[i] in fp16; w arrives as a wavelet or lies in memory")                                              \
  X(AXPY32, m->axpy_issue_cycles, 1 / m->fma32_rate, 1, 8, 4, 0, 0, "y[i] += w * x[i] in fp32")                        \
  X(DOT16, m->fma16_setup_cycles, 1 / m->dot16_rate, 1, 4, 0, 0, 0, "s += x[i] * y[i], fp16 operands, fp32 sum")       \
  X(FMA16, m->fma16_setup_cycles, 1 / m->fma16_rate, 1, 4, 2, 0, 0, "y[i] += x[i] * z[i] in fp16")                     \
  X(FMA32, m->fma32_setup_cycles, 1 / m->fma32_rate, 1, 12, 4, 0, 0, "y[i] += x[i] * z[i] in fp32")                    \
  X(ADD16, m->copy_setup_cycles, 1 / m->fma16_rate, 0, 4, 2, 0, 0, "y[i] = x[i] + z[i] in fp16")                       \
  X(ADD32, m->copy_setup_cycles, 1 / m->fma32_rate, 0, 8, 4, 0, 0, "y[i] = x[i] + z[i] in fp32")                       \
  X(CHAIN32, m->copy_setup_cycles, 1 / m->add32_rate, 0, 4, 0, 2, 2,                                                   \
    "send(receive() + y[i]) in fp32: one link of a reduction chain")                                                   \
  X(SEND16, m->copy_setup_cycles, 1 / m->copy16_rate, 0, 2, 0, 1, 0, "send(x[i]), two fp16 values a wavelet")          \
  X(RECV16, m->copy_setup_cycles, 1 / m->copy16_rate, 0, 0, 2, 0, 1, "x[i] = receive(), two fp16 values a wavelet")    \
  X(SEND32, m->copy_setup_cycles, 1 / m->copy32_rate, 0, 4, 0, 2, 0, "send(x[i]) in fp32")                             \
  X(RECV32, m->copy_setup_cycles, 1 / m->copy32_rate, 0, 0, 4, 0, 2, "x[i] = receive() in fp32")                       \
  X(COPY16, m->copy_setup_cycles, 1 / m->copy16_rate, 0, 2, 2, 0, 0, "y[i] = x[i] in fp16")                            \
  X(COPY32, m->copy_setup_cycles, 1 / m->copy32_rate, 0, 4, 4, 0, 0, "y[i] = x[i] in fp32")                            \
  X(NARROW, m->copy_setup_cycles, 1 / m->copy32_rate, 0, 4, 2, 0, 0, "y[i] = fp16(x[i]), x in fp32")                   \
  X(EXP, 0, m->exp_cycles, 0, 4, 4, 0, 0, "y[i] = exp(x[i])")                                                          \
  X(LOG, 0, m->log_cycles, 0, 4, 4, 0, 0, "y[i] = ln(x[i])")                                                           \
  X(TANH, 0, m->tanh_cycles, 0, 4, 4, 0, 0, "y[i] = tanh(x[i]) or erf(x[i])")                                          \
  X(RSQRT, 0, m->rsqrt_cycles, 0, 4, 4, 0, 0, "y[i] = 1 / sqrt(x[i])")                                                 \
  X(DIV, 0, m->division_cycles, 0, 8, 4, 0, 0, "y[i] = x[i] / z[i]")

#define OPCODE_ENUM(name, ...) OPCODE_##name,
typedef enum opcode { OPCODES(OPCODE_ENUM) OPCODE_COUNT } opcode;

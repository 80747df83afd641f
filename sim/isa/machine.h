// What the wafer is: every number of a Cerebras-style machine, as stated in presets/machines/*.yaml
// with its source, and the few numbers that follow from them.
#pragma once

#include "base/config.h"

// Key prefixes: fabric (the mesh), pe (one processing element), dsd (vector instructions), task, math
// (functions of one value), phase, io (the edge), memoryx, swarmx, energy.
#define MACHINE_FIELDS(F)                                                                                              \
  F(TEXT, preset, "preset", UNIT_NONE, "cs3", 0, 0, NULL,                                                              \
    "a named machine (weft machine list), or the path of a YAML file")                                                 \
  F(U32, fabric_width, "fabric.width", UNIT_NONE, "8", 1, 100000, NULL, "PEs along x")                                 \
  F(U32, fabric_height, "fabric.height", UNIT_NONE, "8", 1, 100000, NULL, "PEs along y")                               \
  F(U32, usable_width, "fabric.usable_width", UNIT_NONE, "8", 1, 100000, NULL,                                         \
    "widest rectangle that a program may take")                                                                        \
  F(U32, usable_height, "fabric.usable_height", UNIT_NONE, "8", 1, 100000, NULL,                                       \
    "tallest rectangle that a program may take")                                                                       \
  F(F64, clock_hz, "clock", UNIT_HZ, "1.1GHz", 1e6, 1e11, NULL, "clock of PEs and routers")                            \
  F(F64, power_watts, "power", UNIT_WATTS, "23kW", 0, 1e7, NULL, "power of one system while training")                 \
  F(F64, hop_cycles, "fabric.hop_cycles", UNIT_CYCLES, "1", 0, 1000, NULL, "router to the neighbouring router")        \
  F(F64, ramp_cycles, "fabric.ramp_cycles", UNIT_CYCLES, "2", 0, 1000, NULL, "between a PE and its router, T_R")       \
  F(F64, wavelet_cycles, "fabric.wavelet_cycles", UNIT_CYCLES, "1", 0.1, 1000, NULL,                                   \
    "per wavelet of a stream on one link")                                                                             \
  F(U32, colors, "fabric.colors", UNIT_NONE, "24", 1, 32, NULL, "routable colors")                                     \
  F(U32, sram_bytes, "pe.sram_bytes", UNIT_BYTES, "48KiB", 1024, 1073741824, NULL, "memory of one PE, code and data")  \
  F(U32, code_base_bytes, "pe.code_base_bytes", UNIT_BYTES, "4200", 0, 1073741824, NULL,                               \
    "code that every program carries: the host-copy kernel")                                                           \
  F(U32, code_task_bytes, "pe.code_task_bytes", UNIT_BYTES, "96", 0, 1048576, NULL, "code per task")                   \
  F(U32, code_op_bytes, "pe.code_op_bytes", UNIT_BYTES, "48", 0, 1048576, NULL,                                        \
    "code per vector instruction: descriptors and loop")                                                               \
  F(F64, bank_conflict_factor, "pe.bank_conflict_factor", UNIT_NONE, "1.94", 1, 1000, NULL,                            \
    "a 16-bit element's time where the operands that it reads lie in one bank of the SRAM")                            \
  F(U32, lanes_fp16, "pe.lanes_fp16", UNIT_NONE, "4", 1, 1024, NULL,                                                   \
    "peak fp16 multiply-adds per cycle, for the dense peak that utilization refers to")                                \
  F(F64, copy16_rate, "dsd.copy16_rate", UNIT_PER_CYCLE, "4.82", 0.001, 64, NULL, "copy, 16 bit")                      \
  F(F64, copy32_rate, "dsd.copy32_rate", UNIT_PER_CYCLE, "2.44", 0.001, 64, NULL, "copy, 32 bit")                      \
  F(F64, fma16_rate, "dsd.fma16_rate", UNIT_PER_CYCLE, "2.92", 0.001, 64, NULL,                                        \
    "multiply-add, fp16 operands in memory")                                                                           \
  F(F64, fma32_rate, "dsd.fma32_rate", UNIT_PER_CYCLE, "0.5", 0.001, 64, NULL,                                         \
    "multiply-add, fp32 operands in memory")                                                                           \
  F(F64, dot16_rate, "dsd.dot16_rate", UNIT_PER_CYCLE, "2.92", 0.001, 64, NULL,                                        \
    "fp16 products summed in an fp32 register")                                                                        \
  F(F64, add32_rate, "dsd.add32_rate", UNIT_PER_CYCLE, "1", 0.001, 64, NULL,                                           \
    "fp32 add of a fabric stream to memory or onward")                                                                 \
  F(F64, copy_setup_cycles, "dsd.copy_setup_cycles", UNIT_CYCLES, "15", 0, 10000, NULL,                                \
    "before the first element of a copy or add")                                                                       \
  F(F64, fma16_setup_cycles, "dsd.fma16_setup_cycles", UNIT_CYCLES, "16", 0, 10000, NULL,                              \
    "before the first element of an fp16 multiply-add")                                                                \
  F(F64, fma32_setup_cycles, "dsd.fma32_setup_cycles", UNIT_CYCLES, "17", 0, 10000, NULL,                              \
    "before the first element of an fp32 multiply-add")                                                                \
  F(F64, axpy_issue_cycles, "dsd.axpy_issue_cycles", UNIT_CYCLES, "16", 0, 10000, NULL,                                \
    "per weight: from its arrival to the first element of its AXPY")                                                   \
  F(F64, receive_cycles, "task.receive_cycles", UNIT_CYCLES, "28", 0, 10000, NULL,                                     \
    "from a wavelet in the queue to the first instruction of its data task")                                           \
  F(F64, start_cycles, "task.start_cycles", UNIT_CYCLES, "6", 0, 10000, NULL, "start of a local or control task")      \
  F(F64, send_cycles, "task.send_cycles", UNIT_CYCLES, "7", 0, 10000, NULL, "a single word to the ramp")               \
  F(F64, loop_cycles, "task.loop_cycles", UNIT_CYCLES, "7", 0, 10000, NULL, "once around a loop")                      \
  F(U32, queue_words, "pe.queue_words", UNIT_NONE, "4", 1, 64, NULL, "depth of an input queue")                        \
  F(U32, microthreads, "pe.microthreads", UNIT_NONE, "8", 1, 8, NULL,                                                  \
    "vector instructions in flight, the task's own included")                                                          \
  F(U32, queues, "pe.queues", UNIT_NONE, "8", 1, 8, NULL, "input queues, and as many output queues")                   \
  F(F64, exp_cycles, "math.exp_cycles", UNIT_CYCLES, "40", 0, 10000, NULL, "exponential of a value")                   \
  F(F64, log_cycles, "math.log_cycles", UNIT_CYCLES, "40", 0, 10000, NULL, "natural logarithm of a value")             \
  F(F64, tanh_cycles, "math.tanh_cycles", UNIT_CYCLES, "60", 0, 10000, NULL,                                           \
    "hyperbolic tangent or error function of a value")                                                                 \
  F(F64, rsqrt_cycles, "math.rsqrt_cycles", UNIT_CYCLES, "40", 0, 10000, NULL, "reciprocal square root of a value")    \
  F(F64, division_cycles, "math.division_cycles", UNIT_CYCLES, "50", 0, 10000, NULL, "fp32 division")                  \
  F(F64, route_switch_cycles, "phase.route_switch_cycles", UNIT_CYCLES, "400", 0, 1000000, NULL,                       \
    "changing roles and routes between two phases")                                                                    \
  F(F64, io_bits_per_s, "io.rate", UNIT_BITS_PER_S, "1.2Tb/s", 1, 1e18, NULL,                                          \
    "into the wafer, and the same out of it")                                                                          \
  F(F64, memoryx_bits_per_s, "memoryx.rate", UNIT_BITS_PER_S, "1.2Tb/s", 1, 1e18, NULL,                                \
    "weights out of MemoryX, and gradients into it; broadcast and summed on the way, what is one system's own is not") \
  F(F64, memoryx_params_per_s, "memoryx.update_rate", UNIT_PER_S, "100G/s", 1, 1e18, NULL,                             \
    "parameters that the optimizer updates")                                                                           \
  F(F64, memoryx_latency_s, "memoryx.latency", UNIT_SECONDS, "10us", 0, 100, NULL,                                     \
    "from a request to the first weight; shows at the step boundary")                                                  \
  F(F64, swarmx_latency_s, "swarmx.latency", UNIT_SECONDS, "2us", 0, 100, NULL,                                        \
    "one level of the broadcast-reduce tree")                                                                          \
  F(U32, swarmx_fanout, "swarmx.fanout", UNIT_NONE, "4", 2, 1024, NULL, "systems or nodes per tree node")              \
  F(F64, mac_joules, "energy.mac", UNIT_JOULES, "1pJ", 0, 1, NULL, "a multiply-add")                                   \
  F(F64, sram_joules, "energy.sram_byte", UNIT_JOULES, "0.6pJ", 0, 1, NULL, "a byte read or written in a PE's memory") \
  F(F64, wire_joules, "energy.wire_bit", UNIT_JOULES, "0.15pJ", 0, 1, NULL, "a bit from router to router")             \
  F(F64, io_joules, "energy.io_bit", UNIT_JOULES, "5pJ", 0, 1, NULL, "a bit across the edge of the wafer")             \
  F(F64, idle_watts, "energy.idle", UNIT_WATTS, "8.3kW", 0, 1e7, NULL, "power of a system that computes nothing")

typedef struct machine_spec {
  MACHINE_FIELDS(FIELD_MEMBER)
} machine_spec;
extern const field_table machine_table; // section "machine"

// A machine is its spec and what follows from it; constant once built.
typedef struct machine {
  machine_spec spec;
  u32 pes_usable;
  double io_wavelets_per_cycle; // 32-bit wavelets through the edge, the slower of io and memoryx
  double peak_flops;            // dense fp16: every PE of the fabric x lanes x 2 x clock
} machine;

bool machine_build(const machine_spec *spec, machine *ret_machine, status *st);
// Independent check of relations (usable inside the fabric, code inside the SRAM, rates within the
// lanes, derived numbers recomputed); lists the first that fails.
bool machine_check(const machine *m, status *st);
u64 machine_hash(const machine *m);
void machine_print(const machine *m, text *out);

// Reads a preset ("cs3", found among the embedded files) or a YAML path into a bound config section at
// LEVEL_PRESET. CODE_CONFIG with the known names when there is none.
bool machine_preset(config *c, const char *name, status *st);
// Every number of a preset must carry a source that starts with its class ([HW], [SIM], [COMP],
// [VEND], [DER], CALIBRATED) or the word ASSUMED.
bool machine_sources_check(const config *c, status *st);
// docs/MACHINE.md: every number of every embedded machine with its source.
void machine_markdown(text *out, arena *a);

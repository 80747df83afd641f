// The instructions of dataflow programs, one line each: this page is the manual (docs/PROGRAM.md is made
// from it), and engines take effect, operands and cost from here.
#pragma once

#include "sim/isa/timing.h"

// How the fields of a df_instruction are read: V a vector of the class, S the first element of one, R a
// register, T a task of the class, C a color, N the immediate.
typedef enum df_form {
  FORM_NONE,
  FORM_VV,  // to, a
  FORM_VVV, // to, a, b
  FORM_VVS, // to, a, b[0]
  FORM_SVV, // to[0], a, b
  FORM_SV,  // to[0], a
  FORM_VN,  // to, value
  FORM_RN,  // register to, value
  FORM_RNA, // register to, value, count a
  FORM_T,   // task to
  FORM_V,   // to
  FORM_CN   // color to, value
} df_form;

// Vector instructions run i = 0 .. length - 1 (the length of `to`; of `a` for DOT and TOP) and wait, element by
// element, for wavelets to come and for room to send. Each issue and each element takes the datapath as
// the cost row of opcode.h says (and timing_banks), by the width of `to` (of `a` for DOT and TOP) and whether an operand is on the
// fabric; each wavelet takes its ramp for wavelet_cycles beside that. Arithmetic is fp32 for F32, rounded
// to the type of `to` for F16 and BF16 after every operation; DOT sums in fp32. EXP to DIV are the C
// library's functions in single precision: the same on every run of one computer. I32 is for MOV, ADD, SUB,
// MAX and FILL; EQUAL reads it.
//
// X(name, form, cost 16 bit, cost 32 bit, cost 32 bit with the fabric, effect)
#define INSTRUCTIONS(X)                                                                                                \
  X(MOV, FORM_VV, COPY16, COPY32, COPY32, "to[i] = a[i]: copies, sends, receives or forwards by its operands")         \
  X(ADD, FORM_VVV, ADD16, ADD32, CHAIN32, "to[i] = a[i] + b[i]: from and to the fabric one link of a chain")           \
  X(SUB, FORM_VVV, ADD16, ADD32, CHAIN32, "to[i] = a[i] - b[i]")                                                       \
  X(MAX, FORM_VVV, ADD16, ADD32, CHAIN32, "to[i] = the larger of a[i] and b[i]")                                       \
  X(MUL, FORM_VVV, FMA16, FMA32, FMA32, "to[i] = a[i] * b[i]")                                                         \
  X(FMA, FORM_VVV, FMA16, FMA32, FMA32, "to[i] = to[i] + a[i] * b[i]")                                                 \
  X(AXPY, FORM_VVS, AXPY16, AXPY32, AXPY32, "to[i] = to[i] + a[i] * b[0]; b may receive: one wavelet")                 \
  X(SCALE, FORM_VVS, FMA16, FMA32, FMA32, "to[i] = a[i] * b[0]; b may receive: one wavelet")                           \
  X(DOT, FORM_SVV, DOT16, FMA32, FMA32, "to[0] = to[0] + sum over i of a[i] * b[i]; to is F32")                        \
  X(EXP, FORM_VV, EXP, EXP, EXP, "to[i] = exp(a[i])")                                                                  \
  X(LOG, FORM_VV, LOG, LOG, LOG, "to[i] = ln(a[i])")                                                                   \
  X(TANH, FORM_VV, TANH, TANH, TANH, "to[i] = tanh(a[i])")                                                             \
  X(ERF, FORM_VV, TANH, TANH, TANH, "to[i] = erf(a[i])")                                                               \
  X(RSQRT, FORM_VV, RSQRT, RSQRT, RSQRT, "to[i] = 1 / sqrt(a[i])")                                                     \
  X(DIV, FORM_VVV, DIV, DIV, DIV, "to[i] = a[i] / b[i]")                                                               \
  X(TOP, FORM_SV, ADD16, ADD32, CHAIN32, "to[0] = the largest of to[0] and all a[i]; NaN in a is passed over")         \
  X(EQUAL, FORM_VVS, ADD16, ADD32, CHAIN32, "to[i] = 1 if a[i] is b[0], else 0; a and b are I32, to is not")           \
  X(FILL, FORM_VN, COPY16, COPY32, COPY32, "to[i] = value, as a number of the type of `to`")                           \
  X(CONST, FORM_VN, COPY16, COPY32, COPY32, "to[i] = the number whose 32 bits as F32 are `value`")                     \
  X(SEND, FORM_VN, NONE, NONE, NONE, "sends the one word `value` on the color of `to`, task.send_cycles to the ramp")  \
  X(SET, FORM_RN, NONE, NONE, NONE, "R(to) = value")                                                                   \
  X(STEP, FORM_RN, NONE, NONE, NONE, "R(to) = R(to) + value")                                                          \
  X(LOOP, FORM_RN, NONE, NONE, NONE, "R(to) = 0; repeats up to its END while R(to) < value, adding 1 each time")       \
  X(END, FORM_NONE, NONE, NONE, NONE, "back to the innermost LOOP, task.loop_cycles each time")                        \
  X(SKIP_LESS, FORM_RNA, NONE, NONE, NONE, "if R(to) < value, passes over the next a instructions")                    \
  X(SKIP, FORM_RNA, NONE, NONE, NONE, "passes over the next a instructions")                                           \
  X(ACTIVATE, FORM_T, NONE, NONE, NONE, "task `to` runs once it is not blocked")                                       \
  X(BLOCK, FORM_T, NONE, NONE, NONE, "task `to` does not start")                                                       \
  X(UNBLOCK, FORM_T, NONE, NONE, NONE, "task `to` may start")                                                          \
  X(CONTROL, FORM_V, NONE, NONE, NONE, "sends a control wavelet on the color of `to`")                                 \
  X(ROUTE, FORM_CN, NONE, NONE, NONE,                                                                                  \
    "this router's color `to` takes position `value`; a run of ROUTEs costs phase.route_switch_cycles once")           \
  X(HALT, FORM_NONE, NONE, NONE, NONE, "no task of this PE starts again")

#define INSTRUCTION_ENUM(name, ...) DF_##name,
typedef enum df_opcode { INSTRUCTIONS(INSTRUCTION_ENUM) DF_OPCODE_COUNT } df_opcode;

typedef struct instruction_facts {
  const char *name, *effect;
  df_form form;
  u32 cost16, cost32, cost32_fabric; // opcodes; OPCODE_COUNT where it is no vector instruction
} instruction_facts;
const instruction_facts *instruction_get(u32 code); // code: a df_opcode
// The operands in the order of the text form, two letters each: what it is (V, S, R, T, C, N as above, A the
// count), then the field that holds it (t to, a, b, n value). "VtVaSb" is `AXPY to a b`.
const char *instruction_operands(u32 code);
static inline bool instruction_is_vector(u32 code) {
  return code < DF_SEND;
}
// It gathers `a` in to[0], which it reads before and writes after: its length and width are those of `a`.
static inline bool instruction_gathers(u32 code) {
  return code == DF_DOT || code == DF_TOP;
}
// It multiplies with b[0], which may come as a wavelet.
static inline bool instruction_takes_factor(u32 code) {
  return code == DF_AXPY || code == DF_SCALE;
}

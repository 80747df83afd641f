// The facts of each instruction, from the table in instruction.h.
#include "sim/isa/instruction.h"

#define OPCODE_NONE OPCODE_COUNT // the cost of what is no vector instruction
#define FACTS(name, form, cost16, cost32, cost32_fabric, effect)                                                       \
  {#name, effect, form, OPCODE_##cost16, OPCODE_##cost32, OPCODE_##cost32_fabric},
static const instruction_facts facts[DF_OPCODE_COUNT] = {INSTRUCTIONS(FACTS)};

const instruction_facts *instruction_get(u32 code) {
  require(code < DF_OPCODE_COUNT);
  return &facts[code];
}

const char *instruction_operands(u32 code) {
  if (code == DF_SKIP) return "Aa"; // the one of its form that tests no register
  switch (instruction_get(code)->form) {
  case FORM_NONE:
    return "";
  case FORM_VV:
    return "VtVa";
  case FORM_VVV:
    return "VtVaVb";
  case FORM_VVS:
    return "VtVaSb";
  case FORM_SVV:
    return "StVaVb";
  case FORM_SV:
    return "StVa";
  case FORM_VN:
    return "VtNn";
  case FORM_RN:
    return "RtNn";
  case FORM_RNA:
    return "RtNnAa";
  case FORM_T:
    return "Tt";
  case FORM_V:
    return "Vt";
  case FORM_CN:
    return "CtNn";
  }
  bug_fail(__FILE__, __LINE__, "an instruction of an unknown form");
}

// docs/PROGRAM.md: the text form by an example, and every instruction with its operands, effect and cost,
// from the rows that the engines use.
#include "sim/isa/dataflow.h"

#include "base/embed.h"

#include <string.h>

typedef struct cost_text {
  const char *set_up, *per_element; // the expressions over the machine, as they are written in opcode.h
} cost_text;
#define COST_TEXT(name, set_up, per_element, ...) {#set_up, #per_element},
static const cost_text costs[OPCODE_COUNT] = {OPCODES(COST_TEXT)};

static const char *const opening =
    "# Dataflow programs\n\n"
    "Made by `weft kernel manual` from sim/isa/instruction.h and opcode.h; change those.\n\n"
    "A dataflow program says what the PEs of a grid execute. A **class** is code: vectors (operands in memory or\n"
    "on the fabric) and tasks (lists of instructions). **Regions** put classes on rectangles of PEs, **routes** lead\n"
    "colors through their routers, **ports** are where the host streams words in and out at the edge, **symbols**\n"
    "are memory that the host writes before and reads after. `weft kernel --program FILE` runs one.\n\n"
    "## An example\n\n"
    "presets/programs/chain4.weft:\n\n"
    "```\n";

static const char *const lines_page =
    "```\n\n"
    "## Lines\n\n"
    "A line is one thing, `#` starts a comment, indentation is free. Options `key=value` come in any order behind\n"
    "the words that are read in order; what is in brackets may be left out. A name is letters, digits, `_`, `.`\n"
    "and `-`, a letter first, 23 at most, and may be used before the line that declares it.\n\n"
    "| line | what it states |\n|---|---|\n"
    "| `program NAME WxH` | the first line: the grid in PEs; north is y - 1, east is x + 1 |\n"
    "| `class NAME data=BYTES` | code, and the data bytes of each PE that has it; vectors and tasks follow |\n"
    "| `vector NAME TYPE memory address=A length=A [longer=rN] [stride=BYTES] [wrap=A outer=BYTES] [rN=BYTES] "
    "[rN=BYTES]` | "
    "element i is at address + i stride; with wrap, at address + (i mod wrap) stride + (i div wrap) outer; and "
    "register N times its bytes is added |\n"
    "| `vector NAME TYPE in color=C queue=Q length=A [longer=rN]` | receives; two 16-bit elements share a wavelet |\n"
    "| `vector NAME TYPE out color=C queue=Q length=A [longer=rN]` | sends |\n"
    "| `task NAME local [active] [blocked]` | starts when it is active and not blocked, and is inactive then |\n"
    "| `task NAME data color=C queue=Q [blocked]` | starts when a wavelet waits in the queue; receives at least one |\n"
    "| `task NAME control color=C queue=Q [blocked]` | starts when a control wavelet comes to the queue, and takes it "
    "|\n"
    "| `INSTRUCTION operands [thread=N] [activate=TASK] [unblock=TASK]` | in the latest task, see below |\n"
    "| `region X,Y WxH [step=SXxSY] class=NAME` | W x H PEs from (X, Y), every SX-th and SY-th, have this class |\n"
    "| `route X,Y WxH [step=SXxSY] color=C PORTS->PORTS ... [ring]` | from the first ports to all of the second; up to "
    "four positions, and with ring the first follows the last |\n"
    "| `port NAME in X,Y PORT color=C wavelets=N` | the host streams N words in through a port at the edge; `out` "
    "alike |\n"
    "| `symbol NAME TYPE X,Y WxH [step=SXxSY] address=B count=N` | the host's name for memory of a rectangle |\n\n"
    "TYPE is f32, f16, bf16 or i32; PORT is north, east, south, west or ramp, PORTS several joined by `+` or `none`.\n"
    "A is a value that may depend on the PE's place in its region, counted in steps from the corner: `8`, `8+2x-3y`.\n"
    "With `longer=rN` the length is A plus what register N holds when the instruction is issued; below zero it is\n"
    "zero.\n";

static const char *const instruction_page =
    "\n## Instructions\n\n"
    "Operands are written in this order: V a vector, S a vector of which the first element counts, R a register\n"
    "(r0 to r7), T a task, C a color, N a value as above, A a count. A vector instruction runs over the length of\n"
    "`to` (DOT and TOP: of `a`) and waits, element by element, for wavelets to come and for room to send. With\n"
    "`thread=1` to 7 it is a microthread and the task goes on; `activate=` and `unblock=` say what its completion "
    "does.\n"
    "Arithmetic is fp32 for f32, and rounded to the type of `to` after every operation for f16 and bf16; DOT sums in\n"
    "fp32. Integers know MOV, ADD, SUB, MAX and FILL, and EQUAL compares them. EXP, LOG, TANH, ERF, RSQRT and DIV are\n"
    "the C library's `expf`, `logf`, `tanhf`, `erff`, `1 / sqrtf` and `/`: the same on every run of one computer,\n"
    "while another's library may differ in the last bit. CONST takes its number as the integer that its 32 bits make:\n"
    "1065353216 is 1.0.\n\n"
    "The factor b[0] of AXPY and SCALE may come from the fabric: the instruction takes exactly one wavelet (its low\n"
    "half where b has 16 bits), even for no element at all, and its set-up begins when the wavelet is there and the\n"
    "instruction is issued. `a` is in memory then.\n\n"
    "| instruction | operands | effect | 16 bit | 32 bit | 32 bit, with the fabric |\n|---|---|---|---|---|---|\n";

static const char *const cost_page =
    "\n## Costs\n\n"
    "A vector instruction takes the datapath for its set-up once and for each element, in cycles, over the numbers\n"
    "of the machine (docs/MACHINE.md). Sending and receiving also take the ramp, one wavelet in wavelet_cycles.\n"
    "Rows AXPY16, DOT16, FMA16 and ADD16: an element that finds two of the operands that it reads from memory (of\n"
    "FMA and AXPY `to` as well) in one bank, byte address / 4 mod 4, takes bank_conflict_factor times as long; what "
    "the\n"
    "first eight elements do stands for all.\n\n"
    "| row | set-up | per element |\n|---|---|---|\n";

static void add_expression(const char *words, text *out) {
  static const char machine_of[] = "m->";
  for (const char *at; (at = strstr(words, machine_of)); words = at + strlen(machine_of))
    text_add_bytes(out, words, (size_t)(at - words));
  text_add(out, words);
}

static void add_instruction(u32 code, text *out) {
  const instruction_facts *facts = instruction_get(code);
  text_format(out, "| %s |", facts->name);
  const char *operands = instruction_operands(code);
  for (const char *o = operands; *o; o += 2)
    text_format(out, " %c:%s", o[0], o[1] == 't' ? "to" : o[1] == 'a' ? "a" : o[1] == 'b' ? "b" : "value");
  text_format(out, " | %s |", facts->effect);
  const u32 rows[] = {facts->cost16, facts->cost32, facts->cost32_fabric};
  for (u32 i = 0; i < COUNT_OF(rows); i++)
    text_format(out, " %s |", rows[i] < OPCODE_COUNT ? opcode_get(rows[i])->name : "");
  text_add(out, "\n");
}

void dataflow_manual(text *out) {
  const embed_file *example = embed_find("presets/programs/chain4.weft");
  require(example);
  text_add(out, opening);
  text_add_bytes(out, example->data, example->size);
  text_add(out, lines_page);
  text_add(out, instruction_page);
  for (u32 i = 0; i < DF_OPCODE_COUNT; i++) add_instruction(i, out);
  text_add(out, cost_page);
  bool used[OPCODE_COUNT + 1] = {false};
  for (u32 i = 0; i < DF_OPCODE_COUNT; i++) {
    const instruction_facts *facts = instruction_get(i);
    used[facts->cost16] = used[facts->cost32] = used[facts->cost32_fabric] = true;
  }
  for (u32 i = 0; i < OPCODE_COUNT; i++) {
    if (!used[i]) continue;
    text_format(out, "| %s | ", opcode_get(i)->name);
    add_expression(costs[i].set_up, out);
    text_add(out, " | ");
    add_expression(costs[i].per_element, out);
    text_add(out, " |\n");
  }
}

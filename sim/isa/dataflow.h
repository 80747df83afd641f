// What the PEs of a phase execute: code by class, placed on rectangles whose parameters are affine in the
// PE's position; routes per color; vectors over memory and fabric; streams at the host's ports. Constant
// once built, stored by rectangle and never by PE.
#pragma once

#include "base/arena.h"
#include "sim/isa/instruction.h"

// Invariants (dataflow_check recomputes them for every PE):
//  1. every index lies inside its array, every name ends in a zero
//  2. rectangles lie inside the grid; a PE is in at most one region, and has at most one route per color
//  3. every vector of every PE lies inside its class's data bytes; code + data fit the SRAM
//  4. colors and queue ids are the machine's; a queue serves one color
//  5. a route's targets exist: nothing leaves the grid but at a host port, nothing ends nowhere
//  6. what a route delivers to a PE's ramp is read there, and what a PE sends has a route
//  7. a color is not routed in a circle without a PE in it

// value(x, y) = base + x dx + y dy, with x, y counted in steps from the corner of the region.
typedef struct df_affine {
  i32 base, dx, dy;
} df_affine;

// Every step_x-th column and step_y-th row of w x h PEs from (x, y); w and h count PEs that are in it.
typedef struct df_rect {
  u32 x, y, w, h, step_x, step_y;
} df_rect;

typedef enum df_type { DF_F32, DF_F16, DF_BF16, DF_I32 } df_type;

typedef enum df_vector_kind {
  VECTOR_MEMORY,
  VECTOR_FABRIC_IN,  // receives from an input queue
  VECTOR_FABRIC_OUT, // sends through an output queue
} df_vector_kind;

enum { DF_NAME_MAX = 24, DF_REGISTERS = 8, DF_POSITIONS_MAX = 4, DF_NO_REGISTER = 255 };

// A vector operand, CSL's DSD. Element i of a memory vector is at byte
//   address + (i mod wrap) * stride + (i div wrap) * outer + sum over r of register[reg[r]] * scale[r]
// (wrap 0: one dimension). A fabric vector has a color and a queue; two 16-bit elements share a wavelet.
// Its length is `length` + register[length_reg], taken when the instruction is issued; below zero it is zero.
typedef struct df_vector {
  char name[DF_NAME_MAX];
  u8 kind, type;
  u8 color, queue;
  u8 reg[2]; // DF_NO_REGISTER: none
  u8 length_reg;
  i32 scale[2];
  df_affine address, length, wrap;
  i32 stride, outer; // bytes
} df_vector;

// One instruction; instruction.h says what each does and which fields it uses.
typedef struct df_instruction {
  u16 opcode;
  u16 to, a, b;    // vectors and tasks count from the class's first; or registers, colors, by the form
  df_affine value; // immediate
  u8 thread;       // 0: the task waits for it; 1-7: vector instructions only, a microthread while the task goes on
  u8 done;         // df_done: what completion does
  u16 done_task;   // task of the class
} df_instruction;
typedef enum df_done { DONE_NOTHING, DONE_ACTIVATE, DONE_UNBLOCK } df_done;

// A DATA task starts when a wavelet waits in its queue, and receives at least one; a CONTROL task when a
// control wavelet comes to its queue, which takes it out. A LOCAL task starts when it is active and not
// blocked; starting makes it inactive.
typedef enum df_trigger { TRIGGER_LOCAL, TRIGGER_DATA, TRIGGER_CONTROL } df_trigger;
enum { DF_TASKS_MAX = 32, DF_LOOPS_MAX = 4 }; // per class; nested in a task
typedef struct df_task {
  char name[DF_NAME_MAX];
  u8 trigger, color, queue; // DATA, CONTROL: the color and queue that start it
  bool active, blocked;     // at the start
  u32 first, count;         // instructions
} df_task;

typedef struct df_class {
  char name[DF_NAME_MAX];
  u32 first_vector, vector_count, first_task, task_count;
  u32 data_bytes;
} df_class;

typedef struct df_region {
  df_rect rect;
  u32 class;
} df_region;

// Ports as bits. The ramp is the PE's own.
enum { PORT_NORTH = 1, PORT_EAST = 2, PORT_SOUTH = 4, PORT_WEST = 8, PORT_RAMP = 16 };

// Where a color goes: from the ports of `rx` to all ports of `tx`. A control wavelet that has passed moves
// the router to its next position (the last one stays, or `ring` starts again).
typedef struct df_route {
  df_rect rect;
  u8 color, position_count;
  bool ring;
  struct {
    u8 rx, tx;
  } positions[DF_POSITIONS_MAX];
} df_route;

// A stream between the host and the edge: wavelets enter (or leave) at PE (x, y) through `port`, which
// must point off the grid.
typedef struct df_port {
  char name[DF_NAME_MAX];
  u32 x, y;
  u8 port, color;
  bool out;
  u64 wavelets;
} df_port;

// Memory that the host writes before and reads after: the same place in every PE of a rectangle.
typedef struct df_symbol {
  char name[DF_NAME_MAX];
  df_rect rect;
  u32 address, count;
  u8 type;
} df_symbol;

typedef struct dataflow {
  char name[DF_NAME_MAX];
  u32 width, height;
  u32 class_count, region_count, route_count, vector_count, task_count, instruction_count, port_count, symbol_count;
  const df_class *classes;
  const df_region *regions;
  const df_route *routes;
  const df_vector *vectors;
  const df_task *tasks;
  const df_instruction *instructions;
  const df_port *ports;
  const df_symbol *symbols;
} dataflow;

static inline i32 df_at(df_affine v, u32 x, u32 y) {
  return v.base + (i32)x * v.dx + (i32)y * v.dy;
}
u32 df_type_bytes(u32 type);

// The code of a class in SRAM: base + per task + per instruction, by the machine.
u32 dataflow_code_bytes(const dataflow *d, const machine *m, u32 class);
bool dataflow_check(const dataflow *d, const machine *m, status *st);
u64 dataflow_hash(const dataflow *d);
void dataflow_manual(text *out);                   // docs/PROGRAM.md
void dataflow_print(const dataflow *d, text *out); // text form; dataflow_parse reads it back equal
// Of the text form: `AXPY y x a`, an instruction of class c without options; `west+ramp`.
void dataflow_print_operation(const dataflow *d, const df_class *c, const df_instruction *i, text *out);
void dataflow_print_ports(u32 ports, text *out);
// `name` starts the sentence on failure ("ring.weft:14: ..."). CODE_CONFIG.
bool dataflow_parse(const char *name, const char *words, size_t size, arena *a, dataflow *ret_dataflow, status *st);

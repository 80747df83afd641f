// Writing a dataflow program: a builder that holds an open class and an open task, so that a kernel reads
// from top to bottom like the program it makes. Names are looked up and indices returned; asking for what
// is not there, or twice for what may be there once, is a bug of the kernel and stops it. What depends on
// the user's sizes (memory, colors, the grid) is dataflow_check's to refuse.
//
//   df_builder *b = df_build_begin(a, "copy2", 2, 1);
//   df_build_class(b, "sender");
//   u32 words = df_build_array(b, "words", DF_F32, 8);
//   u32 out = df_build_out(b, "out", DF_F32, df_just(8), 0, 0);
//   df_build_task(b, "main");
//   df_build_start_active(b);
//   df_build_op(b, df_vv(DF_MOV, out, words));
//   ... class "receiver" ...
//   df_build_region(b, df_pe(0, 0), "sender");
//   df_build_route(b, df_pe(0, 0), 0, PORT_RAMP, PORT_EAST);
//   df_build_route(b, df_pe(1, 0), 0, PORT_WEST, PORT_RAMP);
//   df_build_finish(b, &program);
#pragma once

#include "sim/isa/dataflow.h"

#include <string.h>

typedef struct df_builder df_builder;

// The builder and the finished program live in the arena.
df_builder *df_build_begin(arena *a, const char *name, u32 width, u32 height);
// Lays the arrays out as dataflow.h wants them, whatever order they were built in. The builder is done.
void df_build_finish(df_builder *b, dataflow *ret_dataflow);

// Classes. A class that exists already is opened again; what follows goes into the open one.
u32 df_build_class(df_builder *b, const char *name);
u32 df_build_find_class(const df_builder *b, const char *name); // UINT32_MAX: there is none
// Takes data bytes of the open class, 4-byte aligned, and returns their address.
u32 df_build_bytes(df_builder *b, u32 bytes);
// The same for callers who place data themselves: the class has at least this many data bytes.
void df_build_data_bytes(df_builder *b, u32 bytes);

// Vectors of the open class; the index counts from the class's first, as instructions want it.
// An array takes its own memory; a view is on memory that was taken before. Arrays of 16 bit begin in one bank of the
// SRAM after the other (up to three words lie unused before each), so that four in a row do not wait for each other.
u32 df_build_array(df_builder *b, const char *name, df_type type, u32 count);
u32 df_build_view(df_builder *b, const char *name, df_type type, df_affine address, df_affine length);
u32 df_build_in(df_builder *b, const char *name, df_type type, df_affine length, u32 color, u32 queue);
u32 df_build_out(df_builder *b, const char *name, df_type type, df_affine length, u32 color, u32 queue);
void df_build_stride(df_builder *b, u32 vector, i32 stride_bytes); // element to element; the type's size unless stated
void df_build_rows(df_builder *b, u32 vector, df_affine wrap, i32 outer_bytes); // two dimensions: wrap elements a row
void df_build_moved_by(df_builder *b, u32 vector, u32 reg, i32 scale_bytes);    // adds R(reg) * scale; twice at most
void df_build_longer_by(df_builder *b, u32 vector, u32 reg);                    // adds R(reg) to the length; once
u32 df_build_find_vector(const df_builder *b, const char *name);                // UINT32_MAX: the open class has none
u32 df_build_address(const df_builder *b, u32 vector);                          // base address of a memory vector

// Tasks of the open class. df_build_task opens one, making a local, inactive, unblocked one if need be;
// df_build_task_index does the same without opening it, for tasks that are named before they are written.
u32 df_build_task(df_builder *b, const char *name);
u32 df_build_task_index(df_builder *b, const char *name);
u32 df_build_find_task(const df_builder *b, const char *name); // UINT32_MAX: the open class has none
void df_build_started_by(df_builder *b, df_trigger trigger, u32 color, u32 queue); // the open task: DATA or CONTROL
void df_build_start_active(df_builder *b);                                         // the open task
void df_build_start_blocked(df_builder *b);                                        // the open task

// Appends to the open task; returns how many instructions it has now (for the distance of a SKIP).
u32 df_build_op(df_builder *b, df_instruction instruction);
// A SKIP or SKIP_LESS built earlier, the at-th of the open task, passes over all that was built after it.
void df_build_skip_to_here(df_builder *b, u32 at);

// Names by index, for messages; NULL behind the last. Vectors and tasks are the open class's.
const char *df_build_class_name(const df_builder *b, u32 class);
const char *df_build_vector_name(const df_builder *b, u32 vector);
const char *df_build_task_name(const df_builder *b, u32 task);

void df_build_region(df_builder *b, df_rect rect, const char *class_name);
// The first position; more positions, and whether they start again, are added to the latest route.
void df_build_route(df_builder *b, df_rect rect, u32 color, u32 rx, u32 tx);
void df_build_position(df_builder *b, u32 rx, u32 tx);
void df_build_ring(df_builder *b);
void df_build_port(df_builder *b, const char *name, df_port port); // the name in `port` is not read
void df_build_symbol(df_builder *b, const char *name, df_rect rect, df_type type, u32 address, u32 count);

// Values.
static inline df_affine df_just(i32 value) {
  return (df_affine){value, 0, 0};
}
static inline df_affine df_affine_of(i32 base, i32 dx, i32 dy) {
  return (df_affine){base, dx, dy};
}

// The value of a CONST: the number's 32 bits.
static inline df_affine df_number(float value) {
  i32 bits;
  memcpy(&bits, &value, sizeof bits);
  return df_just(bits);
}

// Rectangles.
static inline df_rect df_block(u32 x, u32 y, u32 w, u32 h) {
  return (df_rect){x, y, w, h, 1, 1};
}
static inline df_rect df_pe(u32 x, u32 y) {
  return (df_rect){x, y, 1, 1, 1, 1};
}
static inline df_rect df_every(df_rect r, u32 step_x, u32 step_y) {
  return (df_rect){r.x, r.y, r.w, r.h, step_x, step_y};
}

// Instructions, by form (instruction.h): df_vvv(DF_ADD, to, a, b), df_rn(DF_LOOP, 0, df_just(10)), ...
static inline df_instruction df_none(df_opcode op) {
  return (df_instruction){.opcode = (u16)op};
}
static inline df_instruction df_vv(df_opcode op, u32 to, u32 a) {
  return (df_instruction){.opcode = (u16)op, .to = (u16)to, .a = (u16)a};
}
static inline df_instruction df_vvv(df_opcode op, u32 to, u32 a, u32 b) { // VVS and SVV as well
  return (df_instruction){.opcode = (u16)op, .to = (u16)to, .a = (u16)a, .b = (u16)b};
}
static inline df_instruction df_vn(df_opcode op, u32 to, df_affine value) {
  return (df_instruction){.opcode = (u16)op, .to = (u16)to, .value = value};
}
static inline df_instruction df_rn(df_opcode op, u32 reg, df_affine value) {
  return (df_instruction){.opcode = (u16)op, .to = (u16)reg, .value = value};
}
static inline df_instruction df_skip_less(u32 reg, df_affine value, u32 count) {
  return (df_instruction){.opcode = DF_SKIP_LESS, .to = (u16)reg, .a = (u16)count, .value = value};
}
static inline df_instruction df_skip(u32 count) {
  return (df_instruction){.opcode = DF_SKIP, .a = (u16)count};
}
static inline df_instruction df_t(df_opcode op, u32 task) { // ACTIVATE, BLOCK, UNBLOCK
  return (df_instruction){.opcode = (u16)op, .to = (u16)task};
}
static inline df_instruction df_v(df_opcode op, u32 vector) { // CONTROL
  return (df_instruction){.opcode = (u16)op, .to = (u16)vector};
}
static inline df_instruction df_cn(df_opcode op, u32 color, df_affine position) { // ROUTE
  return (df_instruction){.opcode = (u16)op, .to = (u16)color, .value = position};
}
// The same instruction on a microthread, and what its completion does.
static inline df_instruction df_on(df_instruction i, u32 thread) {
  i.thread = (u8)thread;
  return i;
}
static inline df_instruction df_then(df_instruction i, df_done done, u32 task) {
  i.done = (u8)done;
  i.done_task = (u16)task;
  return i;
}

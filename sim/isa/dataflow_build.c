// Building dataflow programs: classes grow apart, each with its vectors and tasks, and are laid side by
// side at the end. What a kernel gets wrong here is a bug of the kernel.
#include "sim/isa/dataflow_build.h"

#include <string.h>

typedef struct open_task {
  df_task task; // `count` grows, `first` comes at the end
  df_instruction *ops;
  u32 room;
} open_task;

typedef struct open_class {
  df_class class;
  df_vector *vectors;
  open_task *tasks;
  u32 vector_room, task_room;
  bool has_narrow; // an array of 16 bit
  u32 next_bank;   // behind the one in which the latest of them begins
} open_class;

struct df_builder {
  arena *memory;
  dataflow program; // name, grid and the counts so far
  open_class *classes;
  df_region *regions;
  df_route *routes;
  df_port *ports;
  df_symbol *symbols;
  u32 class_room, region_room, route_room, port_room, symbol_room;
  u32 class, task; // what is open; UINT32_MAX: none
};

// The array with room for one more. What it outgrew stays in the arena, half as much as it takes itself.
static void *grown(arena *a, void *array, u32 count, u32 *room, size_t size) {
  if (count < *room) return array;
  *room = *room ? 2 * *room : 8;
  void *bigger = arena_take(a, *room * size);
  if (count) memcpy(bigger, array, count * size);
  return bigger;
}
#define GROW(b, array, count, room) ((array) = grown((b)->memory, (array), (count), &(room), sizeof *(array)))

static void set_name(char to[DF_NAME_MAX], const char *name) {
  require(name[0] && strlen(name) < DF_NAME_MAX);
  memset(to, 0, DF_NAME_MAX);
  memcpy(to, name, strlen(name));
}

static u8 small(u32 value) {
  require(value <= UINT8_MAX);
  return (u8)value;
}

df_builder *df_build_begin(arena *a, const char *name, u32 width, u32 height) {
  df_builder *b = arena_array(a, df_builder, 1);
  b->memory = a;
  set_name(b->program.name, name);
  b->program.width = width;
  b->program.height = height;
  b->class = b->task = UINT32_MAX;
  return b;
}

// ---- classes

static open_class *class_of(const df_builder *b) {
  require(b->class < b->program.class_count);
  return &b->classes[b->class];
}

u32 df_build_find_class(const df_builder *b, const char *name) {
  for (u32 i = 0; i < b->program.class_count; i++)
    if (!strcmp(b->classes[i].class.name, name)) return i;
  return UINT32_MAX;
}

u32 df_build_class(df_builder *b, const char *name) {
  b->task = UINT32_MAX;
  b->class = df_build_find_class(b, name);
  if (b->class != UINT32_MAX) return b->class;
  GROW(b, b->classes, b->program.class_count, b->class_room);
  b->class = b->program.class_count++;
  set_name(b->classes[b->class].class.name, name);
  return b->class;
}

u32 df_build_bytes(df_builder *b, u32 bytes) {
  df_class *c = &class_of(b)->class;
  const u64 address = ((u64)c->data_bytes + 3) / 4 * 4;
  require(address + bytes <= INT32_MAX); // addresses are i32
  c->data_bytes = (u32)address + bytes;
  return (u32)address;
}

void df_build_data_bytes(df_builder *b, u32 bytes) {
  df_class *c = &class_of(b)->class;
  if (c->data_bytes < bytes) c->data_bytes = bytes;
}

// ---- vectors

u32 df_build_find_vector(const df_builder *b, const char *name) {
  const open_class *c = class_of(b);
  for (u32 i = 0; i < c->class.vector_count; i++)
    if (!strcmp(c->vectors[i].name, name)) return i;
  return UINT32_MAX;
}

static df_vector *new_vector(df_builder *b, const char *name, df_vector_kind kind, df_type type) {
  require(df_build_find_vector(b, name) == UINT32_MAX);
  open_class *c = class_of(b);
  require(c->class.vector_count < UINT16_MAX);
  GROW(b, c->vectors, c->class.vector_count, c->vector_room);
  df_vector *v = &c->vectors[c->class.vector_count++];
  *v = (df_vector){
      .kind = (u8)kind, .type = (u8)type, .reg = {DF_NO_REGISTER, DF_NO_REGISTER}, .length_reg = DF_NO_REGISTER};
  set_name(v->name, name);
  return v;
}

u32 df_build_view(df_builder *b, const char *name, df_type type, df_affine address, df_affine length) {
  df_vector *v = new_vector(b, name, VECTOR_MEMORY, type);
  v->address = address;
  v->length = length;
  v->stride = (i32)df_type_bytes(type);
  return class_of(b)->class.vector_count - 1;
}

// One array of 16 bit after the other begins a bank later, so that an instruction can read up to BANKS of them at once.
static void move_to_bank(df_builder *b) {
  open_class *c = class_of(b);
  const u32 here = timing_bank(df_build_bytes(b, 0)), bank = c->has_narrow ? c->next_bank : here;
  df_build_bytes(b, (bank + BANKS - here) % BANKS * BANK_BYTES);
  c->has_narrow = true;
  c->next_bank = (bank + 1) % BANKS;
}

u32 df_build_array(df_builder *b, const char *name, df_type type, u32 count) {
  require(count <= INT32_MAX / df_type_bytes(type));
  if (df_type_bytes(type) == 2) move_to_bank(b);
  const u32 address = df_build_bytes(b, count * df_type_bytes(type));
  return df_build_view(b, name, type, df_just((i32)address), df_just((i32)count));
}

u32 df_build_in(df_builder *b, const char *name, df_type type, df_affine length, u32 color, u32 queue) {
  df_vector *v = new_vector(b, name, VECTOR_FABRIC_IN, type);
  v->length = length;
  v->color = small(color);
  v->queue = small(queue);
  return class_of(b)->class.vector_count - 1;
}

u32 df_build_out(df_builder *b, const char *name, df_type type, df_affine length, u32 color, u32 queue) {
  const u32 at = df_build_in(b, name, type, length, color, queue);
  class_of(b)->vectors[at].kind = VECTOR_FABRIC_OUT;
  return at;
}

static df_vector *memory_vector(const df_builder *b, u32 vector) {
  const open_class *c = class_of(b);
  require(vector < c->class.vector_count);
  require(c->vectors[vector].kind == VECTOR_MEMORY);
  return &c->vectors[vector];
}

void df_build_stride(df_builder *b, u32 vector, i32 stride_bytes) {
  memory_vector(b, vector)->stride = stride_bytes;
}

void df_build_rows(df_builder *b, u32 vector, df_affine wrap, i32 outer_bytes) {
  df_vector *v = memory_vector(b, vector);
  v->wrap = wrap;
  v->outer = outer_bytes;
}

void df_build_moved_by(df_builder *b, u32 vector, u32 reg, i32 scale_bytes) {
  df_vector *v = memory_vector(b, vector);
  const u32 at = v->reg[0] == DF_NO_REGISTER ? 0 : 1;
  require(v->reg[at] == DF_NO_REGISTER && reg < DF_REGISTERS);
  v->reg[at] = (u8)reg;
  v->scale[at] = scale_bytes;
}

void df_build_longer_by(df_builder *b, u32 vector, u32 reg) {
  const open_class *c = class_of(b);
  require(vector < c->class.vector_count && reg < DF_REGISTERS);
  require(c->vectors[vector].length_reg == DF_NO_REGISTER);
  c->vectors[vector].length_reg = (u8)reg;
}

u32 df_build_address(const df_builder *b, u32 vector) {
  return (u32)memory_vector(b, vector)->address.base;
}

// ---- tasks

static open_task *task_of(const df_builder *b) {
  const open_class *c = class_of(b);
  require(b->task < c->class.task_count);
  return &c->tasks[b->task];
}

u32 df_build_find_task(const df_builder *b, const char *name) {
  const open_class *c = class_of(b);
  for (u32 i = 0; i < c->class.task_count; i++)
    if (!strcmp(c->tasks[i].task.name, name)) return i;
  return UINT32_MAX;
}

u32 df_build_task_index(df_builder *b, const char *name) {
  const u32 found = df_build_find_task(b, name);
  if (found != UINT32_MAX) return found;
  open_class *c = class_of(b);
  require(c->class.task_count < UINT16_MAX);
  GROW(b, c->tasks, c->class.task_count, c->task_room);
  open_task *t = &c->tasks[c->class.task_count];
  *t = (open_task){.task = {.trigger = TRIGGER_LOCAL}};
  set_name(t->task.name, name);
  return c->class.task_count++;
}

u32 df_build_task(df_builder *b, const char *name) {
  return b->task = df_build_task_index(b, name);
}

void df_build_started_by(df_builder *b, df_trigger trigger, u32 color, u32 queue) {
  df_task *t = &task_of(b)->task;
  t->trigger = (u8)trigger;
  t->color = small(color);
  t->queue = small(queue);
}

void df_build_start_active(df_builder *b) {
  task_of(b)->task.active = true;
}

void df_build_start_blocked(df_builder *b) {
  task_of(b)->task.blocked = true;
}

u32 df_build_op(df_builder *b, df_instruction instruction) {
  open_task *t = task_of(b);
  GROW(b, t->ops, t->task.count, t->room);
  t->ops[t->task.count++] = instruction;
  return t->task.count;
}

void df_build_skip_to_here(df_builder *b, u32 at) {
  open_task *t = task_of(b);
  require(at < t->task.count && (t->ops[at].opcode == DF_SKIP || t->ops[at].opcode == DF_SKIP_LESS));
  require(t->task.count - at - 1 <= UINT16_MAX);
  t->ops[at].a = (u16)(t->task.count - at - 1);
}

// ---- names

const char *df_build_class_name(const df_builder *b, u32 class) {
  return class < b->program.class_count ? b->classes[class].class.name : NULL;
}

const char *df_build_vector_name(const df_builder *b, u32 vector) {
  return vector < class_of(b)->class.vector_count ? class_of(b)->vectors[vector].name : NULL;
}

const char *df_build_task_name(const df_builder *b, u32 task) {
  return task < class_of(b)->class.task_count ? class_of(b)->tasks[task].task.name : NULL;
}

// ---- the grid

void df_build_region(df_builder *b, df_rect rect, const char *class_name) {
  const u32 class = df_build_find_class(b, class_name);
  require(class != UINT32_MAX);
  GROW(b, b->regions, b->program.region_count, b->region_room);
  b->regions[b->program.region_count++] = (df_region){rect, class};
}

void df_build_route(df_builder *b, df_rect rect, u32 color, u32 rx, u32 tx) {
  GROW(b, b->routes, b->program.route_count, b->route_room);
  b->routes[b->program.route_count++] = (df_route){.rect = rect, .color = small(color)};
  df_build_position(b, rx, tx);
}

void df_build_position(df_builder *b, u32 rx, u32 tx) {
  require(b->program.route_count);
  df_route *r = &b->routes[b->program.route_count - 1];
  require(r->position_count < DF_POSITIONS_MAX);
  r->positions[r->position_count].rx = small(rx);
  r->positions[r->position_count++].tx = small(tx);
}

void df_build_ring(df_builder *b) {
  require(b->program.route_count);
  b->routes[b->program.route_count - 1].ring = true;
}

void df_build_port(df_builder *b, const char *name, df_port port) {
  GROW(b, b->ports, b->program.port_count, b->port_room);
  df_port *p = &b->ports[b->program.port_count++];
  *p = port;
  set_name(p->name, name);
}

void df_build_symbol(df_builder *b, const char *name, df_rect rect, df_type type, u32 address, u32 count) {
  GROW(b, b->symbols, b->program.symbol_count, b->symbol_room);
  df_symbol *s = &b->symbols[b->program.symbol_count++];
  *s = (df_symbol){.rect = rect, .address = address, .count = count, .type = (u8)type};
  set_name(s->name, name);
}

// ---- the end

// One class after the other, and within it one task after the other.
static void lay_out(df_builder *b, df_class *classes, df_vector *vectors, df_task *tasks, df_instruction *ops) {
  u32 vector = 0, task = 0, op = 0;
  for (u32 i = 0; i < b->program.class_count; i++) {
    const open_class *c = &b->classes[i];
    classes[i] = c->class;
    classes[i].first_vector = vector;
    classes[i].first_task = task;
    for (u32 k = 0; k < c->class.vector_count; k++) vectors[vector++] = c->vectors[k];
    for (u32 k = 0; k < c->class.task_count; k++) {
      const open_task *t = &c->tasks[k];
      tasks[task] = t->task;
      tasks[task++].first = op;
      if (t->task.count) memcpy(&ops[op], t->ops, t->task.count * sizeof *ops);
      op += t->task.count;
    }
  }
}

void df_build_finish(df_builder *b, dataflow *ret_dataflow) {
  dataflow d = b->program;
  for (u32 i = 0; i < d.class_count; i++) {
    const open_class *c = &b->classes[i];
    d.vector_count += c->class.vector_count;
    d.task_count += c->class.task_count;
    for (u32 k = 0; k < c->class.task_count; k++) d.instruction_count += c->tasks[k].task.count;
  }
  df_class *classes = arena_array(b->memory, df_class, d.class_count);
  df_vector *vectors = arena_array(b->memory, df_vector, d.vector_count);
  df_task *tasks = arena_array(b->memory, df_task, d.task_count);
  df_instruction *ops = arena_array(b->memory, df_instruction, d.instruction_count);
  lay_out(b, classes, vectors, tasks, ops);
  d.classes = classes;
  d.vectors = vectors;
  d.tasks = tasks;
  d.instructions = ops;
  d.regions = b->regions;
  d.routes = b->routes;
  d.ports = b->ports;
  d.symbols = b->symbols;
  b->class = b->task = UINT32_MAX;
  *ret_dataflow = d;
}

// The verifier's first part: everything that can be seen without the grid. Indices and names, what each
// instruction may be given, colors and queues.
#include "sim/isa/dataflow_check.h"
#include "sim/isa/dataflow_text.h"

#include <stdio.h>
#include <string.h>

enum { WHERE_MAX = 128 };

// ---- names

static bool check_name(const df_checker *c, const char *what, u32 index, const char name[DF_NAME_MAX]) {
  if (!memchr(name, 0, DF_NAME_MAX)) return DF_REFUSE(c, "the name of %s %u does not end", what, index);
  return df_name_ok(name) || DF_REFUSE(c, "%s %u has the name \"%s\", which is no word", what, index, name);
}

// Names in records of `size` bytes, each at the record's start. Few enough of each kind to compare all.
static bool check_names(const df_checker *c, const char *what, const void *records, u32 count, size_t size) {
  const char *first = records;
  for (u32 i = 0; i < count; i++) {
    const char *name = first + i * size;
    if (!check_name(c, what, i, name)) return false;
    for (u32 k = 0; k < i; k++)
      if (!strcmp(name, first + k * size)) return DF_REFUSE(c, "two %ss are named %s", what, name);
  }
  return true;
}

static bool check_all_names(const df_checker *c) {
  const dataflow *d = c->d;
  if (!check_name(c, "program", 0, d->name)) return false;
  if (!check_names(c, "class", d->classes, d->class_count, sizeof *d->classes)) return false;
  for (u32 i = 0; i < d->class_count; i++) {
    const df_class *k = &d->classes[i];
    if (k->vector_count && !check_names(c, "vector", &d->vectors[k->first_vector], k->vector_count, sizeof *d->vectors))
      return false;
    if (k->task_count && !check_names(c, "task", &d->tasks[k->first_task], k->task_count, sizeof *d->tasks))
      return false;
  }
  return check_names(c, "port", d->ports, d->port_count, sizeof *d->ports) &&
         check_names(c, "symbol", d->symbols, d->symbol_count, sizeof *d->symbols);
}

// ---- indices

// Classes take the vectors and tasks one after the other, and tasks the instructions.
static bool check_layout(const df_checker *c) {
  const dataflow *d = c->d;
  u64 vectors = 0, tasks = 0, instructions = 0;
  for (u32 i = 0; i < d->class_count; i++) {
    const df_class *k = &d->classes[i];
    if (k->first_vector != vectors || k->first_task != tasks)
      return DF_REFUSE(c, "class %u does not begin where the one before it ends", i);
    vectors += k->vector_count;
    tasks += k->task_count;
    if (vectors > d->vector_count) return DF_REFUSE(c, "class %u has vectors outside the program", i);
    if (tasks > d->task_count) return DF_REFUSE(c, "class %u has tasks outside the program", i);
    if (k->task_count > DF_TASKS_MAX)
      return DF_REFUSE(c, "class %u has %u tasks, a PE has at most %d", i, k->task_count, DF_TASKS_MAX);
  }
  for (u32 i = 0; i < d->task_count; i++) {
    const df_task *t = &d->tasks[i];
    if (t->first != instructions) return DF_REFUSE(c, "task %u does not begin where the one before it ends", i);
    instructions += t->count;
    if (instructions > d->instruction_count) return DF_REFUSE(c, "task %u has instructions outside the program", i);
  }
  if (vectors != d->vector_count)
    return DF_REFUSE(c, "%u vectors, but the classes have %llu", d->vector_count, (unsigned long long)vectors);
  if (tasks != d->task_count)
    return DF_REFUSE(c, "%u tasks, but the classes have %llu", d->task_count, (unsigned long long)tasks);
  return instructions == d->instruction_count || DF_REFUSE(c, "%u instructions, but the tasks have %llu",
                                                           d->instruction_count, (unsigned long long)instructions);
}

// ---- vectors, tasks

static bool check_vector(const df_checker *c, const df_class *k, const df_vector *v) {
  if (v->kind > VECTOR_FABRIC_OUT) return DF_REFUSE(c, "class %s, vector %s is of an unknown kind", k->name, v->name);
  if (v->type > DF_I32) return DF_REFUSE(c, "class %s, vector %s is of an unknown type", k->name, v->name);
  if (v->length_reg >= DF_REGISTERS && v->length_reg != DF_NO_REGISTER)
    return DF_REFUSE(c, "class %s, vector %s is made longer by register %u, a PE has %d", k->name, v->name,
                     v->length_reg, DF_REGISTERS);
  if (v->kind == VECTOR_MEMORY) {
    for (u32 i = 0; i < COUNT_OF(v->reg); i++)
      if (v->reg[i] >= DF_REGISTERS && v->reg[i] != DF_NO_REGISTER)
        return DF_REFUSE(c, "class %s, vector %s is moved by register %u, a PE has %d", k->name, v->name, v->reg[i],
                         DF_REGISTERS);
    return true;
  }
  if (v->color >= c->m->spec.colors)
    return DF_REFUSE(c, "class %s, vector %s has color %u, the machine routes %u", k->name, v->name, v->color,
                     c->m->spec.colors);
  return v->queue < c->m->spec.queues || DF_REFUSE(c, "class %s, vector %s has queue %u, a PE has %u each way", k->name,
                                                   v->name, v->queue, c->m->spec.queues);
}

static bool check_task(const df_checker *c, const df_class *k, const df_task *t) {
  if (t->trigger > TRIGGER_CONTROL) return DF_REFUSE(c, "class %s, task %s has an unknown trigger", k->name, t->name);
  if (t->trigger == TRIGGER_LOCAL) return true;
  if (t->active)
    return DF_REFUSE(c, "class %s, task %s is active at the start, but only a wavelet starts it", k->name, t->name);
  if (t->color >= c->m->spec.colors)
    return DF_REFUSE(c, "class %s, task %s has color %u, the machine routes %u", k->name, t->name, t->color,
                     c->m->spec.colors);
  return t->queue < c->m->spec.queues || DF_REFUSE(c, "class %s, task %s has queue %u, a PE has %u each way", k->name,
                                                   t->name, t->queue, c->m->spec.queues);
}

// ---- queues

// Which color each queue of a class serves and who said so; 0 is none, else the color plus one.
typedef struct queue_use {
  u32 color[UINT8_MAX + 1];
  const char *who[UINT8_MAX + 1];
} queue_use;

static bool use_queue(const df_checker *c, const df_class *k, queue_use *use, u32 color, u32 queue, const char *who) {
  if (use->color[queue] && use->color[queue] != color + 1)
    return DF_REFUSE(c, "class %s: queue %u serves color %u for %s and color %u for %s", k->name, queue,
                     use->color[queue] - 1, use->who[queue], color, who);
  use->color[queue] = color + 1;
  use->who[queue] = who;
  return true;
}

// What arrives on a color can go to one queue only.
static bool one_queue_each(const df_checker *c, const df_class *k, const queue_use *in) {
  for (u32 i = 0; i < c->m->spec.queues; i++)
    for (u32 j = 0; j < i; j++)
      if (in->color[i] && in->color[i] == in->color[j])
        return DF_REFUSE(c, "class %s: color %u is received through queue %u by %s and through queue %u by %s", k->name,
                         in->color[i] - 1, j, in->who[j], i, in->who[i]);
  return true;
}

static bool check_queues(const df_checker *c, const df_class *k) {
  queue_use in = {{0}, {0}}, out = {{0}, {0}};
  u32 started[TRIGGER_CONTROL + 1] = {0}; // bit per queue: some task of that trigger waits there
  for (u32 i = 0; i < k->vector_count; i++) {
    const df_vector *v = df_operand(c->d, k, i);
    if (v->kind != VECTOR_MEMORY &&
        !use_queue(c, k, v->kind == VECTOR_FABRIC_IN ? &in : &out, v->color, v->queue, v->name))
      return false;
  }
  for (u32 i = 0; i < k->task_count; i++) {
    const df_task *t = &c->d->tasks[k->first_task + i];
    if (t->trigger == TRIGGER_LOCAL) continue;
    if (!use_queue(c, k, &in, t->color, t->queue, t->name)) return false;
    if (started[t->trigger] >> t->queue & 1)
      return DF_REFUSE(c, "class %s, task %s and another one are both started by queue %u", k->name, t->name, t->queue);
    started[t->trigger] |= 1u << t->queue;
  }
  return one_queue_each(c, k, &in);
}

// ---- instructions

typedef struct site { // an instruction and where it stands
  const df_class *class;
  const df_task *task;
  const df_instruction *i;
  char where[WHERE_MAX]; // "class a, task b, instruction 3 (MOV)"
} site;

static bool check_operand(const df_checker *c, const site *s, char what, u32 value) {
  const char *of = NULL;
  u32 count = 0;
  switch (what) {
  case 'V':
  case 'S':
    of = "vector";
    count = s->class->vector_count;
    break;
  case 'T':
    of = "task";
    count = s->class->task_count;
    break;
  case 'R':
    of = "register";
    count = DF_REGISTERS;
    break;
  case 'C':
    of = "color";
    count = c->m->spec.colors;
    break;
  default:
    return true;
  }
  return value < count || DF_REFUSE(c, "%s names %s %u of %u", s->where, of, value, count);
}

static bool check_indices(const df_checker *c, const site *s) {
  const df_instruction *i = s->i;
  for (const char *o = instruction_operands(i->opcode); *o; o += 2)
    if (o[1] != 'n' && !check_operand(c, s, o[0], df_field(i, o[1]))) return false;
  if (i->thread >= c->m->spec.microthreads)
    return DF_REFUSE(c, "%s runs on microthread %u, a PE has %u", s->where, i->thread, c->m->spec.microthreads);
  if ((i->thread || i->done) && !instruction_is_vector(i->opcode))
    return DF_REFUSE(c, "%s is no vector instruction: it has no microthread and nothing follows its completion",
                     s->where);
  if (i->done > DONE_UNBLOCK) return DF_REFUSE(c, "%s has an unknown completion", s->where);
  return !i->done || check_operand(c, s, 'T', i->done_task);
}

static bool knows_integers(u32 code) {
  return code <= DF_MAX || code == DF_FILL;
}

// Numbers in, numbers out, or integers for both; EQUAL alone leads from one to the other.
static bool check_types(const df_checker *c, const site *s, const df_vector *to, const df_vector *const read[2]) {
  const u32 code = s->i->opcode;
  if (code == DF_EQUAL && to->type == DF_I32)
    return DF_REFUSE(c, "%s writes numbers to %s, an i32", s->where, to->name);
  for (u32 k = 0; k < 2 && read[k]; k++) {
    if (code == DF_EQUAL && read[k]->type != DF_I32)
      return DF_REFUSE(c, "%s compares %s, which is not i32", s->where, read[k]->name);
    if (code != DF_EQUAL && (read[k]->type == DF_I32) != (to->type == DF_I32))
      return DF_REFUSE(c, "%s mixes integers and numbers in %s and %s", s->where, to->name, read[k]->name);
  }
  return to->type != DF_I32 || knows_integers(code) || DF_REFUSE(c, "%s does not work on integers", s->where);
}

// Types and places that an instruction can work with.
static bool check_vectors(const df_checker *c, const site *s) {
  const df_instruction *i = s->i;
  const df_form form = instruction_get(i->opcode)->form;
  const df_vector *to = df_operand(c->d, s->class, i->to), *read[2] = {NULL, NULL}, *in = NULL;
  if (to->kind == VECTOR_FABRIC_IN) return DF_REFUSE(c, "%s writes to %s, which receives", s->where, to->name);
  const bool reads_to = i->opcode == DF_FMA || i->opcode == DF_AXPY || instruction_gathers(i->opcode);
  if (reads_to && to->kind != VECTOR_MEMORY)
    return DF_REFUSE(c, "%s changes %s in place, which is not in memory", s->where, to->name);
  if (i->opcode == DF_DOT && to->type != DF_F32)
    return DF_REFUSE(c, "%s sums into %s, which is not f32", s->where, to->name);
  if (form != FORM_VN) read[0] = df_operand(c->d, s->class, i->a);
  if (form == FORM_VVV || form == FORM_VVS || form == FORM_SVV) read[1] = df_operand(c->d, s->class, i->b);
  if (!check_types(c, s, to, read)) return false;
  for (u32 k = 0; k < 2 && read[k]; k++) {
    const df_vector *v = read[k];
    if (v->kind == VECTOR_FABRIC_OUT) return DF_REFUSE(c, "%s reads %s, which sends", s->where, v->name);
    if (v->kind != VECTOR_FABRIC_IN) continue;
    if (k == 1 && i->opcode == DF_EQUAL)
      return DF_REFUSE(c, "%s compares with %s, which is not in memory", s->where, v->name);
    if (in) return DF_REFUSE(c, "%s receives twice, through %s and %s", s->where, in->name, v->name);
    in = v;
  }
  if (in && in == read[1] && instruction_takes_factor(i->opcode)) return true; // one wavelet, before it sends any
  if (in && to->kind == VECTOR_FABRIC_OUT && df_type_bytes(in->type) != df_type_bytes(to->type))
    return DF_REFUSE(c, "%s receives and sends wavelets of different width, %s and %s", s->where, in->name, to->name);
  return true;
}

static bool check_kind(const df_checker *c, const site *s) {
  if (instruction_is_vector(s->i->opcode)) return check_vectors(c, s);
  if (s->i->opcode == DF_SEND || s->i->opcode == DF_CONTROL) {
    const df_vector *to = df_operand(c->d, s->class, s->i->to);
    return to->kind == VECTOR_FABRIC_OUT ||
           DF_REFUSE(c, "%s sends through %s, which does not send", s->where, to->name);
  }
  if (s->i->opcode == DF_ACTIVATE) {
    const df_task *t = &c->d->tasks[s->class->first_task + s->i->to];
    return t->trigger == TRIGGER_LOCAL || DF_REFUSE(c, "%s: task %s is started by wavelets only", s->where, t->name);
  }
  return true;
}

// Loops close inside the task, each with a register of its own; a skip lands in the loop that it left from.
typedef struct nest {
  u32 depth, reg[DF_LOOPS_MAX];
} nest;

static bool check_skip(const df_checker *c, const site *s, u32 at) {
  const df_task *t = s->task;
  if ((u64)at + 1 + s->i->a > t->count) return DF_REFUSE(c, "%s skips past the end of its task", s->where);
  i64 depth = 0;
  for (u32 k = 0; k < s->i->a && depth >= 0; k++) {
    const u32 code = c->d->instructions[t->first + at + 1 + k].opcode;
    depth += (code == DF_LOOP) - (code == DF_END);
  }
  return depth == 0 || DF_REFUSE(c, "%s skips into or out of a loop", s->where);
}

static bool check_flow(const df_checker *c, const site *s, u32 at, nest *loops) {
  switch (s->i->opcode) {
  case DF_LOOP:
    for (u32 k = 0; k < loops->depth; k++)
      if (loops->reg[k] == s->i->to)
        return DF_REFUSE(c, "%s counts in r%u, which a loop around it counts in", s->where, s->i->to);
    if (loops->depth == DF_LOOPS_MAX) return DF_REFUSE(c, "%s: loops nest at most %d deep", s->where, DF_LOOPS_MAX);
    loops->reg[loops->depth++] = s->i->to;
    return true;
  case DF_END:
    if (!loops->depth) return DF_REFUSE(c, "%s ends no loop", s->where);
    loops->depth--;
    return true;
  case DF_SKIP:
  case DF_SKIP_LESS:
    return check_skip(c, s, at);
  default:
    return true;
  }
}

static bool receives(const df_checker *c, const df_class *k, const df_task *t) {
  for (u32 n = 0; n < t->count; n++) {
    const df_instruction *i = &c->d->instructions[t->first + n];
    if (!instruction_is_vector(i->opcode)) continue;
    for (const char *o = instruction_operands(i->opcode); *o; o += 2) {
      if (o[1] != 'a' && o[1] != 'b') continue;
      const df_vector *v = df_operand(c->d, k, df_field(i, o[1]));
      if (v->kind == VECTOR_FABRIC_IN && v->queue == t->queue) return true;
    }
  }
  return false;
}

static bool check_code(const df_checker *c, const df_class *k, const df_task *t) {
  nest loops = {0};
  site s = {.class = k, .task = t};
  for (u32 n = 0; n < t->count; n++) {
    s.i = &c->d->instructions[t->first + n];
    if (s.i->opcode >= DF_OPCODE_COUNT)
      return DF_REFUSE(c, "class %s, task %s, instruction %u is unknown", k->name, t->name, n);
    snprintf(s.where, sizeof s.where, "class %s, task %s, instruction %u (%s)", k->name, t->name, n,
             instruction_get(s.i->opcode)->name);
    if (!check_indices(c, &s) || !check_kind(c, &s)) return false;
  }
  for (u32 n = 0; n < t->count; n++) { // behind the first walk: a skip looks ahead at opcodes
    s.i = &c->d->instructions[t->first + n];
    snprintf(s.where, sizeof s.where, "class %s, task %s, instruction %u (%s)", k->name, t->name, n,
             instruction_get(s.i->opcode)->name);
    if (!check_flow(c, &s, n, &loops)) return false;
  }
  if (loops.depth) return DF_REFUSE(c, "class %s, task %s has a loop without an end", k->name, t->name);
  return t->trigger != TRIGGER_DATA || receives(c, k, t) ||
         DF_REFUSE(c, "class %s, task %s is started by queue %u and never receives from it", k->name, t->name,
                   t->queue);
}

bool df_check_shape(const df_checker *c) {
  const dataflow *d = c->d;
  if (!check_layout(c) || !check_all_names(c)) return false;
  for (u32 i = 0; i < d->class_count; i++) {
    const df_class *k = &d->classes[i];
    for (u32 n = 0; n < k->vector_count; n++)
      if (!check_vector(c, k, df_operand(d, k, n))) return false;
    for (u32 n = 0; n < k->task_count; n++)
      if (!check_task(c, k, &d->tasks[k->first_task + n])) return false;
    if (!check_queues(c, k)) return false;
    for (u32 n = 0; n < k->task_count; n++)
      if (!check_code(c, k, &d->tasks[k->first_task + n])) return false;
  }
  return true;
}

bool dataflow_check(const dataflow *d, const machine *m, status *st) {
  df_checker c = {d, m, arena_create("dataflow check"), st};
  const bool ok = df_check_shape(&c) && df_check_routes(&c) && df_check_memory(&c);
  arena_destroy(c.memory);
  return ok;
}

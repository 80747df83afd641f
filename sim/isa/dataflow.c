// What follows from a dataflow program alone: its identity and the code of its classes.
#include "sim/isa/dataflow.h"

#include "base/hash.h"

// A scalar instruction is taken as two 32-bit words, operation and operand (ASSUMED: no source counts
// them; vector instructions, whose descriptors dominate, have machine pe.code_op_bytes).
enum { SCALAR_CODE_BYTES = 8 };

u32 df_type_bytes(u32 type) {
  require(type <= DF_I32);
  return type == DF_F32 || type == DF_I32 ? 4 : 2;
}

u32 dataflow_code_bytes(const dataflow *d, const machine *m, u32 class) {
  require(class < d->class_count);
  const df_class *c = &d->classes[class];
  u64 bytes = m->spec.code_base_bytes + (u64)c->task_count * m->spec.code_task_bytes;
  for (u32 t = 0; t < c->task_count; t++) {
    const df_task *task = &d->tasks[c->first_task + t];
    for (u32 i = 0; i < task->count; i++)
      bytes +=
          instruction_is_vector(d->instructions[task->first + i].opcode) ? m->spec.code_op_bytes : SCALAR_CODE_BYTES;
  }
  return bytes < UINT32_MAX ? (u32)bytes : UINT32_MAX;
}

// The identity covers what a program means: fields that its kinds and forms do not read are left out, so
// that equal text is an equal hash.
static u64 hash_affine(u64 h, df_affine v) {
  return hash_u64(hash_u64(hash_u64(h, (u32)v.base), (u32)v.dx), (u32)v.dy);
}

static u64 hash_rect(u64 h, df_rect r) {
  const u32 words[] = {r.x, r.y, r.w, r.h, r.step_x, r.step_y};
  for (u32 i = 0; i < COUNT_OF(words); i++) h = hash_u64(h, words[i]);
  return h;
}

static u64 hash_vector(u64 h, const df_vector *v) {
  h = hash_u64(hash_u64(hash_text(h, v->name), v->kind), v->type);
  h = hash_affine(h, v->length);
  if (v->length_reg != DF_NO_REGISTER) h = hash_text(hash_u64(h, v->length_reg), "longer");
  if (v->kind != VECTOR_MEMORY) return hash_u64(hash_u64(h, v->color), v->queue);
  h = hash_u64(hash_affine(h, v->address), (u32)v->stride);
  h = hash_affine(h, v->wrap);
  if (v->wrap.base || v->wrap.dx || v->wrap.dy) h = hash_u64(h, (u32)v->outer);
  for (u32 i = 0; i < COUNT_OF(v->reg); i++)
    if (v->reg[i] != DF_NO_REGISTER) h = hash_u64(hash_u64(h, v->reg[i]), (u32)v->scale[i]);
  return h;
}

static u64 hash_task(u64 h, const df_task *t) {
  h = hash_u64(hash_u64(hash_text(h, t->name), t->trigger), t->active * 2u + t->blocked);
  if (t->trigger != TRIGGER_LOCAL) h = hash_u64(hash_u64(h, t->color), t->queue);
  return hash_u64(hash_u64(h, t->first), t->count);
}

static u64 hash_instruction(u64 h, const df_instruction *i) {
  h = hash_u64(hash_u64(hash_u64(h, i->opcode), i->thread), i->done);
  if (i->done) h = hash_u64(h, i->done_task);
  if (i->opcode >= DF_OPCODE_COUNT) return h;
  for (const char *o = instruction_operands(i->opcode); *o; o += 2)
    h = o[1] == 'n' ? hash_affine(h, i->value) : hash_u64(h, o[1] == 't' ? i->to : o[1] == 'a' ? i->a : i->b);
  return h;
}

static u64 hash_route(u64 h, const df_route *r) {
  h = hash_u64(hash_u64(hash_rect(h, r->rect), r->color), r->ring);
  h = hash_u64(h, r->position_count);
  for (u32 i = 0; i < r->position_count && i < DF_POSITIONS_MAX; i++)
    h = hash_u64(hash_u64(h, r->positions[i].rx), r->positions[i].tx);
  return h;
}

static u64 hash_port(u64 h, const df_port *p) {
  h = hash_u64(hash_u64(hash_text(h, p->name), p->x), p->y);
  return hash_u64(hash_u64(hash_u64(hash_u64(h, p->port), p->color), p->out), p->wavelets);
}

u64 dataflow_hash(const dataflow *d) {
  u64 h = hash_text(hash_text(HASH_START, "dataflow"), d->name);
  const u32 counts[] = {d->width,        d->height,     d->class_count,       d->region_count, d->route_count,
                        d->vector_count, d->task_count, d->instruction_count, d->port_count,   d->symbol_count};
  for (u32 i = 0; i < COUNT_OF(counts); i++) h = hash_u64(h, counts[i]);
  for (u32 i = 0; i < d->class_count; i++) {
    const df_class *c = &d->classes[i];
    h = hash_u64(hash_u64(hash_text(h, c->name), c->first_vector), c->vector_count);
    h = hash_u64(hash_u64(hash_u64(h, c->first_task), c->task_count), c->data_bytes);
  }
  for (u32 i = 0; i < d->vector_count; i++) h = hash_vector(h, &d->vectors[i]);
  for (u32 i = 0; i < d->task_count; i++) h = hash_task(h, &d->tasks[i]);
  for (u32 i = 0; i < d->instruction_count; i++) h = hash_instruction(h, &d->instructions[i]);
  for (u32 i = 0; i < d->region_count; i++) h = hash_u64(hash_rect(h, d->regions[i].rect), d->regions[i].class);
  for (u32 i = 0; i < d->route_count; i++) h = hash_route(h, &d->routes[i]);
  for (u32 i = 0; i < d->port_count; i++) h = hash_port(h, &d->ports[i]);
  for (u32 i = 0; i < d->symbol_count; i++) {
    const df_symbol *s = &d->symbols[i];
    h = hash_rect(hash_text(h, s->name), s->rect);
    h = hash_u64(hash_u64(hash_u64(h, s->address), s->count), s->type);
  }
  return h;
}

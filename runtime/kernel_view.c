// What is looked at beside a kernel's result: the log of a window of PEs and cycles, and the memory of one PE.
#include "runtime/kernel_view.h"

#include "runtime/kernel_run.h"
#include "runtime/output.h"

#include <stdlib.h>
#include <string.h>

typedef struct place { // a PE of a program
  const df_class *class;
  u32 rx, ry; // in its region
} place;

static bool find_place(const dataflow *d, u32 x, u32 y, place *ret) {
  for (u32 i = 0; i < d->region_count; i++) {
    const df_rect *r = &d->regions[i].rect;
    if (x < r->x || y < r->y || (x - r->x) % r->step_x || (y - r->y) % r->step_y) continue;
    *ret = (place){&d->classes[d->regions[i].class], (x - r->x) / r->step_x, (y - r->y) / r->step_y};
    if (ret->rx < r->w && ret->ry < r->h) return true;
  }
  return false;
}

bool kernel_view_check(const kernel_view *v, const dataflow *d, status *st) {
  const fabric_watch *w = &v->watch;
  place p;
  if (v->watched && (w->x + w->w > d->width || w->y + w->h > d->height))
    return status_fail(st, CODE_USAGE, "--trace-pes %u:%u,%u:%u: the program has PEs 0:%u,0:%u", w->x, w->x + w->w,
                       w->y, w->y + w->h, d->width, d->height);
  if (v->memory && (v->x >= d->width || v->y >= d->height))
    return status_fail(st, CODE_USAGE, "--pe %u,%u: the program has PEs 0:%u,0:%u", v->x, v->y, d->width, d->height);
  if (v->memory && !find_place(d, v->x, v->y, &p))
    return status_fail(st, CODE_USAGE, "--pe %u,%u: this PE has no code and no memory in the program", v->x, v->y);
  return true;
}

// ---- the log

static json_t *port_names(u32 ports) {
  text names = {0};
  dataflow_print_ports(ports, &names);
  json_t *word = json_string(text_get(&names));
  text_free(&names);
  return word;
}

static void add_instruction(const dataflow *d, const fabric_entry *e, json_t *o) {
  text words = {0};
  dataflow_print_operation(d, &d->classes[e->class], &d->instructions[e->instruction], &words);
  json_object_set_new(o, "instruction", json_string(text_get(&words)));
  json_object_set_new(o, "microthread", json_integer(e->thread));
  json_object_set_new(o, "elements", json_integer(e->length));
  text_free(&words);
}

static json_t *entry_json(const dataflow *d, const fabric_entry *e) {
  json_t *o = json_pack("{s:I,s:[I,I],s:s,s:I}", "cycle", (json_int_t)e->cycle, "pe", (json_int_t)e->x,
                        (json_int_t)e->y, "event", fabric_event_name(e->kind), "since", (json_int_t)e->since);
  if (e->task != UINT32_MAX) json_object_set_new(o, "task", json_string(d->tasks[e->task].name));
  if (e->instruction != UINT32_MAX) add_instruction(d, e, o);
  if (e->kind >= FABRIC_WAITED_INPUT) json_object_set_new(o, "color", json_integer(e->color));
  if (e->kind == FABRIC_WAITED_INPUT || e->kind == FABRIC_WAITED_ROOM)
    json_object_set_new(o, "goes_on", json_boolean(e->goes_on));
  if (e->kind == FABRIC_TURNS) json_object_set_new(o, "position", json_integer(e->position));
  if (e->kind == FABRIC_TURNS || e->kind == FABRIC_PASSES) {
    json_object_set_new(o, "in", port_names(e->in));
    json_object_set_new(o, "out", port_names(e->out));
  }
  if (e->kind == FABRIC_STANDS) json_object_set_new(o, "where", json_string(e->out ? "queue" : "router"));
  if (e->kind < FABRIC_SENDS || e->kind == FABRIC_TURNS) return o;
  json_object_set_new(o, "control", json_boolean(e->control));
  json_object_set_new(o, "word", json_integer(e->word));
  return o;
}

static void take_log(kernel_view *v, const fabric *f, const dataflow *d) {
  u32 count;
  u64 left_out;
  const fabric_entry *log = fabric_log(f, &count, &left_out);
  if (v->json) {
    json_t *entries = json_array();
    for (u32 i = 0; i < count; i++) json_array_append_new(entries, entry_json(d, &log[i]));
    v->log_json = json_pack("{s:o,s:I}", "entries", entries, "left_out", (json_int_t)left_out);
    return;
  }
  text_format(&v->page, "   cycle  PE     %u entries\n", count);
  for (u32 i = 0; i < count; i++) {
    fabric_say(d, &log[i], &v->page);
    text_add(&v->page, "\n");
  }
  if (left_out)
    text_format(&v->page, "%llu more entries are left out: the log has room for %u, and keeps whole cycles\n",
                (unsigned long long)left_out, v->watch.capacity);
}

// ---- the memory of a PE

// A run of numbers that has a name.
typedef struct named {
  const char *name;
  u32 type, address, count, wrap;
  i32 stride, outer;
} named;

static bool name_vector(const df_vector *v, const place *p, named *ret) {
  if (v->kind != VECTOR_MEMORY || v->reg[0] != DF_NO_REGISTER || v->reg[1] != DF_NO_REGISTER) return false;
  i32 count = df_at(v->length, p->rx, p->ry);
  *ret = (named){.name = v->name,
                 .type = v->type,
                 .address = (u32)df_at(v->address, p->rx, p->ry),
                 .count = count > 0 ? (u32)count : 0,
                 .wrap = (u32)df_at(v->wrap, p->rx, p->ry),
                 .stride = v->stride,
                 .outer = v->outer};
  return ret->count > 0;
}

static bool name_symbol(const df_symbol *s, u32 x, u32 y, named *ret) {
  const df_rect *r = &s->rect;
  if (x < r->x || y < r->y || (x - r->x) % r->step_x || (y - r->y) % r->step_y) return false;
  if ((x - r->x) / r->step_x >= r->w || (y - r->y) / r->step_y >= r->h) return false;
  *ret = (named){.name = s->name,
                 .type = s->type,
                 .address = s->address,
                 .count = s->count,
                 .stride = (i32)df_type_bytes(s->type)};
  return true;
}

static bool is_same(const named *a, const named *b) {
  return !strcmp(a->name, b->name) && a->address == b->address && a->count == b->count && a->type == b->type;
}

static double number_at(const fabric *f, const kernel_view *v, const named *n, u32 i) {
  i64 offset = n->wrap ? (i64)(i % n->wrap) * n->stride + (i64)(i / n->wrap) * n->outer : (i64)i * n->stride;
  u8 bytes[4];
  i32 whole;
  float value;
  fabric_read(f, v->x, v->y, (u32)(n->address + offset), bytes, df_type_bytes(n->type));
  memcpy(&whole, bytes, 4);
  if (n->type == DF_I32) return whole;
  kernel_decode(n->type, bytes, 1, &value);
  return value;
}

static void add_named(kernel_view *v, const fabric *f, const named *n) {
  if (v->json) {
    json_t *values = json_array();
    for (u32 i = 0; i < n->count; i++) json_array_append_new(values, output_real(number_at(f, v, n, i)));
    json_array_append_new(json_object_get(v->memory_json, "vectors"),
                          json_pack("{s:s,s:s,s:I,s:o}", "name", n->name, "type", kernel_type_name(n->type), "address",
                                    (json_int_t)n->address, "values", values));
    return;
  }
  text_format(&v->page, "  %-12s %s[%u] at %u:", n->name, kernel_type_name(n->type), n->count, n->address);
  for (u32 i = 0; i < n->count; i++)
    text_format(&v->page, n->type == DF_I32 ? " %.10g" : " %.9g", number_at(f, v, n, i));
  text_add(&v->page, "\n");
}

// Vectors whose place registers move are parts of others.
static void take_memory(kernel_view *v, const fabric *f, const dataflow *d) {
  place p;
  require(find_place(d, v->x, v->y, &p));
  if (v->json)
    v->memory_json =
        json_pack("{s:[I,I],s:s,s:[]}", "pe", (json_int_t)v->x, (json_int_t)v->y, "class", p.class->name, "vectors");
  else
    text_format(&v->page, "memory of PE (%u,%u), class %s, %u bytes of data\n", v->x, v->y, p.class->name,
                p.class->data_bytes);
  named n, other;
  for (u32 i = 0; i < p.class->vector_count; i++)
    if (name_vector(&d->vectors[p.class->first_vector + i], &p, &n)) add_named(v, f, &n);
  for (u32 i = 0; i < d->symbol_count; i++) {
    if (!name_symbol(&d->symbols[i], v->x, v->y, &n)) continue;
    bool shown = false;
    for (u32 k = 0; k < p.class->vector_count; k++)
      shown |= name_vector(&d->vectors[p.class->first_vector + k], &p, &other) && is_same(&n, &other);
    if (!shown) add_named(v, f, &n);
  }
}

bool kernel_view_take(kernel_view *v, const fabric *f, const dataflow *d, status *st) {
  if (v->watched) take_log(v, f, d);
  if (v->memory) take_memory(v, f, d);
  return !v->trace || kernel_trace_write(v->trace, f, d, &v->watch, st);
}

void kernel_view_free(kernel_view *v) {
  text_free(&v->page);
  json_decref(v->log_json);
  json_decref(v->memory_json);
}

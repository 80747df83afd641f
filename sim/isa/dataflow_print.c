// Dataflow programs as text: one thing a line, classes with their vectors, tasks and instructions first,
// then the grid. dataflow_parse reads it back to an equal program.
#include "sim/isa/dataflow_text.h"

static const char *const type_words[] = DF_TYPE_WORDS;
static const char *const kind_words[] = DF_KIND_WORDS;
static const char *const trigger_words[] = DF_TRIGGER_WORDS;
static const char *const port_words[] = DF_PORT_WORDS;

// A program that was not checked is printed too, for a message: what is not there is a question mark.
static const char *word_of(const char *const *words, u32 count, u32 at) {
  return at < count ? words[at] : "?";
}
#define WORD(words, at) word_of((words), COUNT_OF(words), (at))

static void print_affine(df_affine v, text *out) {
  text_format(out, "%d", v.base);
  if (v.dx) text_format(out, "%+dx", v.dx);
  if (v.dy) text_format(out, "%+dy", v.dy);
}

static void print_option(const char *key, df_affine v, text *out) {
  text_format(out, " %s=", key);
  print_affine(v, out);
}

static void print_rect(df_rect r, text *out) {
  text_format(out, " %u,%u %ux%u", r.x, r.y, r.w, r.h);
  if (r.step_x != 1 || r.step_y != 1) text_format(out, " step=%ux%u", r.step_x, r.step_y);
}

void dataflow_print_ports(u32 ports, text *out) {
  if (!ports) text_add(out, "none");
  bool more = false;
  for (u32 i = 0; i < COUNT_OF(port_words); i++)
    if (ports >> i & 1) {
      text_format(out, "%s%s", more ? "+" : "", port_words[i]);
      more = true;
    }
}

static void print_length(const df_vector *v, text *out) {
  print_option("length", v->length, out);
  if (v->length_reg != DF_NO_REGISTER) text_format(out, " longer=r%u", v->length_reg);
}

static void print_vector(const df_vector *v, text *out) {
  text_format(out, "  vector %s %s %s", v->name, WORD(type_words, v->type), WORD(kind_words, v->kind));
  if (v->kind != VECTOR_MEMORY) {
    text_format(out, " color=%u queue=%u", v->color, v->queue);
    print_length(v, out);
    text_add(out, "\n");
    return;
  }
  print_option("address", v->address, out);
  print_length(v, out);
  if (v->type <= DF_I32 && v->stride != (i32)df_type_bytes(v->type)) text_format(out, " stride=%d", v->stride);
  if (v->wrap.base || v->wrap.dx || v->wrap.dy) {
    print_option("wrap", v->wrap, out);
    text_format(out, " outer=%d", v->outer);
  }
  for (u32 i = 0; i < COUNT_OF(v->reg); i++)
    if (v->reg[i] != DF_NO_REGISTER) text_format(out, " r%u=%d", v->reg[i], v->scale[i]);
  text_add(out, "\n");
}

static const char *vector_name(const dataflow *d, const df_class *c, u32 at) {
  return at < c->vector_count ? d->vectors[c->first_vector + at].name : "?";
}

static const char *task_name(const dataflow *d, const df_class *c, u32 at) {
  return at < c->task_count ? d->tasks[c->first_task + at].name : "?";
}

static void print_operand(const dataflow *d, const df_class *c, char what, u32 value, text *out) {
  switch (what) {
  case 'V':
  case 'S':
    text_format(out, " %s", vector_name(d, c, value));
    return;
  case 'T':
    text_format(out, " %s", task_name(d, c, value));
    return;
  case 'R':
    text_format(out, " r%u", value);
    return;
  default: // a color or a count
    text_format(out, " %u", value);
  }
}

void dataflow_print_operation(const dataflow *d, const df_class *c, const df_instruction *i, text *out) {
  text_add(out, instruction_get(i->opcode)->name);
  for (const char *o = instruction_operands(i->opcode); *o; o += 2)
    if (o[1] == 'n') {
      text_add(out, " ");
      print_affine(i->value, out);
    } else
      print_operand(d, c, o[0], o[1] == 't' ? i->to : o[1] == 'a' ? i->a : i->b, out);
}

static void print_instruction(const dataflow *d, const df_class *c, const df_instruction *i, text *out) {
  if (i->opcode >= DF_OPCODE_COUNT) {
    text_add(out, "    ?\n");
    return;
  }
  text_add(out, "    ");
  dataflow_print_operation(d, c, i, out);
  if (i->thread) text_format(out, " thread=%u", i->thread);
  if (i->done)
    text_format(out, " %s=%s", i->done == DONE_ACTIVATE ? "activate" : "unblock", task_name(d, c, i->done_task));
  text_add(out, "\n");
}

static void print_class(const dataflow *d, const df_class *c, text *out) {
  text_format(out, "\nclass %s data=%u\n", c->name, c->data_bytes);
  for (u32 i = 0; i < c->vector_count; i++) print_vector(&d->vectors[c->first_vector + i], out);
  for (u32 i = 0; i < c->task_count; i++) {
    const df_task *t = &d->tasks[c->first_task + i];
    text_format(out, "  task %s %s", t->name, WORD(trigger_words, t->trigger));
    if (t->trigger != TRIGGER_LOCAL) text_format(out, " color=%u queue=%u", t->color, t->queue);
    text_format(out, "%s%s\n", t->active ? " active" : "", t->blocked ? " blocked" : "");
    for (u32 k = 0; k < t->count; k++) print_instruction(d, c, &d->instructions[t->first + k], out);
  }
}

static void print_route(const df_route *r, text *out) {
  text_add(out, "route");
  print_rect(r->rect, out);
  text_format(out, " color=%u", r->color);
  for (u32 i = 0; i < r->position_count && i < DF_POSITIONS_MAX; i++) {
    text_add(out, " ");
    dataflow_print_ports(r->positions[i].rx, out);
    text_add(out, "->");
    dataflow_print_ports(r->positions[i].tx, out);
  }
  text_add(out, r->ring ? " ring\n" : "\n");
}

static void print_grid(const dataflow *d, text *out) {
  if (d->region_count) text_add(out, "\n");
  for (u32 i = 0; i < d->region_count; i++) {
    const df_region *r = &d->regions[i];
    text_add(out, "region");
    print_rect(r->rect, out);
    text_format(out, " class=%s\n", r->class < d->class_count ? d->classes[r->class].name : "?");
  }
  if (d->route_count) text_add(out, "\n");
  for (u32 i = 0; i < d->route_count; i++) print_route(&d->routes[i], out);
  if (d->port_count || d->symbol_count) text_add(out, "\n");
  for (u32 i = 0; i < d->port_count; i++) {
    const df_port *p = &d->ports[i];
    text_format(out, "port %s %s %u,%u ", p->name, p->out ? "out" : "in", p->x, p->y);
    dataflow_print_ports(p->port, out);
    text_format(out, " color=%u wavelets=%llu\n", p->color, (unsigned long long)p->wavelets);
  }
  for (u32 i = 0; i < d->symbol_count; i++) {
    const df_symbol *s = &d->symbols[i];
    text_format(out, "symbol %s %s", s->name, WORD(type_words, s->type));
    print_rect(s->rect, out);
    text_format(out, " address=%u count=%u\n", s->address, s->count);
  }
}

void dataflow_print(const dataflow *d, text *out) {
  text_format(out, "program %s %ux%u\n", d->name, d->width, d->height);
  for (u32 i = 0; i < d->class_count; i++) print_class(d, &d->classes[i], out);
  print_grid(d, out);
}

// The log of a window in words.
#include "sim/fabric/fabric.h"
#include "sim/fabric/number.h"

const char *fabric_event_name(u32 kind) {
  static const char *const names[] = {[FABRIC_TASK_STARTS] = "task starts",
                                      [FABRIC_TASK_ENDS] = "task ends",
                                      [FABRIC_VECTOR_STARTS] = "vector starts",
                                      [FABRIC_VECTOR_ENDS] = "vector ends",
                                      [FABRIC_WAITED_INPUT] = "waited input",
                                      [FABRIC_WAITED_ROOM] = "waited room",
                                      [FABRIC_SENDS] = "sends",
                                      [FABRIC_TAKES] = "takes",
                                      [FABRIC_PASSES] = "passes",
                                      [FABRIC_TURNS] = "turns",
                                      [FABRIC_STANDS] = "stands"};
  require(kind < FABRIC_EVENT_COUNT);
  return names[kind];
}

// What vectors say that a color carries; -1 where they differ or say nothing.
static i32 type_of(const dataflow *d, u32 color) {
  i32 type = -1;
  for (u32 i = 0; i < d->vector_count; i++) {
    const df_vector *v = &d->vectors[i];
    if (v->kind == VECTOR_MEMORY || v->color != color) continue;
    if (type != -1 && type != v->type) return -1;
    type = v->type;
  }
  return type;
}

static void say_word(const dataflow *d, const fabric_entry *e, text *out) {
  text_format(out, "color %u ", e->color);
  if (e->kind == FABRIC_PASSES) {
    dataflow_print_ports(e->in, out);
    text_add(out, " -> ");
    dataflow_print_ports(e->out, out);
    text_add(out, " ");
  }
  if (e->control) {
    text_add(out, "control");
    return;
  }
  u32 type = (u32)type_of(d, e->color), low = e->word & 0xffff, high = e->word >> 16;
  text_format(out, "0x%08x", e->word);
  if (type == DF_I32) text_format(out, " (%d)", (i32)e->word);
  if (type == DF_F32) text_format(out, " (%.9g)", (double)number_of_bits(e->word));
  if (type == DF_F16)
    text_format(out, " (%.5g %.5g)", (double)number_from_f16((u16)low), (double)number_from_f16((u16)high));
  if (type == DF_BF16)
    text_format(out, " (%.4g %.4g)", (double)number_from_bf16((u16)low), (double)number_from_bf16((u16)high));
}

static void say_vector(const dataflow *d, const fabric_entry *e, text *out) {
  dataflow_print_operation(d, &d->classes[e->class], &d->instructions[e->instruction], out);
  if (e->thread) text_format(out, ", microthread %u", e->thread);
}

static void say_spell(const dataflow *d, const fabric_entry *e, text *out) {
  if (e->instruction != UINT32_MAX)
    say_vector(d, e, out);
  else
    text_format(out, "task %s", d->tasks[e->task].name);
  const char *what = e->kind == FABRIC_WAITED_INPUT ? "a wavelet of" : "room on";
  if (e->goes_on)
    text_format(out, ": waits for %s color %u since %llu", what, e->color, (unsigned long long)e->since);
  else
    text_format(out, ": waited for %s color %u since %llu", what, e->color, (unsigned long long)e->since);
}

static void say_since(const char *what, const fabric_entry *e, text *out) {
  if (e->since < e->cycle) text_format(out, ", %s %llu", what, (unsigned long long)e->since);
}

static void say_start(const dataflow *d, const fabric_entry *e, text *out) {
  const char *how = e->since < e->cycle ? " goes on" : " starts";
  if (e->kind == FABRIC_TASK_STARTS)
    text_format(out, "task %s%s", d->tasks[e->task].name, how);
  else {
    say_vector(d, e, out);
    text_format(out, ", %u element%s", e->length, e->length == 1 ? "" : "s");
  }
  say_since("started at", e, out);
}

static void say_end(const dataflow *d, const fabric_entry *e, text *out) {
  if (e->kind == FABRIC_TASK_ENDS)
    text_format(out, "task %s", d->tasks[e->task].name);
  else
    say_vector(d, e, out);
  text_format(out, " ends, started at %llu", (unsigned long long)e->since);
}

static void say_wavelet(const dataflow *d, const fabric_entry *e, text *out) {
  static const char *const verbs[] = {
      [FABRIC_SENDS] = "sends ", [FABRIC_TAKES] = "takes ", [FABRIC_PASSES] = "wavelet ", [FABRIC_STANDS] = "wavelet "};
  text_add(out, verbs[e->kind]);
  say_word(d, e, out);
  if (e->kind == FABRIC_TAKES) say_since("there since", e, out);
  if (e->kind == FABRIC_PASSES) say_since("waited since", e, out);
  if (e->kind != FABRIC_STANDS) return;
  text_format(out, " stands in the %s since %llu", e->out ? "input queue" : "router", (unsigned long long)e->since);
}

void fabric_say(const dataflow *d, const fabric_entry *e, text *out) {
  text_format(out, "%8llu  (%u,%u)  ", (unsigned long long)e->cycle, e->x, e->y);
  switch (e->kind) {
  case FABRIC_TASK_STARTS:
  case FABRIC_VECTOR_STARTS:
    say_start(d, e, out);
    return;
  case FABRIC_TASK_ENDS:
  case FABRIC_VECTOR_ENDS:
    say_end(d, e, out);
    return;
  case FABRIC_WAITED_INPUT:
  case FABRIC_WAITED_ROOM:
    say_spell(d, e, out);
    return;
  case FABRIC_TURNS:
    text_format(out, "color %u takes position %u: ", e->color, e->position);
    dataflow_print_ports(e->in, out);
    text_add(out, " -> ");
    dataflow_print_ports(e->out, out);
    return;
  default:
    say_wavelet(d, e, out);
  }
}

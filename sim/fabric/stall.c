// A stall is a result: who waits, for what, and where wavelets stand still.
#include "sim/fabric/fabric_state.h"

#include "base/text.h"

enum { LINES_MAX = 6 };

static const df_task *running_task(const fabric *f, const unit *u) {
  return u->task == NOBODY ? NULL : &f->d->tasks[f->d->classes[u->class].first_task + u->task];
}

static void say_thread(const fabric *f, const unit *u, const thread *t, text *out) {
  const df_task *task = running_task(f, u);
  text_format(out, "; PE (%u, %u) %s", u->x, u->y, f->d->classes[u->class].name);
  if (task) text_format(out, " task %s", task->name);
  text_format(out, " %s at element %u of %u", instruction_get(t->opcode)->name, t->at, t->length);
  if (t->has_in)
    text_format(out, " waits for color %u", f->color_of[t->a.kind == VECTOR_FABRIC_IN ? t->a.color : t->b.color]);
  if (t->has_out) text_format(out, " to send on color %u", f->color_of[t->to.color]);
}

static u32 say_units(const fabric *f, text *out) {
  u32 said = 0;
  for (u32 i = 0; i < f->units; i++) {
    const unit *u = &f->unit[i];
    for (u32 bits = u->running; bits; bits &= bits - 1)
      if (said++ < LINES_MAX) say_thread(f, u, &f->threads[u->first_thread + (u32)__builtin_ctz(bits)], out);
    const df_task *task = running_task(f, u);
    if (!u->running && task && said++ < LINES_MAX)
      text_format(out, "; PE (%u, %u) %s task %s waits to send", u->x, u->y, f->d->classes[u->class].name, task->name);
  }
  return said;
}

static u32 say_wavelets(const fabric *f, text *out) {
  u32 said = 0;
  for (u32 r = 0; r < f->routers; r++)
    for (u32 mask = f->lane_mask[r]; mask; mask &= mask - 1) {
      u32 color = (u32)__builtin_ctz(mask);
      if (said++ < LINES_MAX)
        text_format(out, "; %u wavelets of color %u stand in router (%u, %u)", f->lanes[(size_t)r * f->colors + color].count,
                    f->color_of[color], r % f->width, r / f->width);
    }
  for (u32 i = 0; i < f->units; i++) {
    const unit *u = &f->unit[i];
    const class_facts *c = &f->classes[u->class];
    for (u32 k = 0; k < c->queue_count; k++) {
      const queue *q = &f->queues[u->first_queue + k];
      if (q->count && said++ < LINES_MAX)
        text_format(out, "; %u wavelets of color %u wait in PE (%u, %u)", q->count, f->color_of[c->color_of_queue[k]], u->x, u->y);
    }
  }
  return said;
}

static u32 say_ports(const fabric *f, text *out) {
  u32 said = 0;
  for (u32 i = 0; i < f->d->port_count; i++) {
    const df_port *p = &f->d->ports[i];
    if (f->ports[i].at < p->wavelets && said++ < LINES_MAX)
      text_format(out, "; port %s has %s %llu of %llu wavelets", p->name, p->out ? "received" : "sent",
                  (unsigned long long)f->ports[i].at, (unsigned long long)p->wavelets);
  }
  return said;
}

void stall_report(const fabric *f, bool stalled, status *st) {
  text out = {0};
  u32 all = say_units(f, &out) + say_wavelets(f, &out) + say_ports(f, &out);
  const char *what = stalled ? "stalled at" : "not done after";
  status_fail(st, CODE_CHECK, "fabric: %s cycle %llu, %u things %s%s", what, (unsigned long long)(stalled ? f->last : f->now), all,
              stalled ? "wait" : "wait or move", text_get(&out));
  text_free(&out);
}

// A stall is a result: who waits, for what, and where wavelets stand still. So is a program's fault.
#include "sim/fabric/fabric_state.h"

#include "base/text.h"

enum { LINES_MAX = 6 };

// A report does not depend on how routers are numbered.
static u32 in_row_order(const strip *s, u32 i) {
  return router_at(s, i % s->width, i / s->width);
}

static const unit *unit_in_row_order(const strip *s, u32 i) {
  u32 u = s->unit_of[in_row_order(s, i)];
  return u == NOBODY ? NULL : &s->unit[u];
}

static const df_task *running_task(const strip *s, const unit *u) {
  return u->task == NOBODY ? NULL : &s->d->tasks[s->d->classes[u->class].first_task + u->task];
}

static void say_thread(const strip *s, const unit *u, const thread *t, text *out) {
  const df_task *task = running_task(s, u);
  text_format(out, "; PE (%u, %u) %s", u->x, u->y, s->d->classes[u->class].name);
  if (task) text_format(out, " task %s", task->name);
  text_format(out, " %s at element %u of %u", instruction_get(t->opcode)->name, t->at, t->length);
  if (t->has_in)
    text_format(out, " waits for color %u", s->color_of[t->a.kind == VECTOR_FABRIC_IN ? t->a.color : t->b.color]);
  if (t->has_out) text_format(out, " to send on color %u", s->color_of[t->to.color]);
}

static u32 say_units(const strip *s, text *out) {
  u32 said = 0;
  for (u32 i = 0; i < s->routers; i++) {
    const unit *u = unit_in_row_order(s, i);
    if (!u) continue;
    for (u32 bits = u->running; bits; bits &= bits - 1)
      if (said++ < LINES_MAX) say_thread(s, u, &s->threads[u->first_thread + (u32)__builtin_ctz(bits)], out);
    const df_task *task = running_task(s, u);
    if (!u->running && task && said++ < LINES_MAX)
      text_format(out, "; PE (%u, %u) %s task %s waits to send", u->x, u->y, s->d->classes[u->class].name, task->name);
  }
  return said;
}

static u32 say_wavelets(const strip *s, text *out) {
  u32 said = 0;
  for (u32 i = 0; i < s->routers; i++) {
    u32 r = in_row_order(s, i);
    for (u32 mask = s->lane_mask[r]; mask; mask &= mask - 1) {
      u32 color = (u32)__builtin_ctz(mask);
      if (said++ < LINES_MAX)
        text_format(out, "; %u wavelets of color %u stand in router (%u, %u)",
                    s->lanes[(size_t)r * s->colors + color].count, s->color_of[color], router_x(s, r), router_y(s, r));
    }
  }
  for (u32 i = 0; i < s->routers; i++) {
    const unit *u = unit_in_row_order(s, i);
    if (!u) continue;
    const class_facts *c = &s->classes[u->class];
    for (u32 k = 0; k < c->queue_count; k++) {
      const queue *q = &s->queues[u->first_queue + k];
      if (q->count && said++ < LINES_MAX)
        text_format(out, "; %u wavelets of color %u wait in PE (%u, %u)", q->count, s->color_of[c->color_of_queue[k]],
                    u->x, u->y);
    }
  }
  return said;
}

static u32 say_ports(const strip *s, text *out) {
  u32 said = 0;
  for (u32 i = 0; i < s->d->port_count; i++) {
    const df_port *p = &s->d->ports[i];
    if (s->ports[i].at < p->wavelets && said++ < LINES_MAX)
      text_format(out, "; port %s has %s %llu of %llu wavelets", p->name, p->out ? "received" : "sent",
                  (unsigned long long)s->ports[i].at, (unsigned long long)p->wavelets);
  }
  return said;
}

bool stall_is_waiting(const fabric *f) {
  const strip *s = f->strips;
  for (u32 i = 0; i < s->routers; i++)
    if (s->lane_mask[i]) return true;
  for (u32 i = 0; i < s->units; i++) {
    const unit *u = &s->unit[i];
    if (u->task != NOBODY) return true;
    const class_facts *c = &s->classes[u->class];
    if (u->running) return true;
    for (u32 k = 0; k < c->queue_count; k++)
      if (s->queues[u->first_queue + k].count) return true;
  }
  for (u32 i = 0; i < s->d->port_count; i++)
    if (s->ports[i].at < s->d->ports[i].wavelets) return true;
  return false;
}

static u64 last_of(const fabric *f) {
  u64 last = 0;
  for (u32 i = 0; i < f->strip_count; i++)
    if (f->strips[i].last > last) last = f->strips[i].last;
  return last;
}

void stall_report(const fabric *f, bool stalled, status *st) {
  text out = {0};
  const strip *s = f->strips;
  u32 all = say_units(s, &out) + say_wavelets(s, &out) + say_ports(s, &out);
  const char *what = stalled ? "stalled at" : "not done after";
  status_fail(st, CODE_CHECK, "fabric: %s cycle %llu, %u things %s%s", what,
              (unsigned long long)(stalled ? last_of(f) : f->most), all, stalled ? "wait" : "wait or move",
              text_get(&out));
  text_free(&out);
}

// Of several in one cycle the first, row by row.
void stall_note_fault(strip *s, const unit *u, u32 code, u32 vector) {
  u32 order = u->y * s->width + u->x + 1;
  if (s->fault.order && s->fault.order < order) return;
  s->fault = (fault){order, s->unit_of[u->router], code, vector};
}

bool stall_report_fault(const fabric *f, status *st) {
  const strip *s = NULL;
  for (u32 i = 0; i < f->strip_count; i++) {
    const strip *other = &f->strips[i];
    if (other->fault.order && (!s || other->fault.order < s->fault.order)) s = other;
  }
  if (!s) return false;
  const unit *u = &s->unit[s->fault.unit];
  const df_class *c = &s->d->classes[u->class];
  status_fail(st, CODE_CHECK, "fabric: PE (%u, %u) %s task %s: %s leaves the %u data bytes by vector %s in cycle %llu",
              u->x, u->y, c->name, running_task(s, u)->name, instruction_get(s->fault.opcode)->name, u->data_bytes,
              s->d->vectors[c->first_vector + s->fault.vector].name, (unsigned long long)(s->now - 1));
  return true;
}

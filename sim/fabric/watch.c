// Somebody looks into a window of PEs and cycles: who does something tells it here, where the log is kept.
// What goes on is followed in the window's PEs at all times, so that the log knows since when; entries are made
// in its cycles only.
#include "sim/fabric/fabric_state.h"

#include <stdlib.h>

enum { TASK_ITSELF = 8, WAITERS = 9 }; // microthreads, and the task that sends

// Why an instruction does not go on.
typedef struct spell {
  u64 since;
  u8 kind;  // FABRIC_WAITED_INPUT, FABRIC_WAITED_ROOM; 0: it does
  u8 color; // dense
} spell;

typedef struct waiter {
  spell spell;
  u64 started;
  u32 instruction, at; // elements done when last seen; the next instruction of a task
} waiter;

typedef struct watched {
  u64 task_started;
  u32 task; // of the dataflow
  waiter waiter[WAITERS];
} watched;

typedef struct watched_lane {
  u64 passed; // cycle + 1 in which a wavelet left, and its entry + 1
  u32 entry;
} watched_lane;

// Of one strip; rectangle and state are shared, and each strip looks at its own PEs.
typedef struct watch {
  fabric_watch of;
  watched *pes;        // of the rectangle, row by row
  watched_lane *lanes; // PE x color
  fabric_entry *log;   // of this strip
  u32 count;
  u64 left_out, cut; // cycle in which the first was left out
  bool open, closed;
} watch;

bool watch_sees(const strip *s, u32 router) {
  const fabric_watch *w = &s->watch->of;
  return router_x(s, router) - w->x < w->w && router_y(s, router) - w->y < w->h;
}

static u32 place_of(const strip *s, u32 router) {
  const fabric_watch *w = &s->watch->of;
  return (router_y(s, router) - w->y) * w->w + router_x(s, router) - w->x;
}

static watched *pe_of(const strip *s, u32 router) {
  return &s->watch->pes[place_of(s, router)];
}

static watched_lane *lane_of(const strip *s, u32 router, u32 color) {
  return &s->watch->lanes[(size_t)place_of(s, router) * s->colors + color];
}

static bool overlaps(const strip *s, const fabric_watch *w) {
  u32 first = s->first_router / s->line, lines = s->router_count / s->line;
  u32 from = s->turned ? w->x : w->y, count = s->turned ? w->w : w->h;
  return first < from + count && from < first + lines;
}

bool watch_open(fabric *f, const fabric_watch *w, arena *a, status *st) {
  const strip *s = f->strips;
  require(w->w && w->h && w->x < s->width && w->w <= s->width - w->x && w->y < s->height && w->h <= s->height - w->y);
  require(w->from < w->until && w->capacity);
  u64 pes = (u64)w->w * w->h;
  watch all = {.of = *w, .cut = NEVER};
  all.pes = arena_take_big(a, sizeof(watched) * pes, "the PEs that are watched", st);
  all.lanes = arena_take_big(a, sizeof(watched_lane) * pes * s->colors, "the routers that are watched", st);
  f->log = arena_take_big(a, sizeof(fabric_entry) * w->capacity, "the log of the window", st);
  u32 parts = 0;
  for (u32 i = 0; i < f->strip_count; i++) parts += overlaps(&f->strips[i], w);
  for (u32 i = 0; i < f->strip_count && status_ok(st); i++) {
    if (!overlaps(&f->strips[i], w)) continue;
    watch *own = f->strips[i].watch = arena_array(a, watch, 1);
    *own = all;
    own->log = f->log;
    if (parts > 1) own->log = arena_take_big(a, sizeof(fabric_entry) * w->capacity, "the log of the window", st);
  }
  return status_ok(st);
}

// ---- entries

static fabric_entry entry_at(const strip *s, u32 router, u32 kind) {
  return (fabric_entry){.cycle = s->now,
                        .since = s->now,
                        .x = router_x(s, router),
                        .y = router_y(s, router),
                        .kind = (u8)kind,
                        .class = NOBODY,
                        .task = NOBODY,
                        .instruction = NOBODY};
}

static void add(strip *s, fabric_entry e) {
  watch *w = s->watch;
  if (!w->open || w->closed) return;
  e.order = w->count;
  if (w->count < w->of.capacity) {
    w->log[w->count++] = e;
    return;
  }
  if (!w->left_out++) w->cut = e.cycle;
}

static fabric_entry of_task(const strip *s, const unit *u, u32 kind) {
  fabric_entry e = entry_at(s, u->router, kind);
  e.class = u->class;
  e.task = pe_of(s, u->router)->task;
  e.since = pe_of(s, u->router)->task_started;
  return e;
}

static fabric_entry of_vector(const strip *s, const unit *u, u32 index, u32 kind) {
  const waiter *w = &pe_of(s, u->router)->waiter[index];
  const thread *t = &s->threads[u->first_thread + index];
  fabric_entry e = entry_at(s, u->router, kind);
  e.class = u->class;
  e.thread = (u8)index;
  e.instruction = w->instruction;
  e.length = t->length;
  e.since = w->started;
  return e;
}

static fabric_entry of_wave(const strip *s, u32 router, u32 color, u32 kind, const wave *w) {
  fabric_entry e = entry_at(s, router, kind);
  e.color = s->color_of[color];
  e.word = w->data;
  e.control = w->control;
  if (wave_is_due(w, s->now)) e.since = s->now - ((u32)s->now - w->ready);
  return e;
}

// ---- what PEs do

void watch_task(strip *s, const unit *u, bool starts) {
  if (!watch_sees(s, u->router)) return;
  watched *w = pe_of(s, u->router);
  if (starts) w->task_started = s->now;
  if (starts) w->task = s->d->classes[u->class].first_task + u->task;
  add(s, of_task(s, u, starts ? FABRIC_TASK_STARTS : FABRIC_TASK_ENDS));
}

void watch_vector(strip *s, const unit *u, const df_instruction *i, const thread *t) {
  if (!watch_sees(s, u->router)) return;
  u32 index = (u32)(t - &s->threads[u->first_thread]);
  pe_of(s, u->router)->waiter[index] = (waiter){.started = s->now, .instruction = (u32)(i - s->d->instructions)};
  add(s, of_vector(s, u, index, FABRIC_VECTOR_STARTS));
}

static void add_spell(strip *s, const unit *u, u32 index, u64 cycle, bool goes_on) {
  const waiter *w = &pe_of(s, u->router)->waiter[index];
  if (!w->spell.kind || (w->spell.since >= cycle && !goes_on)) return;
  fabric_entry e = index == TASK_ITSELF ? of_task(s, u, w->spell.kind) : of_vector(s, u, index, w->spell.kind);
  e.cycle = cycle;
  e.since = w->spell.since;
  e.color = s->color_of[w->spell.color];
  e.goes_on = goes_on;
  add(s, e);
}

void watch_vector_end(strip *s, const unit *u, u32 index) {
  if (!watch_sees(s, u->router)) return;
  add_spell(s, u, index, s->now, false);
  pe_of(s, u->router)->waiter[index].spell.kind = 0;
  add(s, of_vector(s, u, index, FABRIC_VECTOR_ENDS));
}

static bool has_room(strip *s, const unit *u, u32 color) {
  const lane *l = lane_at(s, u->router, color);
  return l->rx & PORT_RAMP && lane_has_room(s, l);
}

// What a vector instruction waits for that is not time.
static spell thread_waits(strip *s, const unit *u, const thread *t) {
  if (t->finishing || t->ready >= (s->now + 1) * TICKS) return (spell){0};
  if (t->has_in) {
    const queue *q = &s->queues[t->input];
    u8 color = s->classes[u->class].color_of_queue[t->input - u->first_queue];
    if (!queue_ready(q, s->now) || q->q[q->head].control) return (spell){.kind = FABRIC_WAITED_INPUT, .color = color};
  }
  if (t->has_out && !t->awaits_factor && !has_room(s, u, t->to.color))
    return (spell){.kind = FABRIC_WAITED_ROOM, .color = t->to.color};
  return (spell){0};
}

static spell task_waits(strip *s, const unit *u) {
  if (u->task == NOBODY || u->running & 1 || u->main >= (s->now + 1) * TICKS) return (spell){0};
  const df_class *c = &s->d->classes[u->class];
  const df_task *t = &s->d->tasks[c->first_task + u->task];
  if (u->next == t->first + t->count) return (spell){0};
  const df_instruction *i = &s->d->instructions[u->next];
  if (i->opcode != DF_SEND && i->opcode != DF_CONTROL) return (spell){0};
  u8 color = s->dense_of[s->d->vectors[c->first_vector + i->to].color];
  return has_room(s, u, color) ? (spell){0} : (spell){.kind = FABRIC_WAITED_ROOM, .color = color};
}

// A spell ends in the cycle that sees progress or another reason; one that begins with progress begins after it.
static void follow(strip *s, const unit *u, u32 index, spell now, bool progress) {
  spell *before = &pe_of(s, u->router)->waiter[index].spell;
  if (!progress && now.kind == before->kind && now.color == before->color) return;
  add_spell(s, u, index, s->now, false);
  now.since = progress ? s->now + 1 : s->now;
  *before = now;
}

void watch_unit(strip *s, const unit *u) {
  if (!watch_sees(s, u->router)) return;
  watched *w = pe_of(s, u->router);
  for (u32 bits = u->running; bits; bits &= bits - 1) {
    u32 index = (u32)__builtin_ctz(bits);
    const thread *t = &s->threads[u->first_thread + index];
    follow(s, u, index, thread_waits(s, u, t), t->at != w->waiter[index].at);
    w->waiter[index].at = t->at;
  }
  follow(s, u, TASK_ITSELF, task_waits(s, u), u->next != w->waiter[TASK_ITSELF].at);
  w->waiter[TASK_ITSELF].at = u->next;
}

// ---- wavelets

void watch_entry(strip *s, u32 router, u32 color, u32 port) {
  if (!watch_sees(s, router)) return;
  lane *l = lane_at(s, router, color);
  l->q[(l->head + l->count - 1u) % LANE_DEPTH].rx = (u8)port;
}

void watch_send(strip *s, const unit *u, u32 color, u32 data, bool control) {
  if (!watch_sees(s, u->router)) return;
  watch_entry(s, u->router, color, PORT_RAMP);
  add(s, of_wave(s, u->router, color, FABRIC_SENDS, &(wave){.data = data, .ready = (u32)s->now, .control = control}));
}

void watch_take(strip *s, const unit *u, u32 color, const wave *w) {
  if (watch_sees(s, u->router)) add(s, of_wave(s, u->router, color, FABRIC_TAKES, w));
}

// The ports by which a wavelet leaves in one cycle are one entry.
void watch_pass(strip *s, const move *m, const wave *w) {
  if (!watch_sees(s, m->router)) return;
  watched_lane *l = lane_of(s, m->router, m->color);
  if (l->passed == s->now + 1) {
    if (l->entry) s->watch->log[l->entry - 1].out |= m->port;
    return;
  }
  fabric_entry e = of_wave(s, m->router, m->color, FABRIC_PASSES, w);
  e.in = w->rx;
  e.out = m->port;
  u32 count = s->watch->count;
  add(s, e);
  l->passed = s->now + 1;
  l->entry = s->watch->count > count ? s->watch->count : 0;
}

void watch_position(strip *s, u32 router, u32 color) {
  if (!watch_sees(s, router)) return;
  const lane *l = lane_at(s, router, color);
  fabric_entry e = entry_at(s, router, FABRIC_TURNS);
  e.color = s->color_of[color];
  e.position = l->position;
  e.in = l->rx;
  e.out = l->tx;
  add(s, e);
}

// ---- the window opens and closes

typedef void watch_visit(strip *s, u32 router);

static void each_router(strip *s, watch_visit *visit) {
  const fabric_watch *w = &s->watch->of;
  for (u32 y = w->y; y < w->y + w->h; y++)
    for (u32 x = w->x; x < w->x + w->w; x++)
      if (router_is_own(s, router_at(s, x, y))) visit(s, router_at(s, x, y));
}

// What runs already.
static void begin(strip *s, u32 router) {
  if (s->unit_of[router] == NOBODY) return;
  const unit *u = &s->unit[s->unit_of[router]];
  fabric_entry e;
  if (u->task != NOBODY) {
    e = of_task(s, u, FABRIC_TASK_STARTS);
    e.cycle = s->watch->of.from;
    add(s, e);
  }
  for (u32 bits = u->running; bits; bits &= bits - 1) {
    e = of_vector(s, u, (u32)__builtin_ctz(bits), FABRIC_VECTOR_STARTS);
    e.cycle = s->watch->of.from;
    add(s, e);
  }
}

static u64 last_cycle(const strip *s) {
  return s->now < s->watch->of.until ? s->now : s->watch->of.until - 1;
}

static void add_standing(strip *s, u32 router, u32 color, const wave *w, u8 out) {
  u64 cycle = last_cycle(s);
  if (!wave_is_due(w, cycle)) return;
  fabric_entry e = of_wave(s, router, color, FABRIC_STANDS, w);
  e.cycle = cycle;
  e.out = out;
  add(s, e);
}

// What waits still.
static void end(strip *s, u32 router) {
  u64 cycle = last_cycle(s);
  const unit *u = s->unit_of[router] == NOBODY ? NULL : &s->unit[s->unit_of[router]];
  for (u32 i = 0; u && i < WAITERS; i++)
    if (pe_of(s, router)->waiter[i].spell.since <= cycle) add_spell(s, u, i, cycle, true);
  for (u32 c = 0; u && c < s->classes[u->class].queue_count; c++) {
    const queue *q = &s->queues[u->first_queue + c];
    for (u32 i = 0; i < q->count; i++)
      add_standing(s, router, s->classes[u->class].color_of_queue[c], &q->q[(q->head + i) % QUEUE_DEPTH], PORT_RAMP);
  }
  for (u32 c = 0; c < s->colors; c++) {
    const lane *l = lane_at(s, router, c);
    for (u32 i = 0; i < l->count; i++) add_standing(s, router, c, &l->q[(l->head + i) % LANE_DEPTH], 0);
  }
}

void watch_cycle(strip *s) {
  watch *w = s->watch;
  if (!w->open && s->now >= w->of.from) {
    w->open = true;
    if (s->now) each_router(s, begin);
  }
  if (w->closed || s->now < w->of.until) return;
  each_router(s, end);
  w->closed = true;
}

static int in_order(const void *a, const void *b) {
  const fabric_entry *p = a, *q = b;
  if (p->cycle != q->cycle) return p->cycle < q->cycle ? -1 : 1;
  if (p->y != q->y) return p->y < q->y ? -1 : 1;
  if (p->x != q->x) return p->x < q->x ? -1 : 1;
  return p->order < q->order ? -1 : p->order > q->order;
}

static void close_log(strip *s) {
  watch *w = s->watch;
  if (w->open && !w->closed) each_router(s, end);
  w->closed = true;
  qsort(w->log, w->count, sizeof *w->log, in_order);
}

// The strip whose next entry is first; NOBODY: there is none before `cut`.
static u32 next_strip(const fabric *f, const u32 *at, u64 cut) {
  u32 best = NOBODY;
  const fabric_entry *first = NULL;
  for (u32 i = 0; i < f->strip_count; i++) {
    const watch *w = f->strips[i].watch;
    if (!w || at[i] == w->count || w->log[at[i]].cycle >= cut || (first && in_order(first, &w->log[at[i]]) < 0))
      continue;
    best = i;
    first = &w->log[at[i]];
  }
  return best;
}

// A cycle of which something is missing is left out as a whole: what is kept does not depend on who was first.
void watch_finish(fabric *f) {
  u64 cut = NEVER, all = 0;
  u32 at[STRIPS_MAX] = {0}, capacity = 0;
  for (u32 i = 0; i < f->strip_count; i++) {
    watch *w = f->strips[i].watch;
    if (!w) continue;
    close_log(&f->strips[i]);
    all += w->count + w->left_out;
    if (w->cut < cut) cut = w->cut;
    capacity = w->of.capacity;
  }
  for (u32 i = next_strip(f, at, cut); i != NOBODY; i = next_strip(f, at, cut)) {
    const fabric_entry *e = &f->strips[i].watch->log[at[i]++]; // its own place where there is one strip
    if (f->log_count == capacity)
      cut = e->cycle;
    else
      f->log[f->log_count++] = *e;
  }
  while (f->log_count && f->log[f->log_count - 1].cycle >= cut) f->log_count--;
  for (u32 i = 0; i < f->log_count; i++) f->log[i].order = i;
  f->log_left_out = all - f->log_count;
}

const fabric_entry *fabric_log(const fabric *f, u32 *ret_count, u64 *ret_left_out) {
  require(f->log);
  *ret_count = f->log_count;
  if (ret_left_out) *ret_left_out = f->log_left_out;
  return f->log;
}

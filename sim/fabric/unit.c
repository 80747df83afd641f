// A PE: which task runs, what its instructions do, and when it is worth another look.
#include "sim/fabric/fabric_state.h"

static const df_class *class_of(const strip *s, const unit *u) { return &s->d->classes[u->class]; }

static const df_task *task_of(const strip *s, const unit *u, u32 task) {
  return &s->d->tasks[class_of(s, u)->first_task + task];
}

static u64 ticks(double cycles) { return (u64)(cycles * TICKS + 0.5); }

// A vector instruction receives from the queue: its wavelets are not for a data task.
static bool queue_is_taken(const strip *s, const unit *u, u32 color) {
  for (u32 bits = u->running; bits; bits &= bits - 1) {
    const thread *t = &s->threads[u->first_thread + (u32)__builtin_ctz(bits)];
    if (!t->has_in || (t->at == t->length && !t->awaits_factor)) continue;
    if ((t->a.kind == VECTOR_FABRIC_IN ? t->a.color : t->b.color) == color) return true;
  }
  return false;
}

// Can the task start now? NEVER: no; otherwise the cycle from which it can.
static u64 task_due(const strip *s, const unit *u, u32 task) {
  const df_task *t = task_of(s, u, task);
  if (u->blocked >> task & 1) return NEVER;
  if (t->trigger == TRIGGER_LOCAL) return u->active >> task & 1 ? s->now : NEVER;
  u32 color = s->dense_of[t->color];
  const queue *q = &s->queues[u->first_queue + s->classes[u->class].queue_of[color]];
  if (!q->count || q->q[q->head].control != (t->trigger == TRIGGER_CONTROL)) return NEVER;
  if (t->trigger == TRIGGER_DATA && queue_is_taken(s, u, color)) return NEVER;
  return wave_is_due(&q->q[q->head], s->now) ? s->now : s->now + (q->q[q->head].ready - (u32)s->now);
}

static void start_task(strip *s, unit *u, u32 task) {
  const df_task *t = task_of(s, u, task);
  u->task = task;
  u->next = t->first;
  u->loop_count = 0;
  u->active &= ~(1u << task);
  if (t->trigger == TRIGGER_CONTROL) queue_pop(s, u, u->first_queue + s->classes[u->class].queue_of[s->dense_of[t->color]]);
  double cost = t->trigger == TRIGGER_DATA ? s->m->spec.receive_cycles : s->m->spec.start_cycles;
  if (s->now == 0) cost = 0; // time begins when the first tasks run
  u64 at = s->now * TICKS;
  u->main = (u->main > at ? u->main : at) + ticks(cost);
  if (s->watch) watch_task(s, u, true);
  s->result.counts.tasks++;
  s->progress = true;
}

static bool choose_task(strip *s, unit *u) {
  u32 count = class_of(s, u)->task_count;
  for (u32 i = 0; i < count && !u->halted; i++)
    if (task_due(s, u, i) <= s->now) {
      start_task(s, u, i);
      return true;
    }
  return false;
}

static void skip_to_end(const strip *s, unit *u) {
  for (u32 depth = 1; depth; u->next++) {
    u32 code = s->d->instructions[u->next].opcode;
    depth += code == DF_LOOP;
    depth -= code == DF_END;
  }
}

static void begin_loop(const strip *s, unit *u, const df_instruction *i, i32 limit) {
  u->reg[i->to] = 0;
  if (limit <= 0) {
    skip_to_end(s, u);
    return;
  }
  require(u->loop_count < LOOPS_MAX);
  u->loops[u->loop_count++] = (loop){u->next, i->to, limit};
}

static u64 end_loop(const strip *s, unit *u) {
  loop *l = &u->loops[u->loop_count - 1];
  if (++u->reg[l->reg] < l->limit) u->next = l->first;
  else u->loop_count--;
  return ticks(s->m->spec.loop_cycles);
}

u64 unit_send_due(strip *s, const unit *u, u32 color) {
  lane *l = lane_at(s, u->router, color);
  if (u->ramp_out / TICKS > s->now) return u->ramp_out / TICKS;
  if ((l->rx & PORT_RAMP) && lane_has_room(s, l)) return s->now + 1;
  l->edge |= PORT_RAMP;
  bool piped = l->pipe != NOBODY && !s->pipes[l->pipe].open;
  return piped ? s->now + (pipe_room_from(s, l->pipe) - (u32)s->now) : NEVER;
}

// A word or a control wavelet straight to the ramp, which it reaches after task.send_cycles; false where
// there is no room yet.
static bool send_one(strip *s, unit *u, const df_instruction *i, u32 data, bool control) {
  const df_vector *v = &s->d->vectors[class_of(s, u)->first_vector + i->to];
  u32 color = s->dense_of[v->color];
  if (!unit_may_send(s, u, color)) return false;
  u64 at = s->now * TICKS;
  u->ramp_out = (u->ramp_out > at ? u->ramp_out : at) + s->ramp_ticks;
  lane_push(s, u->router, color, data, (u32)s->now + s->send + s->ramp, control);
  if (s->watch) watch_send(s, u, color, data, control);
  s->result.counts.wavelets++;
  stretch_note(&s->result.sent, s->now);
  return true;
}

static void set_route(strip *s, const unit *u, u32 color, u32 position) {
  u32 dense = s->dense_of[color], route = s->lane_facts[(size_t)u->router * s->colors + dense].route;
  require(route != NOBODY && position < s->d->routes[route].position_count);
  router_set_position(s, u->router, dense, position, s->now);
}

typedef enum outcome { GOES_ON, WAITS } outcome;

// A scalar instruction; returns what it takes beside the one cycle that each takes, WAITS if not possible yet.
static outcome run_scalar(strip *s, unit *u, const df_instruction *i, u64 *ret_ticks) {
  i32 n = df_at(i->value, u->rx, u->ry);
  *ret_ticks = TICKS;
  switch (i->opcode) {
  case DF_SEND:
    *ret_ticks = ticks(s->m->spec.send_cycles);
    return send_one(s, u, i, (u32)n, false) ? GOES_ON : WAITS;
  case DF_CONTROL:
    *ret_ticks = ticks(s->m->spec.send_cycles);
    return send_one(s, u, i, 0, true) ? GOES_ON : WAITS;
  case DF_SET:
    u->reg[i->to] = n;
    break;
  case DF_STEP:
    u->reg[i->to] += n;
    break;
  case DF_LOOP:
    begin_loop(s, u, i, n);
    break;
  case DF_END:
    *ret_ticks = end_loop(s, u);
    break;
  case DF_SKIP_LESS:
    if (u->reg[i->to] < n) u->next += i->a;
    break;
  case DF_SKIP:
    u->next += i->a;
    break;
  case DF_ACTIVATE:
    u->active |= 1u << i->to;
    break;
  case DF_BLOCK:
    u->blocked |= 1u << i->to;
    break;
  case DF_UNBLOCK:
    u->blocked &= ~(1u << i->to);
    break;
  case DF_ROUTE:
    if (!u->last_was_route) *ret_ticks = ticks(s->m->spec.route_switch_cycles);
    set_route(s, u, i->to, (u32)n);
    break;
  default:
    require(i->opcode == DF_HALT);
    u->halted = true;
  }
  return GOES_ON;
}

// Runs the task's instructions that fall into this cycle.
static void run_task(strip *s, unit *u) {
  while (u->task != NOBODY && u->main < (s->now + 1) * TICKS) {
    const df_task *t = task_of(s, u, u->task);
    if (u->running & 1) return; // the task waits for its own vector instruction
    if (u->next == t->first + t->count) {
      if (s->watch) watch_task(s, u, false);
      u->task = NOBODY;
      if (u->main > s->end) s->end = u->main;
      s->progress = true;
      return;
    }
    const df_instruction *i = &s->d->instructions[u->next];
    u64 at = u->main > s->now * TICKS ? u->main : s->now * TICKS, cost = TICKS;
    if (instruction_is_vector(i->opcode)) {
      if (!thread_start(s, u, i, at)) return;
      u->next++;
      if (i->thread == 0) cost = 0; // it goes on when the instruction is complete
    } else {
      u->next++;
      if (run_scalar(s, u, i, &cost) == WAITS) {
        u->next--;
        return;
      }
    }
    u->last_was_route = i->opcode == DF_ROUTE;
    u->main = at + cost;
    s->progress = true;
  }
}

// The task that runs: when it goes on. NEVER where the end of a vector instruction tells.
static u64 task_goes_on(strip *s, const unit *u) {
  if (u->running & 1) return NEVER;
  if (u->main / TICKS > s->now) return u->main / TICKS;
  const df_task *t = task_of(s, u, u->task);
  if (u->next == t->first + t->count) return s->now + 1;
  const df_instruction *i = &s->d->instructions[u->next];
  if (instruction_is_vector(i->opcode)) return u->running >> i->thread & 1 ? NEVER : s->now + 1;
  if (i->opcode != DF_SEND && i->opcode != DF_CONTROL) return s->now + 1;
  return unit_send_due(s, u, s->dense_of[s->d->vectors[class_of(s, u)->first_vector + i->to].color]);
}

static u64 earlier(u64 a, u64 b) { return a < b ? a : b; }

static u64 unit_due(strip *s, const unit *u) {
  u64 due = NEVER;
  u32 count = class_of(s, u)->task_count;
  for (u32 bits = u->running; bits && due > s->now + 1; bits &= bits - 1)
    due = earlier(due, thread_wake(s, u, thread_at(s, u, (u32)__builtin_ctz(bits))));
  if (due <= s->now + 1) return due;
  if (u->task != NOBODY) return earlier(due, task_goes_on(s, u));
  for (u32 i = 0; i < count && !u->halted; i++) {
    u64 when = task_due(s, u, i);
    due = earlier(due, when <= s->now ? s->now + 1 : when);
  }
  return due;
}

// Vector instructions that run; with `fresh` those only that have not begun.
static void run_threads(strip *s, unit *u, bool fresh) {
  for (u32 bits = u->running; bits; bits &= bits - 1) {
    u32 i = (u32)__builtin_ctz(bits);
    if (u->datapath >= (s->now + 1) * TICKS && !(u->ending >> i & 1)) continue; // nothing to do it with
    if (!fresh || !thread_at(s, u, i)->at) thread_run(s, u, i);
  }
}

void unit_step(strip *s, u32 index) {
  unit *u = &s->unit[index];
  u->wake = NEVER;
  run_threads(s, u, false);
  if (u->task == NOBODY) choose_task(s, u);
  run_task(s, u);
  if (u->task != NOBODY) run_threads(s, u, true); // what was started in this cycle may begin in it
  if (s->watch) watch_unit(s, u);
  fabric_wake(s, index, unit_due(s, u));
}

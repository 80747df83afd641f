// A PE: which task runs, what its instructions do, and when it is worth another look.
#include "sim/fabric/fabric_state.h"

static const df_class *class_of(const fabric *f, const unit *u) { return &f->d->classes[u->class]; }

static const df_task *task_of(const fabric *f, const unit *u, u32 task) {
  return &f->d->tasks[class_of(f, u)->first_task + task];
}

static u64 ticks(double cycles) { return (u64)(cycles * TICKS + 0.5); }

// A vector instruction receives from the queue: its wavelets are not for a data task.
static bool queue_is_taken(const fabric *f, const unit *u, u32 color) {
  for (u32 bits = u->running; bits; bits &= bits - 1) {
    const thread *t = &f->threads[u->first_thread + (u32)__builtin_ctz(bits)];
    if (!t->has_in || (t->at == t->length && !t->awaits_factor)) continue;
    if ((t->a.kind == VECTOR_FABRIC_IN ? t->a.color : t->b.color) == color) return true;
  }
  return false;
}

// Can the task start now? NEVER: no; otherwise the cycle from which it can.
static u64 task_due(const fabric *f, const unit *u, u32 task) {
  const df_task *t = task_of(f, u, task);
  if (u->blocked >> task & 1) return NEVER;
  if (t->trigger == TRIGGER_LOCAL) return u->active >> task & 1 ? f->now : NEVER;
  u32 color = f->dense_of[t->color];
  const queue *q = &f->queues[u->first_queue + f->classes[u->class].queue_of[color]];
  if (!q->count || q->q[q->head].control != (t->trigger == TRIGGER_CONTROL)) return NEVER;
  if (t->trigger == TRIGGER_DATA && queue_is_taken(f, u, color)) return NEVER;
  return wave_is_due(&q->q[q->head], f->now) ? f->now : f->now + (q->q[q->head].ready - (u32)f->now);
}

static void start_task(fabric *f, unit *u, u32 task) {
  const df_task *t = task_of(f, u, task);
  u->task = task;
  u->next = t->first;
  u->loop_count = 0;
  u->active &= ~(1u << task);
  if (t->trigger == TRIGGER_CONTROL) queue_pop(f, u, u->first_queue + f->classes[u->class].queue_of[f->dense_of[t->color]]);
  double cost = t->trigger == TRIGGER_DATA ? f->m->spec.receive_cycles : f->m->spec.start_cycles;
  if (f->now == 0) cost = 0; // time begins when the first tasks run
  u64 at = f->now * TICKS;
  u->main = (u->main > at ? u->main : at) + ticks(cost);
  f->result.counts.tasks++;
  f->progress = true;
}

static bool choose_task(fabric *f, unit *u) {
  u32 count = class_of(f, u)->task_count;
  for (u32 i = 0; i < count && !u->halted; i++)
    if (task_due(f, u, i) <= f->now) {
      start_task(f, u, i);
      return true;
    }
  return false;
}

static void skip_to_end(const fabric *f, unit *u) {
  for (u32 depth = 1; depth; u->next++) {
    u32 code = f->d->instructions[u->next].opcode;
    depth += code == DF_LOOP;
    depth -= code == DF_END;
  }
}

static void begin_loop(const fabric *f, unit *u, const df_instruction *i, i32 limit) {
  u->reg[i->to] = 0;
  if (limit <= 0) {
    skip_to_end(f, u);
    return;
  }
  require(u->loop_count < LOOPS_MAX);
  u->loops[u->loop_count++] = (loop){u->next, i->to, limit};
}

static u64 end_loop(const fabric *f, unit *u) {
  loop *l = &u->loops[u->loop_count - 1];
  if (++u->reg[l->reg] < l->limit) u->next = l->first;
  else u->loop_count--;
  return ticks(f->m->spec.loop_cycles);
}

bool unit_may_send(fabric *f, const unit *u, u32 color) {
  const lane *l = lane_at(f, u->router, color);
  return u->ramp_out < (f->now + 1) * TICKS && (l->rx & PORT_RAMP) && lane_has_room(f, l);
}

u64 unit_send_due(fabric *f, const unit *u, u32 color) {
  lane *l = lane_at(f, u->router, color);
  if (u->ramp_out / TICKS > f->now) return u->ramp_out / TICKS;
  if ((l->rx & PORT_RAMP) && lane_has_room(f, l)) return f->now + 1;
  l->edge |= PORT_RAMP;
  bool piped = l->pipe != NOBODY && !f->pipes[l->pipe].open;
  return piped ? f->now + (pipe_room_from(f, l->pipe) - (u32)f->now) : NEVER;
}

// A word or a control wavelet straight to the ramp, which it reaches after task.send_cycles; false where
// there is no room yet.
static bool send_one(fabric *f, unit *u, const df_instruction *i, wave w) {
  const df_vector *v = &f->d->vectors[class_of(f, u)->first_vector + i->to];
  u32 color = f->dense_of[v->color];
  if (!unit_may_send(f, u, color)) return false;
  u64 at = f->now * TICKS;
  u->ramp_out = (u->ramp_out > at ? u->ramp_out : at) + f->ramp_ticks;
  w.ready = (u32)f->now + f->send + f->ramp;
  lane_push(f, u->router, color, w);
  f->result.counts.wavelets++;
  return true;
}

static void set_route(fabric *f, const unit *u, u32 color, u32 position) {
  u32 dense = f->dense_of[color], route = f->lane_facts[(size_t)u->router * f->colors + dense].route;
  require(route != NOBODY && position < f->d->routes[route].position_count);
  router_set_position(f, u->router, dense, position, f->now);
}

typedef enum outcome { GOES_ON, WAITS } outcome;

// A scalar instruction; returns what it takes beside the one cycle that each takes, WAITS if not possible yet.
static outcome run_scalar(fabric *f, unit *u, const df_instruction *i, u64 *ret_ticks) {
  i32 n = df_at(i->value, u->rx, u->ry);
  *ret_ticks = TICKS;
  switch (i->opcode) {
  case DF_SEND:
    *ret_ticks = ticks(f->m->spec.send_cycles);
    return send_one(f, u, i, (wave){.data = (u32)n}) ? GOES_ON : WAITS;
  case DF_CONTROL:
    *ret_ticks = ticks(f->m->spec.send_cycles);
    return send_one(f, u, i, (wave){.control = true}) ? GOES_ON : WAITS;
  case DF_SET:
    u->reg[i->to] = n;
    break;
  case DF_STEP:
    u->reg[i->to] += n;
    break;
  case DF_LOOP:
    begin_loop(f, u, i, n);
    break;
  case DF_END:
    *ret_ticks = end_loop(f, u);
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
    if (!u->last_was_route) *ret_ticks = ticks(f->m->spec.route_switch_cycles);
    set_route(f, u, i->to, (u32)n);
    break;
  default:
    require(i->opcode == DF_HALT);
    u->halted = true;
  }
  return GOES_ON;
}

// Runs the task's instructions that fall into this cycle.
static void run_task(fabric *f, unit *u) {
  while (u->task != NOBODY && u->main < (f->now + 1) * TICKS) {
    const df_task *t = task_of(f, u, u->task);
    if (u->running & 1) return; // the task waits for its own vector instruction
    if (u->next == t->first + t->count) {
      u->task = NOBODY;
      if (u->main > f->end) f->end = u->main;
      f->progress = true;
      return;
    }
    const df_instruction *i = &f->d->instructions[u->next];
    u64 at = u->main > f->now * TICKS ? u->main : f->now * TICKS, cost = TICKS;
    if (instruction_is_vector(i->opcode)) {
      if (!thread_start(f, u, i, at)) return; // that microthread is busy
      u->next++;
      if (i->thread == 0) cost = 0; // it goes on when the instruction is complete
    } else {
      u->next++;
      if (run_scalar(f, u, i, &cost) == WAITS) {
        u->next--;
        return;
      }
    }
    u->last_was_route = i->opcode == DF_ROUTE;
    u->main = at + cost;
    f->progress = true;
  }
}

// The task that runs: when it goes on. NEVER where the end of a vector instruction tells.
static u64 task_goes_on(fabric *f, const unit *u) {
  if (u->running & 1) return NEVER;
  if (u->main / TICKS > f->now) return u->main / TICKS;
  const df_task *t = task_of(f, u, u->task);
  if (u->next == t->first + t->count) return f->now + 1;
  const df_instruction *i = &f->d->instructions[u->next];
  if (instruction_is_vector(i->opcode)) return u->running >> i->thread & 1 ? NEVER : f->now + 1;
  if (i->opcode != DF_SEND && i->opcode != DF_CONTROL) return f->now + 1;
  return unit_send_due(f, u, f->dense_of[f->d->vectors[class_of(f, u)->first_vector + i->to].color]);
}

static u64 earlier(u64 a, u64 b) { return a < b ? a : b; }

static u64 unit_due(fabric *f, const unit *u) {
  u64 due = NEVER;
  u32 count = class_of(f, u)->task_count;
  for (u32 bits = u->running; bits && due > f->now + 1; bits &= bits - 1)
    due = earlier(due, thread_wake(f, u, thread_at(f, u, (u32)__builtin_ctz(bits))));
  if (due <= f->now + 1) return due;
  if (u->task != NOBODY) return earlier(due, task_goes_on(f, u));
  for (u32 i = 0; i < count && !u->halted; i++) {
    u64 when = task_due(f, u, i);
    due = earlier(due, when <= f->now ? f->now + 1 : when);
  }
  return due;
}

// Vector instructions that run; with `fresh` those only that have not begun.
static void run_threads(fabric *f, unit *u, bool fresh) {
  for (u32 bits = u->running; bits; bits &= bits - 1) {
    u32 i = (u32)__builtin_ctz(bits);
    if (u->datapath >= (f->now + 1) * TICKS && !(u->ending >> i & 1)) continue; // nothing to do it with
    if (!fresh || !thread_at(f, u, i)->at) thread_run(f, u, i);
  }
}

void unit_step(fabric *f, u32 index) {
  unit *u = &f->unit[index];
  u->wake = NEVER;
  run_threads(f, u, false);
  if (u->task == NOBODY) choose_task(f, u);
  run_task(f, u);
  if (u->task != NOBODY) run_threads(f, u, true); // what was started in this cycle may begin in it
  fabric_wake(f, index, unit_due(f, u));
}

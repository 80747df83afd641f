// The walk through cycles: by one thread, or by several that meet twice a cycle, in stretches. Which of the two
// a stretch is walked by depends on the clock; nothing else does.
#include "sim/fabric/fabric_state.h"

#include <omp.h>
#include <sched.h>
#include <time.h>

enum { ALONE, TOGETHER, WAYS };
enum { LOOK_CYCLES = 32, SPINS = 1000 };
#define WAIT_LEAST_S 0.02
#define WAIT_MOST_S 0.3
// A meeting of two threads takes about 0.3 microseconds, and a cycle has two.
static const double worth_s = 1.5e-6, stretch_s = 1e-3, trial_s = 2e-4;

// The cycle after `now` in which there is something to do; NEVER: there is none. Every thread finds the same.
static u64 next_cycle(const fabric *f, u64 now) {
  u64 arrives = 0, due = NEVER;
  bool progress = false;
  for (u32 i = 0; i < f->strip_count; i++) {
    const news *n = &f->strips[i].news;
    if (n->fault) return NEVER;
    progress |= n->progress;
    if (n->arrives > arrives) arrives = n->arrives;
    if (n->due < due) due = n->due;
  }
  return progress || arrives > now ? now + 1 : due;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void relax(void) {
#if defined __x86_64__
  __builtin_ia32_pause();
#endif
}

// Waits in place for a while, since the others are nearly there; then lets other work have the processor.
static void meet(meeting *m, u32 threads, u32 spins) {
  if (threads == 1) return;
  u32 turn = atomic_load_explicit(&m->turn, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&m->here, 1, memory_order_acq_rel) + 1 == threads) {
    atomic_store_explicit(&m->here, 0, memory_order_relaxed);
    atomic_store_explicit(&m->turn, turn + 1, memory_order_release);
    return;
  }
  for (u32 i = 0; atomic_load_explicit(&m->turn, memory_order_acquire) == turn; i++) {
    if (i < spins)
      relax();
    else
      sched_yield();
  }
}

// Strips [first, end) by one of `threads` threads; the first of them looks at the clock.
static void walk(fabric *f, u32 me, u32 threads, double until) {
  u32 first = f->strip_count * me / threads, end = f->strip_count * (me + 1) / threads;
  u32 spins = threads <= (u32)omp_get_num_procs() ? SPINS : 0;
  u64 at = f->next;
  for (u32 looked = 0; at < f->most; looked++) {
    for (u32 i = first; i < end; i++) strip_step(&f->strips[i], at);
    meet(&f->meeting, threads, spins);
    for (u32 i = first; i < end; i++) strip_decide(&f->strips[i]);
    if (me == 0) {
      f->stepped++;
      if (until > 0 && looked % LOOK_CYCLES == LOOK_CYCLES - 1 && seconds() >= until) f->enough = true;
    }
    meet(&f->meeting, threads, spins);
    at = next_cycle(f, at);
    if (f->enough) break;
  }
  meet(&f->meeting, threads, spins); // nobody begins with f->next any more
  if (me == 0) f->next = at;
}

static void walk_together(fabric *f, double until) {
#pragma omp parallel num_threads((int)f->strip_count)
  walk(f, (u32)omp_get_thread_num(), (u32)omp_get_num_threads(), until);
}

// How it went lately: seconds per thing looked at, by the way it was walked.
typedef struct pace {
  double cost_s[WAYS]; // 0: not known
  double per_cycle;    // things looked at
  u32 way;
  double again; // when the other way is tried next
  double wait_s;
} pace;

static u64 work_of(const fabric *f) {
  u64 work = 0;
  for (u32 i = 0; i < f->strip_count; i++) work += f->strips[i].work;
  return work;
}

static void walk_stretch(fabric *f, pace *p, u32 way, double length_s) {
  u64 work = work_of(f), stepped = f->stepped;
  double begin = seconds();
  f->enough = false;
  if (way == TOGETHER)
    walk_together(f, begin + length_s);
  else
    walk(f, 0, 1, begin + length_s);
  work = work_of(f) - work;
  if (!work) return;
  double cost = (seconds() - begin) / (double)work;
  p->cost_s[way] = p->cost_s[way] > 0 ? 0.5 * (p->cost_s[way] + cost) : cost;
  p->per_cycle = (double)work / (double)(f->stepped - stepped);
}

// Another look at the other way. One that loses is tried again after twice the time, and so that such trials take
// a twentieth of the time at most: with other work on the processors a short one may take long.
static void try_other(fabric *f, pace *p) {
  double begin = seconds();
  p->cost_s[!p->way] = 0; // what was long ago does not count
  walk_stretch(f, p, !p->way, trial_s);
  double took = seconds() - begin;
  if (p->cost_s[!p->way] > 0 && p->cost_s[!p->way] < p->cost_s[p->way]) {
    p->way = !p->way;
    p->wait_s = WAIT_LEAST_S;
  } else if (p->wait_s < WAIT_MOST_S)
    p->wait_s *= 2;
  p->again = begin + took + (p->wait_s > 20 * took ? p->wait_s : 20 * took);
}

// Threads are worth nothing where a cycle has little to do, and cost time where the processors are busy otherwise.
static void walk_next(fabric *f, pace *p) {
  bool small = p->per_cycle * p->cost_s[ALONE] < worth_s;
  if (small) p->way = ALONE;
  walk_stretch(f, p, p->way, stretch_s);
  if (!small && f->next < f->most && seconds() >= p->again) try_other(f, p);
}

void stretch_run(fabric *f) {
  if (f->strip_count == 1 || f->flip.hops) {
    walk(f, 0, 1, 0);
    return;
  }
  if (f->always) {
    walk_together(f, 0);
    return;
  }
  pace p = {.way = ALONE, .wait_s = WAIT_LEAST_S};
  walk_stretch(f, &p, ALONE, trial_s);
  while (f->next < f->most) walk_next(f, &p);
}

// The course of a sweep: what is to be done, the processes that do it, and what becomes of each.
#include "runtime/sweep_run.h"

#include "base/file.h"
#include "base/log.h"
#include "runtime/step_record.h"
#include "runtime/stop.h"
#include "runtime/sweep_child.h"
#include "runtime/sweep_progress.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Longer than a silent run on another host counts as running.
#define WAIT_FOR_OTHERS_S 90.0
#define NAP_NS 10000000

typedef struct slot {
  sweep_child child;
  const sweep_task *task;
  double reached; // fraction of its steps, as last seen
} slot;

typedef struct runner {
  const sweep *s;
  run_db *db;
  arena *memory;
  sweep_task *tasks;
  double *begun; // fraction of a task's steps that stood before
  u32 task_count, next, running, jobs, done;
  slot *slots;
  double work_done; // by runs that ended
  sweep_progress progress;
  sweep_outcome *out;
} runner;

static void nap(void) {
  const struct timespec t = {.tv_nsec = NAP_NS};
  nanosleep(&t, NULL); // a signal ends it early, which is as well
}

// ---- what is to be done

static bool read_table(runner *r, sweep_table *t, status *st) {
  sweep_table_init(t, r->s, r->memory);
  return sweep_table_read(t, r->db, r->s->db, r->memory, st);
}

// Runs that a killed sweep left behind save and end within a step.
static bool wait_for_others(runner *r, sweep_table *t, status *st) {
  const double start = clock_seconds();
  while (t->count[POINT_RUNNING]) {
    if (stop_requested() != CODE_OK) return true;
    if (clock_seconds() - start > WAIT_FOR_OTHERS_S) {
      u32 i = 0;
      while (t->rows[i].state != POINT_RUNNING) i++;
      const run_row *run = t->rows[i].run;
      return status_fail(st, CODE_CANT_CREATE,
                         "%s: run %llu of this sweep is still running (process %lld on %s); stop it or wait for it",
                         r->s->db, (unsigned long long)run->id, (long long)run->pid,
                         run->host ? run->host : "another host");
    }
    for (int i = 0; i < 20; i++) nap();
    if (!read_table(r, t, st)) return false;
  }
  return true;
}

static bool check_same_data(const sweep *s, const sweep_point *p, const sweep_row *row, status *st) {
  if (!row->run || !p->data_hash || !row->run->facts.data_hash || p->data_hash == row->run->facts.data_hash)
    return true;
  return status_fail(st, CODE_DATA,
                     "the training data has changed since run %llu of sweep %s in %s; put the old data back, or take "
                     "another --db",
                     (unsigned long long)row->run->id, s->spec.name, s->db);
}

// Rows that cannot be continued give way: simulations that were cut off, and runs that failed before
// anything was trained.
static bool plan_point(runner *r, const sweep_point *p, const sweep_row *row, status *st) {
  if (!check_same_data(r->s, p, row, st)) return false;
  if (row->state == POINT_FINISHED || row->state == POINT_DIVERGED) {
    r->done++;
    return true;
  }
  sweep_task *task = &r->tasks[r->task_count];
  *task = (sweep_task){.point = p};
  if (row->run && r->s->spec.command == SWEEP_TRAIN && row->run->facts.data_hash) {
    task->run = row->run->id;
    r->begun[r->task_count] = p->steps > 0 ? fmax(0, (double)row->run->results.steps / p->steps) : 0;
  } else if (row->run && !run_db_remove(r->db, row->run->id, st)) {
    return false;
  }
  r->progress.work_all += p->cost * (1 - r->begun[r->task_count++]);
  return true;
}

static bool plan_all(runner *r, bool resume, status *st) {
  const sweep *s = r->s;
  sweep_table t;
  if (!read_table(r, &t, st)) return false;
  const u32 known = s->count - t.count[POINT_NONE];
  if (known && !resume) {
    return status_fail(st, CODE_USAGE,
                       "%s already holds %u of the %u points of sweep %s; --resume runs what is missing, --db names "
                       "another file",
                       s->db, known, s->count, s->spec.name);
  }
  if (!wait_for_others(r, &t, st)) return false;
  r->tasks = arena_array(r->memory, sweep_task, s->count + 1);
  r->begun = arena_array(r->memory, double, s->count + 1);
  for (u32 i = 0; i < s->count && stop_requested() == CODE_OK; i++) {
    if (!plan_point(r, &s->points[i], &t.rows[i], st)) return false;
  }
  return true;
}

static void share_cores(runner *r, const sweep_request *request) {
  r->jobs = request->jobs < r->task_count ? request->jobs : r->task_count;
  r->slots = arena_array(r->memory, slot, r->jobs + 1);
  const u32 cores = (u32)omp_get_num_procs(), share = r->jobs ? cores / r->jobs : cores;
  for (u32 i = 0; i < r->task_count; i++) {
    r->tasks[i].threads = request->threads ? request->threads : share ? share : 1;
  }
}

// ---- what became of a run

// A row for a point whose run died before it made one.
static bool record_failure(runner *r, const sweep_point *p, const char *why, arena *a, status *st) {
  const run_assignment *sets;
  u32 count;
  u64 run;
  run_spec *spec = arena_array(a, run_spec, 1);
  if (!sweep_point_sets(r->s, p, a, &sets, &count, st)) return false;
  if (!run_spec_load(spec, r->s->spec.base_path, sets, count, a, st)) return false;
  text yaml = {0};
  run_spec_print(spec, true, &yaml);
  run_facts facts = run_facts_none();
  facts.name = spec->record.name;
  facts.command = sweep_command_name(r->s->spec.command);
  facts.experiment = r->s->spec.name;
  facts.config = arena_text(a, text_get(&yaml));
  facts.config_hash = p->hash;
  facts.machine = spec->machine.preset;
  facts.seed = spec->top.seed;
  text_free(&yaml);
  return run_db_start(r->db, &facts, &run, st) && step_record_params(r->db, run, spec, a, st) &&
         run_db_finish(r->db, run, RUN_FAILED, why, st);
}

static bool settle_failure(runner *r, const sweep_point *p, const char *why, arena *a, status *st) {
  sweep one = *r->s;
  one.points = arena_array(a, sweep_point, 1);
  one.points[0] = *p;
  one.count = 1;
  sweep_table t;
  sweep_table_init(&t, &one, a);
  if (!sweep_table_read(&t, r->db, r->s->db, a, st)) return false;
  const sweep_row *row = &t.rows[0];
  if (row->state == POINT_DIVERGED) {
    r->done++;
    return true;
  }
  r->out->failed++;
  log_say(LOG_WARN, "%s failed: %s", sweep_point_name(r->s, p, a), why);
  if (!row->run) return record_failure(r, p, why, a, st);
  return row->state == POINT_FAILED || run_db_finish(r->db, row->run->id, RUN_FAILED, why, st);
}

static bool settle(runner *r, slot *at, int code, status *st) {
  arena *a = arena_create("sweep run");
  const sweep_task *task = at->task;
  const char *why = sweep_child_finish(&at->child, code, a);
  const bool stopped = code == CODE_REQUEUE || code == CODE_INTERRUPTED || code == 128 + 15 || code == 128 + 10;
  r->running--;
  r->out->ran++;
  bool ok = true;
  if (stopped) {
    r->out->interrupted++;
  } else {
    r->work_done += task->point->cost * (1 - r->begun[task - r->tasks]);
    r->done += code == CODE_OK;
    ok = code == CODE_OK || settle_failure(r, task->point, why, a, st);
  }
  arena_destroy(a);
  return ok;
}

// ---- the loop

static bool start_one(runner *r, status *st) {
  slot *at = r->slots;
  while (at->child.pid) at++;
  const sweep_task *task = &r->tasks[r->next++];
  arena *a = arena_create("sweep start");
  *at = (slot){.task = task, .reached = r->begun[task - r->tasks]};
  const bool ok = sweep_child_start(r->s, task, &at->child, a, st);
  r->running += ok;
  arena_destroy(a);
  return ok;
}

static bool reap(runner *r, status *st) {
  bool ok = true;
  for (u32 i = 0; i < r->jobs; i++) {
    int code;
    if (r->slots[i].child.pid && sweep_child_ended(&r->slots[i].child, &code)) {
      ok = settle(r, &r->slots[i], code, st) && ok;
    }
  }
  return ok;
}

static void stop_all(const runner *r) {
  for (u32 i = 0; i < r->jobs; i++) sweep_child_stop(&r->slots[i].child);
}

// One running row: its hash and last step.
static bool see_step(void *user, u32 columns, const char *const *names, const char *const *values) {
  (void)columns;
  (void)names;
  runner *r = user;
  const u64 hash = values[0] ? strtoull(values[0], NULL, 16) : 0;
  for (u32 i = 0; i < r->jobs; i++) {
    slot *at = &r->slots[i];
    if (!at->child.pid || at->task->point->hash != hash || !values[1]) continue;
    at->reached = fmin(1, strtod(values[1], NULL) / fmax(1, at->task->point->steps));
  }
  return true;
}

static void show(runner *r) {
  status quiet = {0}; // how far it is may stay unknown
  if (sweep_progress_due(&r->progress)) {
    run_db_query(r->db,
                 "SELECT config_hash, (SELECT max(step) FROM metric m WHERE m.run = r.id AND m.key = 1)"
                 " FROM run r WHERE status = 'running'",
                 see_step, r, &quiet);
  }
  sweep_counts c = {r->done, r->running, r->out->failed, r->work_done};
  for (u32 i = 0; i < r->jobs; i++) {
    const slot *at = &r->slots[i];
    if (at->child.pid) c.work_done += at->task->point->cost * fmax(0, at->reached - r->begun[at->task - r->tasks]);
  }
  sweep_progress_show(&r->progress, &c);
}

static bool run_all(runner *r, status *st) {
  bool ok = true, stopping = false;
  while (r->running || (r->next < r->task_count && !stopping)) {
    if (r->out->stop == CODE_OK) r->out->stop = stop_requested();
    if (!stopping && (r->out->stop != CODE_OK || !ok)) {
      stopping = true;
      stop_all(r);
    }
    while (ok && !stopping && r->running < r->jobs && r->next < r->task_count) ok = start_one(r, st);
    ok = reap(r, st) && ok;
    show(r);
    nap();
  }
  return ok;
}

bool sweep_run(const sweep *s, const sweep_request *request, run_db *db, arena *a, sweep_outcome *ret, status *st) {
  runner r = {.s = s, .db = db, .memory = a, .out = ret, .progress = {.name = s->spec.name, .points = s->count}};
  *ret = (sweep_outcome){0};
  stop_install();
  if (!plan_all(&r, request->resume, st)) return false;
  share_cores(&r, request);
  ret->stop = stop_requested();
  sweep_progress_start(&r.progress);
  const bool ok = ret->stop != CODE_OK || run_all(&r, st);
  sweep_progress_end(&r.progress);
  ret->wall_s = clock_seconds() - r.progress.start_s;
  return ok;
}

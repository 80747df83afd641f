// The course of a training run; its rows are written by train_record.c.
#include "runtime/train_run.h"

#include "base/file.h"
#include "base/log.h"
#include "model/compute/checkpoint.h"
#include "model/compute/gpt2_files.h"
#include "runtime/progress.h"
#include "runtime/ranks.h"
#include "runtime/report.h"
#include "runtime/run_note.h"
#include "runtime/stop.h"
#include "runtime/train_record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// The places of the run's files, and what its checkpoints say of themselves.
static void name_files(train_run *t, const char *folder) {
  arena *a = t->memory;
  t->folder = arena_text(a, folder);
  t->checkpoint = arena_format(a, "%s/checkpoint", folder);
  t->trace = t->spec->record.trace ? arena_format(a, "%s/step.pftrace", folder) : NULL;
  t->report = t->spec->record.report ? arena_format(a, "%s/report.html", folder) : NULL;
  t->note = run_note_make(t->spec, &t->data, a);
}

// ---- before anything is made

static bool make_trainer(train_run *t, status *st) {
  if (t->spec->train.numbers == NUMBERS_FABRIC) {
    if (t->spec->engine.name != ENGINE_FABRIC)
      return status_fail(st, CODE_CONFIG,
                         "train.numbers=fabric: numbers come from wavelets with engine.name=fabric only");
    t->fabric = fabric_step_open(fabric_step_wanted(t->spec, &t->sim.graph, &t->sim.machine, t->memory), t->memory, st);
    if (!t->fabric) return false;
  }
  const trainer_setup setup = {
      .graph = &t->sim.graph,
      .options = &t->spec->train,
      .kernels = trainer_kernels(&t->spec->train),
      .seed = t->spec->top.seed,
      .threads = run_threads(t->spec),
      .source = t->fabric ? fabric_step_source(t->fabric) : NULL,
      .ranks = ranks_exchange(t->memory),
  };
  t->trainer = trainer_create(&setup, t->memory, st);
  if (!t->trainer) return false;
  execute_profile(trainer_executor(t->trainer), t->profile);
  if (!t->spec->train.init[0]) return true;
  float **params = arena_array(t->memory, float *, setup.graph->param_count);
  for (u32 p = 0; p < setup.graph->param_count; p++) params[p] = trainer_param(t->trainer, p);
  return gpt2_read(setup.graph, t->spec->train.init, params, st);
}

bool train_open(train_run *t, run_spec *spec, arena *a, status *st) {
  t->spec = spec;
  t->memory = a;
  t->loss_first = t->loss_last = t->val_loss = t->host_tokens_per_s = t->wall_s = NAN;
  if (!run_data_open(spec, a, &t->data, st)) return false;
  run_data_fill_vocab(spec, &t->data);
  return step_sim_run(spec, false, a, &t->sim, st) && make_trainer(t, st);
}

static bool close_db(train_run *t, status *st) {
  const bool ok = run_db_close(t->db, st);
  t->db = NULL;
  return ok;
}

void train_close(train_run *t, status *st) {
  tokens_close(&t->data);
  close_db(t, st);
}

// ---- taking a run up again

static bool check_state(const run_row *row, status *st) {
  const unsigned long long id = row->id;
  if (!row->facts.command || strcmp(row->facts.command, "train") != 0 || !row->facts.config) {
    return status_fail(st, CODE_USAGE, "run %llu is no training run; weft runs lists them", id);
  }
  if (row->state == RUN_FINISHED) {
    return status_fail(st, CODE_USAGE, "run %llu is finished, so there is nothing to resume", id);
  }
  if (row->state == RUN_DIVERGED) {
    return status_fail(st, CODE_USAGE, "run %llu diverged and would again; start a new one with a smaller train.lr",
                       id);
  }
  if (row->state == RUN_RUNNING) {
    return status_fail(st, CODE_USAGE, "run %llu is still running (process %lld on %s)", id, (long long)row->pid,
                       row->host ? row->host : "another host");
  }
  return true;
}

static const config_section *section_of(const config *c, const char *key, const field **ret_field) {
  for (u32 i = 0; i < c->count; i++) {
    const field_table *t = c->sections[i].table;
    const size_t n = strlen(t->name);
    const char *inner = n == 0 ? key : strncmp(key, t->name, n) == 0 && key[n] == '.' ? key + n + 1 : NULL;
    if (n && strcmp(key, t->name) == 0) inner = "preset";
    *ret_field = inner ? field_find(t, inner) : NULL;
    if (*ret_field) return &c->sections[i];
  }
  return NULL;
}

// Sets the key, and fails where that changes the run's value.
static bool check_same(run_spec *r, u64 id, const run_assignment *s, status *st) {
  const field *f = NULL;
  const config_section *section = section_of(&r->config, s->key, &f);
  text before = {0}, after = {0};
  if (section) field_format(f, section->spec, &before);
  const bool set = config_set(&r->config, s->key, s->value, LEVEL_SET, s->where, NULL, st);
  if (set) field_format(f, section->spec, &after);
  if (set && strcmp(text_get(&before), text_get(&after)) != 0) {
    status_fail(st, CODE_CONFIG,
                "%s: run %llu was started with %s=%s, and a resumed run keeps what it was told; "
                "start a new run for %s",
                s->where, (unsigned long long)id, s->key, text_get(&before), text_get(&after));
  }
  text_free(&before);
  text_free(&after);
  return status_ok(st);
}

static bool read_config(const run_row *row, const train_resume *request, run_spec *r, arena *a, status *st) {
  run_spec_init(r, a);
  const char *name = arena_format(a, "run %llu", (unsigned long long)row->id);
  if (!config_read(&r->config, name, row->facts.config, strlen(row->facts.config), "", LEVEL_FILE, st)) return false;
  for (u32 i = 0; i < request->set_count; i++) {
    const run_assignment *s = &request->sets[i];
    if (strcmp(s->key, "record.db") == 0) continue; // where the run lies, not what it is
    if (!check_same(r, row->id, s, st)) return false;
  }
  return true;
}

// The data and the computation must be what they were.
static bool check_identity(const train_run *t, const run_row *row, status *st) {
  const unsigned long long id = row->id;
  if (t->data.hash != row->facts.data_hash) {
    return status_fail(st, CODE_DATA,
                       "%s has changed since run %llu was started on it; put the old data back or start a "
                       "new run",
                       run_data_name(t->spec), id);
  }
  if (graph_hash(&t->sim.graph) != row->facts.graph_hash) {
    return status_fail(st, CODE_CONFIG,
                       "this weft computes the model of run %llu in another way; resume it with weft %s", id,
                       row->facts.weft_version ? row->facts.weft_version : "as it was");
  }
  return true;
}

// The folder that the row names; where it was moved together with the database, the one beside it. None
// where the run was killed before it had one.
static bool find_folder(train_run *t, const char *db_path, status *st) {
  const run_artifact *rows;
  u32 count;
  if (!run_db_artifacts(t->db, t->id, t->memory, &rows, &count, st)) return false;
  const char *named = NULL;
  for (u32 i = 0; i < count; i++) {
    if (strcmp(rows[i].kind, "folder") == 0) named = rows[i].path;
  }
  if (!named) return true;
  const char *slash = strrchr(db_path, '/'), *last = strrchr(named, '/');
  const char *beside = arena_format(t->memory, "%.*sweft-runs/%s", slash ? (int)(slash + 1 - db_path) : 0, db_path,
                                    last ? last + 1 : named);
  const char *found = !file_exists(named) && file_exists(beside) ? beside : named;
  name_files(t, found);
  return true;
}

static bool load_checkpoint(train_run *t, status *st) {
  t->saved = t->folder && checkpoint_exists(t->checkpoint);
  if (!t->saved) return true; // it had none yet: from the beginning
  run_spec *of = arena_array(t->memory, run_spec, 1);
  run_vocab vocab;
  if (!run_note_read(t->checkpoint, t->memory, of, &vocab, st)) return false;
  if (run_spec_hash(of) != run_spec_hash(t->spec)) {
    return status_fail(st, CODE_DATA, "%s: is a checkpoint of another run than %llu", t->checkpoint,
                       (unsigned long long)t->id);
  }
  if (!trainer_load(t->trainer, t->checkpoint, st)) return false;
  t->resumed_step = t->steps_done = trainer_steps_done(t->trainer);
  return true;
}

bool train_reopen(train_run *t, const train_resume *request, run_spec *ret_spec, arena *a, status *st) {
  if (!file_exists(request->db_path)) {
    return status_fail(st, CODE_NO_INPUT, "%s: there is no such run database; --db names it", request->db_path);
  }
  t->resumed = true;
  t->memory = a;
  const bool leads = ranks_index() == 0;
  t->db = leads ? run_db_open(request->db_path, st) : run_db_open_read(request->db_path, st);
  run_row row;
  if (!t->db || !run_db_find(t->db, request->word, &t->id, st) || !run_db_get(t->db, t->id, a, &row, st)) return false;
  if (!check_state(&row, st) || !read_config(&row, request, ret_spec, a, st)) return false;
  ret_spec->threads = request->threads;
  snprintf(ret_spec->record.db, sizeof ret_spec->record.db, "%s", request->db_path);
  if (!train_open(t, ret_spec, a, st) || !check_identity(t, &row, st) || !find_folder(t, request->db_path, st) ||
      !load_checkpoint(t, st))
    return false;
  return leads || close_db(t, st);
}

// ---- the folder and the row

// A stated folder must not hold the checkpoint of another run.
static bool make_stated_folder(train_run *t, bool *ret_made, status *st) {
  const char *out = t->spec->record.out;
  name_files(t, out);
  if (checkpoint_exists(t->checkpoint)) {
    return status_fail(st, CODE_CANT_CREATE,
                       "%s: holds the checkpoint of another run; choose another --out or remove it", out);
  }
  *ret_made = !file_exists(out);
  return file_make_dirs(out, st);
}

// weft-runs/ID beside the database; a number is added where an older database left such a folder with
// something in it.
static bool make_own_folder(train_run *t, status *st) {
  const char *db = t->spec->record.db, *slash = strrchr(db, '/');
  const int n = slash ? (int)(slash + 1 - db) : 0;
  const char *folder = arena_format(t->memory, "%.*sweft-runs/%llu", n, db, (unsigned long long)t->id);
  for (u32 again = 2; file_exists(folder) && rmdir(folder) != 0; again++) {
    folder = arena_format(t->memory, "%.*sweft-runs/%llu-%u", n, db, (unsigned long long)t->id, again);
  }
  name_files(t, folder);
  return file_make_dirs(folder, st);
}

static bool write_first_files(train_run *t, status *st) {
  text yaml = {0};
  run_spec_print(t->spec, false, &yaml);
  const char *path = arena_format(t->memory, "%s/run.yaml", t->folder);
  bool ok = train_record_artifact(t, "folder", t->folder, st) && file_write(path, text_get(&yaml), yaml.size, st) &&
            train_record_artifact(t, "config", path, st);
  text_free(&yaml);
  if (!ok || !t->trace) return ok;
  return step_sim_trace(&t->sim, t->trace, st) && train_record_artifact(t, "trace", t->trace, st);
}

// The row learns of a failure whatever its cause; the cause stays in st.
static bool end_failed(train_run *t, const status *st) {
  status quiet = {0};
  if (t->db && !run_db_finish(t->db, t->id, RUN_FAILED, st->text, &quiet)) log_say(LOG_WARN, "%s", quiet.text);
  t->state = RUN_FAILED;
  return false;
}

static bool start_row(train_run *t, status *st) {
  const bool stated = t->spec->record.out[0] != 0;
  bool made = false;
  if (stated && !make_stated_folder(t, &made, st)) return false;
  t->db = run_db_open(t->spec->record.db, st);
  const run_facts facts = train_facts(t, t->memory);
  if (!t->db || !run_db_start(t->db, &facts, &t->id, st)) {
    if (made) rmdir(t->folder);
    return false;
  }
  return stated || make_own_folder(t, st) || end_failed(t, st);
}

static bool take_up_row(train_run *t, status *st) {
  bool made = false;
  if (!run_db_resume(t->db, t->id, t->resumed_step, st)) return false;
  if (t->folder) return true;
  return (t->spec->record.out[0] ? make_stated_folder(t, &made, st) : make_own_folder(t, st)) || end_failed(t, st);
}

bool train_record(train_run *t, status *st) {
  stop_install();
  if (ranks_index() > 0) return true;
  if (!(t->resumed ? take_up_row(t, st) : start_row(t, st))) return false;
  return (train_record_model(t, st) && train_record_ranks(t, st) && write_first_files(t, st)) || end_failed(t, st);
}

// ---- the steps

// A stall is no divergence: the run fails with its sentence.
static bool fabric_is_well(const train_run *t, status *st) {
  if (!t->fabric || status_ok(fabric_step_status(t->fabric))) return true;
  *st = *fabric_step_status(t->fabric);
  return false;
}

static bool add(train_run *t, u32 key, u64 step, double value, status *st) {
  return !t->db || run_db_add_metric(t->db, t->id, key, step, value, st);
}

static bool save(train_run *t, status *st) {
  if (!t->db) return true;
  if (!run_db_flush(t->db, st)) return false;
  if (!checkpoint_save(t->trainer, t->checkpoint, t->note, st)) return false;
  const bool first = !t->saved;
  t->saved = true;
  return !first || train_record_artifact(t, "checkpoint", t->checkpoint, st);
}

static bool evaluate(train_run *t, status *st) {
  if (!ranks_meet(NULL, st)) return false;
  t->val_loss = trainer_evaluate(t->trainer, &t->data);
  if (!fabric_is_well(t, st)) return false;
  if (!isfinite(t->val_loss)) t->state = RUN_DIVERGED;
  return add(t, METRIC_VAL_LOSS, t->steps_done, t->val_loss, st);
}

static bool due(u32 every, u64 step, u64 steps) {
  return every && step % every == 0 && step < steps;
}

static bool record_step(train_run *t, const step_result *r, status *st) {
  return add(t, METRIC_LOSS, r->step, r->loss, st) && add(t, METRIC_LR, r->step, r->lr, st) &&
         add(t, METRIC_GRAD_NORM, r->step, r->grad_norm, st) && (!t->db || run_db_heartbeat(t->db, t->id, st));
}

// What follows a step: its metrics, and what is due after it. A rank that fails here takes part in the evaluation's
// meeting all the same.
static void after_step(train_run *t, const step_result *r, progress *p, status *st) {
  const train_options *o = &t->spec->train;
  const u64 n = t->steps_done = r->step;
  if (n == 1) t->loss_first = r->loss;
  t->loss_last = r->loss;
  if (record_step(t, r, st) && t->db) progress_step(p, n, r->loss);
  if (!r->finite) {
    t->state = RUN_DIVERGED;
    return;
  }
  progress_pause(p);
  if (due(o->eval_every, n, o->steps)) evaluate(t, st);
  if (status_ok(st) && t->state != RUN_DIVERGED && due(o->checkpoint_every, n, o->steps)) save(t, st);
  progress_continue(p);
}

static bool run_steps(train_run *t, progress *p, status *st) {
  const u64 steps = t->spec->train.steps;
  while (t->steps_done < steps && t->state == RUN_RUNNING) {
    t->stop = stop_requested();
    if (!ranks_meet(&t->stop, st)) return false;
    if (t->stop != CODE_OK) return true;
    const step_result r = trainer_step(t->trainer, &t->data);
    if (fabric_is_well(t, st)) after_step(t, &r, p, st);
  }
  return ranks_meet(NULL, st);
}

// A resumed run has its first losses in the database.
static bool read_losses(train_run *t, status *st) {
  const run_point *points;
  u32 count;
  if (!run_db_series(t->db, t->id, "loss", t->memory, &points, &count, st)) return false;
  if (!count) return true;
  t->loss_first = points[0].value;
  t->loss_last = points[count - 1].value;
  return true;
}

static bool end_row(train_run *t, status *st) {
  const char *why = NULL;
  if (t->state == RUN_DIVERGED) {
    why = arena_format(t->memory, "the loss is not finite after step %llu", (unsigned long long)t->steps_done);
  } else if (t->stop != CODE_OK) {
    why =
        arena_format(t->memory, "%s after step %llu, with a checkpoint",
                     t->stop == CODE_INTERRUPTED ? "interrupted" : "asked to stop", (unsigned long long)t->steps_done);
    t->state = RUN_KILLED;
  } else {
    t->state = RUN_FINISHED;
  }
  return !t->db || (train_record_results(t, st) && run_db_finish(t->db, t->id, t->state, why, st));
}

static bool write_report(train_run *t, status *st) {
  if (!t->report || !t->db) return true;
  return report_write(t->report, t->db, t->id, &t->sim, st) && train_record_artifact(t, "report", t->report, st);
}

static bool course(train_run *t, status *st) {
  const train_options *o = &t->spec->train;
  progress p = {
      .first = t->resumed_step,
      .steps = o->steps,
      .tokens = (double)o->batch * o->seq,
      .model_tokens_per_s = t->sim.tokens_per_s,
      .machine = t->spec->machine.preset,
  };
  const double start = clock_seconds();
  if (t->resumed && t->db) read_losses(t, st); // a failure is told at the first meeting
  progress_start(&p);
  const bool ok = run_steps(t, &p, st);
  if (t->steps_done > t->resumed_step) t->host_tokens_per_s = progress_rate(&p, t->steps_done);
  progress_end(&p);
  if (!ok) return false;
  const bool complete = t->state == RUN_RUNNING && t->stop == CODE_OK;
  if (complete && !evaluate(t, st)) return false;
  if (t->state == RUN_RUNNING && !save(t, st)) return false;
  t->wall_s = clock_seconds() - start;
  return end_row(t, st);
}

bool train_go(train_run *t, status *st) {
  t->state = RUN_RUNNING;
  if (!course(t, st)) return end_failed(t, st);
  return write_report(t, st);
}

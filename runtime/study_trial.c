// One trained model of a study and its row.
#include "runtime/study.h"

#include "base/file.h"

#include <math.h>

run_spec *study_wish(const study *s, arena *a) {
  run_spec *r = arena_array(a, run_spec, 1);
  run_spec_init(r, a);
  r->top = s->base->top;
  r->machine = s->base->machine;
  r->model = s->base->model;
  r->data = s->base->data;
  r->train = s->base->train;
  r->plan = s->base->plan;
  r->engine = s->base->engine;
  r->threads = s->base->threads;
  return r;
}

bool trial_open(trial *t, study *s, const run_spec *wish, status *st) {
  *t = (trial){.of = s, .memory = arena_create("model of a study"), .finite = true, .start_s = clock_seconds()};
  t->loss_first = t->loss_last = t->val_loss = NAN;
  t->spec = *wish;
  const base_hyper base = {wish->train.lr, wish->train.weight_decay, wish->train.eps};
  if (!graph_build(&wish->model, base, wish->train.seq, t->memory, &t->graph, st)) return false;
  if (s->sabotage.make) s->sabotage.make(&t->graph, s->sabotage.user);
  const trainer_setup setup = {.graph = &t->graph,
                               .options = &t->spec.train,
                               .kernels = trainer_kernels(&t->spec.train),
                               .seed = wish->top.seed,
                               .threads = run_threads(wish)};
  t->trainer = trainer_create(&setup, t->memory, st);
  return t->trainer != NULL;
}

void trial_close(trial *t) {
  arena_destroy(t->memory);
  t->memory = NULL;
}

bool trial_record(trial *t, const char *label, status *st) {
  return study_row_start(t->of, label, &t->spec, &t->run, st);
}

bool trial_metric(trial *t, const char *key, u64 step, double value, status *st) {
  return study_metric(t->of, t->run, key, step, value, st);
}

// A stop ends the row, whose model is trained from its beginning when the study goes on.
static bool go_on(trial *t, status *st) {
  status quiet = {0};
  if (study_go_on(st)) return true;
  run_db_finish(t->of->db, t->run, RUN_KILLED, st->text, &quiet);
  return false;
}

bool trial_step(trial *t, status *st) {
  if (!go_on(t, st)) return false;
  const step_result r = trainer_step(t->trainer, &t->of->data);
  if (r.step == 1) t->loss_first = r.loss;
  t->loss_last = r.loss;
  t->finite = t->finite && r.finite;
  return run_db_add_metric(t->of->db, t->run, METRIC_LOSS, r.step, r.loss, st);
}

static bool train_to_end(trial *t, status *st) {
  while (t->finite && trainer_steps_done(t->trainer) < t->spec.train.steps)
    if (!trial_step(t, st)) return false;
  if (t->finite) t->val_loss = trainer_evaluate(t->trainer, &t->of->data);
  t->finite = t->finite && isfinite(t->val_loss);
  const u64 steps = trainer_steps_done(t->trainer);
  return run_db_add_metric(t->of->db, t->run, METRIC_VAL_LOSS, steps, t->val_loss, st) && trial_end(t, st);
}

bool trial_loss(study *s, const run_spec *wish, const char *label, double *ret_val_loss, status *st) {
  arena *a = arena_create("a known model");
  const run_row *known;
  trial t = {0};
  bool ok = study_go_on(st) && study_known(s, wish, label, a, &known, st);
  if (ok && known) {
    *ret_val_loss = known->state == RUN_FINISHED ? known->results.val_loss : (double)INFINITY;
  } else if (ok) {
    ok = trial_open(&t, s, wish, st) && trial_record(&t, label, st) && train_to_end(&t, st);
    *ret_val_loss = t.finite ? t.val_loss : (double)INFINITY;
  }
  if (t.memory) trial_close(&t);
  arena_destroy(a);
  return ok;
}

bool trial_end(trial *t, status *st) {
  const u64 steps = trainer_steps_done(t->trainer);
  run_results r = run_results_none();
  r.steps = (i64)steps;
  r.tokens = (i64)(steps * t->spec.train.batch * t->spec.train.seq);
  r.loss_first = t->loss_first;
  r.loss_last = t->loss_last;
  r.val_loss = t->val_loss;
  r.wall_s = clock_seconds() - t->start_s;
  return run_db_set_results(t->of->db, t->run, &r, st) &&
         run_db_finish(t->of->db, t->run, t->finite ? RUN_FINISHED : RUN_DIVERGED,
                       t->finite ? NULL : "the loss is not finite", st);
}

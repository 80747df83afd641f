// Rows of a training run: facts and results beside those of its modelled step, files.
#include "runtime/train_record.h"

#include "runtime/ranks.h"
#include "runtime/step_record.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

run_facts train_facts(const train_run *t, arena *a) {
  const run_spec *r = t->spec;
  run_facts f = step_facts(r, &t->sim, a);
  f.command = "train";
  f.data = arena_format(a, "%s: %llu tokens to train on, %llu held out", run_data_name(r),
                        (unsigned long long)t->data.train_count, (unsigned long long)t->data.held_count);
  f.data_hash = t->data.hash;
  return f;
}

// ---- the modelled step

bool train_record_model(train_run *t, status *st) {
  arena *a = arena_create("record");
  // A resumed run keeps the origins that it was started with.
  const run_param *known;
  u32 count = 0;
  // What training gives stays unknown until the end: readers look at the metrics meanwhile.
  const run_results modelled = step_results(t->spec, &t->sim);
  const bool ok = run_db_params(t->db, t->id, a, &known, &count, st) &&
                  (count || step_record_params(t->db, t->id, t->spec, a, st)) &&
                  step_record_phases(t->db, t->id, &t->sim, a, st) && run_db_set_results(t->db, t->id, &modelled, st);
  arena_destroy(a);
  return ok;
}

bool train_record_results(train_run *t, status *st) {
  run_results r = step_results(t->spec, &t->sim);
  r.steps = (i64)t->steps_done;
  r.tokens = (i64)(t->steps_done * t->spec->train.batch * t->spec->train.seq);
  r.loss_first = t->loss_first;
  r.loss_last = t->loss_last;
  r.val_loss = t->val_loss;
  r.wall_s = t->wall_s;
  r.host_tokens_per_s = t->host_tokens_per_s;
  return run_db_set_results(t->db, t->id, &r, st);
}

bool train_record_ranks(train_run *t, status *st) {
  const u32 ranks = ranks_count();
  return ranks == 1 || run_db_set_tag(t->db, t->id, "ranks", arena_format(t->memory, "%u", ranks), st);
}

// ---- files

bool train_record_artifact(train_run *t, const char *kind, const char *path, status *st) {
  char full[PATH_MAX];
  struct stat info;
  const bool is_file = stat(path, &info) == 0 && S_ISREG(info.st_mode);
  const run_artifact artifact = {
      .kind = kind,
      .path = realpath(path, full) ? full : path,
      .bytes = is_file ? (u64)info.st_size : 0,
  };
  return run_db_add_artifact(t->db, t->id, &artifact, st);
}

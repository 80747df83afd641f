// What the database already holds of a study: a start that was stopped, and the models that it finished.
#include "runtime/study.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

// Rows that belong to this statement on this data, newest first.
static bool list(const study *s, const char *experiment, arena *a, const run_row **ret_rows, u32 *ret_count,
                 status *st) {
  const run_filter f = {.experiment = experiment, .tag_key = "statement", .tag_value = s->statement};
  return run_db_list(s->db, &f, a, ret_rows, ret_count, st);
}

static bool same_origin(const study *s, const run_row *r) {
  return r->facts.data_hash == s->data.hash && r->facts.weft_version &&
         strcmp(r->facts.weft_version, WEFT_VERSION) == 0;
}

static bool text_same(const char *a, const char *b) {
  return a && b && strcmp(a, b) == 0;
}

bool study_known_start(study *s, status *st) {
  const char *stated = s->base->record.name[0] ? s->base->record.name : NULL;
  const run_row *rows;
  u32 count;
  if (!list(s, stated, s->memory, &rows, &count, st)) return false;
  for (u32 i = 0; i < count; i++) {
    const run_row *r = &rows[i];
    if (!text_same(r->facts.name, study_summary_name(s)) || !same_origin(s, r) || !r->facts.experiment) continue;
    const bool stopped = r->state == RUN_KILLED || r->state == RUN_FAILED;
    if (!stopped && !(stated && r->state == RUN_FINISHED)) return true; // the newest counts
    s->experiment = r->facts.experiment;
    s->summary = r->id;
    return true;
  }
  return true;
}

bool study_known(study *s, const run_spec *spec, const char *label, arena *a, const run_row **ret_row, status *st) {
  const run_row *rows;
  const u64 hash = run_spec_hash(spec);
  u32 count;
  *ret_row = NULL;
  if (s->sabotage.make) return true; // its models are not what their configurations say
  if (!list(s, s->experiment, a, &rows, &count, st)) return false;
  for (u32 i = 0; i < count; i++) {
    const run_row *r = &rows[i];
    if (r->facts.config_hash != hash || !text_same(r->facts.name, label) || !same_origin(s, r)) continue;
    if (r->state == RUN_FINISHED || r->state == RUN_DIVERGED)
      *ret_row = r;
    else if (r->state != RUN_RUNNING && !run_db_remove(s->db, r->id, st))
      return false;
  }
  s->skipped = *ret_row != NULL;
  s->known += s->skipped;
  return true;
}

bool study_known_values(study *s, u64 run, const char *key, const study_steps *at, double *ret_values, bool *ret_all,
                        status *st) {
  arena *a = arena_create("values of a study");
  const run_point *points;
  u32 count, found = 0;
  const bool ok = run_db_series(s->db, run, key, a, &points, &count, st);
  for (u32 i = 0; ok && i < count && found < at->count; i++)
    if (points[i].step == at->steps[found]) ret_values[found++ * at->stride] = points[i].value;
  arena_destroy(a);
  *ret_all = found == at->count;
  return ok;
}

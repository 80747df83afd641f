// Studies: statement, rows, progress and the end.
#include "runtime/study.h"

#include "base/file.h"
#include "base/log.h"
#include "runtime/presets.h"
#include "runtime/stop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- what is stated

static bool read_statement(const study_request *q, config *c, status *st) {
  const char *name = q->path ? q->path : q->kind;
  if (presets_is_path(name)) return config_read_file(c, name, "", LEVEL_FILE, st);
  const embed_file *f = presets_find("studies", name);
  if (!f) return presets_unknown("studies", "study", name, st);
  return config_read(c, f->name, (const char *)f->data, f->size, "", LEVEL_FILE, st);
}

bool study_load(const study_request *q, run_spec *ret_base, arena *a, status *st) {
  run_spec_init(ret_base, a);
  config_bind(&ret_base->config, q->table, q->spec);
  if (!read_statement(q, &ret_base->config, st)) return false;
  for (u32 i = 0; i < q->set_count; i++) {
    const run_assignment *s = &q->sets[i];
    const field_level level = s->is_flag ? LEVEL_FLAG : LEVEL_SET;
    if (!config_set(&ret_base->config, s->key, s->value, level, s->where, NULL, st)) return false;
  }
  ret_base->threads = q->threads;
  return run_spec_presets(ret_base, st);
}

// ---- rows

// The stated name; or the moment, and a number where a study of that moment stands.
static bool name_experiment(study *s, status *st) {
  s->experiment = s->base->record.name;
  if (s->experiment[0]) return true;
  const time_t now = (time_t)(clock_unix_ms() / 1000);
  struct tm t;
  char stamp[32] = "";
  if (gmtime_r(&now, &t)) strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &t);
  s->experiment = arena_format(s->memory, "study-%s-%s", s->kind, stamp);
  for (u32 again = 2;; again++) {
    const run_filter f = {.experiment = s->experiment, .limit = 1};
    const run_row *rows;
    u32 count;
    if (!run_db_list(s->db, &f, s->memory, &rows, &count, st)) return false;
    if (!count) return true;
    s->experiment = arena_format(s->memory, "study-%s-%s-%u", s->kind, stamp, again);
  }
}

// All values of a configuration's sections but machine, plan and engine, which a host's numbers do not ask.
static bool record_params(study *s, u64 run, const config *c, status *st) {
  static const char *const left_out[] = {"machine", "plan", "engine", "record"};
  arena *a = arena_create("study parameters");
  u32 total = 0, count = 0;
  for (u32 i = 0; i < c->count; i++) total += c->sections[i].table->count;
  run_param *params = arena_array(a, run_param, total);
  for (u32 i = 0; i < c->count; i++) {
    const config_section *section = &c->sections[i];
    bool skip = false;
    for (u32 k = 0; k < COUNT_OF(left_out); k++) skip |= strcmp(section->table->name, left_out[k]) == 0;
    for (u32 k = 0; !skip && k < section->table->count; k++) {
      text value = {0};
      field_format(&section->table->fields[k], section->spec, &value);
      params[count++] = (run_param){
          .key = arena_format(a, "%s%s%s", section->table->name, section->table->name[0] ? "." : "",
                              section->table->fields[k].key),
          .value = arena_text(a, text_get(&value)),
      };
      text_free(&value);
    }
  }
  const bool ok = run_db_set_params(s->db, run, params, count, st);
  arena_destroy(a);
  return ok;
}

static bool row_start(study *s, const run_facts *known, const run_spec *spec, u64 *ret_run, status *st) {
  text yaml = {0};
  run_spec_print(spec, false, &yaml);
  run_facts f = *known;
  f.experiment = s->experiment;
  f.config = text_get(&yaml);
  f.config_hash = run_spec_hash(spec);
  f.seed = spec->top.seed;
  f.threads = run_threads(s->base);
  f.weft_version = WEFT_VERSION;
  if (s->has_data) {
    f.data = run_data_name(s->base);
    f.data_hash = s->data.hash;
  }
  const bool ok = run_db_start(s->db, &f, ret_run, st) && record_params(s, *ret_run, &spec->config, st) &&
                  run_db_set_tag(s->db, *ret_run, "study", s->kind, st) &&
                  run_db_set_tag(s->db, *ret_run, "statement", s->statement, st);
  text_free(&yaml);
  return ok;
}

bool study_row_start(study *s, const char *label, const run_spec *spec, u64 *ret_run, status *st) {
  run_facts f = run_facts_none();
  f.name = label;
  f.command = arena_format(s->memory, "study %s", s->kind);
  return row_start(s, &f, spec, ret_run, st);
}

bool study_metric(study *s, u64 run, const char *key, u64 step, double value, status *st) {
  u32 id;
  return run_db_metric_key(s->db, key, "", &id, st) && run_db_add_metric(s->db, run, id, step, value, st);
}

// ---- the course

static bool make_folder(study *s, status *st) {
  const char *out = s->base->record.out, *db = s->base->record.db, *slash = strrchr(db, '/');
  s->folder = out[0] ? out
                     : arena_format(s->memory, "%.*sweft-runs/%s", slash ? (int)(slash + 1 - db) : 0, db, s->experiment);
  return file_make_dirs(s->folder, st);
}

const char *study_summary_name(const study *s) {
  return arena_format(s->memory, "%s: summary", s->kind);
}

// The row of an earlier start, or a new one.
static bool start_summary(study *s, status *st) {
  s->statement = arena_format(s->memory, "%016llx", (unsigned long long)run_spec_hash(s->base));
  if (!study_known_start(s, st)) return false;
  if (!s->experiment && !name_experiment(s, st)) return false;
  if (!s->summary) return study_row_start(s, study_summary_name(s), s->base, &s->summary, st);
  log_say(LOG_INFO, "going on with %s, which was started before; models that it has are not trained again", s->experiment);
  return run_db_resume(s->db, s->summary, 0, st);
}

bool study_open(study *s, const study_request *q, run_spec *base, bool with_data, arena *a, status *st) {
  const study_sabotage sabotage = s->sabotage;
  *s = (study){.memory = a,
               .kind = q->kind,
               .base = base,
               .own = q->table,
               .own_spec = q->spec,
               .sabotage = sabotage,
               .start_s = clock_seconds()};
  if (with_data) {
    if (!run_data_open(base, a, &s->data, st)) return false;
    s->has_data = true;
    run_data_fill_vocab(base, &s->data);
  }
  s->db = run_db_open(base->record.db, st);
  if (!s->db || !start_summary(s, st) || !make_folder(s, st)) return false;
  s->document = output_document("study");
  json_object_set_new(s->document, "study", json_string(q->kind));
  json_object_set_new(s->document, "experiment", output_words(s->experiment, strlen(s->experiment)));
  stop_install();
  progress_start(&s->progress);
  return true;
}

bool study_finish(study *s, status *st) {
  progress_end(&s->progress);
  const char *path = arena_format(s->memory, "%s/%s.html", s->folder, s->kind);
  run_results r = run_results_none();
  r.wall_s = clock_seconds() - s->start_s;
  const bool ok =
      file_write(path, s->page.data, s->page.size, st) &&
      run_db_add_artifact(s->db, s->summary, &(run_artifact){.kind = "report", .path = path, .bytes = s->page.size},
                          st) &&
      run_db_set_tag(s->db, s->summary, "verdict", s->verdict, st) &&
      run_db_set_tag(s->db, s->summary, "pass", s->pass ? "true" : "false", st) &&
      run_db_set_results(s->db, s->summary, &r, st);
  json_object_set_new(s->document, "verdict", output_words(s->verdict, strlen(s->verdict)));
  json_object_set_new(s->document, "pass", json_boolean(s->pass));
  json_object_set_new(s->document, "page", output_words(path, strlen(path)));
  json_object_set_new(s->document, "db", output_words(s->base->record.db, strlen(s->base->record.db)));
  json_object_set_new(s->document, "known", json_integer(s->known));
  json_object_set_new(s->document, "wall_s", output_real(r.wall_s));
  return ok;
}

bool study_close(study *s, status *st) {
  progress_end(&s->progress);
  status quiet = {0};
  if (s->db && s->summary) {
    const bool stopped = st->code == CODE_INTERRUPTED || st->code == CODE_REQUEUE;
    const run_state end = status_ok(st) ? RUN_FINISHED : stopped ? RUN_KILLED : RUN_FAILED;
    run_db_finish(s->db, s->summary, end, status_ok(st) ? NULL : st->text, status_ok(st) ? st : &quiet);
  }
  if (s->db) run_db_close(s->db, status_ok(st) ? st : &quiet);
  if (s->has_data) tokens_close(&s->data);
  text_free(&s->page);
  s->db = NULL;
  return status_ok(st);
}

void study_progress(study *s, double work, const char *what) {
  if (s->skipped)
    s->work -= work;
  else
    s->work_done += work;
  s->skipped = false;
  progress_share(&s->progress, s->work > 0 ? s->work_done / s->work : 0, what);
}

bool study_go_on(status *st) {
  const status_code code = stop_requested();
  if (code == CODE_OK) return true;
  return status_fail(st, code, "the study was stopped; the same command goes on with the models that are missing");
}

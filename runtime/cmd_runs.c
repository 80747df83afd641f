// weft runs: what the run database holds.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/run_db.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *when_text(i64 ms, char *out, size_t room) {
  const time_t seconds = (time_t)(ms / 1000);
  struct tm parts;
  if (!localtime_r(&seconds, &parts) || strftime(out, room, "%Y-%m-%d %H:%M", &parts) == 0) out[0] = 0;
  return out;
}

static json_t *words_or_null(const char *s) {
  return s ? output_words(s, strlen(s)) : json_null();
}

// ---- rows as JSON, by the tables of run_db.h

#define RESULT_COUNT(value) ((value) < 0 ? json_null() : json_integer((json_int_t)(value)))
#define RESULT_REAL(value) output_real(value)
#define RESULT_TEXT(value) words_or_null(value)
#define RESULT_GROUP(value) words_or_null(value)
#define RESULT_HASH(value) hash_json(value)
#define RESULT_SEED(value) seed_json(value)

static json_t *hash_json(u64 hash) {
  char digits[17];
  snprintf(digits, sizeof digits, "%016llx", (unsigned long long)hash);
  return hash ? json_string(digits) : json_null();
}

// A seed may be beyond what JSON's readers keep exact.
static json_t *seed_json(u64 seed) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
  return json_string(digits);
}

static json_t *row_json(const run_row *row) {
  json_t *out = json_object();
  json_object_set_new(out, "run_id", json_integer((json_int_t)row->id));
  json_object_set_new(out, "uid", words_or_null(row->uid));
  json_object_set_new(out, "state", json_string(run_state_name(row->state)));
  json_object_set_new(out, "why", words_or_null(row->why));
  json_object_set_new(out, "ended_ms", RESULT_COUNT(row->ended_ms));
  json_object_set_new(out, "resumed", RESULT_COUNT(row->resumed));
  json_object_set_new(out, "host", words_or_null(row->host));
#define ADD_FACT(kind, member) json_object_set_new(out, #member, RESULT_##kind(row->facts.member));
#define ADD_RESULT(kind, member) json_object_set_new(out, #member, RESULT_##kind(row->results.member));
  RUN_FACTS(ADD_FACT)
  RUN_RESULTS(ADD_RESULT)
  return out;
}

// ---- list

static const char *real_text(double value, char *out, size_t room) {
  if (isnan(value))
    snprintf(out, room, "-");
  else
    snprintf(out, room, "%.4f", value);
  return out;
}

static void list_line(const run_row *row) {
  char when[32], loss[24], val[24], model[32] = "-";
  if (isfinite(row->results.model_tokens_per_s)) text_si(row->results.model_tokens_per_s, "", model, sizeof model);
  output_line("%5llu  %-16s  %-9s %-9s %7lld  %8s  %8s  %9s  %-8s %s", (unsigned long long)row->id,
              when_text(row->facts.created_ms, when, sizeof when), row->facts.command ? row->facts.command : "-",
              run_state_name(row->state), (long long)(row->results.steps < 0 ? 0 : row->results.steps),
              real_text(row->results.loss_last, loss, sizeof loss), real_text(row->results.val_loss, val, sizeof val),
              model, row->facts.machine ? row->facts.machine : "-", row->facts.name ? row->facts.name : "");
}

static bool list(const command_call *c, run_db *db, status *st) {
  double limit = 0;
  if (!command_number(c, "limit", (command_range){0, 1e9, true}, &limit, st)) return false;
  const run_filter filter = {.limit = (u32)limit};
  const run_row *rows;
  u32 count;
  if (!run_db_list(db, &filter, c->memory, &rows, &count, st)) return false;
  if (command_flag(c, "json")) {
    json_t *document = output_document("runs"), *all = json_array();
    for (u32 i = 0; i < count; i++) json_array_append_new(all, row_json(&rows[i]));
    json_object_set_new(document, "runs", all);
    output_json(document);
    return true;
  }
  output_format("%5s  %-16s  %-9s %-9s %7s  %8s  %8s  %9s  %-8s %s\n", "run", "started", "command", "state", "steps",
                "loss", "val loss", "modelled", "machine", "name");
  for (u32 i = 0; i < count; i++) list_line(&rows[i]);
  if (count) output_text("modelled: tokens per second of the modelled machine\n");
  return true;
}

// ---- show

static void show_text(const char *label, const char *value) {
  if (value && value[0]) output_line("  %-22s %s", label, value);
}

static void show_real(const char *label, double value, const char *unit) {
  char words[48];
  if (isfinite(value)) show_text(label, text_si(value, unit, words, sizeof words));
}

static void show_loss(const char *label, double value) {
  char words[32];
  if (isfinite(value)) show_text(label, real_text(value, words, sizeof words));
}

static void show_results(const run_row *row) {
  const run_results *r = &row->results;
  char words[64];
  if (r->steps >= 0) {
    snprintf(words, sizeof words, "%lld", (long long)r->steps);
    show_text("steps", words);
  }
  show_loss("loss, first", r->loss_first);
  show_loss("loss, last", r->loss_last);
  show_loss("validation loss", r->val_loss);
  show_real("host", r->host_tokens_per_s, "tokens/s");
  snprintf(words, sizeof words, "modelled on %.40s", row->facts.machine ? row->facts.machine : "the machine");
  show_real(words, r->model_tokens_per_s, "tokens/s");
  show_real("cycles per step", r->cycles_per_step, "");
  show_real("step", r->step_s, "s");
  show_real("energy per step", r->joules_per_step, "J");
  if (isfinite(r->utilization)) {
    snprintf(words, sizeof words, "%.2f %% of the dense fp16 peak", 100 * r->utilization);
    show_text("utilization", words);
  }
  show_text("bottleneck", r->bottleneck);
}

static bool show_rest(const command_call *c, run_db *db, u64 id, json_t *document, status *st) {
  const run_artifact *artifacts;
  const run_key *keys;
  const run_param *params;
  u32 artifact_count, key_count, param_count;
  if (!run_db_artifacts(db, id, c->memory, &artifacts, &artifact_count, st)) return false;
  if (!run_db_keys(db, id, c->memory, &keys, &key_count, st)) return false;
  if (!run_db_params(db, id, c->memory, &params, &param_count, st)) return false;
  json_t *files = json_array(), *metrics = json_array(), *stated = json_object();
  for (u32 i = 0; i < artifact_count; i++) {
    json_array_append_new(files, json_pack("{s:s,s:s}", "kind", artifacts[i].kind, "path", artifacts[i].path));
    if (!document) show_text(artifacts[i].kind, artifacts[i].path);
  }
  for (u32 i = 0; i < key_count; i++) {
    json_array_append_new(metrics, json_pack("{s:s,s:s,s:I}", "key", keys[i].name, "unit",
                                             keys[i].unit ? keys[i].unit : "", "count", (json_int_t)keys[i].count));
    if (document) continue;
    char words[64];
    snprintf(words, sizeof words, "%llu values to step %llu", (unsigned long long)keys[i].count,
             (unsigned long long)keys[i].last_step);
    char label[64];
    snprintf(label, sizeof label, "metric %.50s", keys[i].name);
    show_text(label, words);
  }
  for (u32 i = 0; i < param_count; i++) {
    const run_param *p = &params[i];
    json_object_set_new(stated, p->key,
                        json_pack("{s:o,s:o}", "value", words_or_null(p->value), "origin", words_or_null(p->origin)));
    const bool said = p->origin && strcmp(p->origin, "default") != 0 && !text_starts(p->origin, "presets/");
    char words[FIELD_TEXT_MAX + 128];
    snprintf(words, sizeof words, "%s  (%s)", p->value, p->origin ? p->origin : "");
    if (!document && said) show_text(p->key, words);
  }
  if (document) {
    json_object_set(document, "artifacts", files);
    json_object_set(document, "metrics", metrics);
    json_object_set(document, "params", stated);
  }
  json_decref(files);
  json_decref(metrics);
  json_decref(stated);
  return true;
}

static bool show(const command_call *c, run_db *db, u64 id, status *st) {
  run_row row;
  if (!run_db_get(db, id, c->memory, &row, st)) return false;
  if (command_flag(c, "json")) {
    json_t *document = row_json(&row);
    json_object_set_new(document, "schema", json_string("weft.runs/1"));
    if (!show_rest(c, db, id, document, st)) {
      json_decref(document);
      return false;
    }
    output_json(document);
    return true;
  }
  char when[32], words[64];
  output_line("run %llu%s%s", (unsigned long long)row.id, row.facts.name && row.facts.name[0] ? "  " : "",
              row.facts.name ? row.facts.name : "");
  show_text("state", run_state_name(row.state));
  show_text("why", row.why);
  show_text("command", row.facts.command);
  show_text("started", when_text(row.facts.created_ms, when, sizeof when));
  if (row.resumed > 0) {
    snprintf(words, sizeof words, "%lld times", (long long)row.resumed);
    show_text("resumed", words);
  }
  show_text("data", row.facts.data);
  show_results(&row);
  return show_rest(c, db, id, NULL, st);
}

// ---- metrics

static bool metrics(const command_call *c, run_db *db, u64 id, status *st) {
  const char *key = command_argument(c, 2);
  const run_key *keys;
  u32 key_count;
  if (!run_db_keys(db, id, c->memory, &keys, &key_count, st)) return false;
  const char **names = arena_array(c->memory, const char *, key_count + 1);
  const run_key *found = NULL;
  text known = {0};
  for (u32 i = 0; i < key_count; i++) {
    names[i] = keys[i].name;
    text_format(&known, "%s%s", i ? ", " : "", names[i]);
    if (key && strcmp(names[i], key) == 0) found = &keys[i];
  }
  if (!found) {
    const char *near = key ? text_nearest(key, names, key_count) : NULL;
    status_fail(st, CODE_USAGE, "run %llu has %s%s%s%s%s%s; it has %s", (unsigned long long)id,
                key ? "no metric \"" : "", key ? key : "several metrics, name one", key ? "\"" : "",
                near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                known.size ? text_get(&known) : "no values yet");
  }
  text_free(&known);
  const run_point *points;
  u32 count;
  if (!found || !run_db_series(db, id, key, c->memory, &points, &count, st)) return false;
  if (!command_flag(c, "json")) {
    for (u32 i = 0; i < count; i++) output_format("%llu\t%.17g\n", (unsigned long long)points[i].step, points[i].value);
    return true;
  }
  json_t *document = output_document("runs"), *list_of_points = json_array();
  for (u32 i = 0; i < count; i++) {
    json_array_append_new(list_of_points, json_pack("[I,o]", (json_int_t)points[i].step, output_real(points[i].value)));
  }
  json_object_set_new(document, "run_id", json_integer((json_int_t)id));
  json_object_set_new(document, "key", json_string(key));
  json_object_set_new(document, "unit", json_string(found->unit ? found->unit : ""));
  json_object_set_new(document, "points", list_of_points);
  output_json(document);
  return true;
}

// ---- command

enum { LIST, SHOW, METRICS };
static const char *const words[] = {"list", "show", "metrics"};

static bool with_run(const command_call *c, run_db *db, u32 word, status *st) {
  u64 id;
  const char *name = command_argument(c, 1);
  if (!name) return status_fail(st, CODE_USAGE, "weft runs %s: which run? an id, \"last\" or a name", words[word]);
  if (!run_db_find(db, name, &id, st)) return false;
  return word == SHOW ? show(c, db, id, st) : metrics(c, db, id, st);
}

static bool run(const command_call *c, status *st) {
  u32 word;
  if (!command_word(c, words, COUNT_OF(words), &word, st) || !command_arguments_max(c, word + 1, st)) return false;
  run_db *db = run_db_open_read(command_db(c), st);
  if (!db) return false;
  const bool ok = word == LIST ? list(c, db, st) : with_run(c, db, word, st);
  return run_db_close(db, st) && ok;
}

static const command_option options[] = {
    {"limit", "N", "list: only the newest N", NULL},
};

const command cmd_runs = {
    .name = "runs",
    .arguments = "list | show RUN | metrics RUN KEY",
    .sentence = "what the run database holds",
    .examples = {{"weft runs", "all runs, newest first"},
                 {"weft runs show last", "one run: results, files and what was stated for it"}},
    .details = "RUN is an id, \"last\", a name, or the first letters of a uid.\n  list     all runs (the default)\n"
               "  show     one run\n  metrics  step and value, one line each",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_DB | COMMAND_JSON,
    .arguments_max = 3,
    .run = run,
};

// weft db: the run database as a whole: questions in SQL, merging, checking, copying.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/run_db.h"

#include <stdlib.h>
#include <string.h>

static json_t *words_or_null(const char *words) {
  return words ? output_words(words, strlen(words)) : json_null();
}

// ---- query

typedef struct query_out {
  json_t *columns, *rows; // NULL: plain text
} query_out;

// SQLite prints infinities as words that JSON has no numbers for.
static json_t *cell_json(const char *value, bool is_number) {
  json_t *number = value && is_number ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
  return number ? number : words_or_null(value);
}

static bool take_row(void *user, const run_cells *c, bool is_heading) {
  query_out *q = user;
  const char *const *words = is_heading ? c->names : c->values;
  json_t *row = is_heading ? q->columns : q->rows ? json_array() : NULL;
  for (u32 i = 0; i < c->columns; i++) {
    if (q->rows)
      json_array_append_new(row, is_heading ? words_or_null(words[i]) : cell_json(words[i], c->is_number[i]));
    else
      output_format("%s%s", i ? "\t" : "", words[i] ? words[i] : "");
  }
  if (!q->rows) output_text("\n");
  if (q->rows && !is_heading) json_array_append_new(q->rows, row);
  return true;
}

static bool query(const command_call *c, status *st) {
  const char *sql = command_argument(c, 1);
  if (!sql)
    return status_fail(st, CODE_USAGE, "weft db query: which query? weft db query 'SELECT id, loss_last FROM run'");
  if (!command_arguments_max(c, 2, st)) return false;
  run_db *db = run_db_open_read(command_db(c), st);
  if (!db) return false;
  query_out q = {NULL, NULL};
  if (command_flag(c, "json")) q = (query_out){json_array(), json_array()};
  bool ok = run_db_query_cells(db, sql, take_row, &q, st);
  ok = run_db_close(db, st) && ok;
  json_t *d = q.rows && ok ? output_document("db") : NULL;
  if (d) {
    json_object_set(d, "columns", q.columns);
    json_object_set(d, "rows", q.rows);
    output_json(d);
  }
  json_decref(q.columns);
  json_decref(q.rows);
  return ok;
}

// ---- merge

static bool merge_all(const command_call *c, run_db *db, json_t *files, status *st) {
  u32 total = 0;
  for (u32 i = 1; i < c->argument_count; i++) {
    u32 runs = 0;
    if (!run_db_merge(db, c->arguments[i], &runs, st)) return false;
    total += runs;
    json_array_append_new(files,
                          json_pack("{s:o,s:I}", "file", words_or_null(c->arguments[i]), "runs", (json_int_t)runs));
    if (!command_flag(c, "json")) output_format("%s: %u runs\n", c->arguments[i], runs);
  }
  if (!command_flag(c, "json")) output_format("%s: %u runs added or brought up to date\n", command_db(c), total);
  return true;
}

static bool merge(const command_call *c, status *st) {
  if (c->argument_count < 2) {
    return status_fail(st, CODE_USAGE, "weft db merge: which files? weft db merge part.*.db --db all.db");
  }
  run_db *db = run_db_open(command_db(c), st);
  if (!db) return false;
  json_t *files = json_array();
  bool ok = merge_all(c, db, files, st);
  ok = run_db_close(db, st) && ok;
  if (ok && command_flag(c, "json")) {
    json_t *d = output_document("db");
    json_object_set_new(d, "db", words_or_null(command_db(c)));
    json_object_set(d, "merged", files);
    output_json(d);
  }
  json_decref(files);
  return ok;
}

// ---- check and snapshot

static void print_check(const command_call *c, const char *report, u32 complaints) {
  if (!command_flag(c, "json")) {
    if (complaints)
      output_text(report);
    else
      output_format("%s: all is well\n", command_db(c));
    return;
  }
  json_t *d = output_document("db"), *lines = json_array();
  for (const char *p = report; *p;) {
    const size_t n = strcspn(p, "\n");
    json_array_append_new(lines, output_words(p, n));
    p += n + (p[n] != 0);
  }
  json_object_set_new(d, "db", words_or_null(command_db(c)));
  json_object_set_new(d, "ok", json_boolean(complaints == 0));
  json_object_set_new(d, "complaints", lines);
  output_json(d);
}

static bool check(const command_call *c, status *st) {
  if (!command_arguments_max(c, 1, st)) return false;
  run_db *db = run_db_open_read(command_db(c), st);
  if (!db) return false;
  text report = {0};
  u32 complaints = 0;
  bool ok = run_db_check(db, &report, &complaints, st);
  ok = run_db_close(db, st) && ok;
  if (ok) print_check(c, text_get(&report), complaints);
  text_free(&report);
  if (!ok || !complaints) return ok;
  return status_fail(st, CODE_CHECK, "%s: %u complaints; weft db snapshot keeps a copy before repairs", command_db(c),
                     complaints);
}

static bool snapshot(const command_call *c, status *st) {
  const char *to = command_argument(c, 1);
  if (!to) return status_fail(st, CODE_USAGE, "weft db snapshot: into which file? weft db snapshot copy.db");
  if (!command_arguments_max(c, 2, st)) return false;
  run_db *db = run_db_open_read(command_db(c), st);
  if (!db) return false;
  bool ok = run_db_snapshot(db, to, st);
  ok = run_db_close(db, st) && ok;
  if (!ok) return false;
  if (!command_flag(c, "json")) {
    output_format("%s: a copy of %s as it was a moment ago\n", to, command_db(c));
    return true;
  }
  json_t *d = output_document("db");
  json_object_set_new(d, "db", words_or_null(command_db(c)));
  json_object_set_new(d, "snapshot", words_or_null(to));
  output_json(d);
  return true;
}

// ---- command

typedef bool word_function(const command_call *c, status *st);
static const char *const words[] = {"query", "merge", "check", "snapshot"};
static word_function *const functions[] = {query, merge, check, snapshot};

static bool run(const command_call *c, status *st) {
  u32 word;
  if (!c->argument_count) {
    return status_fail(st, CODE_USAGE,
                       "weft db: what to do? query, merge, check or snapshot; weft db --help tells more");
  }
  return command_word(c, words, COUNT_OF(words), &word, st) && functions[word](c, st);
}

const command cmd_db = {
    .name = "db",
    .arguments = "query SQL | merge FILE... | check | snapshot FILE",
    .sentence = "questions in SQL to the run database; merging, checking and copying it",
    .examples = {{"weft db query 'SELECT id, name, loss_last FROM run ORDER BY loss_last LIMIT 5'",
                  "the five best runs, tab-separated under a line of names"},
                 {"weft db merge lr.0of4.db lr.1of4.db lr.2of4.db lr.3of4.db --db lr.db",
                  "gathers what the ranks of a sweep wrote"}},
    .details = "  query     one statement that only reads\n"
               "  merge     adds the runs of other run databases; doing it twice changes nothing\n"
               "  check     structure, references and the rules of the tables\n"
               "  snapshot  a consistent copy, also while runs write",
    .groups = COMMAND_DB | COMMAND_JSON,
    .arguments_max = 10000,
    .run = run,
};

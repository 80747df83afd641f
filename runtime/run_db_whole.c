// The run database as a whole: merging, checking, copying, and queries of the user's own.
#include "runtime/run_db_file.h"
#include "base/file.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- merge

// Columns that are copied as they are, ", " before each; ids and the experiment are dealt with apart.
static void copied_columns(text *list, const char *table) {
  static const char *const own[] = {"uid",     "status", "why",  "heartbeat_ms", "ended_ms",
                                    "resumed", "host",   "boot", "pid",          "pid_start"};
  for (u32 i = 0; i < COUNT_OF(own); i++) text_format(list, ", %s%s", table, own[i]);
  for (u32 i = 0; i < db_fact_count; i++)
    if (db_facts[i].kind != DB_GROUP) text_format(list, ", %s%s", table, db_facts[i].name);
  for (u32 i = 0; i < db_result_count; i++) text_format(list, ", %s%s", table, db_results[i].name);
}

// `fresh` pairs the ids of runs to copy with their ids here: runs that this file lacks, and those it
// has seen less of (an older heartbeat), which are replaced under the id they have.
static const char merge_before[] =
    "CREATE TEMP TABLE fresh (source INTEGER PRIMARY KEY, uid TEXT, target INTEGER);"
    "INSERT INTO fresh SELECT s.id, s.uid, t.id FROM source.run s LEFT JOIN main.run t ON t.uid = s.uid"
    "  WHERE t.id IS NULL OR t.heartbeat_ms < s.heartbeat_ms;"
    "DELETE FROM main.run WHERE id IN (SELECT target FROM fresh);"
    "INSERT OR IGNORE INTO main.experiment (name, created_ms)"
    "  SELECT name, created_ms FROM source.experiment;"
    "INSERT OR IGNORE INTO main.metric_key (name, unit)"
    "  SELECT name, unit FROM source.metric_key ORDER BY id;";

static const char merge_after[] =
    "UPDATE fresh SET target = (SELECT id FROM main.run r WHERE r.uid = fresh.uid);"
    "INSERT INTO main.metric SELECT f.target, t.id, m.step, m.value FROM source.metric m"
    "  JOIN fresh f ON f.source = m.run JOIN source.metric_key k ON k.id = m.key"
    "  JOIN main.metric_key t ON t.name = k.name;"
    "INSERT INTO main.param SELECT f.target, p.key, p.value, p.origin FROM source.param p"
    "  JOIN fresh f ON f.source = p.run;"
    "INSERT INTO main.tag SELECT f.target, t.key, t.value FROM source.tag t"
    "  JOIN fresh f ON f.source = t.run;"
    "INSERT INTO main.alert (run, step, at_ms, level, sentence)"
    "  SELECT f.target, a.step, a.at_ms, a.level, a.sentence FROM source.alert a"
    "  JOIN fresh f ON f.source = a.run ORDER BY a.id;"
    "INSERT INTO main.phase SELECT f.target, p.position, p.name, p.layer, p.start_cycle, p.end_cycle,"
    "  p.bound_by FROM source.phase p JOIN fresh f ON f.source = p.run;"
    "INSERT INTO main.wafer_map (run, name, unit, w, h, data)"
    "  SELECT f.target, m.name, m.unit, m.w, m.h, m.data FROM source.wafer_map m"
    "  JOIN fresh f ON f.source = m.run ORDER BY m.id;"
    "INSERT INTO main.artifact (run, kind, path, bytes, hash, created_ms)"
    "  SELECT f.target, x.kind, x.path, x.bytes, x.hash, x.created_ms FROM source.artifact x"
    "  JOIN fresh f ON f.source = x.run ORDER BY x.id;"
    "INSERT OR IGNORE INTO main.simulation SELECT * FROM source.simulation;";

static bool copy_runs(run_db *db, status *st) {
  text here = {0}, sql = {0};
  copied_columns(&here, "");
  text_format(&sql,
              "INSERT INTO main.run (id, experiment%s) SELECT f.target, (SELECT e.id FROM"
              " main.experiment e JOIN source.experiment x ON x.name = e.name"
              " WHERE x.id = s.experiment)",
              text_get(&here));
  copied_columns(&sql, "s.");
  text_add(&sql, " FROM source.run s JOIN fresh f ON f.source = s.id ORDER BY s.id");
  const bool ok = db_exec(db, text_get(&sql), st);
  text_free(&here);
  text_free(&sql);
  return ok;
}

// Metrics of one name must be one thing.
static bool check_units(run_db *db, const char *from_path, status *st) {
  i64 clashes = 0;
  if (!db_number(db,
                 "SELECT count(*) FROM source.metric_key s JOIN main.metric_key t ON t.name = s.name"
                 " WHERE t.unit <> s.unit",
                 &clashes, st))
    return false;
  return clashes == 0 ||
         status_fail(st, CODE_DATA, "%s: has metrics of the same name with other units than %s; compare `metric_key`",
                     from_path, db->path);
}

static bool merge_attached(run_db *db, const char *from_path, u32 *ret_runs, status *st) {
  if (!check_units(db, from_path, st) || !db_begin(db, st)) return false;
  i64 runs = 0;
  bool ok = db_exec(db, merge_before, st) && db_number(db, "SELECT count(*) FROM fresh", &runs, st) &&
            copy_runs(db, st) && db_exec(db, merge_after, st) && db_exec(db, "DROP TABLE fresh", st);
  ok = db_end(db, ok, st);
  if (ok) *ret_runs = (u32)runs;
  return ok;
}

static bool same_file(const char *a, const char *b) {
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool run_db_merge(run_db *db, const char *from_path, u32 *ret_runs, status *st) {
  if (same_file(db->path, from_path))
    return status_fail(st, CODE_USAGE, "%s: cannot be merged into itself; name another file", from_path);
  run_db *from = run_db_open_read(from_path, st); // refuses what is not a run database
  if (!from) return false;
  const bool fits = !strstr(run_db_read_only(from), "newer weft");
  if (!fits) status_fail(st, CODE_DATA, "%s", run_db_read_only(from));
  run_db_close(from, st);
  if (!fits) return false;
  if (!run_db_flush(db, st) || !db_run(db, st, "ATTACH ?1 AS source", "t", from_path)) return false;
  const bool ok = merge_attached(db, from_path, ret_runs, st);
  sqlite3_exec(db->handle, "DETACH source", NULL, NULL, NULL);
  return ok;
}

// ---- check

typedef struct complaints {
  text *report;
  u32 count;
} complaints;

// Adds every row of a query that looks for what should not be; the first column is the sentence.
static bool complain(run_db *db, const char *sql, complaints *c, status *st) {
  sqlite3_stmt *s = db_prepare(db, st, sql, "");
  bool row;
  if (!s) return false;
  while (true) {
    if (!db_row(db, s, &row, st)) return false;
    if (!row) break;
    const char *line = (const char *)sqlite3_column_text(s, 0);
    text_format(c->report, "%s: %s\n", db->path, line ? line : "");
    c->count++;
  }
  sqlite3_finalize(s);
  return true;
}

bool run_db_check(run_db *db, text *report, u32 *ret_complaints, status *st) {
  static const char *const queries[] = {
      "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
      "SELECT 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || ' points to a missing row of ' || parent"
      " FROM pragma_foreign_key_check",
      "SELECT 'run ' || r.id || ' has a metric that is not finite but is ' || r.status FROM run r"
      " WHERE r.status IN ('finished','running') AND EXISTS"
      " (SELECT 1 FROM metric m WHERE m.run = r.id AND m.value IS NULL)",
      "SELECT 'run ' || id || ' ended but has no time of its end' FROM run"
      " WHERE status IN ('finished','failed') AND ended_ms IS NULL",
      "SELECT 'phase ' || position || ' of run ' || run || ' ends before it starts' FROM phase"
      " WHERE end_cycle < start_cycle",
  };
  complaints c = {report, 0};
  for (u32 i = 0; i < COUNT_OF(queries); i++)
    if (!complain(db, queries[i], &c, st)) return false;
  *ret_complaints = c.count;
  return true;
}

// ---- copy

bool run_db_snapshot(run_db *db, const char *to_path, status *st) {
  char partial[DB_PATH_MAX + 16];
  if (strlen(to_path) >= DB_PATH_MAX)
    return status_fail(st, CODE_CANT_CREATE, "%.60s...: the path is longer than %d bytes", to_path, DB_PATH_MAX);
  if (file_exists(to_path))
    return status_fail(st, CODE_CANT_CREATE, "%s: exists already; name another file for the copy", to_path);
  if (!run_db_flush(db, st)) return false;
  snprintf(partial, sizeof partial, "%s.partial", to_path);
  unlink(partial);
  if (!db_run(db, st, "VACUUM INTO ?1", "t", partial)) return false;
  if (link(partial, to_path) == 0) return unlink(partial) == 0 || true; // unlike rename, never replaces
  if (!file_exists(to_path) && rename(partial, to_path) == 0) return true;
  unlink(partial);
  return status_fail(st, CODE_CANT_CREATE, "%s: cannot be created; check the folder", to_path);
}

// ---- queries of the user's own

static bool visit_rows(run_db *db, sqlite3_stmt *s, run_db_visit_cells *visit, void *user, status *st) {
  enum { COLUMNS_MAX = 256 };
  const char *names[COLUMNS_MAX], *values[COLUMNS_MAX];
  bool is_number[COLUMNS_MAX] = {false};
  const u32 columns = (u32)sqlite3_column_count(s);
  if (columns > COLUMNS_MAX) {
    sqlite3_finalize(s);
    return status_fail(st, CODE_USAGE, "the query has %u columns; name the ones you want", columns);
  }
  for (u32 i = 0; i < columns; i++) names[i] = sqlite3_column_name(s, (int)i);
  const run_cells cells = {columns, names, values, is_number}, heading = {columns, names, NULL, NULL};
  bool row = true, more = visit(user, &heading, true);
  while (more) {
    if (!db_row(db, s, &row, st)) return false;
    if (!row) break;
    for (u32 i = 0; i < columns; i++) {
      const int type = sqlite3_column_type(s, (int)i); // before asking for text, which may change it
      is_number[i] = type == SQLITE_INTEGER || type == SQLITE_FLOAT;
      values[i] = (const char *)sqlite3_column_text(s, (int)i);
    }
    more = visit(user, &cells, false);
  }
  sqlite3_finalize(s);
  return true;
}

bool run_db_query_cells(run_db *db, const char *sql, run_db_visit_cells *visit, void *user, status *st) {
  sqlite3_stmt *s = NULL;
  const char *rest = "";
  if (sqlite3_prepare_v2(db->handle, sql, -1, &s, &rest) != SQLITE_OK)
    return status_fail(st, CODE_USAGE, "%s in the query; docs/queries.md has examples that work",
                       sqlite3_errmsg(db->handle));
  const bool one = s && rest[strspn(rest, " \t\r\n;")] == 0;
  // BEGIN, ATTACH and their like count as reading but have no columns.
  if (one && sqlite3_stmt_readonly(s) && sqlite3_column_count(s) > 0) return visit_rows(db, s, visit, user, st);
  sqlite3_finalize(s);
  return status_fail(st, CODE_USAGE,
                     one ? "the query would write, and only reading is allowed"
                         : "the query is not one statement; give one SELECT");
}

typedef struct plain_visit {
  run_db_visit *visit;
  void *user;
} plain_visit;

static bool visit_plain(void *user, const run_cells *c, bool is_heading) {
  const plain_visit *p = user;
  return is_heading || p->visit(p->user, c->columns, c->names, c->values);
}

bool run_db_query(run_db *db, const char *sql, run_db_visit *visit, void *user, status *st) {
  plain_visit p = {visit, user};
  return run_db_query_cells(db, sql, visit_plain, &p, st);
}

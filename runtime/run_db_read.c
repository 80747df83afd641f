// Reading the run database: runs, series, phases, maps and cached simulations.
#include "runtime/run_db_file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

// ---- rows of any type, collected into one array

typedef void read_row(sqlite3_stmt *s, arena *a, void *row); // into a zeroed row

typedef struct row_kind {
  read_row *read;
  size_t bytes;
} row_kind;

// Runs a prepared statement (NULL: it failed) to its end and finalizes it. SQLite does not say how many
// rows will come, so they grow in a text and move to the arena at the end.
static bool collect(run_db *db, sqlite3_stmt *s, row_kind kind, arena *a, u32 *ret_count, const void **ret_rows,
                    status *st) {
  if (!s) return false;
  text rows = {0};
  u32 count = 0;
  bool ok, more;
  void *one = arena_take(a, kind.bytes);
  while ((ok = db_row(db, s, &more, st)) && more) {
    memset(one, 0, kind.bytes);
    kind.read(s, a, one);
    text_add_bytes(&rows, one, kind.bytes);
    count++;
  }
  if (ok) {
    sqlite3_finalize(s);
    void *all = arena_take(a, kind.bytes * (count + 1)); // never empty, so that rows are never NULL
    if (count) memcpy(all, rows.data, rows.size);
    *ret_rows = all;
    *ret_count = count;
  }
  text_free(&rows);
  return ok;
}

// The array type differs by caller; a const void ** cannot stand for it.
#define COLLECT(db, s, type, read, a, ret_rows, ret_count, st)                                                         \
  const void *rows = NULL;                                                                                             \
  if (!collect(db, s, (row_kind){read, sizeof(type)}, a, ret_count, &rows, st)) return false;                          \
  *(ret_rows) = rows;                                                                                                  \
  return true

static double read_real(sqlite3_stmt *s, int at) {
  return sqlite3_column_type(s, at) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, at);
}

// ---- runs

enum { OWN_COLUMNS = 11 };
static const char own_columns[] =
    "SELECT id, uid, status, why, heartbeat_ms, coalesce(ended_ms, -1), resumed, host, boot, pid, pid_start";

// While a run is going its last metrics stand in for results that come at the end.
static const char *result_fallback(const char *column) {
  static const char *const pairs[][2] = {
      {"steps", "(SELECT max(step) FROM metric m WHERE m.run = run.id AND m.key = 1)"},
      {"loss_first", "(SELECT value FROM metric m WHERE m.run = run.id AND m.key = 1"
                     " ORDER BY step LIMIT 1)"},
      {"loss_last", "(SELECT value FROM metric m WHERE m.run = run.id AND m.key = 1"
                    " ORDER BY step DESC LIMIT 1)"},
      {"val_loss", "(SELECT value FROM metric m WHERE m.run = run.id AND m.key = 2"
                   " ORDER BY step DESC LIMIT 1)"},
  };
  for (u32 i = 0; i < COUNT_OF(pairs); i++)
    if (!strcmp(column, pairs[i][0])) return pairs[i][1];
  return "NULL";
}

static void select_runs(text *sql, bool with_config) {
  text_add(sql, own_columns);
  for (u32 i = 0; i < db_fact_count; i++) {
    const db_column *c = &db_facts[i];
    if (c->kind == DB_GROUP)
      text_format(sql, ", (SELECT e.name FROM experiment e WHERE e.id = run.%s)", c->name);
    else if (!with_config && !strcmp(c->name, "config"))
      text_add(sql, ", NULL");
    else
      text_format(sql, ", %s", c->name);
  }
  for (u32 i = 0; i < db_result_count; i++)
    text_format(sql, ", coalesce(%s, %s)", db_results[i].name, result_fallback(db_results[i].name));
  text_add(sql, " FROM run");
}

static run_state state_of(const char *word) {
  for (u32 s = RUN_RUNNING; s <= RUN_DIVERGED; s++)
    if (word && !strcmp(word, run_state_name((run_state)s))) return (run_state)s;
  return RUN_FAILED; // a word of a newer schema
}

static void read_run(sqlite3_stmt *s, arena *a, void *row) {
  run_row *r = row;
  run_owner owner;
  run_owner_read(s, 7, &owner);
  r->id = (u64)sqlite3_column_int64(s, 0);
  r->uid = db_read_text(s, 1, a);
  r->recorded = state_of((const char *)sqlite3_column_text(s, 2));
  r->why = db_read_text(s, 3, a);
  r->heartbeat_ms = sqlite3_column_int64(s, 4);
  r->ended_ms = sqlite3_column_int64(s, 5);
  r->resumed = sqlite3_column_int64(s, 6);
  r->host = db_read_text(s, 7, a);
  r->pid = owner.pid;
  r->state = r->recorded == RUN_RUNNING ? run_owner_judge(&owner, r->heartbeat_ms) : r->recorded;
  int at = OWN_COLUMNS;
  for (u32 i = 0; i < db_fact_count; i++) db_read_column(s, at++, &db_facts[i], a, &r->facts);
  for (u32 i = 0; i < db_result_count; i++) db_read_column(s, at++, &db_results[i], a, &r->results);
}

bool run_db_list(run_db *db, const run_filter *filter, arena *a, const run_row **ret_rows, u32 *ret_count, status *st) {
  text sql = {0};
  select_runs(&sql, false);
  text_add(&sql, " WHERE (?1 IS NULL OR experiment = (SELECT id FROM experiment WHERE name = ?1))"
                 " AND (?2 IS NULL OR EXISTS (SELECT 1 FROM tag t WHERE t.run = run.id AND t.key = ?2"
                 " AND (?3 IS NULL OR t.value = ?3))) ORDER BY created_ms DESC, id DESC LIMIT ?4");
  sqlite3_stmt *s = db_prepare(db, st, text_get(&sql), "ttti", filter->experiment, filter->tag_key, filter->tag_value,
                               filter->limit ? (i64)filter->limit : (i64)-1);
  text_free(&sql);
  COLLECT(db, s, run_row, read_run, a, ret_rows, ret_count, st);
}

bool run_db_get(run_db *db, u64 run, arena *a, run_row *ret_row, status *st) {
  if (!db_has_run(db, run, st)) return false;
  text sql = {0};
  select_runs(&sql, true);
  text_add(&sql, " WHERE id = ?1");
  sqlite3_stmt *s = db_prepare(db, st, text_get(&sql), "i", (i64)run);
  text_free(&sql);
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  if (row) read_run(s, a, ret_row);
  sqlite3_finalize(s);
  return row || db_has_run(db, run, st);
}

// Runs a query for one id; *ret_run stays 0 where there is none.
static bool find_one(run_db *db, sqlite3_stmt *s, u64 *ret_run, status *st) {
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  if (row) *ret_run = (u64)sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return true;
}

static bool find_uid(run_db *db, const char *word, u64 *ret_run, status *st) {
  const size_t n = strlen(word);
  if (n < 4 || n > 32 || strspn(word, "0123456789abcdef") != n) return true;
  return find_one(db, db_prepare(db, st, "SELECT id FROM run WHERE substr(uid, 1, ?2) = ?1", "ti", word, (i64)n),
                  ret_run, st);
}

bool run_db_find(run_db *db, const char *word, u64 *ret_run, status *st) {
  u64 run = 0;
  char *end;
  const long long id = strtoll(word, &end, 10);
  if (!strcmp(word, "last")) {
    if (!find_one(db, db_prepare(db, st, "SELECT id FROM run ORDER BY created_ms DESC, id DESC LIMIT 1", ""), &run, st))
      return false;
  } else if (*word && !*end) {
    if (!find_one(db, db_prepare(db, st, "SELECT id FROM run WHERE id = ?1", "i", (i64)id), &run, st)) return false;
  }
  if (!run && !find_one(db,
                        db_prepare(db, st,
                                   "SELECT id FROM run WHERE name = ?1"
                                   " ORDER BY created_ms DESC, id DESC LIMIT 1",
                                   "t", word),
                        &run, st))
    return false;
  if (!run && !find_uid(db, word, &run, st)) return false;
  if (!run) return status_fail(st, CODE_NO_INPUT, "%s: has no run \"%s\"; `weft runs` lists them", db->path, word);
  *ret_run = run;
  return true;
}

// ---- what belongs to a run

static void read_point(sqlite3_stmt *s, arena *a, void *row) {
  (void)a;
  *(run_point *)row = (run_point){(u64)sqlite3_column_int64(s, 0), read_real(s, 1)};
}

bool run_db_series(run_db *db, u64 run, const char *key, arena *a, const run_point **ret_points, u32 *ret_count,
                   status *st) {
  sqlite3_stmt *s = db_prepare(db, st,
                               "SELECT step, value FROM metric WHERE run = ?1 AND key ="
                               " (SELECT id FROM metric_key WHERE name = ?2) ORDER BY step",
                               "it", (i64)run, key);
  COLLECT(db, s, run_point, read_point, a, ret_points, ret_count, st);
}

static void read_key(sqlite3_stmt *s, arena *a, void *row) {
  *(run_key *)row = (run_key){db_read_text(s, 0, a), db_read_text(s, 1, a), (u64)sqlite3_column_int64(s, 2),
                              (u64)sqlite3_column_int64(s, 3), read_real(s, 4)};
}

bool run_db_keys(run_db *db, u64 run, arena *a, const run_key **ret_keys, u32 *ret_count, status *st) {
  // With max() SQLite takes the bare column `value` from the row that has the maximum.
  sqlite3_stmt *s = db_prepare(db, st,
                               "SELECT k.name, k.unit, count(*), max(m.step), m.value FROM metric m"
                               " JOIN metric_key k ON k.id = m.key WHERE m.run = ?1"
                               " GROUP BY m.key ORDER BY m.key",
                               "i", (i64)run);
  COLLECT(db, s, run_key, read_key, a, ret_keys, ret_count, st);
}

static void read_param(sqlite3_stmt *s, arena *a, void *row) {
  *(run_param *)row = (run_param){db_read_text(s, 0, a), db_read_text(s, 1, a), db_read_text(s, 2, a)};
}

bool run_db_params(run_db *db, u64 run, arena *a, const run_param **ret_params, u32 *ret_count, status *st) {
  sqlite3_stmt *s =
      db_prepare(db, st, "SELECT key, value, origin FROM param WHERE run = ?1 ORDER BY key", "i", (i64)run);
  COLLECT(db, s, run_param, read_param, a, ret_params, ret_count, st);
}

static void read_phase(sqlite3_stmt *s, arena *a, void *row) {
  *(run_phase *)row = (run_phase){db_read_text(s, 0, a), db_read_text(s, 1, a), (u64)sqlite3_column_int64(s, 2),
                                  (u64)sqlite3_column_int64(s, 3), db_read_text(s, 4, a)};
}

bool run_db_phases(run_db *db, u64 run, arena *a, const run_phase **ret_phases, u32 *ret_count, status *st) {
  sqlite3_stmt *s = db_prepare(db, st,
                               "SELECT name, layer, start_cycle, end_cycle, bound_by FROM phase"
                               " WHERE run = ?1 ORDER BY position",
                               "i", (i64)run);
  COLLECT(db, s, run_phase, read_phase, a, ret_phases, ret_count, st);
}

static void read_artifact(sqlite3_stmt *s, arena *a, void *row) {
  *(run_artifact *)row =
      (run_artifact){db_read_text(s, 0, a), db_read_text(s, 1, a), (u64)sqlite3_column_int64(s, 2), db_read_hash(s, 3)};
}

bool run_db_artifacts(run_db *db, u64 run, arena *a, const run_artifact **ret_rows, u32 *ret_count, status *st) {
  sqlite3_stmt *s =
      db_prepare(db, st, "SELECT kind, path, bytes, hash FROM artifact WHERE run = ?1 ORDER BY id", "i", (i64)run);
  COLLECT(db, s, run_artifact, read_artifact, a, ret_rows, ret_count, st);
}

static void read_alert(sqlite3_stmt *s, arena *a, void *row) {
  *(run_alert *)row = (run_alert){(u64)sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1), db_read_text(s, 2, a),
                                  db_read_text(s, 3, a)};
}

bool run_db_alerts(run_db *db, u64 run, arena *a, const run_alert **ret_alerts, u32 *ret_count, status *st) {
  sqlite3_stmt *s =
      db_prepare(db, st, "SELECT step, at_ms, level, sentence FROM alert WHERE run = ?1 ORDER BY id", "i", (i64)run);
  COLLECT(db, s, run_alert, read_alert, a, ret_alerts, ret_count, st);
}

static void read_map(sqlite3_stmt *s, arena *a, void *row) {
  *(run_map *)row = (run_map){db_read_text(s, 0, a), db_read_text(s, 1, a), (u32)sqlite3_column_int64(s, 2),
                              (u32)sqlite3_column_int64(s, 3), NULL};
}

bool run_db_maps(run_db *db, u64 run, arena *a, const run_map **ret_maps, u32 *ret_count, status *st) {
  sqlite3_stmt *s =
      db_prepare(db, st, "SELECT name, unit, w, h FROM wafer_map WHERE run = ?1 ORDER BY id", "i", (i64)run);
  COLLECT(db, s, run_map, read_map, a, ret_maps, ret_count, st);
}

static bool unpack_map(run_db *db, sqlite3_stmt *s, arena *a, run_map *map, status *st) {
  uLongf bytes = (uLongf)map->w * map->h * sizeof(float);
  const uLongf expected = bytes;
  float *values = arena_take_big(a, bytes, "the wafer map", st);
  if (!values) return false;
  const int code = uncompress((Bytef *)values, &bytes, sqlite3_column_blob(s, 4), (uLong)sqlite3_column_bytes(s, 4));
  if (code != Z_OK || bytes != expected)
    return status_fail(st, CODE_DATA, "%s: the wafer map \"%s\" is damaged; simulate again", db->path, map->name);
  map->values = values;
  return true;
}

bool run_db_get_map(run_db *db, u64 run, const char *name, arena *a, run_map *ret_map, status *st) {
  sqlite3_stmt *s = db_prepare(db, st, "SELECT name, unit, w, h, data FROM wafer_map WHERE run = ?1 AND name = ?2",
                               "it", (i64)run, name);
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  run_map map = {0};
  if (row) read_map(s, a, &map);
  const bool ok = row ? unpack_map(db, s, a, &map, st)
                      : status_fail(st, CODE_NO_INPUT, "%s: run %llu has no wafer map \"%s\"", db->path,
                                    (unsigned long long)run, name);
  sqlite3_finalize(s);
  if (ok) *ret_map = map;
  return ok;
}

bool run_db_get_simulation(run_db *db, const simulation_key *key, arena *a, simulation *ret_sim, status *st) {
  sqlite3_stmt *s = db_prepare(db, st,
                               "SELECT json, blob FROM simulation WHERE program_hash = ?1 AND"
                               " machine_hash = ?2 AND engine_version = ?3",
                               "hht", key->program_hash, key->machine_hash, key->engine_version);
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  simulation found = {0};
  if (row) {
    found.json = db_read_text(s, 0, a);
    found.blob_bytes = (size_t)sqlite3_column_bytes(s, 1);
    if (found.blob_bytes) {
      void *copy = arena_take(a, found.blob_bytes);
      memcpy(copy, sqlite3_column_blob(s, 1), found.blob_bytes);
      found.blob = copy;
    }
  }
  sqlite3_finalize(s);
  *ret_sim = found;
  return true;
}

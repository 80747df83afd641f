// Writing to the run database: a run from start to finish, its metrics in batches, and what the
// modelled machine did.
#include "runtime/run_db_file.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

enum { BATCH_SECONDS = 1, HEARTBEAT_SECONDS = 5 };

// ---- a run begins and ends

static bool own(run_db *db, u64 run, status *st) {
  run_owner o;
  run_owner_self(&o);
  return db_run(db, st,
                "UPDATE run SET status = 'running', why = NULL, ended_ms = NULL, heartbeat_ms = ?2,"
                " host = ?3, boot = ?4, pid = ?5, pid_start = ?6 WHERE id = ?1",
                "iittii", (i64)run, clock_unix_ms(), o.host, o.boot, o.pid, o.pid_start);
}

// One UPDATE over all columns of a table of members: unknown ones keep what they have, and a seed is
// written once.
static bool update_columns(run_db *db, u64 run, const db_column *columns, u32 count, const void *members, status *st) {
  text sql = {0};
  text_add(&sql, "UPDATE run SET ");
  for (u32 i = 0; i < count; i++) {
    const db_column *c = &columns[i];
    const char *comma = i ? ", " : "";
    if (c->kind == DB_SEED)
      text_format(&sql, "%s%s = coalesce(%s, ?%u)", comma, c->name, c->name, i + 2);
    else if (c->kind == DB_GROUP)
      text_format(&sql, "%s%s = coalesce((SELECT id FROM experiment WHERE name = ?%u), %s)", comma, c->name, i + 2,
                  c->name);
    else
      text_format(&sql, "%s%s = coalesce(?%u, %s)", comma, c->name, i + 2, c->name);
  }
  text_add(&sql, " WHERE id = ?1");
  sqlite3_stmt *s = db_prepare(db, st, text_get(&sql), "i", (i64)run);
  text_free(&sql);
  if (!s) return false;
  for (u32 i = 0; i < count; i++) db_bind_column(s, (int)i + 2, &columns[i], members);
  return db_finish(db, s, st);
}

static bool write_facts(run_db *db, u64 run, const run_facts *facts, status *st) {
  if (facts->experiment && !db_run(db, st, "INSERT OR IGNORE INTO experiment (name, created_ms) VALUES (?1, ?2)", "ti",
                                   facts->experiment, clock_unix_ms()))
    return false;
  return update_columns(db, run, db_facts, db_fact_count, facts, st);
}

// 128 random bits: runs of different hosts never collide, whatever the merge.
static void make_uid(char out[33]) {
  u64 words[2];
  require(getrandom(words, sizeof words, 0) == (ssize_t)sizeof words);
  snprintf(out, 33, "%016llx%016llx", (unsigned long long)words[0], (unsigned long long)words[1]);
}

bool run_db_start(run_db *db, const run_facts *facts, u64 *ret_run, status *st) {
  char uid[33];
  make_uid(uid);
  if (!db_begin(db, st)) return false;
  const i64 now = clock_unix_ms();
  run_facts stated = *facts;
  if (stated.created_ms <= 0) stated.created_ms = now;
  bool ok = db_run(db, st, "INSERT INTO run (uid, status, heartbeat_ms, created_ms) VALUES (?1, 'running', ?2, ?2)",
                   "ti", uid, now);
  const u64 run = (u64)sqlite3_last_insert_rowid(db->handle);
  ok = ok && own(db, run, st) && write_facts(db, run, &stated, st);
  if (!db_end(db, ok, st)) return false;
  *ret_run = run;
  return true;
}

static bool refuse_live(run_db *db, u64 run, status *st) {
  sqlite3_stmt *s = db_prepare(db, st,
                               "SELECT host, boot, pid, pid_start, heartbeat_ms FROM run"
                               " WHERE id = ?1 AND status = 'running'",
                               "i", (i64)run);
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  run_owner o = {0}, self;
  run_state state = RUN_KILLED;
  run_owner_self(&self);
  if (row) {
    run_owner_read(s, 0, &o);
    state = run_owner_judge(&o, sqlite3_column_int64(s, 4));
  }
  sqlite3_finalize(s);
  const bool mine = o.pid == self.pid && !strcmp(o.boot, self.boot) && !strcmp(o.host, self.host);
  if (state != RUN_RUNNING || mine) return true;
  return status_fail(st, CODE_CANT_CREATE,
                     "%s: run %llu is still running as process %lld on %s; stop it, or wait a minute after "
                     "it died",
                     db->path, (unsigned long long)run, (long long)o.pid, o.host);
}

// The rows of later steps go, so that the run finds them again as if it had never stopped. A NULL that
// stays keeps the run diverged.
static bool take_up(run_db *db, u64 run, u64 step, status *st) {
  const i64 id = (i64)run, last = (i64)step;
  return db_run(db, st, "DELETE FROM metric WHERE run = ?1 AND step > ?2", "ii", id, last) &&
         db_run(db, st, "DELETE FROM alert WHERE run = ?1 AND step > ?2", "ii", id, last) &&
         db_run(db, st,
                "UPDATE run SET resumed = resumed + 1, steps = NULL, tokens = NULL, loss_last = NULL,"
                " val_loss = NULL, wall_s = NULL, host_tokens_per_s = NULL WHERE id = ?1",
                "i", id) &&
         own(db, run, st) &&
         db_run(db, st,
                "UPDATE run SET status = 'diverged' WHERE id = ?1 AND EXISTS"
                " (SELECT 1 FROM metric WHERE run = ?1 AND value IS NULL)",
                "i", id);
}

bool run_db_resume(run_db *db, u64 run, u64 step, status *st) {
  if (!run_db_flush(db, st) || !db_begin(db, st)) return false;
  const bool ok = db_has_run(db, run, st) && refuse_live(db, run, st) && take_up(db, run, step, st);
  return db_end(db, ok, st);
}

bool run_db_remove(run_db *db, u64 run, status *st) {
  if (!run_db_flush(db, st) || !db_begin(db, st)) return false;
  const bool ok = db_has_run(db, run, st) && refuse_live(db, run, st) &&
                  db_run(db, st, "DELETE FROM run WHERE id = ?1", "i", (i64)run);
  return db_end(db, ok, st);
}

bool run_db_set_facts(run_db *db, u64 run, const run_facts *facts, status *st) {
  if (!db_begin(db, st)) return false;
  return db_end(db, db_has_run(db, run, st) && write_facts(db, run, facts, st), st);
}

bool run_db_set_results(run_db *db, u64 run, const run_results *results, status *st) {
  if (!db_begin(db, st)) return false;
  const bool ok = db_has_run(db, run, st) && update_columns(db, run, db_results, db_result_count, results, st);
  return db_end(db, ok, st);
}

bool run_db_finish(run_db *db, u64 run, run_state state, const char *why, status *st) {
  require(state != RUN_RUNNING);
  if (!run_db_flush(db, st) || !db_begin(db, st)) return false;
  const bool ok = db_has_run(db, run, st) &&
                  db_run(db, st,
                         "UPDATE run SET status = CASE WHEN status = 'diverged' AND ?2 <> 'failed' THEN 'diverged'"
                         " ELSE ?2 END, why = ?3, ended_ms = ?4, heartbeat_ms = ?4 WHERE id = ?1",
                         "itti", (i64)run, run_state_name(state), why, clock_unix_ms());
  return db_end(db, ok, st);
}

bool run_db_set_params(run_db *db, u64 run, const run_param *params, u32 count, status *st) {
  if (!db_begin(db, st)) return false;
  bool ok = db_has_run(db, run, st);
  for (u32 i = 0; ok && i < count; i++)
    ok = db_run(db, st, "INSERT OR REPLACE INTO param (run, key, value, origin) VALUES (?1, ?2, ?3, ?4)", "ittt",
                (i64)run, params[i].key, params[i].value, params[i].origin);
  return db_end(db, ok, st);
}

bool run_db_set_tag(run_db *db, u64 run, const char *key, const char *value, status *st) {
  if (!db_begin(db, st)) return false;
  bool ok = db_has_run(db, run, st);
  if (ok && value)
    ok =
        db_run(db, st, "INSERT OR REPLACE INTO tag (run, key, value) VALUES (?1, ?2, ?3)", "itt", (i64)run, key, value);
  else if (ok)
    ok = db_run(db, st, "DELETE FROM tag WHERE run = ?1 AND key = ?2", "it", (i64)run, key);
  return db_end(db, ok, st);
}

// ---- metrics

static bool find_key(run_db *db, const char *name, const char *unit, u32 *ret_key, status *st) {
  sqlite3_stmt *s = db_prepare(db, st, "SELECT id, unit FROM metric_key WHERE name = ?1", "t", name);
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  bool ok = true;
  *ret_key = row ? (u32)sqlite3_column_int64(s, 0) : 0;
  if (row && strcmp((const char *)sqlite3_column_text(s, 1), unit) != 0)
    ok = status_fail(st, CODE_DATA, "%s: metric \"%s\" has unit \"%s\" there, not \"%s\"; name it otherwise", db->path,
                     name, (const char *)sqlite3_column_text(s, 1), unit);
  sqlite3_finalize(s);
  return ok;
}

bool run_db_metric_key(run_db *db, const char *name, const char *unit, u32 *ret_key, status *st) {
  if (!db_begin(db, st)) return false;
  bool ok = find_key(db, name, unit, ret_key, st);
  if (ok && !*ret_key) {
    ok = db_run(db, st, "INSERT INTO metric_key (name, unit) VALUES (?1, ?2)", "tt", name, unit);
    *ret_key = (u32)sqlite3_last_insert_rowid(db->handle);
  }
  return db_end(db, ok, st);
}

static bool insert_row(run_db *db, const metric_row *m, status *st) {
  sqlite3_stmt *s = db->metric_insert;
  if (!s && sqlite3_prepare_v3(db->handle,
                               "INSERT OR REPLACE INTO metric (run, key, step, value)"
                               " VALUES (?1, ?2, ?3, ?4)",
                               -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
    return db_fail(db, "writing metrics", st);
  db->metric_insert = s;
  const bool finite = isfinite(m->value);
  sqlite3_bind_int64(s, 1, (i64)m->run);
  sqlite3_bind_int64(s, 2, (i64)m->key);
  sqlite3_bind_int64(s, 3, (i64)m->step);
  if (finite)
    sqlite3_bind_double(s, 4, m->value);
  else
    sqlite3_bind_null(s, 4);
  bool ok = sqlite3_step(s) == SQLITE_DONE || db_fail(db, "writing metrics", st);
  sqlite3_reset(s);
  return ok && (finite || db_run(db, st, "UPDATE run SET status = 'diverged' WHERE id = ?1", "i", (i64)m->run));
}

static bool beat(run_db *db, u64 run, status *st) {
  return db_run(db, st, "UPDATE run SET heartbeat_ms = ?2 WHERE id = ?1", "ii", (i64)run, clock_unix_ms());
}

// The rows stay in the buffer until they are committed, so a failed batch can be tried again. Each run
// that has rows in the batch is alive by that.
static bool write_batch(run_db *db, status *st) {
  if (!db_begin(db, st)) return false;
  bool ok = true;
  u64 beaten = 0;
  for (u32 i = 0; ok && i < db->row_count; i++) {
    ok = insert_row(db, &db->rows[i], st);
    if (!ok || db->rows[i].run == beaten) continue;
    beaten = db->rows[i].run;
    ok = beat(db, beaten, st);
  }
  if (!db_end(db, ok, st)) return false;
  db->row_count = 0;
  db->batch_s = clock_seconds();
  return true;
}

bool run_db_add_metric(run_db *db, u64 run, u32 key, u64 step, double value, status *st) {
  if (db->row_count == DB_BATCH_ROWS && !write_batch(db, st)) return false;
  db->rows[db->row_count++] = (metric_row){run, step, value, key};
  if (db->row_count < DB_BATCH_ROWS && clock_seconds() - db->batch_s < BATCH_SECONDS) return true;
  return write_batch(db, st);
}

// synchronous=NORMAL leaves the last commits to the operating system; a checkpoint syncs the log first.
// Where another process is checkpointing, its sync serves as well.
bool run_db_flush(run_db *db, status *st) {
  if (db->read_only[0] && !db->row_count) return true;
  if (db->row_count && !write_batch(db, st)) return false;
  const int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
  return code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED ||
         db_fail(db, "syncing", st);
}

bool run_db_heartbeat(run_db *db, u64 run, status *st) {
  const double now = clock_seconds();
  if (now - db->heartbeat_s < HEARTBEAT_SECONDS) return true;
  db->heartbeat_s = now;
  if (db->row_count && !write_batch(db, st)) return false;
  return db_begin(db, st) && db_end(db, beat(db, run, st), st);
}

bool run_db_add_alert(run_db *db, u64 run, u64 step, const char *level, const char *sentence, status *st) {
  if (!db_begin(db, st)) return false;
  const bool ok = db_has_run(db, run, st) &&
                  db_run(db, st, "INSERT INTO alert (run, step, at_ms, level, sentence) VALUES (?1, ?2, ?3, ?4, ?5)",
                         "iiitt", (i64)run, (i64)step, clock_unix_ms(), level, sentence);
  return db_end(db, ok, st);
}

// ---- what the modelled machine did

bool run_db_set_phases(run_db *db, u64 run, const run_phase *phases, u32 count, status *st) {
  if (!db_begin(db, st)) return false;
  bool ok = db_has_run(db, run, st) && db_run(db, st, "DELETE FROM phase WHERE run = ?1", "i", (i64)run);
  for (u32 i = 0; ok && i < count; i++)
    ok = db_run(db, st,
                "INSERT INTO phase (run, position, name, layer, start_cycle, end_cycle, bound_by)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                "iittiit", (i64)run, (i64)i, phases[i].name, phases[i].layer, (i64)phases[i].start_cycle,
                (i64)phases[i].end_cycle, phases[i].bound_by);
  return db_end(db, ok, st);
}

bool run_db_set_map(run_db *db, u64 run, const run_map *map, status *st) {
  arena *a = arena_create("wafer map");
  const uLong bytes = (uLong)map->w * map->h * sizeof(float);
  uLongf packed_bytes = compressBound(bytes);
  bool ok = false;
  Bytef *packed = arena_take_big(a, packed_bytes, "the wafer map", st);
  if (packed && db_begin(db, st)) {
    require(compress2(packed, &packed_bytes, (const Bytef *)map->values, bytes, 6) == Z_OK);
    ok = db_has_run(db, run, st) &&
         db_run(db, st,
                "INSERT OR REPLACE INTO wafer_map (run, name, unit, w, h, data)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                "ittiib", (i64)run, map->name, map->unit, (i64)map->w, (i64)map->h, packed, (size_t)packed_bytes);
    ok = db_end(db, ok, st);
  }
  arena_destroy(a);
  return ok;
}

bool run_db_add_artifact(run_db *db, u64 run, const run_artifact *artifact, status *st) {
  if (!db_begin(db, st)) return false;
  const bool ok =
      db_has_run(db, run, st) &&
      db_run(db, st,
             "INSERT OR REPLACE INTO artifact (run, kind, path, bytes, hash, created_ms)"
             " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
             "ittihi", (i64)run, artifact->kind, artifact->path, (i64)artifact->bytes, artifact->hash, clock_unix_ms());
  return db_end(db, ok, st);
}

bool run_db_put_simulation(run_db *db, const simulation_key *key, const simulation *s, status *st) {
  require(key->program_hash && key->machine_hash);
  if (!db_begin(db, st)) return false;
  const bool ok = db_run(db, st,
                         "INSERT OR REPLACE INTO simulation (program_hash, machine_hash, engine_version,"
                         " created_ms, json, blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                         "hhtitb", key->program_hash, key->machine_hash, key->engine_version, clock_unix_ms(), s->json,
                         s->blob, s->blob_bytes);
  return db_end(db, ok, st);
}

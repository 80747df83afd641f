// Opening and closing the run database, and SQL in one line for the files beside this one.
#include "runtime/run_db_file.h"
#include "base/file.h"
#include "base/log.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#if SQLITE_VERSION_NUMBER < 3037000
#error "SQLite 3.37 or newer is needed (STRICT tables)"
#endif

// ---- SQL in one line

bool db_fail(run_db *db, const char *doing, status *st) {
  const int code = db->handle ? sqlite3_extended_errcode(db->handle) : SQLITE_NOMEM;
  const char *said = db->handle ? sqlite3_errmsg(db->handle) : "out of memory";
  switch (code & 0xff) {
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return status_fail(st, CODE_IO, "%s: another process held the database for %d s while %s; try again", db->path,
                       DB_BUSY_MS / 1000, doing);
  case SQLITE_NOTADB:
    return status_fail(st, CODE_DATA, "%s: is not a SQLite database; name another file with --db", db->path);
  case SQLITE_CORRUPT:
    return status_fail(st, CODE_DATA,
                       "%s: the database is damaged (%s while %s); restore a copy, or save what is left "
                       "with `sqlite3 FILE .recover`",
                       db->path, said, doing);
  case SQLITE_FULL:
    return status_fail(st, CODE_IO, "%s: the disk is full while %s; make room", db->path, doing);
  case SQLITE_CANTOPEN:
  case SQLITE_READONLY:
  case SQLITE_PERM:
    return status_fail(st, CODE_CANT_CREATE, "%s: %s while %s; check the folder and its permissions, or use --db",
                       db->path, said, doing);
  default:
    return status_fail(st, CODE_IO, "%s: %s while %s", db->path, said, doing);
  }
}

void db_bind_hash(sqlite3_stmt *s, int at, u64 hash) {
  char digits[17];
  if (!hash) return;
  snprintf(digits, sizeof digits, "%016llx", (unsigned long long)hash);
  sqlite3_bind_text(s, at, digits, 16, SQLITE_TRANSIENT);
}

u64 db_read_hash(sqlite3_stmt *s, int at) {
  const char *digits = (const char *)sqlite3_column_text(s, at);
  unsigned long long hash = 0;
  return digits && sscanf(digits, "%16llx", &hash) == 1 ? hash : 0;
}

const char *db_read_text(sqlite3_stmt *s, int at, arena *a) {
  const char *word = (const char *)sqlite3_column_text(s, at);
  return word ? arena_text(a, word) : NULL;
}

static void bind_all(sqlite3_stmt *s, const char *letters, va_list args) {
  for (int at = 1; *letters; at++, letters++) {
    switch (*letters) {
    case 'i':
      sqlite3_bind_int64(s, at, va_arg(args, i64));
      break;
    case 'c': {
      const i64 count = va_arg(args, i64);
      if (count >= 0) sqlite3_bind_int64(s, at, count);
      break;
    }
    case 'h':
      db_bind_hash(s, at, va_arg(args, u64));
      break;
    case 'r': {
      const double real = va_arg(args, double);
      if (isfinite(real)) sqlite3_bind_double(s, at, real);
      break;
    }
    case 't':
      sqlite3_bind_text(s, at, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
      break;
    case 'b': {
      const void *bytes = va_arg(args, const void *);
      sqlite3_bind_blob64(s, at, bytes, va_arg(args, size_t), SQLITE_TRANSIENT);
      break;
    }
    default:
      bug_fail(__FILE__, __LINE__, "unknown letter for a SQL argument");
    }
  }
}

static sqlite3_stmt *prepare_with(run_db *db, status *st, const char *sql, const char *letters, va_list args) {
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(db->handle, sql, -1, &s, NULL) != SQLITE_OK) {
    db_fail(db, "reading the tables", st);
    return NULL;
  }
  bind_all(s, letters, args);
  return s;
}

sqlite3_stmt *db_prepare(run_db *db, status *st, const char *sql, const char *letters, ...) {
  va_list args;
  va_start(args, letters);
  sqlite3_stmt *s = prepare_with(db, st, sql, letters, args);
  va_end(args);
  return s;
}

bool db_row(run_db *db, sqlite3_stmt *s, bool *ret_row, status *st) {
  const int code = sqlite3_step(s);
  *ret_row = code == SQLITE_ROW;
  if (code == SQLITE_ROW || code == SQLITE_DONE) return true;
  db_fail(db, "reading", st);
  sqlite3_finalize(s);
  return false;
}

bool db_finish(run_db *db, sqlite3_stmt *s, status *st) {
  int code;
  while ((code = sqlite3_step(s)) == SQLITE_ROW) continue;
  const bool ok = code == SQLITE_DONE || db_fail(db, "writing", st);
  sqlite3_finalize(s);
  return ok;
}

bool db_run(run_db *db, status *st, const char *sql, const char *letters, ...) {
  va_list args;
  va_start(args, letters);
  sqlite3_stmt *s = prepare_with(db, st, sql, letters, args);
  va_end(args);
  return s && db_finish(db, s, st);
}

bool db_exec(run_db *db, const char *sql, status *st) {
  return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK || db_fail(db, "writing", st);
}

bool db_number(run_db *db, const char *sql, i64 *ret_value, status *st) {
  sqlite3_stmt *s = db_prepare(db, st, sql, "");
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  *ret_value = row ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_finalize(s);
  return true;
}

bool db_begin(run_db *db, status *st) {
  if (db->read_only[0]) return status_fail(st, CODE_CANT_CREATE, "%s", db->read_only);
  return db_exec(db, "BEGIN IMMEDIATE", st);
}

bool db_end(run_db *db, bool ok, status *st) {
  if (ok && db_exec(db, "COMMIT", st)) return true;
  // SQLite may have rolled back by itself (a full disk); then this says so and changes nothing.
  sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
  return false;
}

bool db_has_run(run_db *db, u64 run, status *st) {
  sqlite3_stmt *s = db_prepare(db, st, "SELECT 1 FROM run WHERE id = ?1", "i", (i64)run);
  bool row;
  if (!s || !db_row(db, s, &row, st)) return false;
  sqlite3_finalize(s);
  return row || status_fail(st, CODE_NO_INPUT, "%s: has no run %llu; `weft runs` lists them", db->path,
                            (unsigned long long)run);
}

// ---- open

static run_db *handle_create(const char *path, status *st) {
  if (strlen(path) >= DB_PATH_MAX) {
    status_fail(st, CODE_CANT_CREATE, "%.60s...: the path is longer than %d bytes", path, DB_PATH_MAX);
    return NULL;
  }
  if (sqlite3_libversion_number() < 3037000) {
    status_fail(st, CODE_CANT_CREATE, "%s: SQLite %s is too old; install 3.37 or newer", path, sqlite3_libversion());
    return NULL;
  }
  arena *a = arena_create("run database");
  run_db *db = arena_take(a, sizeof *db);
  db->memory = a;
  snprintf(db->path, sizeof db->path, "%s", path);
  db->batch_s = db->heartbeat_s = clock_seconds();
  return db;
}

static void handle_destroy(run_db *db) {
  sqlite3_finalize(db->metric_insert);
  sqlite3_close(db->handle);
  arena_destroy(db->memory);
}

// The busy handler comes before any pragma: even a pragma may have to wait.
static bool open_handle(run_db *db, int flags, status *st) {
  sqlite3_close(db->handle);
  db->handle = NULL;
  if (sqlite3_open_v2(db->path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
    return db_fail(db, "opening", st);
  sqlite3_busy_timeout(db->handle, DB_BUSY_MS);
  return true;
}

typedef enum { FILE_NEW, FILE_OURS, FILE_NEWER } file_kind;

// Looks without changing anything, so that somebody else's file stays as it is. One transaction: another
// process may be making the tables at this moment.
static bool look(run_db *db, file_kind *ret_kind, i64 *ret_version, status *st) {
  i64 application = 0, tables = 0;
  const bool seen = db_exec(db, "BEGIN", st) && db_number(db, "PRAGMA application_id", &application, st) &&
                    db_number(db, "PRAGMA user_version", ret_version, st) &&
                    db_number(db, "SELECT count(*) FROM sqlite_master", &tables, st);
  if (!sqlite3_get_autocommit(db->handle)) sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL);
  if (!seen) return false;
  *ret_kind = *ret_version > DB_VERSION ? FILE_NEWER : FILE_OURS;
  if (application == DB_APPLICATION_ID && *ret_version > 0) return true;
  *ret_kind = FILE_NEW;
  if (application == 0 && *ret_version == 0 && tables == 0) return true;
  return status_fail(st, CODE_DATA, "%s: is a SQLite database, but not one of weft's; name another file with --db",
                     db->path);
}

static void pause_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

// Two processes that switch a fresh file to WAL at once can each find it locked without SQLite calling
// the busy handler, hence the loop.
static bool set_journal(run_db *db, status *st) {
  if (run_owner_on_network(db->path)) return true; // WAL needs shared memory; rollback journal it is
  for (int tries = 0; sqlite3_exec(db->handle, "PRAGMA journal_mode=WAL", NULL, NULL, NULL) != SQLITE_OK; tries++) {
    if ((sqlite3_errcode(db->handle) & 0xff) != SQLITE_BUSY || tries == DB_BUSY_MS / 20)
      return db_fail(db, "switching to WAL", st);
    pause_ms(20);
  }
  return db_exec(db, "PRAGMA synchronous=NORMAL", st);
}

static bool become_read_only(run_db *db, i64 version, status *st) {
  snprintf(db->read_only, sizeof db->read_only,
           "%s: was written by a newer weft (schema %lld, this one knows %d) and is open for reading "
           "only; update weft, or name another file with --db",
           db->path, (long long)version, DB_VERSION);
  log_say(LOG_WARN, "%s", db->read_only);
  return open_handle(db, SQLITE_OPEN_READONLY, st);
}

static bool open_write(run_db *db, status *st) {
  if (!open_handle(db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, st)) return false;
  file_kind kind;
  i64 version = 0;
  if (!look(db, &kind, &version, st)) return false;
  if (kind == FILE_NEWER) return become_read_only(db, version, st);
  if (sqlite3_db_readonly(db->handle, "main") == 1) {
    snprintf(db->read_only, sizeof db->read_only,
             "%s: may not be written; change its permissions, or name another file with --db", db->path);
    return kind == FILE_OURS || status_fail(st, CODE_CANT_CREATE, "%s", db->read_only);
  }
  return set_journal(db, st) && db_exec(db, "PRAGMA foreign_keys=ON", st) &&
         db_migrate(db, db_schema_steps, DB_VERSION, st);
}

run_db *run_db_open(const char *path, status *st) {
  run_db *db = handle_create(path, st);
  if (!db || open_write(db, st)) return db;
  handle_destroy(db);
  return NULL;
}

static bool open_read(run_db *db, status *st) {
  if (!file_exists(db->path))
    return status_fail(st, CODE_NO_INPUT, "%s: there is no such run database; name one with --db", db->path);
  if (!open_handle(db, SQLITE_OPEN_READONLY, st)) return false;
  file_kind kind;
  i64 version = 0;
  if (!look(db, &kind, &version, st)) return false;
  if (kind == FILE_NEW)
    return status_fail(st, CODE_DATA, "%s: is empty; `weft train` or `weft simulate --db` fills it", db->path);
  if (kind == FILE_OURS && version < DB_VERSION)
    return status_fail(st, CODE_DATA,
                       "%s: was written by an older weft (schema %lld); `weft train --db %s` "
                       "brings it up to date and keeps a copy",
                       db->path, (long long)version, db->path);
  if (kind == FILE_NEWER) return become_read_only(db, version, st);
  snprintf(db->read_only, sizeof db->read_only, "%s: is open for reading only", db->path);
  return true;
}

run_db *run_db_open_read(const char *path, status *st) {
  run_db *db = handle_create(path, st);
  if (!db || open_read(db, st)) return db;
  handle_destroy(db);
  return NULL;
}

const char *run_db_read_only(const run_db *db) {
  return db->read_only[0] ? db->read_only : NULL;
}

// ---- close

// Leaves one file that can be copied. While others have it open neither step can be had, which is
// no failure: the last one to leave does it.
static void fold_log(run_db *db) {
  sqlite3_busy_timeout(db->handle, 1000);
  sqlite3_exec(db->handle, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
  sqlite3_busy_timeout(db->handle, 0);
  sqlite3_exec(db->handle, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
}

bool run_db_close(run_db *db, status *st) {
  if (!db) return true;
  const bool ok = db->read_only[0] || run_db_flush(db, st);
  sqlite3_finalize(db->metric_insert);
  db->metric_insert = NULL;
  if (!db->read_only[0]) fold_log(db);
  handle_destroy(db);
  return ok;
}

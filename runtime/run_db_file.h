// Inside of the run database: the handle, the schema and the few ways in which its parts speak SQL.
#pragma once

#include "runtime/run_db.h"
#include <sqlite3.h>

enum {
  DB_VERSION = 1,                 // user_version of the schema this weft writes
  DB_APPLICATION_ID = 0x57454654, // "WEFT"
  DB_BUSY_MS = 30000,             // how long a writer waits for its turn
  DB_BATCH_ROWS = 1024,
  DB_STALE_MS = 60000, // a run on another host that is silent for longer counts as killed
  DB_PATH_MAX = 1024
};

typedef struct metric_row {
  u64 run, step;
  double value;
  u32 key;
} metric_row;

struct run_db {
  arena *memory;
  sqlite3 *handle;
  sqlite3_stmt *metric_insert; // the one statement that is worth keeping
  char path[DB_PATH_MAX];
  char read_only[DB_PATH_MAX + 256]; // "" when writable
  double batch_s, heartbeat_s;       // when the last of each was written
  u32 row_count;
  metric_row rows[DB_BATCH_ROWS];
};

// ---- run_db.c: SQL in one line
// Arguments by letter: i i64, c count (i64, below 0 is NULL), h hash (u64, 0 is NULL), r double (not
// finite is NULL), t text (NULL is NULL), b blob (const void *, size_t).
sqlite3_stmt *db_prepare(run_db *db, status *st, const char *sql, const char *letters, ...);
bool db_run(run_db *db, status *st, const char *sql, const char *letters, ...);
bool db_finish(run_db *db, sqlite3_stmt *s, status *st);             // steps to the end and finalizes
bool db_row(run_db *db, sqlite3_stmt *s, bool *ret_row, status *st); // finalizes on failure only
bool db_exec(run_db *db, const char *sql, status *st);
bool db_number(run_db *db, const char *sql, i64 *ret_value, status *st);
bool db_fail(run_db *db, const char *doing, status *st); // what SQLite just said, as a sentence
bool db_begin(run_db *db, status *st);                   // refuses when read-only
bool db_end(run_db *db, bool ok, status *st);            // commits, or rolls back and returns false
bool db_has_run(run_db *db, u64 run, status *st);        // CODE_NO_INPUT when there is none
void db_bind_hash(sqlite3_stmt *s, int at, u64 hash);    // 0 is NULL
u64 db_read_hash(sqlite3_stmt *s, int at);
const char *db_read_text(sqlite3_stmt *s, int at, arena *a); // NULL is NULL

// ---- run_db_schema.c
// Step i, a NULL-terminated list of SQL, takes a file from version i to i + 1. A file that is not new is
// copied to PATH.v<version>.bak before.
bool db_migrate(run_db *db, const char *const *const *steps, u32 count, status *st);
extern const char *const *const db_schema_steps[DB_VERSION];

typedef enum db_kind { DB_TEXT, DB_GROUP, DB_HASH, DB_SEED, DB_COUNT, DB_REAL } db_kind;
typedef struct db_column {
  const char *name;
  db_kind kind;
  size_t offset; // in run_facts or run_results
} db_column;
extern const db_column db_facts[];
extern const u32 db_fact_count;
extern const db_column db_results[];
extern const u32 db_result_count;
// Binds one member; an unknown value is NULL.
void db_bind_column(sqlite3_stmt *s, int at, const db_column *c, const void *members);
void db_read_column(sqlite3_stmt *s, int at, const db_column *c, arena *a, void *members);

// ---- run_db_owner.c: which process a run belongs to
typedef struct run_owner {
  char host[256];
  char boot[128]; // boot id and pid namespace: pids are comparable only where this is equal
  i64 pid, pid_start;
} run_owner;
void run_owner_self(run_owner *ret_owner);
void run_owner_read(sqlite3_stmt *s, int at, run_owner *ret_owner); // host, boot, pid, pid_start
typedef enum { OWNER_GONE, OWNER_ALIVE, OWNER_ELSEWHERE } owner_state;
owner_state run_owner_look(const run_owner *o);
bool run_owner_on_network(const char *path); // the file lies where WAL does not work
// The state to show for a run that the file calls running.
run_state run_owner_judge(const run_owner *o, i64 heartbeat_ms);

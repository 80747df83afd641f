// The tables of the run database, how a file gets from one version to the next, and the columns of
// `run` as members of run_facts and run_results.
#include "runtime/run_db_file.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Comments in the text stay in the file: `.schema` shows them to whoever opens it.
static const char schema_run[] =
    "CREATE TABLE experiment (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  name TEXT NOT NULL UNIQUE,\n"
    "  created_ms INTEGER NOT NULL\n"
    ") STRICT;\n"
    "CREATE TABLE run (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  uid TEXT NOT NULL UNIQUE,          -- stays the same when databases are merged\n"
    "  status TEXT NOT NULL CHECK (status IN ('running','finished','failed','killed','diverged')),\n"
    "  why TEXT,                          -- the sentence given at the end\n"
    "  heartbeat_ms INTEGER NOT NULL,     -- all times: milliseconds since 1970, UTC\n"
    "  ended_ms INTEGER,\n"
    "  resumed INTEGER NOT NULL DEFAULT 0,\n"
    "  host TEXT, boot TEXT, pid INTEGER, pid_start INTEGER, -- the process that owns the run\n"
    "  name TEXT,\n"
    "  command TEXT,\n"
    "  experiment INTEGER REFERENCES experiment(id),\n"
    "  config TEXT,                       -- YAML that replays the run\n"
    "  config_hash TEXT,                  -- all hashes: 16 hexadecimal digits\n"
    "  data TEXT,\n"
    "  data_hash TEXT,\n"
    "  graph_hash TEXT,\n"
    "  machine TEXT,\n"
    "  machine_hash TEXT,\n"
    "  plan_hash TEXT,\n"
    "  program_hash TEXT,\n"
    "  seed INTEGER,                      -- 64 bits, two's complement\n"
    "  threads INTEGER,\n"
    "  weft_version TEXT,\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  steps INTEGER,\n"
    "  tokens INTEGER,\n"
    "  loss_first REAL, loss_last REAL, val_loss REAL, -- nat per token\n"
    "  wall_s REAL,\n"
    "  host_tokens_per_s REAL,            -- measured on the host\n"
    "  model_tokens_per_s REAL,           -- from here on: of the modelled machine\n"
    "  samples_per_s REAL,\n"
    "  cycles_per_step REAL,\n"
    "  step_s REAL,\n"
    "  joules_per_step REAL,\n"
    "  utilization REAL,                  -- of the dense fp16 peak\n"
    "  mac_per_cycle_per_pe REAL,\n"
    "  time_to_train_s REAL,\n"
    "  energy_to_train_j REAL,\n"
    "  systems INTEGER,\n"
    "  microbatch INTEGER,\n"
    "  pes_used INTEGER,\n"
    "  sram_peak_bytes INTEGER,\n"
    "  wavelets INTEGER, hops INTEGER, macs INTEGER,\n"
    "  engine TEXT,\n"
    "  bottleneck TEXT\n"
    ") STRICT;\n"
    "CREATE INDEX run_name ON run(name);\n"
    "CREATE INDEX run_experiment ON run(experiment);\n";

static const char schema_told[] =
    "CREATE TABLE param (\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  key TEXT NOT NULL,\n"
    "  value TEXT NOT NULL,\n"
    "  origin TEXT,                       -- who stated it\n"
    "  PRIMARY KEY (run, key)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE tag (\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  key TEXT NOT NULL,\n"
    "  value TEXT NOT NULL,\n"
    "  PRIMARY KEY (run, key)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE metric_key (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  name TEXT NOT NULL UNIQUE,\n"
    "  unit TEXT NOT NULL                 -- '' where there is none\n"
    ") STRICT;\n"
    "INSERT INTO metric_key VALUES (1,'loss','nat'),(2,'val_loss','nat'),(3,'lr',''),(4,'grad_norm','');\n"
    "CREATE TABLE metric (\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  key INTEGER NOT NULL REFERENCES metric_key(id),\n"
    "  step INTEGER NOT NULL,\n"
    "  value REAL,                        -- NULL: was not finite\n"
    "  PRIMARY KEY (run, key, step)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE alert (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  step INTEGER NOT NULL,\n"
    "  at_ms INTEGER NOT NULL,\n"
    "  level TEXT NOT NULL,\n"
    "  sentence TEXT NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX alert_run ON alert(run);\n";

static const char schema_modelled[] =
    "CREATE TABLE phase (                 -- of one step on the modelled machine\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  position INTEGER NOT NULL,\n"
    "  name TEXT NOT NULL,\n"
    "  layer TEXT,\n"
    "  start_cycle INTEGER NOT NULL,\n"
    "  end_cycle INTEGER NOT NULL,\n"
    "  bound_by TEXT,\n"
    "  PRIMARY KEY (run, position)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE wafer_map (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  name TEXT NOT NULL,\n"
    "  unit TEXT NOT NULL,\n"
    "  w INTEGER NOT NULL,\n"
    "  h INTEGER NOT NULL,\n"
    "  data BLOB NOT NULL,                -- zlib of w*h little-endian float32, row by row\n"
    "  UNIQUE (run, name)\n"
    ") STRICT;\n"
    "CREATE TABLE artifact (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,\n"
    "  kind TEXT NOT NULL,\n"
    "  path TEXT NOT NULL,\n"
    "  bytes INTEGER NOT NULL,\n"
    "  hash TEXT,\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  UNIQUE (run, kind, path)\n"
    ") STRICT;\n"
    "CREATE TABLE simulation (            -- a cache: rows may be deleted at any time\n"
    "  program_hash TEXT NOT NULL,\n"
    "  machine_hash TEXT NOT NULL,\n"
    "  engine_version TEXT NOT NULL,\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  json TEXT NOT NULL,\n"
    "  blob BLOB,\n"
    "  PRIMARY KEY (program_hash, machine_hash, engine_version)\n"
    ") STRICT;\n"
    "CREATE VIEW v_metric AS\n"
    "  SELECT m.run, r.name AS run_name, e.name AS experiment, k.name AS key, k.unit, m.step, m.value\n"
    "  FROM metric m JOIN run r ON r.id = m.run JOIN metric_key k ON k.id = m.key\n"
    "  LEFT JOIN experiment e ON e.id = r.experiment;\n"
    "CREATE VIEW v_latest AS              -- the last value of each key of each run\n"
    "  SELECT r.id AS run, r.name AS run_name, r.status, k.name AS key, k.unit, m.step, m.value\n"
    "  FROM run r CROSS JOIN metric_key k JOIN metric m ON m.run = r.id AND m.key = k.id\n"
    "  AND m.step = (SELECT max(step) FROM metric x WHERE x.run = r.id AND x.key = k.id);\n";

static const char *const step_1[] = {schema_run, schema_told, schema_modelled, NULL};
const char *const *const db_schema_steps[DB_VERSION] = {step_1};

// The copy is made under a name of its own and renamed, so that a .bak is always whole.
static bool keep_copy(run_db *db, i64 version, status *st) {
  char to[DB_PATH_MAX + 32], partial[DB_PATH_MAX + 48];
  snprintf(to, sizeof to, "%s.v%lld.bak", db->path, (long long)version);
  snprintf(partial, sizeof partial, "%s.partial", to);
  unlink(partial);
  if (!db_run(db, st, "VACUUM INTO ?1", "t", partial)) return false;
  if (rename(partial, to) == 0) return true;
  return status_fail(st, CODE_CANT_CREATE, "%s: the copy before migration cannot be made; check the folder", to);
}

// The version is read again inside the transaction: another process may have been faster.
static bool migrate_step(run_db *db, i64 version, const char *const *sql, status *st) {
  if (!db_exec(db, "BEGIN IMMEDIATE", st)) return false;
  i64 now = 0;
  bool ok = db_number(db, "PRAGMA user_version", &now, st);
  if (ok && now == version) {
    for (u32 i = 0; ok && sql[i]; i++) ok = db_exec(db, sql[i], st);
    char pragma[64];
    snprintf(pragma, sizeof pragma, "PRAGMA user_version=%lld", (long long)version + 1);
    ok = ok && db_exec(db, pragma, st);
    snprintf(pragma, sizeof pragma, "PRAGMA application_id=%d", DB_APPLICATION_ID);
    ok = ok && db_exec(db, pragma, st);
  }
  return db_end(db, ok, st);
}

bool db_migrate(run_db *db, const char *const *const *steps, u32 count, status *st) {
  i64 version = 0;
  if (!db_number(db, "PRAGMA user_version", &version, st)) return false;
  if (version > 0 && version < count && !keep_copy(db, version, st)) return false;
  for (; version < count; version++)
    if (!migrate_step(db, version, steps[version], st)) return false;
  return true;
}

#define FACT_COLUMN(kind, member) {#member, DB_##kind, offsetof(run_facts, member)},
const db_column db_facts[] = {RUN_FACTS(FACT_COLUMN)};
const u32 db_fact_count = COUNT_OF(db_facts);

#define RESULT_COLUMN(kind, member) {#member, DB_##kind, offsetof(run_results, member)},
const db_column db_results[] = {RUN_RESULTS(RESULT_COLUMN)};
const u32 db_result_count = COUNT_OF(db_results);

// Members are reached through memcpy: their types differ by kind.
#define MEMBER(type, name, c, members)                                                                                 \
  type name;                                                                                                           \
  memcpy(&name, (const char *)(members) + (c)->offset, sizeof name)

void db_bind_column(sqlite3_stmt *s, int at, const db_column *c, const void *members) {
  switch (c->kind) {
  case DB_TEXT:
  case DB_GROUP: {
    MEMBER(const char *, word, c, members);
    sqlite3_bind_text(s, at, word, -1, SQLITE_TRANSIENT);
    break;
  }
  case DB_HASH: {
    MEMBER(u64, hash, c, members);
    db_bind_hash(s, at, hash);
    break;
  }
  case DB_SEED: {
    MEMBER(u64, seed, c, members);
    sqlite3_bind_int64(s, at, (i64)seed);
    break;
  }
  case DB_COUNT: {
    MEMBER(i64, count, c, members);
    if (count >= 0) sqlite3_bind_int64(s, at, count);
    break;
  }
  case DB_REAL: {
    MEMBER(double, real, c, members);
    if (isfinite(real)) sqlite3_bind_double(s, at, real);
    break;
  }
  }
}

#define STORE(type, value, c, members)                                                                                 \
  do {                                                                                                                 \
    type stored = (value);                                                                                             \
    memcpy((char *)(members) + (c)->offset, &stored, sizeof stored);                                                   \
  } while (0)

void db_read_column(sqlite3_stmt *s, int at, const db_column *c, arena *a, void *members) {
  const bool null = sqlite3_column_type(s, at) == SQLITE_NULL;
  switch (c->kind) {
  case DB_TEXT:
  case DB_GROUP:
    STORE(const char *, db_read_text(s, at, a), c, members);
    break;
  case DB_HASH:
    STORE(u64, db_read_hash(s, at), c, members);
    break;
  case DB_SEED:
    STORE(u64, (u64)sqlite3_column_int64(s, at), c, members);
    break;
  case DB_COUNT:
    STORE(i64, null ? -1 : sqlite3_column_int64(s, at), c, members);
    break;
  case DB_REAL:
    STORE(double, null ? (double)NAN : sqlite3_column_double(s, at), c, members);
    break;
  }
}

static const run_facts no_facts = {.threads = -1, .created_ms = -1};
run_facts run_facts_none(void) {
  return no_facts;
}

#define NONE_TEXT NULL
#define NONE_COUNT (-1)
#define NONE_REAL ((double)NAN)
#define RESULT_NONE(kind, member) .member = NONE_##kind,
run_results run_results_none(void) {
  return (run_results){RUN_RESULTS(RESULT_NONE)};
}

const char *run_state_name(run_state s) {
  static const char *const names[] = {"running", "finished", "failed", "killed", "diverged"};
  require((u32)s < COUNT_OF(names));
  return names[s];
}

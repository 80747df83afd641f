// The run database: one SQLite file that holds what ran, what it was told, what came out and how fast
// the modelled wafer would have been. Knows runs and numbers, nothing of trainers or machines.
//
// Invariants
// 1. A kill at any moment leaves a database that opens; at most the buffered metric rows are lost.
// 2. `metric` holds deterministic values only (loss, val_loss, lr, grad_norm): a run that was
//    interrupted and resumed has byte for byte the rows of one that was not. Host speed goes to
//    columns of `run`. The trainer calls run_db_flush before it saves a checkpoint, and
//    run_db_resume with the checkpoint's step.
// 3. Every write is one BEGIN IMMEDIATE transaction, so any number of processes may write one file.
// 4. A handle belongs to one thread and does not survive fork.
#pragma once

#include "base/arena.h"
#include "base/text.h"

typedef struct run_db run_db;

// ---- open and close

// Opens or creates. A file of a newer weft opens for reading only and says so with log_say; its
// writers then fail with that sentence. A file that is not a run database is refused (CODE_DATA),
// an older one is migrated after a copy is kept as PATH.v<version>.bak.
run_db *run_db_open(const char *path, status *st);
// Never creates or changes anything: CODE_NO_INPUT when there is no such file.
run_db *run_db_open_read(const char *path, status *st);
// NULL when writable; otherwise the sentence that says why not.
const char *run_db_read_only(const run_db *db);
// Flushes, folds the log back into the one file (unless others have it open) and frees. NULL is fine.
bool run_db_close(run_db *db, status *st);

// ---- a run begins

typedef enum run_state { RUN_RUNNING, RUN_FINISHED, RUN_FAILED, RUN_KILLED, RUN_DIVERGED } run_state;
const char *run_state_name(run_state s); // "running" ...

// What is known when a run starts: kind, column. TEXT is NULL where unknown, HASH is 0 where unknown
// (16 hexadecimal digits in the file), COUNT is -1 where unknown.
#define RUN_FACTS(F)                                                                               \
  F(TEXT, name)                                                                                    \
  F(TEXT, command)      /* "train", "simulate" ... */                                              \
  F(GROUP, experiment)  /* groups runs: a sweep, a study; made when new */                         \
  F(TEXT, config)       /* YAML that replays the run */                                            \
  F(HASH, config_hash)                                                                             \
  F(TEXT, data)         /* what the corpus is, for people */                                       \
  F(HASH, data_hash)                                                                               \
  F(HASH, graph_hash)                                                                              \
  F(TEXT, machine)                                                                                 \
  F(HASH, machine_hash)                                                                            \
  F(HASH, plan_hash)                                                                               \
  F(HASH, program_hash)                                                                            \
  F(SEED, seed)                                                                                    \
  F(COUNT, threads)                                                                                \
  F(TEXT, weft_version)                                                                            \
  F(COUNT, created_ms)  /* since 1970; 0 or less: now */

// What is known later. COUNT -1, REAL NaN and TEXT NULL mean "not known": run_db_set_results leaves
// such columns as they are.
#define RUN_RESULTS(F)                                                                             \
  F(COUNT, steps)                                                                                  \
  F(COUNT, tokens)                                                                                 \
  F(REAL, loss_first)                                                                              \
  F(REAL, loss_last)                                                                               \
  F(REAL, val_loss)                                                                                \
  F(REAL, wall_s)                                                                                  \
  F(REAL, host_tokens_per_s)                                                                       \
  F(REAL, model_tokens_per_s)                                                                      \
  F(REAL, samples_per_s)                                                                           \
  F(REAL, cycles_per_step)                                                                         \
  F(REAL, step_s)                                                                                  \
  F(REAL, joules_per_step)                                                                         \
  F(REAL, utilization)                                                                             \
  F(REAL, mac_per_cycle_per_pe)                                                                    \
  F(REAL, time_to_train_s)                                                                         \
  F(REAL, energy_to_train_j)                                                                       \
  F(COUNT, systems)                                                                                \
  F(COUNT, microbatch)                                                                             \
  F(COUNT, pes_used)                                                                               \
  F(COUNT, sram_peak_bytes)                                                                        \
  F(COUNT, wavelets)                                                                               \
  F(COUNT, hops)                                                                                   \
  F(COUNT, macs)                                                                                   \
  F(TEXT, engine)                                                                                  \
  F(TEXT, bottleneck)

#define RUN_CTYPE_TEXT const char *
#define RUN_CTYPE_GROUP const char *
#define RUN_CTYPE_HASH u64
#define RUN_CTYPE_SEED u64
#define RUN_CTYPE_COUNT i64
#define RUN_CTYPE_REAL double
#define RUN_MEMBER(kind, member) RUN_CTYPE_##kind member;

typedef struct run_facts { RUN_FACTS(RUN_MEMBER) } run_facts;
typedef struct run_results { RUN_RESULTS(RUN_MEMBER) } run_results;

run_facts run_facts_none(void);     // everything unknown
run_results run_results_none(void); // everything unknown

// A new run, running, owned by this process.
bool run_db_start(run_db *db, const run_facts *facts, u64 *ret_run, status *st);
// Takes a stopped run up again after `step` finished steps: metrics and alerts of later steps are
// removed, what training will find again is cleared, and this process owns it. A run that another live
// process owns is refused.
bool run_db_resume(run_db *db, u64 run, u64 step, status *st);
// Facts that become known after the start (the plan, the program): unknown ones stay as they are, and
// the seed always does.
bool run_db_set_facts(run_db *db, u64 run, const run_facts *facts, status *st);

typedef struct run_param {
  const char *key, *value;
  const char *origin; // "default", "run.yaml:14:9", "--set"; NULL where unknown
} run_param;
// Adds or replaces.
bool run_db_set_params(run_db *db, u64 run, const run_param *params, u32 count, status *st);
bool run_db_set_tag(run_db *db, u64 run, const char *key, const char *value, status *st); // NULL removes

// ---- while it runs

// Keys that every database has, with these ids.
enum { METRIC_LOSS = 1, METRIC_VAL_LOSS = 2, METRIC_LR = 3, METRIC_GRAD_NORM = 4 };
// The id of a key of the caller's own, made when new. A known name with another unit fails.
bool run_db_metric_key(run_db *db, const char *name, const char *unit, u32 *ret_key, status *st);

// Buffered: written in batches (1024 rows, or the first call a second after the last batch). A value
// that is not finite becomes NULL and marks the run diverged. The same (run, key, step) again replaces.
bool run_db_add_metric(run_db *db, u64 run, u32 key, u64 step, double value, status *st);
// Writes what is buffered, and waits until it would survive a power cut.
bool run_db_flush(run_db *db, status *st);
// Says that the run is alive. Cheap enough for every step: writes at most once in 5 seconds.
bool run_db_heartbeat(run_db *db, u64 run, status *st);
bool run_db_set_results(run_db *db, u64 run, const run_results *results, status *st);
// Flushes and ends a run. A run that diverged stays diverged when it ends as finished or killed.
// `why` may be NULL.
bool run_db_finish(run_db *db, u64 run, run_state state, const char *why, status *st);

// Removes a run that no live process owns, with all that belongs to it in this file.
bool run_db_remove(run_db *db, u64 run, status *st);

// Something a person should look at; level is "info", "warn" or "error".
bool run_db_add_alert(run_db *db, u64 run, u64 step, const char *level, const char *sentence,
                      status *st);

// ---- what the modelled machine did

typedef struct run_phase {
  const char *name, *layer; // layer: the graph node or block it came from
  u64 start_cycle, end_cycle;
  const char *bound_by; // "fabric", "edge I/O" ...
} run_phase;
// Replaces the run's phases; index is the position.
bool run_db_set_phases(run_db *db, u64 run, const run_phase *phases, u32 count, status *st);

typedef struct run_map {
  const char *name, *unit;
  u32 w, h;
  const float *values; // row by row, row 0 is the northern edge
} run_map;
bool run_db_set_map(run_db *db, u64 run, const run_map *map, status *st); // adds or replaces by name

typedef struct run_artifact {
  const char *kind; // "checkpoint", "trace", "report" ...
  const char *path;
  u64 bytes, hash; // hash 0: unknown
} run_artifact;
bool run_db_add_artifact(run_db *db, u64 run, const run_artifact *artifact, status *st);

// The cache of simulations: a thousand training steps cost one.
typedef struct simulation_key {
  u64 program_hash, machine_hash;
  const char *engine_version; // "flow/3"
} simulation_key;
typedef struct simulation {
  const char *json; // the result document
  const void *blob; // NULL, or what JSON is a bad carrier for
  size_t blob_bytes;
} simulation;
bool run_db_put_simulation(run_db *db, const simulation_key *key, const simulation *s, status *st);
// True with json == NULL when the cache has none.
bool run_db_get_simulation(run_db *db, const simulation_key *key, arena *a, simulation *ret_sim,
                           status *st);

// ---- reading back (everything lands in the arena)

typedef struct run_row {
  u64 id;
  const char *uid;    // stays the same when databases are merged
  run_state state;    // as shown: a "running" run whose process is gone is RUN_KILLED
  run_state recorded; // as written in the file
  const char *why;    // the sentence given at the end, or NULL
  i64 heartbeat_ms, ended_ms; // ended_ms -1 while running
  i64 resumed;                // how often it was taken up again
  const char *host;
  i64 pid;
  run_facts facts;
  run_results results; // while running, steps and loss_last come from the metrics
} run_row;

typedef struct run_filter {
  const char *experiment; // NULL: all
  const char *tag_key, *tag_value; // NULL: all; value NULL: any value
  u32 limit;              // 0: all
} run_filter;
// Newest first; facts.config is NULL here (run_db_get has it).
bool run_db_list(run_db *db, const run_filter *filter, arena *a, const run_row **ret_rows,
                 u32 *ret_count, status *st);
// All columns of one run; CODE_NO_INPUT when there is none.
bool run_db_get(run_db *db, u64 run, arena *a, run_row *ret_row, status *st);
// A run by what people type: an id, "last", a name (the newest of that name), or the first letters of
// a uid (four or more).
bool run_db_find(run_db *db, const char *word, u64 *ret_run, status *st);

typedef struct run_point {
  u64 step;
  double value; // NaN where the file has NULL
} run_point;
bool run_db_series(run_db *db, u64 run, const char *key, arena *a, const run_point **ret_points,
                   u32 *ret_count, status *st);
typedef struct run_key {
  const char *name, *unit;
  u64 count, last_step;
  double last; // NaN where the file has NULL
} run_key;
bool run_db_keys(run_db *db, u64 run, arena *a, const run_key **ret_keys, u32 *ret_count, status *st);
bool run_db_params(run_db *db, u64 run, arena *a, const run_param **ret_params, u32 *ret_count,
                   status *st);
bool run_db_phases(run_db *db, u64 run, arena *a, const run_phase **ret_phases, u32 *ret_count,
                   status *st);
bool run_db_artifacts(run_db *db, u64 run, arena *a, const run_artifact **ret_rows, u32 *ret_count,
                      status *st);
typedef struct run_alert {
  u64 step;
  i64 at_ms;
  const char *level, *sentence;
} run_alert;
bool run_db_alerts(run_db *db, u64 run, arena *a, const run_alert **ret_alerts, u32 *ret_count,
                   status *st);
// Names, units and sizes of a run's maps; values are NULL.
bool run_db_maps(run_db *db, u64 run, arena *a, const run_map **ret_maps, u32 *ret_count, status *st);
// CODE_NO_INPUT when the run has no map of that name.
bool run_db_get_map(run_db *db, u64 run, const char *name, arena *a, run_map *ret_map, status *st);

// ---- the whole file

// Copies the runs and cached simulations of another run database that this one lacks (by uid).
bool run_db_merge(run_db *db, const char *from_path, u32 *ret_runs, status *st);
// Structure, foreign keys and the rules above; one line per complaint is added to `report`. True when
// it could be checked; ret_complaints tells whether all is well.
bool run_db_check(run_db *db, text *report, u32 *ret_complaints, status *st);
// A consistent copy in one file while others write; refuses to overwrite.
bool run_db_snapshot(run_db *db, const char *to_path, status *st);

// One row of a query: columns as text, NULL where the file has NULL. False stops.
typedef bool run_db_visit(void *user, u32 columns, const char *const *names, const char *const *values);
// Runs one statement that only reads; anything that would write is refused.
bool run_db_query(run_db *db, const char *sql, run_db_visit *visit, void *user, status *st);
// The same, where the caller wants to tell numbers from texts that look like them: is_number[column].
// The first call is the heading, values NULL, so that an empty result has its names too.
typedef struct run_cells {
  u32 columns;
  const char *const *names, *const *values;
  const bool *is_number;
} run_cells;
typedef bool run_db_visit_cells(void *user, const run_cells *cells, bool is_heading);
bool run_db_query_cells(run_db *db, const char *sql, run_db_visit_cells *visit, void *user, status *st);

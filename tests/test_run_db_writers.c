// The run database and its writers: the same metric rows after a resume, runs that live and die, many
// writers at once, a kill at any moment.
#include "tests/run_db_support.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"

// ---- metrics

static double loss_at(u64 step) {
  return 6 / (1 + 0.01 * (double)step) + random_unit(3, RANDOM_TEST, 0, step);
}

static void train_steps(run_db *db, u64 run, u64 from, u64 to) {
  status st = {0};
  for (u64 step = from; step <= to; step++) {
    OK(run_db_add_metric(db, run, METRIC_LOSS, step, loss_at(step), &st));
    OK(run_db_add_metric(db, run, METRIC_LR, step, 1 / (double)(step + 1), &st));
    if (step % 100 == 0) OK(run_db_add_metric(db, run, METRIC_VAL_LOSS, step, loss_at(step) + 1, &st));
    OK(run_db_heartbeat(db, run, &st));
  }
}

// Every bit of every row, without the run's id.
static u64 metric_hash(run_db *db, u64 run, u32 *ret_rows) {
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_prepare_v2(db->handle,
                                      "SELECT key, step, value FROM metric WHERE run = ?1"
                                      " ORDER BY key, step",
                                      -1, &s, NULL),
                   SQLITE_OK);
  sqlite3_bind_int64(s, 1, (i64)run);
  u64 hash = HASH_START;
  for (*ret_rows = 0; sqlite3_step(s) == SQLITE_ROW; ++*ret_rows) {
    const double value = sqlite3_column_double(s, 2);
    hash = hash_u64(hash_u64(hash, (u64)sqlite3_column_int64(s, 0)), (u64)sqlite3_column_int64(s, 1));
    hash = hash_u64(hash, (u64)sqlite3_column_type(s, 2));
    hash = hash_bytes(hash, &value, sizeof value);
  }
  sqlite3_finalize(s);
  return hash;
}

// Forks a process that trains and kills it with SIGKILL when it says so; it has flushed at step 500 (its
// checkpoint) and gone some way beyond.
static u64 killed_run(void) {
  int tell[2];
  assert_int_equal(pipe(tell), 0);
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    status st = {0};
    run_db *db = run_db_open(path, &st);
    const u64 run = start_run(db, "killed");
    train_steps(db, run, 1, 500);
    run_db_flush(db, &st);
    train_steps(db, run, 501, 2000);
    if (write(tell[1], &run, sizeof run) != sizeof run) _exit(1);
    while (true) pause();
  }
  u64 run = 0;
  close(tell[1]);
  assert_int_equal(read(tell[0], &run, sizeof run), sizeof run);
  close(tell[0]);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return run;
}

static void resumed_rows_are_the_same(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  const u64 killed = killed_run();
  run_db *db = open_db();
  const u64 whole = start_run(db, "whole");
  train_steps(db, whole, 1, 2500);
  OK(run_db_finish(db, whole, RUN_FINISHED, NULL, &st));
  run_row row;
  OK(run_db_get(db, killed, a, &row, &st));
  assert_int_equal(row.recorded, RUN_RUNNING);
  assert_int_equal(row.state, RUN_KILLED); // its process is gone
  assert_true(row.results.steps >= 500 && row.results.steps <= 2000);
  OK(run_db_resume(db, killed, 500, &st));
  OK(run_db_get(db, killed, a, &row, &st));
  assert_true(row.state == RUN_RUNNING && row.resumed == 1 && row.results.steps == 500);
  train_steps(db, killed, 501, 2500);
  OK(run_db_finish(db, killed, RUN_FINISHED, NULL, &st));
  u32 rows_whole, rows_killed;
  const u64 x = metric_hash(db, whole, &rows_whole), y = metric_hash(db, killed, &rows_killed);
  assert_int_equal(rows_whole, 2500 + 2500 + 25);
  assert_int_equal(rows_killed, rows_whole);
  assert_true(x == y);
  expect_healthy(db);
  close_db(db);
  arena_destroy(a);
}

static void series_and_views(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  const u64 run = start_run(db, "r");
  u32 key, again;
  OK(run_db_metric_key(db, "coord.q", "rms", &key, &st));
  OK(run_db_metric_key(db, "coord.q", "rms", &again, &st));
  assert_true(key == again && key > METRIC_GRAD_NORM);
  OK(run_db_add_metric(db, run, METRIC_LOSS, 2, 0.1, &st));
  OK(run_db_add_metric(db, run, METRIC_LOSS, 1, 3, &st));
  OK(run_db_add_metric(db, run, METRIC_LOSS, 1, 4, &st)); // replaces
  OK(run_db_add_metric(db, run, key, 1, -0.0, &st));
  OK(run_db_flush(db, &st));
  const run_point *points;
  const run_key *keys;
  u32 n;
  OK(run_db_series(db, run, "loss", a, &points, &n, &st));
  assert_true(n == 2 && points[0].step == 1 && points[0].value == 4 && points[1].value == 0.1);
  OK(run_db_series(db, run, "unknown", a, &points, &n, &st));
  assert_int_equal(n, 0);
  OK(run_db_keys(db, run, a, &keys, &n, &st));
  assert_true(n == 2 && keys[0].count == 2 && keys[0].last_step == 2 && keys[0].last == 0.1);
  assert_string_equal(keys[1].unit, "rms");
  expect(db, "SELECT run_name, experiment, key, unit, step, value FROM v_metric WHERE key = 'loss'",
         "r|width|loss|nat|1|4.0\nr|width|loss|nat|2|0.1\n");
  expect(db, "SELECT run, key, step, value FROM v_latest WHERE key = 'loss'", "1|loss|2|0.1\n");
  assert_false(run_db_metric_key(db, "loss", "bit", &key, &st));
  assert_int_equal(st.code, CODE_DATA);
  close_db(db);
  arena_destroy(a);
}

static void nan_is_null_and_diverged(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  const u64 run = start_run(db, "r");
  OK(run_db_add_metric(db, run, METRIC_LOSS, 1, 3, &st));
  OK(run_db_add_metric(db, run, METRIC_LOSS, 2, NAN, &st));
  OK(run_db_add_metric(db, run, METRIC_GRAD_NORM, 2, INFINITY, &st));
  OK(run_db_finish(db, run, RUN_FINISHED, NULL, &st));
  expect(db, "SELECT key, value FROM metric WHERE step = 2", "1|NULL\n4|NULL\n");
  run_row row;
  const run_point *points;
  u32 n;
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_DIVERGED);
  OK(run_db_series(db, run, "loss", a, &points, &n, &st));
  assert_true(n == 2 && isnan(points[1].value));
  OK(run_db_resume(db, run, 2, &st)); // still has them
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_DIVERGED);
  OK(run_db_resume(db, run, 1, &st)); // and now not
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_RUNNING);
  expect_healthy(db);
  close_db(db);
  arena_destroy(a);
}

static void live_and_silent_runs(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  const u64 run = start_run(db, "r");
  run_row row;
  sql_of_another(path, "UPDATE run SET pid = 1, pid_start = 0"); // init is always there
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_RUNNING);
  assert_false(run_db_resume(db, run, 0, &st));
  assert_non_null(strstr(st.text, "is still running as process 1"));
  status_clear(&st);
  sql_of_another(path, "UPDATE run SET pid_start = 12345678901"); // the pid was reused
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_KILLED);
  sql_of_another(path, "UPDATE run SET host = 'elsewhere'");
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_RUNNING);
  sql_of_another(path, "UPDATE run SET heartbeat_ms = heartbeat_ms - 61000");
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_KILLED);
  assert_int_equal(row.recorded, RUN_RUNNING);
  OK(run_db_resume(db, run, 0, &st));
  close_db(db);
  arena_destroy(a);
}

// ---- many writers, and one that dies

static void busy_writer(u32 me) {
  status st = {0};
  run_db *db = run_db_open(path, &st);
  if (!db) _exit(2);
  run_facts facts = run_facts_none();
  u64 run;
  if (!run_db_start(db, &facts, &run, &st)) _exit(3);
  for (u64 step = 1; step <= 200; step++) {
    if (!run_db_add_metric(db, run, METRIC_LOSS, step, (double)me, &st)) _exit(4);
    if (!run_db_flush(db, &st)) _exit(5);
  }
  if (!run_db_finish(db, run, RUN_FINISHED, NULL, &st)) _exit(6);
  _exit(run_db_close(db, &st) ? 0 : 7);
}

static void four_writers_all_succeed(void **state) {
  (void)state;
  pid_t children[4];
  fflush(NULL);
  for (u32 i = 0; i < 4; i++) {
    children[i] = fork();
    assert_true(children[i] >= 0);
    if (children[i] == 0) busy_writer(i);
  }
  for (u32 i = 0; i < 4; i++) {
    int how = 0;
    assert_int_equal(waitpid(children[i], &how, 0), children[i]);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
  }
  assert_false(file_exists(beside("-wal"))); // the last one to leave folded the log
  run_db *db = open_db();
  expect(db, "SELECT count(*), count(DISTINCT run) FROM metric", "800|4\n");
  expect(db, "SELECT status, count(*) FROM run GROUP BY status", "finished|4\n");
  expect_healthy(db);
  close_db(db);
}

static void endless_writer(void) {
  status st = {0};
  run_db *db = run_db_open(path, &st);
  run_facts facts = run_facts_none();
  u64 run;
  if (!db || !run_db_start(db, &facts, &run, &st)) _exit(1);
  for (u64 step = 1;; step++) {
    for (u32 i = 0; i < 50; i++) run_db_add_metric(db, run, METRIC_LOSS, 50 * step + i, 1, &st);
    if (!run_db_flush(db, &st)) _exit(1);
  }
}

// Killed after 0 to 120 ms: while opening, making tables, writing, checkpointing.
static void a_kill_corrupts_nothing(void **state) {
  (void)state;
  for (u32 i = 0; i < 40; i++) {
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) endless_writer();
    const struct timespec wait = {0, (long)(i * 3000000 + random_below(5, RANDOM_TEST, 0, i, 3000000))};
    nanosleep(&wait, NULL);
    int how = 0;
    kill(child, SIGKILL);
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how));
    run_db *db = open_db();
    expect(db, "PRAGMA integrity_check", "ok\n");
    expect(db, "SELECT DISTINCT n % 50 FROM (SELECT count(*) AS n FROM metric GROUP BY run) WHERE n % 50", "");
    expect_healthy(db);
    close_db(db);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(resumed_rows_are_the_same), TEST(series_and_views),         TEST(nan_is_null_and_diverged),
      TEST(live_and_silent_runs),      TEST(four_writers_all_succeed), TEST(a_kill_corrupts_nothing),
  };
  return cmocka_run_group_tests_name("run_db_writers", tests, make_folder, remove_folder);
}

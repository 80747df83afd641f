// A run that is killed, interrupted or asked to stop, and resumed, leaves the same bytes in weights,
// optimizer and metric table as one that never stopped.
#include "tests/child.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"

// Long enough to be killed at a chosen step, short enough to wait for.
#define STEPS "300"
#define RUN                                                                                                            \
  "--machine", "mesh16", "--data", "data.txt", "--threads", "1", "--set", "model.layers=2", "--set", "model.width=32", \
      "--set", "model.heads=2", "--set", "train.seq=32", "--set", "train.batch=2", "--set", "train.steps=" STEPS,      \
      "--set", "train.eval_every=30", "--set", "train.eval_sequences=4", "--set", "train.checkpoint_every=20",         \
      "--set", "record.report=false"

static char folder[256];

static const char *in_folder(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void write_data(void) {
  static char data[20000];
  u32 x = 1;
  for (u32 i = 0; i < sizeof data; i++) {
    x = x * 1664525 + 1013904223;
    data[i] = (char)((i % 7 == 6) ? ' ' : 'a' + (x >> 28));
  }
  status st = {0};
  support_ok(file_write(in_folder("data.txt"), data, sizeof data, &st), &st);
}

static int make_folder(void **state) {
  (void)state;
  support_folder(folder, sizeof folder);
  write_data();
  return 0;
}

static int drop_folder(void **state) {
  (void)state;
  support_remove(folder);
  return 0;
}

// ---- looking at a run

// -1 while there is no database, table or row to answer.
static i64 ask(const char *sql) {
  sqlite3 *db = NULL;
  sqlite3_stmt *s = NULL;
  i64 value = -1;
  if (sqlite3_open_v2(in_folder("weft.db"), &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
    sqlite3_busy_timeout(db, 5000);
    const bool ready = sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK;
    if (ready && sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL) {
      value = sqlite3_column_int64(s, 0);
    }
  }
  sqlite3_finalize(s);
  sqlite3_close(db);
  return value;
}

static u64 metric_hash(void) {
  sqlite3 *db;
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_open_v2(in_folder("weft.db"), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  const char *sql = "SELECT run, key, step, value FROM metric ORDER BY run, key, step";
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  u64 hash = HASH_START, rows = 0;
  for (; sqlite3_step(s) == SQLITE_ROW; rows++) {
    for (int i = 0; i < 3; i++) hash = hash_u64(hash, (u64)sqlite3_column_int64(s, i));
    const double value = sqlite3_column_double(s, 3);
    hash = hash_bytes(hash, &value, sizeof value);
  }
  sqlite3_finalize(s);
  sqlite3_close(db);
  assert_true(rows > 900); // loss, rate and norm of 300 steps, and the evaluations
  return hash;
}

// Everything that a run leaves, as one number.
static u64 run_hash(void) {
  static const char *const files[] = {"weft-runs/1/checkpoint/model.safetensors",
                                      "weft-runs/1/checkpoint/optimizer.safetensors",
                                      "weft-runs/1/checkpoint/config.json", "weft-runs/1/checkpoint/weft.json"};
  arena *a = arena_create("test");
  u64 hash = metric_hash();
  for (u32 i = 0; i < COUNT_OF(files); i++) {
    char *bytes;
    size_t size;
    status st = {0};
    support_ok(file_read(in_folder(files[i]), a, &bytes, &size, &st), &st);
    hash = hash_bytes(hash, bytes, size);
  }
  arena_destroy(a);
  return hash;
}

static u64 reference; // of the run that never stopped

static void wait_until(pid_t pid, const char *sql, i64 at_least) {
  const double start = clock_seconds();
  while (ask(sql) < at_least) {
    if (!child_alive(pid)) fail_msg("the run ended before: %s >= %lld", sql, (long long)at_least);
    if (clock_seconds() - start > 120) fail_msg("never came: %s >= %lld", sql, (long long)at_least);
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
}

static const char last_step[] = "SELECT max(step) FROM metric";

// Starts or resumes, sends the signal once the table has step `at` (0: once the row is there).
static int stop_at(const char *const *arguments, i64 at, int signal_number) {
  pid_t pid = child_start(folder, arguments);
  if (at)
    wait_until(pid, last_step, at);
  else
    wait_until(pid, "SELECT count(*) FROM run", 1);
  kill(pid, signal_number);
  return child_wait(pid);
}

static const char *const first[] = {"train", RUN, NULL};
static const char *const again[] = {"train", "--resume", "1", NULL};
static const char *const again_threads[] = {"train", "--resume", "last", "--threads", "2", NULL};

static void finish_same(const char *const *arguments) {
  child c = child_run(folder, arguments);
  child_expect(&c, 0);
  child_free(&c);
  assert_int_equal(ask("SELECT count(*) FROM run WHERE status = 'finished'"), 1);
  assert_true(run_hash() == reference);
}

// ---- tests

static void never_stopped(void **state) {
  (void)state;
  child c = child_run(folder, first);
  child_expect(&c, 0);
  child_free(&c);
  reference = run_hash();
}

static void killed_before_a_checkpoint(void **state) {
  (void)state;
  assert_int_equal(stop_at(first, 0, SIGKILL), 128 + SIGKILL);
  finish_same(again);
}

// Between the row and the folder that it names.
static void killed_before_its_folder(void **state) {
  (void)state;
  assert_int_equal(stop_at(first, 0, SIGKILL), 128 + SIGKILL);
  sqlite3 *db;
  assert_int_equal(sqlite3_open(in_folder("weft.db"), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, "DELETE FROM artifact; DELETE FROM param; DELETE FROM phase", NULL, NULL, NULL),
                   SQLITE_OK);
  sqlite3_close(db);
  child c = child_shell(folder, "rm -rf weft-runs/1 && mkdir -p weft-runs/1");
  child_free(&c);
  finish_same(again);
}

static void killed_twice(void **state) {
  (void)state;
  assert_int_equal(stop_at(first, 93, SIGKILL), 128 + SIGKILL);
  // Its last metric tells how far it came, as long as the row says nothing of steps.
  assert_int_equal(ask("SELECT count(*) FROM run WHERE steps IS NULL"), 1);
  assert_int_equal(stop_at(again_threads, 201, SIGKILL), 128 + SIGKILL);
  finish_same(again);
}

static void stopped_by_signals(void **state) {
  (void)state;
  assert_int_equal(stop_at(first, 17, SIGINT), 130);
  assert_int_equal(stop_at(again, 122, SIGTERM), 75);
  assert_int_equal(stop_at(again, 231, SIGUSR1), 75);
  assert_int_equal(ask("SELECT count(*) FROM run WHERE status = 'killed' AND resumed = 2"), 1);
  finish_same(again_threads);
}

// What a kill between the two renames of a checkpoint leaves on file systems that cannot exchange.
static void killed_while_saving(void **state) {
  (void)state;
  assert_int_equal(stop_at(first, 60, SIGKILL), 128 + SIGKILL);
  child c = child_shell(folder, "cd weft-runs/1 && mv checkpoint checkpoint.old && rm -rf checkpoint.partial && "
                                "mkdir checkpoint.partial && echo half > checkpoint.partial/model.safetensors");
  child_expect(&c, 0);
  child_free(&c);
  finish_same(again);
}

static void refused(const char *const *arguments, int code, const char *part) {
  child c = child_run(folder, arguments);
  child_expect(&c, code);
  if (!strstr(c.err, part)) fail_msg("\"%s\" is not in: %s", part, c.err);
  child_free(&c);
}

static void what_changed_is_refused(void **state) {
  (void)state;
  assert_int_equal(stop_at(first, 40, SIGKILL), 128 + SIGKILL);
  refused(CHILD_ARGS("train", "--resume", "1", "--set", "train.lr=0.5"), 78, "train.lr=0.0078125");
  refused(CHILD_ARGS("train", "--resume", "1", "--set", "train.rl=0.5"), 78, "did you mean \"train.lr\"?");
  refused(CHILD_ARGS("train", "--resume", "1", "run.yaml"), 2, "keeps its configuration");
  refused(CHILD_ARGS("train", "--resume", "5"), 66, "5");
  child change = child_shell(folder, "cp data.txt kept && printf x | dd of=data.txt conv=notrunc bs=1 seek=99 2>&1");
  child_expect(&change, 0);
  child_free(&change);
  refused(again, 65, "data.txt has changed");
  change = child_shell(folder, "mv kept data.txt");
  child_free(&change);
  const char *const same[] = {"train", "--resume", "1", "--set", "train.lr=2^-7", NULL};
  finish_same(same); // stating what it was started with is no change
}

static void two_at_once_are_refused(void **state) {
  (void)state;
  pid_t pid = child_start(folder, first);
  wait_until(pid, last_step, 20);
  kill(pid, SIGSTOP); // so that it cannot finish meanwhile
  refused(again, 2, "still running");
  kill(pid, SIGCONT);
  kill(pid, SIGKILL);
  assert_int_equal(child_wait(pid), 128 + SIGKILL);
}

static void second_interrupt_ends_at_once(void **state) {
  (void)state;
  // Steps of many seconds.
  pid_t pid = child_start(folder, CHILD_ARGS("train", "--data", "data.txt", "--threads", "1", "--set",
                                             "model.layers=16", "--set", "model.width=256", "--set", "train.batch=64"));
  wait_until(pid, "SELECT count(*) FROM run", 1);
  const double start = clock_seconds();
  kill(pid, SIGINT);
  nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
  assert_true(child_alive(pid));
  kill(pid, SIGINT);
  assert_int_equal(child_wait(pid), 128 + SIGINT);
  assert_true(clock_seconds() - start < 5);
}

int main(void) {
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, drop_folder)
  const struct CMUnitTest tests[] = {
      IN_FOLDER(never_stopped), // first: the others are compared with it
      IN_FOLDER(killed_before_a_checkpoint),
      IN_FOLDER(killed_before_its_folder),
      IN_FOLDER(killed_twice),
      IN_FOLDER(stopped_by_signals),
      IN_FOLDER(killed_while_saving),
      IN_FOLDER(what_changed_is_refused),
      IN_FOLDER(two_at_once_are_refused),
      IN_FOLDER(second_interrupt_ends_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Sweeps: what a file states becomes the right points; a sweep that is killed, interrupted, split or full of
// failures leaves the table of one that nothing happened to. And weft db, which gathers and asks.
#include "tests/child.h"

#include "runtime/sweep_shard.h"
#include "runtime/sweep_spec.h"

#include <jansson.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[256];

static const char *in_folder(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void put(const char *name, const char *words) {
  status st = {0};
  support_ok(file_write(in_folder(name), words, strlen(words), &st), &st);
}

#define BASE                                                                                                           \
  "base:\n"                                                                                                            \
  "  machine: mesh16\n"                                                                                                \
  "  data: {path: data.txt}\n"                                                                                         \
  "  model: {width: 32, heads: 2}\n"                                                                                   \
  "  train: {steps: 150, batch: 2, seq: 32, eval_every: 50, eval_sequences: 2, checkpoint_every: 25}\n"
// The last row of the zip is the one before it again: 2 x 2 points remain of 2 x 3.
#define SWEEP                                                                                                          \
  BASE "grid: {train.lr: [2^-8, 2^-6]}\n"                                                                              \
       "zip:\n  model.layers: [1, 2, 2]\n  model.heads: [1, 2, 2]\n"

static int make_folder(void **state) {
  (void)state;
  static char data[20001];
  u32 x = 1;
  support_folder(folder, sizeof folder);
  for (u32 i = 0; i + 1 < sizeof data; i++) {
    x = x * 1664525 + 1013904223;
    data[i] = (char)((i % 7 == 6) ? ' ' : 'a' + (x >> 28));
  }
  put("data.txt", data);
  put("tiny.yaml", SWEEP);
  return 0;
}

static int drop_folder(void **state) {
  (void)state;
  support_remove(folder);
  return 0;
}

// Runs and expects the code; what it printed, until the next call.
static const char *weft(int code, const char *const *arguments) {
  static char *said;
  free(said);
  child c = child_run(folder, arguments);
  child_expect(&c, code);
  said = strdup(c.out);
  child_free(&c);
  return said;
}
#define WEFT(code, ...) weft(code, CHILD_ARGS(__VA_ARGS__))

static void refused(int code, const char *part, const char *const *arguments) {
  child c = child_run(folder, arguments);
  child_expect(&c, code);
  if (!strstr(c.err, part)) fail_msg("\"%s\" is not in: %s", part, c.err);
  child_free(&c);
}

// ---- what a sweep leaves

typedef struct tables {
  char *points, *metrics, *params;
} tables;

static char *ask(const char *db, const char *sql) {
  return strdup(WEFT(0, "db", "query", sql, "--db", db));
}

static tables tables_of(const char *db) {
  return (tables){
      .points = ask(db, "SELECT config_hash, name, command, status, steps, loss_first, loss_last, val_loss, why,"
                        " cycles_per_step FROM run ORDER BY config_hash"),
      .metrics = ask(db, "SELECT config_hash, key, step, value FROM v_metric JOIN run ON run.id = run"
                         " ORDER BY config_hash, key, step"),
      .params = ask(db, "SELECT config_hash, key, value, origin FROM param JOIN run ON run.id = run"
                        " WHERE key NOT IN ('record.db', 'record.out') ORDER BY config_hash, key"),
  };
}

static void tables_free(tables *t) {
  free(t->points);
  free(t->metrics);
  free(t->params);
}

// What an undisturbed sweep leaves; the folder is another for every test.
static tables reference;

static void expect_reference(const char *db) {
  tables t = tables_of(db);
  assert_string_equal(t.points, reference.points);
  assert_string_equal(t.metrics, reference.metrics);
  assert_string_equal(t.params, reference.params);
  tables_free(&t);
  assert_non_null(strstr(WEFT(0, "db", "check", "--db", db), "all is well"));
}

static void change(const char *db_path, const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(in_folder(db_path), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void wait_for(pid_t pid, const char *sql, i64 least) {
  for (u32 i = 0; child_number(folder, "weft.db", sql) < least; i++) {
    if (!child_alive(pid) || i > 6000) fail_msg("never came to pass: %s", sql);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
}

// ---- points

static sweep_spec *read_spec(arena *a, const char *yaml) {
  sweep_spec *s = arena_array(a, sweep_spec, 1);
  status st = {0};
  support_ok(sweep_spec_read(s, "x/s.yaml", yaml, strlen(yaml), a, &st), &st);
  return s;
}

static void axes_multiply(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const sweep_spec *s = read_spec(a, "grid: {train.lr: [1, 2, 3], model: {layers: 7}}\n"
                                     "zip:\n  - {model.width: [64, 128], model.heads: [1, 2]}\n  - {systems: [1, 2]}\n"
                                     "random: {count: 5, seed: {min: 10, max: 19}}\n"
                                     "base: {machine: {preset: cs2}, train.steps: {value: 3, source: none}}\n");
  assert_int_equal(s->product, 3 * 1 * 2 * 2 * 5);
  assert_int_equal(s->factor_count, 5);
  assert_int_equal(s->key_count, 6);
  assert_int_equal(s->base_count, 2);
  assert_string_equal(s->name, "s");
  assert_string_equal(s->factors[2].values[2], "128");
  assert_string_equal(s->factors[2].values[3], "2");
  assert_string_equal(s->base[1].value, "3");
  arena_destroy(a);
}

static void bad_files_are_placed(void **state) {
  (void)state;
  static const struct {
    const char *yaml, *said;
  } cases[] = {
      {"grid: {train.rl: [1]}\n", "s.yaml:1:8: unknown key \"train.rl\", did you mean \"train.lr\"?"},
      {"gird: {train.lr: [1]}\n", "s.yaml:1:1: unknown key \"gird\", did you mean \"grid\"?"},
      {"grid:\n  train.lr: [1, fast]\n", "s.yaml:2:17: "},
      {"grid:\n  train.lr: []\n", "this list is empty"},
      {"grid:\n  record.db: [a, b]\n", "it is no axis"},
      {"grid: {train.lr: [1]}\nzip: {train.lr: [1]}\n", "s.yaml:2:7: this key has an axis already"},
      {"zip: {seed: [1, 2], train.lr: [1]}\n", "train.lr has 1 values, but seed, zipped with it, has 2"},
      {"random: {train.lr: {min: 1, max: 2}}\n", "random needs a count"},
      {"random: {count: 2, train.lr: {min: 0, max: 2, log: true}}\n", "begins above 0"},
      {"random: {count: 2, train.lr: {min: 3, max: 2}}\n", "min is above max"},
      {"random: {count: 2, train.schedule: {min: 3, max: 2}}\n", "s.yaml:1:"},
      {"base: {train: {steps: 3}}\n", "states no axis"},
      {"base: {train: {steps: many}}\ngrid: {seed: [1]}\n", "s.yaml:1:23: "},
      {"base: missing.yaml\ngrid: {seed: [1]}\n", "x/missing.yaml"},
      {"command: fly\ngrid: {seed: [1]}\n", "command is train or simulate"},
      {"grid: {seed: [1]\n", "this is not YAML"},
      {"", "is wanted"},
  };
  for (u32 i = 0; i < COUNT_OF(cases); i++) {
    arena *a = arena_create("test");
    sweep_spec *s = arena_array(a, sweep_spec, 1);
    status st = {0};
    const bool ok = sweep_spec_read(s, "x/s.yaml", cases[i].yaml, strlen(cases[i].yaml), a, &st);
    assert_false(ok);
    if (!strstr(st.text, cases[i].said)) fail_msg("\"%s\" is not in: %s", cases[i].said, st.text);
    arena_destroy(a);
  }
}

static void draws_stay(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const sweep_spec *few = read_spec(a, "random: {count: 9, train.lr: {min: 1e-4, max: 0.1, log: true}}\n");
  const sweep_spec *more = read_spec(a, "random:\n  count: 400\n  model.layers: {min: 3, max: 6}\n"
                                        "  train.lr: {min: 1e-4, max: 0.1, log: true}\n"
                                        "  train.schedule: [linear, cosine]\n");
  u32 layers[8] = {0}, cosine = 0, low = 0;
  for (u32 row = 0; row < 400; row++) {
    const char **v = &more->factors[0].values[row * 3];
    if (row < 9) assert_string_equal(v[1], few->factors[0].values[row]);
    const double lr = strtod(v[1], NULL), n = strtod(v[0], NULL);
    assert_true(lr >= 1e-4 && lr <= 0.1 && n >= 3 && n <= 6);
    layers[(u32)n]++;
    cosine += strcmp(v[2], "cosine") == 0;
    low += lr < 0.0031623; // half of a logarithmic range
  }
  for (u32 n = 3; n <= 6; n++) assert_true(layers[n] > 60);
  assert_true(cosine > 150 && cosine < 250 && low > 150 && low < 250);
  arena_destroy(a);
}

static void ranks_are_found(void **state) {
  (void)state;
  arena *a = arena_create("test");
  sweep_shard s;
  status st = {0};
  assert_true(sweep_shard_find("3/4", &s, a, &st));
  assert_true(s.index == 3 && s.count == 4);
  assert_string_equal(sweep_shard_db("a/b.db", &s, a), "a/b.3of4.db");
  support_failed(sweep_shard_find("4/4", &s, a, &st), &st, CODE_USAGE, "I from 0 to N-1");
  setenv("SLURM_PROCID", "0", 1); // a batch script: no step
  setenv("SLURM_NTASKS", "4", 1);
  st = (status){0};
  assert_true(sweep_shard_find(NULL, &s, a, &st));
  assert_int_equal(s.count, 1);
  setenv("SLURM_ARRAY_TASK_ID", "7", 1);
  setenv("SLURM_ARRAY_TASK_MIN", "3", 1);
  setenv("SLURM_ARRAY_TASK_STEP", "2", 1);
  setenv("SLURM_ARRAY_TASK_COUNT", "4", 1);
  assert_true(sweep_shard_find(NULL, &s, a, &st));
  assert_true(s.index == 2 && s.count == 4);
  setenv("OMPI_COMM_WORLD_RANK", "1", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "3", 1);
  assert_true(sweep_shard_find(NULL, &s, a, &st));
  assert_true(s.index == 7 && s.count == 12);
  static const char *const names[] = {"SLURM_PROCID",         "SLURM_NTASKS",          "SLURM_ARRAY_TASK_ID",
                                      "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT",
                                      "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"};
  for (u32 i = 0; i < COUNT_OF(names); i++) unsetenv(names[i]);
  arena_destroy(a);
}

// ---- whole sweeps

#define RUN "sweep", "tiny.yaml", "-j2", "--threads", "1"

static void undisturbed(void **state) {
  (void)state;
  json_t *d = json_loads(WEFT(0, RUN, "--json"), 0, NULL);
  assert_non_null(d);
  assert_string_equal(json_string_value(json_object_get(d, "schema")), "weft.sweep/1");
  assert_int_equal(json_integer_value(json_object_get(d, "points")), 4);
  assert_int_equal(json_integer_value(json_object_get(d, "finished")), 4);
  assert_int_equal(json_array_size(json_object_get(d, "rows")), 4);
  const json_t *best = json_object_get(d, "best");
  assert_non_null(json_string_value(json_object_get(json_object_get(best, "values"), "train.lr")));
  json_decref(d);
  reference = tables_of("weft.db");
  assert_int_equal(child_number(folder, "weft.db", "SELECT count(*) FROM metric WHERE key = 1"), 4 * 150);
  refused(2, "--resume runs what is missing", CHILD_ARGS(RUN));
  WEFT(0, RUN, "--resume");
  assert_int_equal(child_number(folder, "weft.db", "SELECT sum(resumed) FROM run"), 0);
  expect_reference("weft.db");
}

static pid_t start_until(const char *sql, i64 least) {
  pid_t pid = child_start(folder, CHILD_ARGS(RUN, "--resume"));
  wait_for(pid, sql, least);
  return pid;
}

// Kills a run that the sweep has just now, if it has any. Only a child of it: no other number of the
// database, least of all "none", may reach kill.
static void kill_one_of(pid_t sweep) {
  const i64 pid = child_number(folder, "weft.db", "SELECT pid FROM run WHERE status = 'running'");
  char path[64], line[512] = "";
  if (pid <= 1) return;
  snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
  FILE *f = fopen(path, "r");
  if (!f) return;
  if (!fgets(line, sizeof line, f)) line[0] = 0;
  fclose(f);
  const char *at = strrchr(line, ')');
  char state;
  int parent = 0;
  if (at && sscanf(at + 1, " %c %d", &state, &parent) == 2 && parent == (int)sweep) kill((pid_t)pid, SIGKILL);
}

static void killed_and_resumed(void **state) {
  (void)state;
  pid_t pid = start_until("SELECT max(step) FROM metric", 40);
  kill(pid, SIGKILL); // its runs save and end by themselves
  assert_int_equal(child_wait(pid), 128 + SIGKILL);
  pid = start_until("SELECT count(*) FROM run WHERE status = 'finished'", 1);
  kill_one_of(pid);
  kill(pid, SIGKILL); // and one of them is killed as well
  assert_int_equal(child_wait(pid), 128 + SIGKILL);
  WEFT(0, RUN, "--resume");
  expect_reference("weft.db");
  assert_true(child_number(folder, "weft.db", "SELECT sum(resumed) FROM run") > 0);
  assert_int_equal(access(in_folder("weft.db.sweep"), F_OK), -1);
}

static void stopped_by_signals(void **state) {
  (void)state;
  pid_t pid = start_until("SELECT max(step) FROM metric", 20);
  refused(73, "another sweep is writing this database", CHILD_ARGS(RUN, "--resume"));
  kill(pid, SIGTERM);
  assert_int_equal(child_wait(pid), 75);
  pid = start_until("SELECT count(*) FROM run", 3);
  kill(pid, SIGINT);
  assert_int_equal(child_wait(pid), 130);
  assert_int_equal(child_number(folder, "weft.db", "SELECT count(*) FROM run WHERE status = 'running'"), 0);
  WEFT(0, RUN, "--resume");
  expect_reference("weft.db");
}

static void split_and_merged(void **state) {
  (void)state;
  WEFT(0, RUN, "--shard", "0/3", "--db", "weft.db");
  child c = child_shell(folder, "for r in 1 2; do OMPI_COMM_WORLD_RANK=$r OMPI_COMM_WORLD_SIZE=3 " WEFT_PROGRAM
                                " sweep tiny.yaml --threads 1 & done; wait");
  child_expect(&c, 0);
  child_free(&c);
  assert_int_equal(child_number(folder, "weft.0of3.db", "SELECT count(*) FROM run"), 2);
  const char *said = WEFT(0, "sweep", "status", "tiny.yaml");
  assert_non_null(strstr(said, "4 points, 4 finished"));
  assert_non_null(strstr(said, "weft db merge weft.0of3.db weft.1of3.db weft.2of3.db --db weft.db"));
  for (u32 i = 0; i < 2; i++) { // twice changes nothing
    WEFT(0, "db", "merge", "weft.0of3.db", "weft.1of3.db", "weft.2of3.db");
    expect_reference("weft.db");
  }
  WEFT(0, RUN, "--resume");
  assert_int_equal(child_number(folder, "weft.db", "SELECT count(*) FROM run"), 4);
}

// One point's heads do not divide its width, one's learning rate is beyond all reason.
static void failures_have_rows(void **state) {
  (void)state;
  put("bad.yaml", BASE "zip: {model.heads: [2, 3, 2], train.lr: [2^-8, 2^-8, 900]}\n");
  for (u32 i = 0; i < 2; i++) {
    json_t *d = json_loads(WEFT(1, "sweep", "bad.yaml", "-j", "2", "--threads", "1", "--resume", "--json", "--set",
                                "train.clip=0", "--set", "model.init_std=50"),
                           0, NULL);
    assert_int_equal(json_integer_value(json_object_get(d, "failed")), 1);
    const json_t *row = json_array_get(json_object_get(d, "rows"), 1);
    assert_non_null(strstr(json_string_value(json_object_get(row, "why")), "head"));
    json_decref(d);
    assert_int_equal(child_number(folder, "weft.db", "SELECT count(*) FROM run"), 3);
    assert_int_equal(
        child_number(folder, "weft.db", "SELECT count(*) FROM param WHERE key = 'model.heads' AND value = '3'"), 1);
  }
}

static void changed_data_is_refused(void **state) {
  (void)state;
  pid_t pid = start_until("SELECT max(step) FROM metric", 20);
  kill(pid, SIGTERM);
  assert_int_equal(child_wait(pid), 75);
  child c = child_shell(folder, "printf x | dd of=data.txt conv=notrunc bs=1 seek=99 2>&1");
  child_free(&c);
  refused(65, "the training data has changed", CHILD_ARGS(RUN, "--resume"));
}

static void simulations(void **state) {
  (void)state;
  put("sim.yaml", "command: simulate\nbase: run.yaml\ngrid: {train.batch: [2, 4]}\n");
  put("run.yaml", "machine: mesh16\nmodel: {width: 32, heads: 2, layers: 1, vocab: 64}\ntrain: {seq: 16}\n");
  const char *said = WEFT(0, "sweep", "sim.yaml", "-j", "2");
  assert_non_null(strstr(said, "2 points, 2 finished"));
  // One was cut off: its row gives way to a whole one.
  change("weft.db", "UPDATE run SET status = 'running', pid = 0, cycles_per_step = NULL WHERE id = 1");
  assert_non_null(strstr(WEFT(0, "sweep", "status", "sim.yaml"), "1 killed"));
  WEFT(0, "sweep", "sim.yaml", "--resume");
  assert_int_equal(child_number(folder, "weft.db", "SELECT count(*) FROM run WHERE cycles_per_step > 0"), 2);
  assert_int_equal(child_number(folder, "weft.db", "SELECT count(*) FROM run"), 2);
}

static void presets_are_read(void **state) {
  (void)state;
  static const char *const names[] = {"lr-depth", "random-hparams", "shapes-cs3", "batch-cs3"};
  for (u32 i = 0; i < COUNT_OF(names); i++) {
    assert_non_null(strstr(WEFT(0, "sweep", "status", names[i]), " pending"));
  }
  refused(78, "did you mean \"lr-depth\"?", CHILD_ARGS("sweep", "lr-depht"));
}

// The job script, with a scontrol that only takes notes.
static void slurm_script(void **state) {
  (void)state;
  WEFT(0, "sweep", "slurm", "tiny.yaml", "--tasks", "2", "-j", "2", "--threads", "1", "--script", "job.sh");
  put("scontrol", "#!/bin/sh\necho \"$@\" >> notes\n");
  child c =
      child_shell(folder, "chmod +x scontrol; PATH=$PWD:$PATH; export PATH\n"
                          "export SLURM_ARRAY_JOB_ID=42 SLURM_ARRAY_TASK_ID=1\n"
                          "bash job.sh & job=$!\n"
                          "while ! [ -s weft.1of2.db ] || ! " WEFT_PROGRAM " db query 'SELECT 1 FROM metric LIMIT 1' "
                          "--db weft.1of2.db 2>&1 | grep -q '^1$'; do sleep 0.05; done\n"
                          "kill -USR1 $job; wait $job; echo code $?; cat notes\n"
                          "bash job.sh > log; echo code $?; tail -n 2 log\n");
  child_expect(&c, 0);
  if (!strstr(c.out, "code 75\nrequeue 42_1\ncode 0\n")) fail_msg("%s%s", c.out, c.err);
  assert_non_null(strstr(c.out, "2 points, 2 finished"));
  child_free(&c);
  assert_int_equal(access(in_folder("weft.0of2.db"), F_OK), -1);
}

static void database_commands(void **state) {
  (void)state;
  put("sim.yaml", "command: simulate\nbase: {machine: mesh16, model: {width: 32, heads: 2, layers: 1, vocab: 64}, "
                  "train: {seq: 16}}\ngrid: {train.batch: [2, 4]}\n");
  WEFT(0, "sweep", "sim.yaml");
  assert_string_equal(WEFT(0, "db", "query", "SELECT id, why AS w FROM run ORDER BY id;"), "id\tw\n1\t\n2\t\n");
  json_t *d = json_loads(WEFT(0, "db", "query", "SELECT 1.5 AS x, '7' AS y, NULL AS z", "--json"), 0, NULL);
  const json_t *row = json_array_get(json_object_get(d, "rows"), 0);
  assert_true(json_real_value(json_array_get(row, 0)) == 1.5);
  assert_string_equal(json_string_value(json_array_get(row, 1)), "7");
  assert_true(json_is_null(json_array_get(row, 2)));
  json_decref(d);
  assert_string_equal(WEFT(0, "db", "query", "SELECT id FROM run WHERE 0"), "id\n");
  refused(2, "would write", CHILD_ARGS("db", "query", "DELETE FROM run"));
  refused(2, "not one statement", CHILD_ARGS("db", "query", "SELECT 1; SELECT 2"));
  refused(66, "no such run database", CHILD_ARGS("db", "query", "SELECT 1", "--db", "none.db"));
  refused(66, "no such run database", CHILD_ARGS("db", "merge", "none.db"));
  refused(2, "did you mean \"merge\"?", CHILD_ARGS("db", "mege"));
  WEFT(0, "db", "snapshot", "copy.db");
  refused(73, "exists already", CHILD_ARGS("db", "snapshot", "copy.db"));
  assert_int_equal(child_number(folder, "copy.db", "SELECT count(*) FROM run"), 2);
  change("copy.db", "UPDATE run SET ended_ms = NULL WHERE id = 2");
  refused(1, "1 complaints", CHILD_ARGS("db", "check", "--db", "copy.db"));
  d = json_loads(WEFT(1, "db", "check", "--db", "copy.db", "--json"), 0, NULL);
  assert_true(json_is_false(json_object_get(d, "ok")));
  assert_int_equal(json_array_size(json_object_get(d, "complaints")), 1);
  json_decref(d);
}

int main(void) {
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, drop_folder)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(axes_multiply),
      cmocka_unit_test(bad_files_are_placed),
      cmocka_unit_test(draws_stay),
      cmocka_unit_test(ranks_are_found),
      IN_FOLDER(undisturbed), // the sweeps behind it are compared with it
      IN_FOLDER(killed_and_resumed),
      IN_FOLDER(stopped_by_signals),
      IN_FOLDER(split_and_merged),
      IN_FOLDER(failures_have_rows),
      IN_FOLDER(changed_data_is_refused),
      IN_FOLDER(simulations),
      IN_FOLDER(presets_are_read),
      IN_FOLDER(slurm_script),
      IN_FOLDER(database_commands),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  tables_free(&reference);
  return failed;
}

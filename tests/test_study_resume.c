// A study that is killed and started again goes on with the models that are missing, and leaves the tables of one
// that nothing happened to.
#include "tests/child.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static char folder[256];

static int make_folder(void **state) {
  (void)state;
  support_folder(folder, sizeof folder);
  return 0;
}

static int drop_folder(void **state) {
  (void)state;
  support_remove(folder);
  return 0;
}

static char *ask(const char *db, const char *sql) {
  child c = child_run(folder, CHILD_ARGS("db", "query", sql, "--db", db));
  child_expect(&c, 0);
  free(c.err);
  return c.out;
}

#define TINY                                                                                                           \
  "--machine", "mesh16", "--threads", "1", "--set", "model.width=32", "--set", "model.base_width=32", "--set",         \
      "model.heads=4", "--set", "model.tied=false", "--set", "train.seq=32", "--set", "train.batch=2", "--set",        \
      "train.eval_sequences=4"

// What is started, and how many models it has finished when it is killed: once early, once late.
static const struct {
  const char *kind;
  i64 kill_at[2], models;
  const char *words[48];
} studies[] = {
    {"transfer",
     {2, 7},
     12,
     {"study", "transfer", TINY, "--set", "train.steps=30", "--set", "transfer.layers=2 3", "--set",
      "transfer.values=2^-9..2^-7", "--set", "transfer.rules=completep", "--set", "transfer.seeds=2"}},
    {"coord",
     {1, 4},
     6,
     {"study", "coord", TINY, "--set", "train.steps=30", "--set", "coord.layers=2 4", "--set", "coord.widths=32 64",
      "--set", "coord.rules=completep", "--set", "coord.seeds=2"}},
    {"shapes",
     {2, 7},
     12, // 8 trained, 4 modelled
     {"study", "shapes", TINY, "--set", "train.steps=30", "--set", "shapes.budgets=20000 40000", "--set",
      "shapes.train_budgets=15000 40000", "--set", "shapes.ratios=8 16", "--set", "shapes.seeds=2", "--set",
      "shapes.machine_batch=4", "--set", "shapes.machine_seq=32", "--set", "shapes.machine_vocab=64"}},
    {"lazy",
     {1, 4},
     8,
     {"study", "lazy", "--set", "lazy.layers=2 8 32", "--set", "lazy.width=128", "--set", "lazy.inputs=50", "--set",
      "lazy.batch=16", "--set", "lazy.lr=2^-5", "--set", "lazy.seeds=4", "--threads", "1"}},
};

static const char rows_sql[] = "SELECT name, config_hash, command, status, steps, loss_first, loss_last, val_loss,"
                               " cycles_per_step FROM run ORDER BY name, config_hash";
static const char metrics_sql[] =
    "SELECT run.name, config_hash, key, step, value FROM v_metric JOIN run ON run.id = run"
    " ORDER BY run.name, config_hash, key, step";
static const char tags_sql[] =
    "SELECT run.name, key, value FROM tag JOIN run ON run.id = run ORDER BY run.name, config_hash, key";

static void expect_same(const char *sql, const char *db, const char *reference) {
  char *a = ask(db, sql), *b = ask(reference, sql);
  assert_string_equal(a, b);
  free(a);
  free(b);
}

static pid_t started(const char *const *words, const char *db) {
  const char *all[56];
  u32 n = 0;
  while (words[n]) all[n] = words[n], n++;
  all[n] = "--db", all[n + 1] = db, all[n + 2] = NULL;
  return child_start(folder, all);
}

static void killed_and_started_again(void **state) {
  const u32 which = (u32)(uintptr_t)*state;
  static const char done[] = "SELECT count(*) FROM run WHERE status = 'finished'";
  const char *const *words = studies[which].words;
  const char *kind = studies[which].kind;
  char db[64], calm[64];
  snprintf(db, sizeof db, "%s.db", kind);
  snprintf(calm, sizeof calm, "%s-calm.db", kind);
  const int code = child_wait(started(words, calm)); // 1: the check fails, as models this small do
  assert_true(code == 0 || code == 1);
  assert_int_equal(child_number(folder, calm, done), studies[which].models + 1);
  for (u32 k = 0; k < 2; k++) {
    const pid_t pid = started(words, db);
    for (u32 i = 0; child_number(folder, db, done) < studies[which].kill_at[k]; i++) {
      if (!child_alive(pid) || i > 60000)
        fail_msg("%s: never came to %lld models", kind, (long long)studies[which].kill_at[k]);
      nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    kill(pid, SIGKILL);
    assert_int_equal(child_wait(pid), 128 + SIGKILL);
  }
  assert_true(child_number(folder, db, done) <= studies[which].models);
  const i64 before = child_number(folder, db, "SELECT max(id) FROM run WHERE status = 'finished'");
  assert_int_equal(child_wait(started(words, db)), code);
  assert_int_equal(child_number(folder, db, "SELECT count(*) FROM experiment"), 1);
  assert_true(before > 1 && child_number(folder, db, "SELECT max(resumed) FROM run") == 2);
  expect_same(rows_sql, db, calm);
  expect_same(metrics_sql, db, calm);
  expect_same(tags_sql, db, calm);
  // It is finished: the same command is a new study, and another statement under its name shares no model with it.
  if (strcmp(kind, "transfer") != 0) return;
  assert_int_equal(child_wait(started(words, db)), code);
  assert_int_equal(child_number(folder, db, "SELECT count(*) FROM experiment"), 2);
  assert_int_equal(child_number(folder, db, done), 2 * (studies[which].models + 1));
}

// With a name of its own, a finished study is only read again.
static void named(void **state) {
  (void)state;
  const char *words[50], *const *from = studies[0].words;
  u32 n = 0;
  for (; from[n]; n++) words[n] = from[n];
  words[n] = "--set", words[n + 1] = "record.name=mine", words[n + 2] = NULL;
  const int code = child_wait(started(words, "named.db"));
  const i64 last = child_number(folder, "named.db", "SELECT max(id) FROM run");
  assert_int_equal(child_wait(started(words, "named.db")), code);
  assert_int_equal(child_number(folder, "named.db", "SELECT max(id) FROM run"), last);
  words[n + 2] = "--set", words[n + 3] = "train.steps=29", words[n + 4] = NULL;
  assert_int_equal(child_wait(started(words, "named.db")), code);
  assert_int_equal(child_number(folder, "named.db", "SELECT max(id) FROM run"), 2 * last);
}

#define CASE(name, i)                                                                                                  \
  { name, killed_and_started_again, NULL, NULL, (void *)(uintptr_t)(i) }

int main(void) {
  const struct CMUnitTest tests[] = {CASE("transfer", 0), CASE("coord", 1), CASE("shapes", 2), CASE("lazy", 3),
                                     cmocka_unit_test(named)};
  return cmocka_run_group_tests(tests, make_folder, drop_folder);
}

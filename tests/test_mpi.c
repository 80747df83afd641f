// Ranks by MPI, in builds with WEFT_MPI: a run of 2 or 4 of them leaves the bytes of one process, stops and
// resumes like it, and fails with one sentence; a sweep under the same launcher stays a sweep.
#include "tests/child.h"

#include "base/hash.h"
#include "base/text.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static char folder[256];

static int make_folder(void **state) {
  (void)state;
  static char data[20000];
  char path[512];
  u32 x = 1;
  support_folder(folder, sizeof folder);
  for (u32 i = 0; i < sizeof data; i++) {
    x = x * 1664525 + 1013904223;
    data[i] = (char)((i % 7 == 6) ? ' ' : 'a' + (x >> 28));
  }
  status st = {0};
  snprintf(path, sizeof path, "%s/data.txt", folder);
  support_ok(file_write(path, data, sizeof data, &st), &st);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  return 0;
}

static int drop_folder(void **state) {
  (void)state;
  support_remove(folder);
  return 0;
}

// As many processes as asked for, whatever the cores.
#define LAUNCH "timeout 300 mpirun --oversubscribe --bind-to none -n "
#define RUN                                                                                                            \
  " " WEFT_PROGRAM " train --machine mesh16 --data data.txt --threads 1 --set model.layers=2 --set model.width=32"     \
  " --set model.heads=2 --set train.seq=32 --set train.batch=6 --set train.steps=120 --set train.eval_every=10"        \
  " --set train.eval_sequences=5 --set train.checkpoint_every=10 --set train.clip=0.5"

static child shell(int code, const char *line) {
  child c = child_shell(folder, line);
  child_expect(&c, code);
  return c;
}

static void did(int code, const char *line) {
  child c = shell(code, line);
  child_free(&c);
}

static void refused(int code, const char *sentence, const char *line) {
  child c = shell(code, line);
  const char *at = strstr(c.err, sentence);
  if (!at) fail_msg("\"%s\" is not in: %s", sentence, c.err);
  if (strstr(at + 1, sentence)) fail_msg("said more than once: %s", c.err);
  child_free(&c);
}

// Metrics and checkpoint of a run, as one number.
static u64 left(const char *db, const char *out) {
  static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "config.json", "weft.json"};
  arena *a = arena_create("test");
  child c = child_run(folder,
                      CHILD_ARGS("db", "query", "SELECT key, step, value FROM metric ORDER BY key, step", "--db", db));
  child_expect(&c, 0);
  assert_true(strlen(c.out) > 1000);
  u64 hash = hash_text(HASH_START, c.out);
  child_free(&c);
  for (u32 i = 0; i < COUNT_OF(files); i++) {
    char *bytes;
    size_t size;
    status st = {0};
    support_ok(file_read(arena_format(a, "%s/%s/checkpoint/%s", folder, out, files[i]), a, &bytes, &size, &st), &st);
    hash = hash_bytes(hash, bytes, size);
  }
  arena_destroy(a);
  return hash;
}

static u64 alone;

static void one_process(void **state) {
  (void)state;
  did(0, RUN " --db one.db --out one");
  alone = left("one.db", "one");
}

static void the_same_bytes(void **state) {
  (void)state;
  did(0, LAUNCH "2" RUN " --db two.db --out two");
  did(0, LAUNCH "4" RUN " --db four.db --out four");
  assert_true(left("two.db", "two") == alone);
  assert_true(left("four.db", "four") == alone); // 6 lanes: 1, 2, 1 and 2 of them
  assert_int_equal(child_number(folder, "four.db", "SELECT count(*) FROM run WHERE status = 'finished'"), 1);
  assert_int_equal(child_number(folder, "four.db", "SELECT value FROM tag WHERE key = 'ranks'"), 4);
}

// Waits for a file, and returns its one number.
static i64 told(const char *name) {
  char path[512], words[32] = "";
  snprintf(path, sizeof path, "%s/%s", folder, name);
  for (u32 i = 0; i < 6000 && !strchr(words, '\n'); i++) {
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    FILE *f = fopen(path, "r");
    if (f && !fgets(words, sizeof words, f)) words[0] = 0;
    if (f) fclose(f);
  }
  return strchr(words, '\n') ? strtoll(words, NULL, 10) : -1;
}

// One rank alone gets the signal, and all stop at one step; others go on.
static void stopped_and_resumed(void **state) {
  (void)state;
  static const char *const ways[][2] = {{LAUNCH "4", LAUNCH "2"}, {LAUNCH "2", ""}, {"", LAUNCH "4"}};
  for (u32 i = 0; i < COUNT_OF(ways); i++) {
    char line[2000];
    snprintf(line, sizeof line, "rm -rf s.db* s code; (%s" RUN " --db s.db --out s; echo $? >code) >/dev/null 2>&1 &",
             ways[i][0]);
    did(0, line);
    for (u32 k = 0; k < 6000 && child_number(folder, "s.db", "SELECT max(step) FROM metric") < 20; k++)
      nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    const i64 pid = child_number(folder, "s.db", "SELECT pid FROM run WHERE status = 'running'");
    assert_true(pid > 1);
    kill((pid_t)pid, SIGUSR1);
    assert_int_equal(told("code"), 75);
    assert_int_equal(child_number(folder, "s.db", "SELECT status = 'killed' AND steps < 120 FROM run"), 1);
    snprintf(line, sizeof line, "%s " WEFT_PROGRAM " train --resume 1 --threads 1 --db s.db", ways[i][1]);
    did(0, line);
    assert_true(left("s.db", "s") == alone);
  }
}

static void refused_once(void **state) {
  (void)state;
  refused(78, "8 ranks cannot share a batch of 6 sequences", LAUNCH "8" RUN " --db bad.db");
  refused(78, "unknown key \"train.stepz\"", LAUNCH "2" RUN " --db bad.db --set train.stepz=3");
  refused(2, "state different runs", LAUNCH "2 sh -c '" RUN " --db bad.db --set seed=$OMPI_COMM_WORLD_RANK'");
  did(0, "cp data.txt 0.txt");
  refused(66, "rank 1: 1.txt: cannot be read", LAUNCH "2 sh -c '" RUN " --db bad.db --data $OMPI_COMM_WORLD_RANK.txt'");
  assert_int_equal(child_number(folder, "bad.db", "SELECT count(*) FROM run"), -1); // nothing was made
}

// In the same launch, a sweep does its runs one by one in each rank.
static void a_sweep(void **state) {
  (void)state;
  static const char sql[] =
      "db query 'SELECT config_hash, status, steps, val_loss FROM run ORDER BY config_hash' --db ";
  const char *said[2];
  char line[1000];
  did(0, "printf 'base: {machine: mesh16, data: {path: data.txt}, model: {width: 32, heads: 2}, train: {steps: 20, "
         "batch: 2, "
         "seq: 32}}\ngrid: {train.lr: [2^-8, 2^-6], model.layers: [1, 2, 3]}\n' > tiny.yaml");
  did(0, WEFT_PROGRAM " sweep tiny.yaml --threads 1 --db whole.db");
  did(0, LAUNCH "4 " WEFT_PROGRAM " sweep tiny.yaml --threads 1 --db parts.db");
  did(0, WEFT_PROGRAM " db merge parts.*of4.db --db parts.db");
  for (u32 i = 0; i < 2; i++) {
    snprintf(line, sizeof line, WEFT_PROGRAM " %s%s", sql, i ? "parts.db" : "whole.db");
    child c = shell(0, line);
    said[i] = c.out;
    free(c.err);
  }
  assert_string_equal(said[0], said[1]);
  assert_int_equal(child_number(folder, "parts.db", "SELECT count(*) FROM run WHERE status = 'finished'"), 6);
  for (u32 i = 0; i < 2; i++) free((char *)(uintptr_t)said[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_process), cmocka_unit_test(the_same_bytes),
                                     cmocka_unit_test(stopped_and_resumed), cmocka_unit_test(refused_once),
                                     cmocka_unit_test(a_sweep)};
  return cmocka_run_group_tests(tests, make_folder, drop_folder);
}

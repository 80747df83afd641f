// What a run leaves behind is read back by commands: the report made anew, two runs compared, the trace.
#include "tests/child.h"

#include <stdio.h>
#include <string.h>

static char folder[256];

static child tiny(const char *seed) {
  return child_run(folder, CHILD_ARGS("train", "--seed", seed, "--set", "train.steps=2", "--set", "model.layers=1", "--set",
                                      "model.width=8", "--set", "model.heads=2", "--set", "train.seq=16", "--set",
                                      "train.batch=2", "--set", "train.eval_sequences=2"));
}

static char *read_all(arena *a, const char *name, size_t *ret_size) {
  char path[512], *data;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  status st = {0};
  support_ok(file_read(path, a, &data, ret_size, &st), &st);
  return data;
}

static int setup(void **s) {
  (void)s;
  support_folder(folder, sizeof folder);
  for (int i = 1; i <= 2; i++) {
    child c = tiny(i == 1 ? "1" : "2");
    child_expect(&c, 0);
    child_free(&c);
  }
  return 0;
}

static int teardown(void **s) {
  (void)s;
  support_remove(folder);
  return 0;
}

static void report_is_made_anew(void **s) {
  (void)s;
  child c = child_run(folder, CHILD_ARGS("report", "1", "--to", "again.html"));
  child_expect(&c, 0);
  child_free(&c);
  arena *a = arena_create("test");
  size_t first, again;
  char *x = read_all(a, "weft-runs/1/report.html", &first), *y = read_all(a, "again.html", &again);
  assert_non_null(strstr(x, "Where the modelled step"));
  assert_non_null(strstr(y, "Where the modelled step"));
  c = child_run(folder, CHILD_ARGS("report", "1", "2", "--to", "two.html"));
  child_expect(&c, 0);
  child_free(&c);
  assert_non_null(strstr(read_all(a, "two.html", &first), "seed"));
  c = child_run(folder, CHILD_ARGS("report", "7"));
  assert_int_not_equal(c.code, 0);
  child_free(&c);
  arena_destroy(a);
}

static void trace_is_read(void **s) {
  (void)s;
  child c = child_run(folder, CHILD_ARGS("trace", "info", "weft-runs/1/step.pftrace", "--json"));
  child_expect(&c, 0);
  assert_non_null(strstr(c.out, "\"truncated\": false"));
  child_free(&c);
  c = child_run(folder, CHILD_ARGS("trace", "top", "weft-runs/1/step.pftrace"));
  child_expect(&c, 0);
  assert_non_null(strstr(c.out, "modelled step on cs3"));
  child_free(&c);
  c = child_run(folder, CHILD_ARGS("trace", "export", "weft-runs/1/step.pftrace"));
  child_expect(&c, 0);
  assert_memory_equal(c.out, "kind,track,at_ns,name,value\n", 28);
  child_free(&c);
}

static void short_trace_is_told(void **s) {
  (void)s;
  child c = child_shell(folder, "head -c 1500 weft-runs/1/step.pftrace > short.pftrace");
  child_free(&c);
  c = child_run(folder, CHILD_ARGS("trace", "info", "short.pftrace"));
  child_expect(&c, 1);
  assert_non_null(strstr(c.err, "truncated"));
  child_free(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(report_is_made_anew),
      cmocka_unit_test(trace_is_read),
      cmocka_unit_test(short_trace_is_told),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

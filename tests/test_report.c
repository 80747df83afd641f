// The report page: well-formed, self-contained, every figure there, hostile words escaped, the same
// bytes for the same run.
#include "markup.h"
#include "runtime/report.h"
#include "step_fake.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct bench {
  arena *a;
  char folder[512];
  run_db *db;
  step_sim sim;
  status st;
} bench;

static void bench_open(bench *b) {
  memset(b, 0, sizeof *b);
  b->a = arena_create("test");
  support_folder(b->folder, sizeof b->folder);
  b->db = run_db_open(arena_format(b->a, "%s/t.db", b->folder), &b->st);
  support_ok(b->db != NULL, &b->st);
  fake_step(&(fake_options){.layers = 4, .repeat = 3, .host_cycles = 700}, b->a, &b->sim);
}

static void bench_close(bench *b) {
  support_ok(run_db_close(b->db, &b->st), &b->st);
  support_remove(b->folder);
  arena_destroy(b->a);
}

static u64 bench_run(bench *b, const char *name, double loss_last) {
  u64 run = 0;
  run_facts f = run_facts_none();
  f.name = name;
  f.command = "train";
  f.config = "model:\n  layers: 4 # <default> & more\n";
  f.config_hash = 0xabcdef12;
  f.graph_hash = 0x77;
  f.machine = "cs3";
  f.seed = 4242;
  f.threads = 2;
  f.weft_version = "0.1.0-test";
  f.created_ms = 1750000000000;
  support_ok(run_db_start(b->db, &f, &run, &b->st), &b->st);
  for (u32 i = 1; i <= 300; i++) {
    const double loss = loss_last + 4 * exp(-(double)i / 40);
    support_ok(run_db_add_metric(b->db, run, METRIC_LOSS, i, loss, &b->st), &b->st);
    support_ok(run_db_add_metric(b->db, run, METRIC_LR, i, 0.01 * i / 300, &b->st), &b->st);
    if (i % 100 == 0) support_ok(run_db_add_metric(b->db, run, METRIC_VAL_LOSS, i, loss + 0.1, &b->st), &b->st);
  }
  const run_param params[] = {{"model.layers", "4", "default"},
                              {"machine.clock", "1.1GHz", "presets/machines/cs3.yaml:3:8"},
                              {"data.path", "\"><img src=x onerror=alert(1)>", "--set"},
                              {"seed", loss_last > 2 ? "7" : "4242", "--seed"}};
  support_ok(run_db_set_params(b->db, run, params, COUNT_OF(params), &b->st), &b->st);
  run_results r = run_results_none();
  r.steps = 300;
  r.tokens = 307200;
  r.loss_first = 5.6021;
  r.loss_last = loss_last;
  r.val_loss = loss_last + 0.0625;
  r.wall_s = 61;
  r.host_tokens_per_s = 56789;
  r.model_tokens_per_s = 123456789;
  r.engine = "flow/1";
  support_ok(run_db_set_results(b->db, run, &r, &b->st), &b->st);
  support_ok(run_db_finish(b->db, run, RUN_FINISHED, NULL, &b->st), &b->st);
  return run;
}

static const char *page_of(bench *b, u64 run, const step_sim *sim) {
  const char *path = arena_format(b->a, "%s/report.html", b->folder);
  support_ok(report_write(path, b->db, run, sim, &b->st), &b->st);
  char *data = NULL;
  size_t size = 0;
  support_ok(file_read(path, b->a, &data, &size, &b->st), &b->st);
  char wrong[200];
  if (markup_wrong(data, wrong, sizeof wrong)) fail_msg("%s", wrong);
  return data;
}

static void contains(const char *page, const char *part) {
  if (!strstr(page, part)) fail_msg("the page does not hold \"%s\"", part);
}

static void fetches_nothing(const char *page) {
  const char *const outside[] = {"src=", "href=", "<script", "<link", "<iframe", "@import", "url(", "http:", "https:"};
  for (u32 i = 0; i < COUNT_OF(outside); i++)
    if (markup_in_tags(page, outside[i])) fail_msg("a tag holds %s", outside[i]);
  assert_null(strstr(page, "@import"));
  assert_null(strstr(page, "url("));
}

static void test_page_holds_the_figures(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  const char *page = page_of(&b, bench_run(&b, "first light", 1.2034), &b.sim);
  fetches_nothing(page);
  const char *const parts[] = {"Loss fell from 5.602 to 1.203 over 300 steps (validation 1.266)",
                               "the modelled step reaches 123 Mtokens/s; compute bounds 64% of the step.",
                               "Compute bounds 64% of the step; a faster wafer would relieve it.",
                               "Measured on this host",
                               "Modelled on cs3",
                               "5.6021",
                               "1.2034",
                               "1.2659",
                               "307,200",
                               "56.8 ktokens/s",
                               "8.8 %",
                               "0.765",
                               "31.2 J",
                               "training loss",
                               "smoothed over 10 steps",
                               "validation loss",
                               "whole step",
                               "h1.attn.mix.grad",
                               "recompute, chosen",
                               "21; beyond it SRAM runs out",
                               "clock 10 % faster",
                               "+5.00 %",
                               "-5.00 %",
                               "presets/machines/cs3.yaml:3:8",
                               "00000000abcdef12",
                               "4242",
                               "0.1.0-test",
                               "2025-06-15 15:06:40 UTC",
                               "ASSUMED",
                               "Layer 2 of 4, backward",
                               "prefers-color-scheme:dark",
                               "4 parameters, 3 of them not by default"};
  for (u32 i = 0; i < COUNT_OF(parts); i++) contains(page, parts[i]);
  assert_int_equal(markup_count(page, "<svg "), markup_count(page, "</svg>"));
  assert_true(markup_count(page, "<svg ") >= 7);
  // The verdict comes before everything else on the page.
  assert_true(strstr(page, "class=\"lead\"") < strstr(page, "class=\"card"));
  bench_close(&b);
}

static void test_hostile_words_are_escaped(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  const char *page = page_of(&b, bench_run(&b, "<script>alert(\"x\")</script>&'", 1.2), &b.sim);
  assert_null(strstr(page, "<script"));
  assert_null(strstr(page, "<img"));
  contains(page, "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;");
  contains(page, "&quot;&gt;&lt;img src=x onerror=alert(1)&gt;");
  contains(page, "# &lt;default&gt; &amp; more");
  fetches_nothing(page);
  bench_close(&b);
}

static void test_same_run_same_bytes(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  const u64 run = bench_run(&b, "twice", 1.2);
  assert_string_equal(page_of(&b, run, &b.sim), page_of(&b, run, &b.sim));
  bench_close(&b);
}

static void test_without_a_modelled_step(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  const char *page = page_of(&b, bench_run(&b, "row only", 1.2), NULL);
  contains(page, "On cs3 the modelled step reaches 123 Mtokens/s.");
  contains(page, "ASSUMED");
  assert_null(strstr(page, "Timeline"));
  bench_close(&b);
}

static void test_runs_that_went_wrong(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  u64 empty = 0, sick = 0;
  run_facts f = run_facts_none();
  f.machine = "no-such-machine";
  support_ok(run_db_start(b.db, &f, &empty, &b.st), &b.st);
  contains(page_of(&b, empty, NULL), "The run is still going.");
  support_ok(run_db_finish(b.db, empty, RUN_FAILED, "the disk <ran> full", &b.st), &b.st);
  contains(page_of(&b, empty, NULL), "the disk &lt;ran&gt; full");
  support_ok(run_db_start(b.db, &f, &sick, &b.st), &b.st);
  for (u32 i = 1; i < 40; i++)
    support_ok(run_db_add_metric(b.db, sick, METRIC_LOSS, i, i < 30 ? 5.0 - 0.01 * i : (double)NAN, &b.st), &b.st);
  support_ok(run_db_finish(b.db, sick, RUN_FINISHED, NULL, &b.st), &b.st);
  const char *page = page_of(&b, sick, NULL);
  contains(page, "The loss diverged.");
  contains(page, "the loss was not finite");
  bench_close(&b);
}

static void test_failures_leave_nothing(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  const u64 run = bench_run(&b, "x", 1.2);
  const char *path = arena_format(b.a, "%s/r.html", b.folder);
  support_failed(report_write(path, b.db, 999, &b.sim, &b.st), &b.st, CODE_NO_INPUT, "999");
  assert_false(file_exists(path));
  status_clear(&b.st);
  support_failed(report_write(arena_format(b.a, "%s/no/r.html", b.folder), b.db, run, &b.sim, &b.st), &b.st,
                 CODE_CANT_CREATE, "r.html");
  status_clear(&b.st);
  bench_close(&b);
}

static void test_two_runs(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  const u64 one = bench_run(&b, "one & all", 1.5), two = bench_run(&b, "two", 2.25);
  const char *path = arena_format(b.a, "%s/both.html", b.folder);
  support_ok(report_compare(path, b.db, one, two, &b.st), &b.st);
  char *page = NULL, wrong[200];
  size_t size;
  support_ok(file_read(path, b.a, &page, &size, &b.st), &b.st);
  if (markup_wrong(page, wrong, sizeof wrong)) fail_msg("%s", wrong);
  fetches_nothing(page);
  contains(page, "run 1, one &amp; all");
  contains(page, "The validation loss of run 1 ends at 1.562, that of run 2 at 2.312.");
  contains(page, "+50.0 %"); // 2.25 over 1.5
  contains(page, "<td>seed</td><td>4242</td><td>7</td>");
  assert_null(strstr(page, "<td>model.layers</td>")); // the same in both
  contains(page, "<td>configuration</td><td>00000000abcdef12</td><td>00000000abcdef12</td><td>equal</td>");
  bench_close(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_page_holds_the_figures),
      cmocka_unit_test(test_hostile_words_are_escaped),
      cmocka_unit_test(test_same_run_same_bytes),
      cmocka_unit_test(test_without_a_modelled_step),
      cmocka_unit_test(test_runs_that_went_wrong),
      cmocka_unit_test(test_failures_leave_nothing),
      cmocka_unit_test(test_two_runs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

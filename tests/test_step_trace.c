// The trace of a modelled step, read back: every phase of the first microbatch once, later microbatches
// as one slice each, times in nanoseconds, transfers that overlap on tracks of their own.
#include "runtime/step_sim.h"
#include "step_fake.h"
#include "support.h"
#include "traces/trace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct bench {
  arena *a;
  char folder[512], path[600];
  step_sim sim;
  trace_info info;
  const trace_total *rows;
  u32 count;
} bench;

static void bench_open(bench *b, const fake_options *o) {
  memset(b, 0, sizeof *b);
  status st = {0};
  b->a = arena_create("test");
  support_folder(b->folder, sizeof b->folder);
  snprintf(b->path, sizeof b->path, "%s/step.pftrace", b->folder);
  fake_step(o, b->a, &b->sim);
  support_ok(step_sim_trace(&b->sim, b->path, &st), &st);
  support_ok(trace_inspect(b->path, &b->info, &st), &st);
  support_ok(trace_totals(b->path, b->a, &b->rows, &b->count, &st), &st);
  assert_false(b->info.truncated);
  assert_false(b->info.budget_cut);
}

static void bench_close(bench *b) {
  support_remove(b->folder);
  arena_destroy(b->a);
}

// Slices whose track ends in `track` and whose name starts with `name`.
static u64 slices(const bench *b, const char *track, const char *name, double *ret_ns) {
  u64 count = 0;
  double ns = 0;
  for (u32 i = 0; i < b->count; i++) {
    if (!strstr(b->rows[i].track, track) || !text_starts(b->rows[i].name, name)) continue;
    count += b->rows[i].count;
    ns += b->rows[i].total_ns;
  }
  if (ret_ns) *ret_ns = ns;
  return count;
}

static double ns_of(const bench *b, double cycles) {
  return cycles * 1e9 / b->sim.machine.spec.clock_hz;
}

static void test_phases(void **state) {
  (void)state;
  bench b;
  bench_open(&b, &(fake_options){.layers = 3, .repeat = 4, .host_cycles = 5000});
  const engine_result *r = &b.sim.result;
  double ns = 0;
  assert_int_equal(slices(&b, "compute", "h1.attn.qkv", &ns), 2); // forward, and grad_w
  assert_int_equal(slices(&b, "compute", "embed", &ns), 1);
  assert_true(fabs(ns - ns_of(&b, 800)) <= 1);
  u64 waits = 0, all = 0;
  double waited = 0;
  for (u32 i = 0; i < r->span_count; i++) waits += r->spans[i].wait_cycles > 0, waited += r->spans[i].wait_cycles;
  assert_true(waits > 0);
  assert_int_equal(slices(&b, "compute", "wait", &ns), waits);
  assert_true(fabs(ns - ns_of(&b, waited)) <= (double)waits);
  all = slices(&b, "compute", "", &ns);
  assert_int_equal(all, r->span_count + waits);
  assert_true(fabs(ns - ns_of(&b, r->first_repeat_cycles)) <= (double)all); // without a gap
  assert_int_equal(slices(&b, "layers", "layer 1", NULL), 2);
  assert_int_equal(slices(&b, "layers", "layer", NULL), 6); // forward and backward of each: the loss lies between
  assert_int_equal(b.info.counters, 2);
  bench_close(&b);
}

static void test_microbatches(void **state) {
  (void)state;
  bench b;
  bench_open(&b, &(fake_options){.layers = 2, .repeat = 4, .host_cycles = 5000});
  double ns = 0, first = 0;
  assert_int_equal(slices(&b, "microbatches", "microbatch", &ns), 4);
  assert_int_equal(slices(&b, "microbatches", "microbatch 1 of 4", &first), 1);
  assert_true(fabs(ns - 4 * first) <= 8);
  assert_int_equal(slices(&b, "microbatches", "microbatch 3 of 4: phases as in 1", NULL), 1);
  assert_int_equal(slices(&b, "host", "", &ns), 1);
  assert_true(fabs(ns - ns_of(&b, 5000)) <= 1);
  assert_true(fabs((double)b.info.last_ns - ns_of(&b, b.sim.result.cycles)) <= 1);
  bench_close(&b);
}

static void test_many_microbatches_become_one_slice(void **state) {
  (void)state;
  bench b;
  bench_open(&b, &(fake_options){.layers = 1, .repeat = 100000});
  assert_int_equal(slices(&b, "microbatches", "", NULL), 2);
  assert_int_equal(slices(&b, "microbatches", "microbatch 2 to 100000 of 100000", NULL), 1);
  assert_int_equal(slices(&b, "host", "", NULL), 0);
  bench_close(&b);
}

static void test_streams(void **state) {
  (void)state;
  bench b;
  bench_open(&b, &(fake_options){.layers = 2, .repeat = 1});
  u64 in = 0, out = 0;
  for (u32 i = 0; i < b.sim.program.phase_count; i++) {
    in += b.sim.program.phases[i].stream_in > 0;
    out += b.sim.program.phases[i].stream_out > 0;
  }
  assert_int_equal(slices(&b, "stream in", "", NULL), in);
  assert_int_equal(slices(&b, "stream out", "", NULL), out);
  assert_true(b.info.counter_values >= in + out);
  bench_close(&b);
}

static void test_transfers_that_overlap(void **state) {
  (void)state;
  bench b;
  bench_open(&b, &(fake_options){.layers = 20, .repeat = 2, .transfers = 40});
  // Windows nest, so every one needs a track: 16 a direction, and the rest in words.
  assert_int_equal(slices(&b, "transfers out", "h", NULL), 16);
  assert_int_equal(slices(&b, "transfers in", "h", NULL), 16);
  assert_int_equal(slices(&b, "transfers out", "4 more transfers, not drawn", NULL), 1);
  bench_close(&b);
  bench_open(&b, &(fake_options){.layers = 20, .repeat = 2, .transfers = 5});
  assert_int_equal(slices(&b, "transfers", "h", NULL), 5);
  bench_close(&b);
}

static void test_no_folder(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  step_sim s;
  fake_step(&(fake_options){.layers = 1, .repeat = 1}, a, &s);
  assert_false(step_sim_trace(&s, "/nonexistent/folder/x.pftrace", &st));
  assert_int_not_equal(st.code, CODE_OK);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_phases),
      cmocka_unit_test(test_microbatches),
      cmocka_unit_test(test_many_microbatches_become_one_slice),
      cmocka_unit_test(test_streams),
      cmocka_unit_test(test_transfers_that_overlap),
      cmocka_unit_test(test_no_folder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

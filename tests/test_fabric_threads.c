// Any number of threads gives the same cycles, counts, bytes and sentences.
#include "tests/fabric_support.h"

#include "base/hash.h"
#include "mapper/kernel.h"

enum { SEEDS = 24 };
static const u32 counts[] = {2, 3, 8};

static fabric_options threads(u32 n) {
  return (fabric_options){.threads = n, .always = true};
}

// ---- random programs, those that stall included

static void test_random_programs(void **state) {
  (void)state;
  u32 stalled = 0;
  for (u64 seed = 0; seed < SEEDS; seed++) {
    random_case c = random_case_make(5000 + seed, 0);
    fabric_outcome one = random_case_run(&c, threads(1));
    for (u32 i = 0; i < COUNT_OF(counts); i++) {
      fabric_outcome many = random_case_run(&c, threads(counts[i]));
      fabric_same(&one, &many, "threads", seed);
    }
    stalled += !one.ok;
    random_case_free(&c);
  }
  assert_true(stalled > 0 && stalled < SEEDS / 2);
}

// ---- kernels

// Random numbers: sums depend on the order of adding.
static void fill(fabric *f, void *of) {
  const kernel_case *k = of;
  for (u32 i = 0; i < k->input_count; i++) {
    const df_symbol *s = &k->program.symbols[k->inputs[i].symbol];
    const float *values = k->inputs[i].values;
    for (u32 pe = 0; pe < s->rect.w * s->rect.h; pe++, values += s->count) {
      u32 x = s->rect.x + pe % s->rect.w * s->rect.step_x, y = s->rect.y + pe / s->rect.w * s->rect.step_y;
      fabric_write(f, x, y, s->address, values, s->count * 4);
    }
  }
}

static fabric_outcome run_kernel(kernel_case *k, const machine *m, fabric_options o) {
  fabric_how how = {.options = o, .before = fill, .of = k};
  return fabric_try(&k->program, m, &how);
}

static void same_on_threads(const char *name, u32 w, u32 h, u64 hash) {
  arena *a = arena_create("kernel");
  machine m = sim_machine("cs3", NULL);
  kernel_request r = {.machine = &m,
                      .name = name,
                      .width = w,
                      .height = h,
                      .tile = 1,
                      .words = 64,
                      .repeat = 1,
                      .type = DF_F32,
                      .random = true,
                      .seed = 7};
  kernel_case k;
  status st = {0};
  support_ok(kernel_build(&r, a, &k, &st), &st);
  fabric_outcome one = run_kernel(&k, &m, threads(1));
  assert_true(one.ok);
  u64 got = hash_u64(hash_u64(hash_u64(HASH_START, one.result.cycles), one.result.counts.hops), one.state);
  if (got != hash) fail_msg("%s: hash 0x%llx", name, (unsigned long long)got);
  for (u32 i = 0; i < COUNT_OF(counts); i++) { // in those stretches in which that is a gain
    fabric_outcome some = run_kernel(&k, &m, (fabric_options){.threads = counts[i]});
    fabric_same(&one, &some, name, counts[i]);
  }
  fabric_outcome always = run_kernel(&k, &m, threads(2)); // slow where the processors are busy otherwise
  fabric_same(&one, &always, name, 2);
  arena_destroy(a);
}

static void test_summa(void **state) {
  (void)state;
  same_on_threads("summa", 32, 32, 0x81552c377657e2a4ull);
}

static void test_reduce(void **state) {
  (void)state;
  same_on_threads("reduce", 1, 40, 0xdf4a61d038905e2aull);
}

static void test_allreduce(void **state) {
  (void)state;
  same_on_threads("allreduce", 8, 8, 0xb509f326c7a07901ull);
}

// ---- wavelets that meet

// Two streams meet in the middle of a row, cycle for cycle: the eastern one comes through a pipe, the western one does
// not, since another color may use its links.
static void build_meeting(df_builder *b) {
  df_build_class(b, "sender");
  u32 words = df_build_array(b, "words", DF_I32, 8), out = df_build_out(b, "out", DF_I32, df_just(8), 2, 0);
  desk_active_task(b, "main");
  df_build_op(b, df_vv(DF_MOV, out, words));
  df_build_class(b, "receiver");
  u32 got = df_build_array(b, "got", DF_I32, 16), in = df_build_in(b, "in", DF_I32, df_just(16), 2, 0);
  u32 other = df_build_in(b, "other", DF_I32, df_just(1), 9, 1);
  desk_active_task(b, "main");
  df_build_op(b, df_vv(DF_MOV, got, in));
  df_build_task(b, "never");
  df_build_op(b, df_vv(DF_MOV, got, other));
  df_build_region(b, df_every(df_block(0, 0, 2, 1), 8, 1), "sender");
  df_build_region(b, df_pe(4, 0), "receiver");
  df_build_route(b, df_pe(0, 0), 2, PORT_RAMP, PORT_EAST);
  df_build_route(b, df_block(1, 0, 3, 1), 2, PORT_WEST, PORT_EAST);
  df_build_route(b, df_pe(4, 0), 2, PORT_WEST | PORT_EAST, PORT_RAMP);
  df_build_route(b, df_block(5, 0, 3, 1), 2, PORT_EAST, PORT_WEST);
  df_build_route(b, df_pe(8, 0), 2, PORT_RAMP, PORT_WEST);
  df_build_route(b, df_pe(0, 0), 9, PORT_RAMP, PORT_EAST);
  df_build_route(b, df_block(1, 0, 3, 1), 9, PORT_WEST, PORT_EAST);
  df_build_route(b, df_pe(4, 0), 9, PORT_WEST, PORT_RAMP);
}

static void number_words(fabric *f, void *of) {
  (void)of;
  for (u32 x = 0; x <= 8; x += 8) {
    u32 words[8];
    for (u32 i = 0; i < 8; i++) words[i] = 10 * (x + 1) + i;
    fabric_write(f, x, 0, 0, words, sizeof words);
  }
}

static void read_words(fabric *f, void *of) {
  fabric_read(f, 4, 0, 0, of, 16 * 4);
}

static void test_wavelets_that_meet(void **state) {
  (void)state;
  desk k = desk_begin("cs3", NULL, 9, 1);
  build_meeting(k.b);
  df_build_finish(k.b, &k.d);
  const fabric_options ways[] = {{.walk = true}, {.threads = 1}, threads(2), threads(3), threads(9)};
  for (u32 i = 0; i < COUNT_OF(ways); i++) {
    u32 got[16];
    fabric_how how = {.options = ways[i], .before = number_words, .after = read_words, .of = got};
    fabric_outcome o = fabric_try(&k.d, &k.m, &how);
    support_ok(o.ok, &o.st);
    for (u32 n = 0; n < 16; n++) assert_int_equal(got[n], (n % 2 ? 10 : 90) + n / 2); // the eastern port comes first
  }
  desk_end(&k);
}

// A run that is cut off names the same wavelets at the same places, in pipes or not, in strips or not.
static void test_cut_off(void **state) {
  (void)state;
  u32 cut = 0;
  for (u64 seed = 0; seed < SEEDS; seed++) {
    random_case c = random_case_make(5000 + seed, 0);
    for (u64 most = 40; most < 400; most += 90) {
      fabric_how how = {.options = {.walk = true}, .max_cycles = most};
      fabric_outcome walked = fabric_try(&c.program, &c.machine, &how);
      how.options = threads(1);
      fabric_outcome one = fabric_try(&c.program, &c.machine, &how);
      how.options = threads(3);
      fabric_outcome three = fabric_try(&c.program, &c.machine, &how);
      fabric_same(&walked, &one, "walk and pipes", seed);
      fabric_same(&one, &three, "threads", seed);
      cut += !one.ok;
    }
    random_case_free(&c);
  }
  assert_true(cut > SEEDS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_programs),
      cmocka_unit_test(test_summa),
      cmocka_unit_test(test_reduce),
      cmocka_unit_test(test_allreduce),
      cmocka_unit_test(test_wavelets_that_meet),
      cmocka_unit_test(test_cut_off),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

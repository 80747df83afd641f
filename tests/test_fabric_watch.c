// A window of the fabric: every entry of a small program, the window's edges, a log that is too short, and
// programs that run the same whether somebody looks or not.
#include "tests/fabric_support.h"

#include <string.h>

enum { SEEDS = 100 };

static void open_watched(desk *k, fabric_watch w) {
  df_build_finish(k->b, &k->d);
  k->f = fabric_open(&k->d, &k->m, &(fabric_options){.watch = &w}, k->engine, &k->st);
  if (!k->f) fail_msg("%s", k->st.text);
}

static void expect_log(const desk *k, const char *want, u64 want_left_out) {
  text got = {0};
  u32 count;
  u64 left_out;
  const fabric_entry *log = fabric_log(k->f, &count, &left_out);
  for (u32 i = 0; i < count; i++) {
    fabric_say(&k->d, &log[i], &got);
    text_add(&got, "\n");
  }
  assert_string_equal(text_get(&got), want);
  assert_int_equal(left_out, want_left_out);
  text_free(&got);
}

// PE (0, 0) sends three words east; PE (1, 0) has a task that takes them one by one, and forwards nothing.
static desk two_pes(void) {
  desk k = desk_begin("cs2", NULL, 2, 1);
  df_build_class(k.b, "sender");
  u32 words = df_build_array(k.b, "words", DF_F32, 3), out = df_build_out(k.b, "east", DF_F32, df_just(3), 2, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_on(df_vv(DF_MOV, out, words), 1));
  df_build_class(k.b, "receiver");
  u32 sum = df_build_array(k.b, "sum", DF_F32, 3), in = df_build_in(k.b, "west", DF_F32, df_just(3), 2, 0);
  desk_active_task(k.b, "take");
  df_build_op(k.b, df_vvv(DF_ADD, sum, sum, in));
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_region(k.b, df_pe(1, 0), "receiver");
  df_build_route(k.b, df_pe(0, 0), 2, PORT_RAMP, PORT_EAST);
  df_build_route(k.b, df_pe(1, 0), 2, PORT_WEST, PORT_RAMP);
  return k;
}

static const fabric_watch everything = {.w = 2, .h = 1, .until = UINT64_MAX, .capacity = 1000};

static void run_two(fabric_watch w, const char *want, u64 left_out) {
  desk k = two_pes();
  open_watched(&k, w);
  static const float words[] = {1, 2.5f, -3};
  fabric_write(k.f, 0, 0, 0, words, sizeof words);
  desk_run_well(&k);
  expect_log(&k, want, left_out);
  desk_end(&k);
}

static void test_every_entry_of_a_program(void **state) {
  (void)state;
  run_two(everything,
          "       0  (0,0)  task main starts\n"
          "       0  (0,0)  MOV east words, microthread 1, 3 elements\n"
          "       0  (1,0)  task take starts\n"
          "       0  (1,0)  ADD sum sum west, 3 elements\n"
          "       1  (0,0)  task main ends, started at 0\n"
          "      15  (0,0)  sends color 2 0x3f800000 (1)\n"
          "      16  (0,0)  sends color 2 0x40200000 (2.5)\n"
          "      17  (0,0)  sends color 2 0xc0400000 (-3)\n"
          "      17  (0,0)  MOV east words, microthread 1 ends, started at 0\n"
          "      18  (0,0)  wavelet color 2 ramp -> east 0x3f800000 (1)\n"
          "      19  (0,0)  wavelet color 2 ramp -> east 0x40200000 (2.5)\n"
          "      19  (1,0)  wavelet color 2 west -> ramp 0x3f800000 (1)\n"
          "      20  (0,0)  wavelet color 2 ramp -> east 0xc0400000 (-3)\n"
          "      20  (1,0)  wavelet color 2 west -> ramp 0x40200000 (2.5)\n"
          "      21  (1,0)  takes color 2 0x3f800000 (1)\n"
          "      21  (1,0)  ADD sum sum west: waited for a wavelet of color 2 since 15\n"
          "      21  (1,0)  wavelet color 2 west -> ramp 0xc0400000 (-3)\n"
          "      22  (1,0)  takes color 2 0x40200000 (2.5)\n"
          "      23  (1,0)  takes color 2 0xc0400000 (-3)\n"
          "      24  (1,0)  ADD sum sum west ends, started at 0\n"
          "      24  (1,0)  task take ends, started at 0\n",
          0);
}

// What runs already says since when, what waits still says so.
static void test_edges_of_the_window(void **state) {
  (void)state;
  run_two((fabric_watch){.x = 1, .w = 1, .h = 1, .from = 10, .until = 20, .capacity = 100},
          "      10  (1,0)  task take goes on, started at 0\n"
          "      10  (1,0)  ADD sum sum west, 3 elements, started at 0\n"
          "      19  (1,0)  wavelet color 2 west -> ramp 0x3f800000 (1)\n"
          "      19  (1,0)  ADD sum sum west: waits for a wavelet of color 2 since 15\n",
          0);
  run_two((fabric_watch){.x = 0, .w = 1, .h = 1, .from = 17, .until = 18, .capacity = 100},
          "      17  (0,0)  MOV east words, microthread 1, 3 elements, started at 0\n"
          "      17  (0,0)  sends color 2 0xc0400000 (-3)\n"
          "      17  (0,0)  MOV east words, microthread 1 ends, started at 0\n",
          0);
  run_two((fabric_watch){.x = 0, .w = 2, .h = 1, .from = 3, .until = 6, .capacity = 100},
          "       3  (0,0)  MOV east words, microthread 1, 3 elements, started at 0\n"
          "       3  (1,0)  task take goes on, started at 0\n"
          "       3  (1,0)  ADD sum sum west, 3 elements, started at 0\n",
          0); // nothing happens, time is skipped
  run_two((fabric_watch){.x = 0, .w = 2, .h = 1, .from = 1000, .until = 2000, .capacity = 100}, "", 0);
}

// Whole cycles only: the first four entries are of cycle 0.
static void test_log_that_is_too_short(void **state) {
  (void)state;
  fabric_watch w = everything;
  w.capacity = 4;
  run_two(w,
          "       0  (0,0)  task main starts\n"
          "       0  (0,0)  MOV east words, microthread 1, 3 elements\n"
          "       0  (1,0)  task take starts\n"
          "       0  (1,0)  ADD sum sum west, 3 elements\n",
          17);
  w.capacity = 3;
  run_two(w, "", 21);
}

// A receiver that is busy and a router that turns: PE (0, 0) sends twelve words, until there is no more room, then a
// control wavelet, and another word that goes where the route has turned to. Nobody reads the last two: a stall.
static desk sender_and_late(void) {
  desk k = desk_begin("cs2", NULL, 2, 2);
  df_build_class(k.b, "sender");
  u32 words = df_build_array(k.b, "words", DF_I32, 12), out = df_build_out(k.b, "out", DF_I32, df_just(12), 3, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, out, words));
  df_build_op(k.b, df_vn(DF_CONTROL, out, df_just(0)));
  df_build_op(k.b, df_vn(DF_SEND, out, df_just(9)));
  df_build_class(k.b, "late");
  u32 got = df_build_array(k.b, "got", DF_I32, 12), in = df_build_in(k.b, "in", DF_I32, df_just(12), 3, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vn(DF_FILL, got, df_just(1)));
  df_build_op(k.b, df_vn(DF_FILL, got, df_just(1)));
  df_build_op(k.b, df_vv(DF_MOV, got, in));
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_region(k.b, df_pe(1, 0), "late");
  df_build_region(k.b, df_pe(0, 1), "late");
  df_build_route(k.b, df_pe(0, 0), 3, PORT_RAMP, PORT_EAST);
  df_build_position(k.b, PORT_RAMP, PORT_SOUTH);
  df_build_route(k.b, df_pe(1, 0), 3, PORT_WEST, PORT_RAMP);
  df_build_route(k.b, df_pe(0, 1), 3, PORT_NORTH, PORT_RAMP);
  return k;
}

static void give_words(desk *k) {
  u32 words[12];
  for (u32 i = 0; i < 12; i++) words[i] = i;
  fabric_write(k->f, 0, 0, 0, words, sizeof words);
}

static void test_waits_and_turns(void **state) {
  (void)state;
  desk k = sender_and_late();
  open_watched(&k, (fabric_watch){.w = 2, .h = 2, .from = 20, .until = UINT64_MAX, .capacity = 1000});
  give_words(&k);
  assert_false(desk_run(&k, 100000));
  expect_log(&k,
             "      20  (0,0)  task main goes on, started at 0\n"
             "      20  (0,0)  MOV out words, 12 elements, started at 0\n"
             "      20  (0,0)  sends color 3 0x00000005 (5)\n"
             "      20  (0,0)  wavelet color 3 ramp -> east 0x00000002 (2)\n"
             "      20  (1,0)  task main goes on, started at 0\n"
             "      20  (1,0)  FILL got 1, 12 elements, started at 19\n"
             "      20  (1,0)  wavelet color 3 west -> ramp 0x00000001 (1)\n"
             "      20  (0,1)  task main goes on, started at 0\n"
             "      20  (0,1)  FILL got 1, 12 elements, started at 19\n"
             "      21  (0,0)  sends color 3 0x00000006 (6)\n"
             "      21  (0,0)  wavelet color 3 ramp -> east 0x00000003 (3)\n"
             "      22  (0,0)  sends color 3 0x00000007 (7)\n"
             "      22  (0,0)  wavelet color 3 ramp -> east 0x00000004 (4)\n"
             "      23  (0,0)  sends color 3 0x00000008 (8)\n"
             "      23  (0,0)  wavelet color 3 ramp -> east 0x00000005 (5)\n"
             "      24  (0,0)  sends color 3 0x00000009 (9)\n"
             "      38  (1,0)  FILL got 1 ends, started at 19\n"
             "      38  (1,0)  MOV got in, 12 elements\n"
             "      38  (0,1)  FILL got 1 ends, started at 19\n"
             "      38  (0,1)  MOV got in, 12 elements\n"
             "      53  (1,0)  takes color 3 0x00000000 (0), there since 21\n"
             "      53  (1,0)  takes color 3 0x00000001 (1), there since 22\n"
             "      53  (1,0)  wavelet color 3 west -> ramp 0x00000002 (2), waited since 21\n"
             "      54  (0,0)  wavelet color 3 ramp -> east 0x00000006 (6), waited since 24\n"
             "      54  (1,0)  wavelet color 3 west -> ramp 0x00000003 (3), waited since 22\n"
             "      55  (0,0)  sends color 3 0x0000000a (10)\n"
             "      55  (0,0)  MOV out words: waited for room on color 3 since 25\n"
             "      55  (0,0)  wavelet color 3 ramp -> east 0x00000007 (7), waited since 25\n"
             "      55  (1,0)  takes color 3 0x00000002 (2)\n"
             "      55  (1,0)  MOV got in: waited for a wavelet of color 3 since 54\n"
             "      55  (1,0)  wavelet color 3 west -> ramp 0x00000004 (4), waited since 23\n"
             "      56  (0,0)  sends color 3 0x0000000b (11)\n"
             "      56  (0,0)  MOV out words ends, started at 0\n"
             "      56  (0,0)  wavelet color 3 ramp -> east 0x00000008 (8), waited since 26\n"
             "      56  (1,0)  takes color 3 0x00000003 (3)\n"
             "      56  (1,0)  wavelet color 3 west -> ramp 0x00000005 (5), waited since 24\n"
             "      57  (0,0)  sends color 3 control\n"
             "      57  (0,0)  task main: waited for room on color 3 since 56\n"
             "      57  (0,0)  wavelet color 3 ramp -> east 0x00000009 (9), waited since 27\n"
             "      57  (1,0)  takes color 3 0x00000004 (4)\n"
             "      57  (1,0)  wavelet color 3 west -> ramp 0x00000006 (6), waited since 55\n"
             "      58  (0,0)  wavelet color 3 ramp -> east 0x0000000a (10)\n"
             "      58  (1,0)  takes color 3 0x00000005 (5)\n"
             "      58  (1,0)  wavelet color 3 west -> ramp 0x00000007 (7), waited since 56\n"
             "      59  (0,0)  wavelet color 3 ramp -> east 0x0000000b (11)\n"
             "      59  (1,0)  takes color 3 0x00000006 (6)\n"
             "      59  (1,0)  wavelet color 3 west -> ramp 0x00000008 (8), waited since 57\n"
             "      60  (1,0)  takes color 3 0x00000007 (7)\n"
             "      60  (1,0)  wavelet color 3 west -> ramp 0x00000009 (9), waited since 58\n"
             "      61  (1,0)  takes color 3 0x00000008 (8)\n"
             "      61  (1,0)  wavelet color 3 west -> ramp 0x0000000a (10), waited since 59\n"
             "      62  (1,0)  takes color 3 0x00000009 (9)\n"
             "      62  (1,0)  wavelet color 3 west -> ramp 0x0000000b (11), waited since 60\n"
             "      63  (1,0)  takes color 3 0x0000000a (10)\n"
             "      64  (0,0)  sends color 3 0x00000009 (9)\n"
             "      64  (1,0)  takes color 3 0x0000000b (11)\n"
             "      64  (1,0)  MOV got in ends, started at 38\n"
             "      64  (1,0)  task main ends, started at 0\n"
             "      66  (0,0)  wavelet color 3 ramp -> east control\n"
             "      66  (0,0)  color 3 takes position 1: ramp -> south\n"
             "      67  (1,0)  wavelet color 3 west -> ramp control\n"
             "      71  (0,0)  task main ends, started at 0\n"
             "      73  (0,0)  wavelet color 3 ramp -> south 0x00000009 (9)\n"
             "      74  (0,1)  wavelet color 3 north -> ramp 0x00000009 (9)\n"
             "      76  (0,1)  takes color 3 0x00000009 (9)\n"
             "      76  (0,1)  MOV got in: waited for a wavelet of color 3 since 53\n"
             "      77  (1,0)  wavelet color 3 control stands in the input queue since 69\n"
             "      77  (0,1)  MOV got in: waits for a wavelet of color 3 since 77\n",
             0);
  desk_end(&k);
}

static void test_a_window_closes_on_what_waits(void **state) {
  (void)state;
  desk k = sender_and_late();
  open_watched(&k, (fabric_watch){.w = 2, .h = 1, .from = 30, .until = 35, .capacity = 1000});
  give_words(&k);
  assert_false(desk_run(&k, 100000));
  expect_log(&k,
             "      30  (0,0)  task main goes on, started at 0\n"
             "      30  (0,0)  MOV out words, 12 elements, started at 0\n"
             "      30  (1,0)  task main goes on, started at 0\n"
             "      30  (1,0)  FILL got 1, 12 elements, started at 19\n"
             "      34  (0,0)  MOV out words: waits for room on color 3 since 25\n"
             "      34  (0,0)  wavelet color 3 0x00000006 (6) stands in the router since 24\n"
             "      34  (0,0)  wavelet color 3 0x00000007 (7) stands in the router since 25\n"
             "      34  (0,0)  wavelet color 3 0x00000008 (8) stands in the router since 26\n"
             "      34  (0,0)  wavelet color 3 0x00000009 (9) stands in the router since 27\n"
             "      34  (1,0)  wavelet color 3 0x00000000 (0) stands in the input queue since 21\n"
             "      34  (1,0)  wavelet color 3 0x00000001 (1) stands in the input queue since 22\n"
             "      34  (1,0)  wavelet color 3 0x00000002 (2) stands in the router since 21\n"
             "      34  (1,0)  wavelet color 3 0x00000003 (3) stands in the router since 22\n"
             "      34  (1,0)  wavelet color 3 0x00000004 (4) stands in the router since 23\n"
             "      34  (1,0)  wavelet color 3 0x00000005 (5) stands in the router since 24\n",
             0);
  desk_end(&k);
}

// The same log, however it is run.
static void same_log(random_case *c, const fabric_outcome *want, fabric_options how, const fabric_watch *w, u64 seed) {
  how.watch = w;
  fabric_outcome got = random_case_run(c, how);
  fabric_same(want, &got, "watched", seed);
  if (got.log != want->log || got.entries != want->entries || got.left_out != want->left_out)
    fail_msg("seed %llu, %u threads, %s: %u entries, %u left out; %u and %u with one thread and pipes",
             (unsigned long long)seed, how.threads, how.walk ? "walked" : "pipes", got.entries, got.left_out,
             want->entries, want->left_out);
}

static void test_looking_changes_nothing(void **state) {
  (void)state;
  u64 entries = 0, cut = 0;
  for (u64 seed = 0; seed < SEEDS; seed++) {
    random_case c = random_case_make(seed, 0);
    u32 w = c.program.width, h = c.program.height;
    fabric_watch all = {.w = w, .h = h, .until = UINT64_MAX, .capacity = 1 << 14}, brief = all;
    fabric_watch one = {(u32)seed % w, (u32)(seed / 3) % h, 1, 1, seed % 100, seed % 100 + 50, 1 << 10};
    fabric_watch late = {w / 2, h / 3, w - w / 2, h - h / 3, 100, UINT64_MAX, 1 << 14};
    brief.capacity = 100;
    const fabric_watch *watches[] = {&all, &brief, &one, &late};
    fabric_outcome blind = random_case_run(&c, (fabric_options){.threads = 1}), seen[COUNT_OF(watches)];
    for (u32 i = 0; i < COUNT_OF(watches); i++) {
      seen[i] = random_case_run(&c, (fabric_options){.threads = 1, .watch = watches[i]});
      fabric_same(&blind, &seen[i], "seen and unseen", seed);
      same_log(&c, &seen[i], (fabric_options){.threads = 1, .walk = true}, watches[i], seed);
      if (seed % 5 == 0)
        same_log(&c, &seen[i], (fabric_options){.threads = 2 + (u32)(seed / 5 % 3), .always = true}, watches[i], seed);
    }
    assert_true(!seen[0].left_out && seen[1].entries + seen[1].left_out == seen[0].entries);
    entries += seen[2].entries;
    cut += seen[1].entries < seen[0].entries;
    random_case_free(&c);
  }
  assert_true(entries > SEEDS && cut > SEEDS / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_entry_of_a_program),      cmocka_unit_test(test_edges_of_the_window),
      cmocka_unit_test(test_log_that_is_too_short),         cmocka_unit_test(test_waits_and_turns),
      cmocka_unit_test(test_a_window_closes_on_what_waits), cmocka_unit_test(test_looking_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

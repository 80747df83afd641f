// The fabric by small programs whose values and cycles are worked out by hand: addresses, tasks, routes, ports,
// stalls, and the microbenchmarks that were published.
#include "tests/fabric_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- addresses, registers, loops, skips

static void test_two_dimensions_and_registers(void **state) {
  (void)state;
  desk k = desk_begin("cs2", NULL, 1, 1);
  df_build_class(k.b, "pe");
  u32 to = df_build_array(k.b, "to", DF_I32, 12), from = df_build_array(k.b, "from", DF_I32, 20);
  i32 at = (i32)df_build_address(k.b, from);
  // 2 x 3 block of a matrix with rows of 5, column by column, moved by r1 rows; to places moved by r1 sixes
  u32 block = df_build_view(k.b, "block", DF_I32, df_just(at), df_just(6));
  df_build_stride(k.b, block, 20);
  df_build_rows(k.b, block, df_just(2), 4);
  df_build_moved_by(k.b, block, 1, 20);
  u32 place = df_build_view(k.b, "place", DF_I32, df_just(0), df_just(6));
  df_build_moved_by(k.b, place, 1, 12);
  (void)to;
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, place, block));
  df_build_op(k.b, df_rn(DF_STEP, 1, df_just(2)));
  df_build_op(k.b, df_vv(DF_MOV, place, block));
  df_build_region(k.b, df_pe(0, 0), "pe");
  desk_open(&k);
  u32 words[20];
  for (u32 i = 0; i < 20; i++) words[i] = i;
  fabric_write(k.f, 0, 0, (u32)at, words, sizeof words);
  desk_run_well(&k);
  static const u32 want[] = {0, 5, 1, 6, 2, 7, 10, 15, 11, 16, 12, 17};
  desk_expect(&k, 0, 0, 0, want, 12);
  assert_int_equal(k.result.cycles, 1 + 2 * 15 + 5); // 6 / 2.44 = 2.46 each, and the STEP
  desk_end(&k);
}

// A PE counts into memory: to[r2] = 1 for each pass.
static void counting(desk *k) {
  df_build_class(k->b, "pe");
  u32 ones = df_build_array(k->b, "ones", DF_I32, 16);
  (void)ones;
  u32 place = df_build_view(k->b, "place", DF_I32, df_just(0), df_just(1));
  df_build_moved_by(k->b, place, 2, 4);
  desk_active_task(k->b, "main");
}

static void test_loops_and_skips(void **state) {
  (void)state;
  desk k = desk_begin("cs2", NULL, 1, 1);
  counting(&k);
  df_instruction one = df_vn(DF_FILL, 1, df_just(1)), step = df_rn(DF_STEP, 2, df_just(1));
  df_build_op(k.b, df_rn(DF_LOOP, 0, df_just(3)));
  df_build_op(k.b, df_rn(DF_LOOP, 1, df_just(2)));
  df_build_op(k.b, df_skip_less(0, df_just(1), 2)); // not in the first round
  df_build_op(k.b, one);
  df_build_op(k.b, step);
  df_build_op(k.b, df_none(DF_END));
  df_build_op(k.b, df_rn(DF_LOOP, 1, df_just(0))); // not at all
  df_build_op(k.b, one);
  df_build_op(k.b, df_none(DF_END));
  df_build_op(k.b, df_none(DF_END));
  df_build_op(k.b, df_skip(1));
  df_build_op(k.b, one);
  df_build_region(k.b, df_pe(0, 0), "pe");
  desk_open(&k);
  desk_run_well(&k);
  static const u32 want[] = {1, 1, 1, 1, 0, 0};
  desk_expect(&k, 0, 0, 0, want, 6);
  // LOOP 1; thrice (LOOP 1, twice (SKIP_LESS 1, END 7), LOOP 1, END 7); 4 x (FILL 15.41, STEP 1); SKIP 1
  assert_in_range(k.result.cycles, 1 + 3 * (1 + 16 + 1 + 7) + 65 + 1, 1 + 3 * (1 + 16 + 1 + 7) + 66 + 1);
  desk_end(&k);
}

static void test_tasks_start_block_and_halt(void **state) {
  (void)state;
  desk k = desk_begin("cs2", NULL, 1, 1);
  counting(&k);
  u32 next = df_build_task_index(k.b, "next"), held = df_build_task_index(k.b, "held"), never = df_build_task_index(k.b, "never");
  df_build_op(k.b, df_t(DF_BLOCK, held));
  df_build_op(k.b, df_t(DF_ACTIVATE, held));
  df_build_op(k.b, df_t(DF_ACTIVATE, next));
  df_build_task(k.b, "next");
  df_build_op(k.b, df_vn(DF_FILL, 1, df_just(7)));
  df_build_op(k.b, df_rn(DF_STEP, 2, df_just(1)));
  df_build_op(k.b, df_then(df_on(df_vn(DF_FILL, 0, df_just(5)), 1), DONE_UNBLOCK, held)); // `ones` as a whole
  df_build_task(k.b, "held");
  df_build_op(k.b, df_vn(DF_FILL, 1, df_just(8)));
  df_build_op(k.b, df_t(DF_ACTIVATE, never));
  df_build_op(k.b, df_none(DF_HALT));
  df_build_task(k.b, "never");
  df_build_op(k.b, df_vn(DF_FILL, 1, df_just(9)));
  df_build_region(k.b, df_pe(0, 0), "pe");
  desk_open(&k);
  desk_run_well(&k);
  static const u32 want[] = {5, 8, 5, 5};
  desk_expect(&k, 0, 0, 0, want, 4);
  assert_int_equal(k.result.counts.tasks, 3);
  desk_end(&k);
}

// ---- the fabric: a row of PEs, from the first to the last

static void row_routes(df_builder *b, u32 w, u32 color) {
  df_build_route(b, df_pe(0, 0), color, PORT_RAMP, PORT_EAST);
  if (w > 2) df_build_route(b, df_block(1, 0, w - 2, 1), color, PORT_WEST, PORT_EAST);
  df_build_route(b, df_pe(w - 1, 0), color, PORT_WEST, PORT_RAMP);
}

static u64 one_word_cycles(u32 hops) {
  desk k = desk_begin("cs3", NULL, hops + 1, 1);
  df_build_class(k.b, "sender");
  u32 out = df_build_out(k.b, "out", DF_I32, df_just(1), 0, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vn(DF_SEND, out, df_just(1729)));
  df_build_class(k.b, "receiver");
  u32 got = df_build_array(k.b, "got", DF_I32, 1), in = df_build_in(k.b, "in", DF_I32, df_just(1), 0, 0);
  df_build_task(k.b, "receive");
  df_build_started_by(k.b, TRIGGER_DATA, 0, 0);
  df_build_op(k.b, df_vv(DF_MOV, got, in));
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_region(k.b, df_pe(hops, 0), "receiver");
  row_routes(k.b, hops + 1, 0);
  desk_open(&k);
  desk_run_well(&k);
  assert_int_equal(desk_word(&k, hops, 0, 0), 1729);
  assert_int_equal(k.result.counts.hops, hops);
  u64 cycles = k.result.cycles;
  desk_end(&k);
  return cycles;
}

// The published time ends where the word has arrived in its task. The task here stores it too, in 15.4 cycles,
// which the published cost of a task per word (43.4 = 28 + 15.4) holds as well.
static void test_one_word(void **state) {
  (void)state;
  const u32 store = 15;
  static const u32 hops[] = {1, 2, 4, 8, 16, 32}, published[] = {42, 44, 48, 56, 72, 104}; // FABRICA 2608.25124
  for (u32 i = 0; i < COUNT_OF(hops); i++) {
    u64 cycles = one_word_cycles(hops[i]) - store;
    assert_int_equal(cycles, published[i]);
  }
}

// A row that sends n elements of a type from its first to its last PE, all at once and in order.
static desk row_stream(const char *preset, u32 w, df_type type, u32 n) {
  desk k = desk_begin(preset, "pe.sram_bytes=1MiB", w, 1);
  df_build_class(k.b, "sender");
  u32 data = df_build_array(k.b, "data", type, n), out = df_build_out(k.b, "out", type, df_just((i32)n), 0, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, out, data));
  df_build_class(k.b, "receiver");
  u32 got = df_build_array(k.b, "got", type, n), in = df_build_in(k.b, "in", type, df_just((i32)n), 0, 0);
  df_build_bytes(k.b, 4);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, got, in));
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_region(k.b, df_pe(w - 1, 0), "receiver");
  row_routes(k.b, w, 0);
  return k;
}

// 33 + 2 hops + 1.125 words were measured. The constant holds a second set-up of 15, of whatever followed the
// message there; here it ends with the last word in memory.
static void test_long_messages(void **state) {
  (void)state;
  static const u32 hops[] = {1, 16, 100}, words[] = {100, 1000, 10000};
  for (u32 i = 0; i < COUNT_OF(hops); i++)
    for (u32 n = 0; n < COUNT_OF(words); n++) {
      desk k = row_stream("cs3", hops[i] + 1, DF_F32, words[n]);
      desk_open(&k);
      desk_run_well(&k);
      double published = 33 - 15 + 2.0 * hops[i] + 1.125 * words[n];
      if (fabs((double)k.result.cycles - published) > 4)
        fail_msg("%u words over %u hops take %llu cycles, published are %.0f", words[n], hops[i], (unsigned long long)k.result.cycles, published);
      desk_end(&k);
    }
}

static void test_odd_halves_and_a_flipped_bit(void **state) {
  (void)state;
  desk k = row_stream("cs2", 4, DF_F16, 7);
  desk_open(&k);
  static const u16 sent[] = {1, 2, 3, 4, 5, 6, 7};
  u16 got[8];
  fabric_write(k.f, 0, 0, 0, sent, sizeof sent);
  fabric_flip(k.f, 4, 17); // the 4th link crossed: word 0 has crossed one or two, so a later word
  desk_run_well(&k);
  assert_int_equal(k.result.counts.wavelets, 4);
  assert_int_equal(k.result.counts.hops, 12);
  fabric_read(k.f, 3, 0, 0, got, sizeof got);
  u32 wrong = 0;
  for (u32 i = 0; i < 7; i++) wrong += got[i] != sent[i];
  assert_int_equal(wrong, 1);
  assert_int_equal(got[7], 0);
  desk_end(&k);
}

// ---- ports

enum { CROWD = 200 };

static void port(desk *k, const char *name, u32 x, u32 side, u32 color, bool out) {
  df_build_port(k->b, name, (df_port){.x = x, .port = (u8)side, .color = (u8)color, .out = out, .wavelets = CROWD});
}

// Two colors from the west through one link to the east.
static desk crowded_link(void) {
  desk k = desk_begin("cs2", NULL, 3, 1);
  for (u32 c = 0; c < 2; c++) {
    df_build_route(k.b, df_block(0, 0, 3, 1), c, PORT_WEST, PORT_EAST);
    port(&k, c ? "in1" : "in0", 0, PORT_WEST, c, false);
    port(&k, c ? "out1" : "out0", 2, PORT_EAST, c, true);
  }
  return k;
}

static void test_colors_share_a_link_in_turn(void **state) {
  (void)state;
  u32 words[CROWD], got[CROWD];
  for (u32 i = 0; i < CROWD; i++) words[i] = i;
  for (u64 most = 20; most < 300; most += 35) {
    desk k = crowded_link();
    desk_open(&k);
    fabric_feed(k.f, 0, words);
    fabric_feed(k.f, 2, words);
    support_failed(desk_run(&k, most), &k.st, CODE_CHECK, "not done after");
    i64 difference = (i64)fabric_drain(k.f, 1, got) - (i64)fabric_drain(k.f, 3, got);
    assert_true(difference >= -1 && difference <= 1);
    desk_end(&k);
  }
  desk k = crowded_link();
  desk_open(&k);
  fabric_feed(k.f, 0, words);
  fabric_feed(k.f, 2, words);
  desk_run_well(&k);
  assert_in_range(k.result.cycles, 2 * CROWD, 2 * CROWD + 6);
  for (u32 c = 0; c < 2; c++) {
    assert_int_equal(fabric_drain(k.f, 2 * c + 1, got), CROWD);
    assert_memory_equal(got, words, sizeof words);
  }
  desk_end(&k);
}

static void test_blocked_color_blocks_no_other(void **state) {
  (void)state;
  desk k = desk_begin("cs2", NULL, 3, 1);
  df_build_class(k.b, "asleep");
  df_build_array(k.b, "got", DF_I32, CROWD);
  u32 in = df_build_in(k.b, "in", DF_I32, df_just(CROWD), 5, 2);
  df_build_task(k.b, "never");
  df_build_op(k.b, df_vv(DF_MOV, 0, in));
  df_build_region(k.b, df_pe(2, 0), "asleep");
  df_build_route(k.b, df_block(0, 0, 2, 1), 5, PORT_WEST, PORT_EAST);
  df_build_route(k.b, df_pe(2, 0), 5, PORT_WEST, PORT_RAMP);
  df_build_route(k.b, df_block(0, 0, 3, 1), 6, PORT_WEST, PORT_EAST);
  port(&k, "stuck", 0, PORT_WEST, 5, false);
  port(&k, "in", 0, PORT_WEST, 6, false);
  port(&k, "out", 2, PORT_EAST, 6, true);
  desk_open(&k);
  support_failed(desk_run(&k, 100000), &k.st, CODE_CHECK, "wavelets of color 5 wait in PE (2, 0)");
  assert_non_null(strstr(k.st.text, "4 wavelets of color 5 stand in router (0, 0)"));
  assert_non_null(strstr(k.st.text, "port stuck has sent"));
  u32 got[CROWD];
  assert_int_equal(fabric_drain(k.f, 2, got), CROWD);
  assert_true(k.result.stepped < 2 * CROWD);
  desk_end(&k);
}

// ---- stalls

// Two PEs that send to each other, and receive only after that.
static void test_ring_of_full_queues(void **state) {
  (void)state;
  desk k = desk_begin("cs2", NULL, 2, 1);
  for (u32 x = 0; x < 2; x++) {
    df_build_class(k.b, x ? "right" : "left");
    u32 data = df_build_array(k.b, "data", DF_F32, 100), out = df_build_out(k.b, "out", DF_F32, df_just(100), x, 0);
    u32 in = df_build_in(k.b, "in", DF_F32, df_just(100), 1 - x, 0);
    desk_active_task(k.b, "swap");
    df_build_op(k.b, df_vv(DF_MOV, out, data));
    df_build_op(k.b, df_vv(DF_MOV, data, in));
    df_build_region(k.b, df_pe(x, 0), x ? "right" : "left");
    df_build_route(k.b, df_pe(x, 0), x, PORT_RAMP, x ? PORT_WEST : PORT_EAST);
    df_build_route(k.b, df_pe(1 - x, 0), x, x ? PORT_EAST : PORT_WEST, PORT_RAMP);
  }
  desk_open(&k);
  support_failed(desk_run(&k, 100000), &k.st, CODE_CHECK, "stalled at cycle");
  assert_non_null(strstr(k.st.text, "PE (0, 0) left task swap MOV at element 10 of 100 to send on color 0"));
  assert_non_null(strstr(k.st.text, "PE (1, 0) right task swap MOV at element 10 of 100 to send on color 1"));
  assert_true(k.result.stepped < 200);
  desk_end(&k);
}

static void test_receiver_expects_more(void **state) {
  (void)state;
  desk k = row_stream("cs2", 5, DF_F32, 20);
  df_build_class(k.b, "sender");
  df_build_task(k.b, "main");
  df_build_class(k.b, "receiver");
  u32 last = df_build_array(k.b, "last", DF_F32, 1), one = df_build_in(k.b, "one", DF_F32, df_just(1), 0, 0);
  df_build_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, last, one));
  desk_open(&k);
  support_failed(desk_run(&k, 100000), &k.st, CODE_CHECK, "PE (4, 0) receiver task main MOV at element 0 of 1 waits for color 0");
  assert_true(k.result.stepped < 200);
  desk_end(&k);
}

static void test_circle_is_refused(void **state) {
  (void)state;
  desk k = desk_begin("cs2", NULL, 2, 2);
  df_build_route(k.b, df_pe(0, 0), 0, PORT_SOUTH, PORT_EAST);
  df_build_route(k.b, df_pe(1, 0), 0, PORT_WEST, PORT_SOUTH);
  df_build_route(k.b, df_pe(1, 1), 0, PORT_NORTH, PORT_WEST);
  df_build_route(k.b, df_pe(0, 1), 0, PORT_EAST, PORT_NORTH);
  df_build_finish(k.b, &k.d);
  assert_null(fabric_open(&k.d, &k.m, NULL, k.engine, &k.st));
  assert_int_equal(k.st.code, CODE_CONFIG);
  desk_end(&k);
}

// Slow is not stalled: nothing moves for a very long time, but a PE works.
static void test_slow_is_no_stall(void **state) {
  (void)state;
  desk k = desk_begin("cs3", NULL, 3, 1);
  df_build_class(k.b, "sender");
  u32 out = df_build_out(k.b, "out", DF_I32, df_just(1), 0, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_rn(DF_LOOP, 0, df_just(30000)));
  df_build_op(k.b, df_none(DF_END));
  df_build_op(k.b, df_vn(DF_SEND, out, df_just(4)));
  df_build_class(k.b, "receiver");
  u32 got = df_build_array(k.b, "got", DF_I32, 1), in = df_build_in(k.b, "in", DF_I32, df_just(1), 0, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, got, in));
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_region(k.b, df_pe(2, 0), "receiver");
  row_routes(k.b, 3, 0);
  desk_open(&k);
  desk_run_well(&k);
  assert_int_equal(desk_word(&k, 2, 0, 0), 4);
  assert_in_range(k.result.cycles, 210000, 210040);
  assert_true(k.result.stepped < 100000); // the time between was skipped
  desk_end(&k);
}

// A task that is about to start while a microthread has no room to send: the one must not hide the other.
static void test_start_beside_a_blocked_sender(void **state) {
  (void)state;
  desk k = desk_begin("cs3", NULL, 2, 1);
  df_build_class(k.b, "a");
  u32 data = df_build_array(k.b, "data", DF_I32, 60), out = df_build_out(k.b, "out", DF_I32, df_just(60), 0, 0);
  u32 go = df_build_out(k.b, "go", DF_I32, df_just(1), 1, 1), in = df_build_in(k.b, "in", DF_I32, df_just(1), 2, 0);
  u32 got = df_build_array(k.b, "got", DF_I32, 1);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_on(df_vv(DF_MOV, out, data), 1));
  df_build_task(k.b, "answer");
  df_build_started_by(k.b, TRIGGER_DATA, 2, 0);
  df_build_op(k.b, df_vv(DF_MOV, got, in));
  df_build_op(k.b, df_vn(DF_SEND, go, df_just(1)));
  df_build_class(k.b, "b");
  u32 all = df_build_array(k.b, "all", DF_I32, 60), from = df_build_in(k.b, "from", DF_I32, df_just(60), 0, 0);
  u32 started = df_build_array(k.b, "started", DF_I32, 1);
  u32 start = df_build_in(k.b, "start", DF_I32, df_just(1), 1, 1), ask = df_build_out(k.b, "ask", DF_I32, df_just(1), 2, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_rn(DF_LOOP, 0, df_just(40)));
  df_build_op(k.b, df_none(DF_END));
  df_build_op(k.b, df_vn(DF_SEND, ask, df_just(1)));
  df_build_op(k.b, df_vv(DF_MOV, started, start));
  df_build_op(k.b, df_vv(DF_MOV, all, from));
  df_build_region(k.b, df_pe(0, 0), "a");
  df_build_region(k.b, df_pe(1, 0), "b");
  for (u32 c = 0; c < 2; c++) row_routes(k.b, 2, c);
  df_build_route(k.b, df_pe(1, 0), 2, PORT_RAMP, PORT_WEST);
  df_build_route(k.b, df_pe(0, 0), 2, PORT_EAST, PORT_RAMP);
  desk_open(&k);
  desk_run_well(&k);
  desk_end(&k);
}

// ---- merges, multicast, switches

static void test_multicast_and_switch(void **state) {
  (void)state;
  // 4 PEs: the first sends 3 words, CONTROL, 3 words; PE 1 listens to all, PE 2 switches between itself and PE 3
  desk k = desk_begin("cs2", NULL, 4, 1);
  df_build_class(k.b, "sender");
  u32 data = df_build_array(k.b, "data", DF_I32, 6), out = df_build_out(k.b, "out", DF_I32, df_just(3), 0, 0);
  (void)data;
  u32 part = df_build_view(k.b, "part", DF_I32, df_just(0), df_just(3));
  df_build_moved_by(k.b, part, 0, 12);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_rn(DF_LOOP, 0, df_just(2)));
  df_build_op(k.b, df_vv(DF_MOV, out, part));
  df_build_op(k.b, df_v(DF_CONTROL, out));
  df_build_op(k.b, df_none(DF_END));
  for (u32 i = 1; i < 4; i++) {
    char name[8];
    snprintf(name, sizeof name, "pe%u", i);
    df_build_class(k.b, name);
    u32 n = i == 1 ? 6 : 3, got = df_build_array(k.b, "got", DF_I32, n), in = df_build_in(k.b, "in", DF_I32, df_just((i32)n), 0, 0);
    desk_active_task(k.b, "main");
    df_build_op(k.b, df_on(df_vv(DF_MOV, got, in), 1));
    df_build_task(k.b, "control");
    df_build_started_by(k.b, TRIGGER_CONTROL, 0, 0);
    df_build_op(k.b, df_rn(DF_STEP, 0, df_just(1)));
    df_build_region(k.b, df_pe(i, 0), name);
  }
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_route(k.b, df_pe(0, 0), 0, PORT_RAMP, PORT_EAST);
  df_build_route(k.b, df_pe(1, 0), 0, PORT_WEST, PORT_RAMP | PORT_EAST);
  df_build_route(k.b, df_pe(2, 0), 0, PORT_WEST, PORT_RAMP);
  df_build_position(k.b, PORT_WEST, PORT_EAST);
  df_build_route(k.b, df_pe(3, 0), 0, PORT_WEST, PORT_RAMP);
  desk_open(&k);
  static const u32 words[] = {1, 2, 3, 4, 5, 6};
  fabric_write(k.f, 0, 0, 0, words, sizeof words);
  desk_run_well(&k);
  desk_expect(&k, 1, 0, 0, words, 6);
  desk_expect(&k, 2, 0, 0, words, 3);
  desk_expect(&k, 3, 0, 0, words + 3, 3);
  assert_int_equal(k.result.received, 8 + 4 + 4);
  assert_int_equal(k.result.counts.hops, 8 + 8 + 4);
  desk_end(&k);
}

static void test_a_second_run_is_the_same(void **state) {
  (void)state;
  fabric_result first = {0};
  for (u32 i = 0; i < 2; i++) {
    desk k = row_stream("cs3", 9, DF_F32, 50);
    desk_open(&k);
    desk_run_well(&k);
    if (i) assert_memory_equal(&first, &k.result, sizeof first);
    first = k.result;
    desk_end(&k);
  }
}

// Chain and broadcast on cs2, near the forms of arXiv 2404.15888.
static u64 row_of_links(u32 pes, u32 words, bool chain) {
  desk k = desk_begin("cs2", NULL, pes, 1);
  for (u32 x = 0; x < pes; x++) {
    bool first = x == 0, last = x + 1 == pes;
    u32 to = chain ? x & 1 : 0, from = chain ? 1 - to : 0; // colors alternate
    const char *name = first ? "first" : last ? "last" : chain ? (x & 1 ? "odd" : "even") : "middle";
    if (df_build_find_class(k.b, name) == UINT32_MAX) {
      df_build_class(k.b, name);
      u32 data = df_build_array(k.b, "data", DF_F32, words), in = 0, out = 0;
      if (!first) in = df_build_in(k.b, "in", DF_F32, df_just((i32)words), from, 0);
      if (first || (chain && !last)) out = df_build_out(k.b, "out", DF_F32, df_just((i32)words), to, 0);
      desk_active_task(k.b, "main");
      if (first) df_build_op(k.b, df_vv(DF_MOV, out, data));
      else if (chain) df_build_op(k.b, df_vvv(DF_ADD, last ? data : out, in, data));
      else df_build_op(k.b, df_vv(DF_MOV, data, in));
    }
    df_build_region(k.b, df_pe(x, 0), name);
    if (chain && !last) df_build_route(k.b, df_pe(x, 0), to, PORT_RAMP, PORT_EAST);
    if (chain && !first) df_build_route(k.b, df_pe(x, 0), from, PORT_WEST, PORT_RAMP);
    if (!chain) df_build_route(k.b, df_pe(x, 0), 0, first ? PORT_RAMP : PORT_WEST, first ? PORT_EAST : last ? PORT_RAMP : PORT_EAST | PORT_RAMP);
  }
  desk_open(&k);
  desk_run_well(&k);
  u64 cycles = k.result.cycles;
  desk_end(&k);
  return cycles;
}

static void test_chain_and_broadcast(void **state) {
  (void)state;
  sim_near((double)row_of_links(64, 1024, true), 1024 + 6 * 63, 0.1);
  sim_near((double)row_of_links(256, 512, true), 512 + 6 * 255, 0.1);
  sim_near((double)row_of_links(64, 1024, false), 1024 + 64 + 4, 0.1);
  sim_near((double)row_of_links(256, 512, false), 512 + 256 + 4, 0.1);
}

// A wavelet waits for more cycles than its 32 bits can tell apart.
static void test_waits_for_long(void **state) {
  (void)state;
  desk k = desk_begin("cs2", "dsd.copy32_rate=0.001", 2, 1);
  df_build_class(k.b, "sender");
  u32 out = df_build_out(k.b, "out", DF_F32, df_just(1), 3, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vn(DF_SEND, out, df_just(5)));
  df_build_class(k.b, "receiver");
  u32 got = df_build_array(k.b, "got", DF_I32, 1), slow = df_build_view(k.b, "slow", DF_I32, df_just(0), df_just(2400000));
  df_build_stride(k.b, slow, 0);
  u32 in = df_build_in(k.b, "in", DF_I32, df_just(1), 3, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vn(DF_FILL, slow, df_just(1)));
  df_build_op(k.b, df_vv(DF_MOV, got, in));
  df_build_region(k.b, df_pe(0, 0), "sender");
  df_build_region(k.b, df_pe(1, 0), "receiver");
  df_build_route(k.b, df_pe(0, 0), 3, PORT_RAMP, PORT_EAST);
  df_build_route(k.b, df_pe(1, 0), 3, PORT_WEST, PORT_RAMP);
  desk_open(&k);
  support_ok(desk_run(&k, 1ull << 40), &k.st);
  assert_int_equal(k.result.cycles, 2400000000 + 2 * 15 + 1000);
  assert_int_equal(desk_word(&k, 1, 0, 0), 5);
  desk_end(&k);
}

// A register moves a vector off the end, in two PEs and in the same cycle: the first one is named.
static void test_vector_leaves_memory(void **state) {
  (void)state;
  for (u32 threads = 1; threads < 4; threads++) {
    desk k = desk_begin("cs2", NULL, 2, 3);
    df_build_class(k.b, "pe");
    u32 data = df_build_array(k.b, "data", DF_I32, 12);
    u32 rows = df_build_view(k.b, "rows", DF_I32, df_just(0), df_just(5)); // three columns, a second row of two
    df_build_rows(k.b, rows, df_just(3), 24);
    df_build_moved_by(k.b, rows, 1, 4);
    (void)data;
    desk_active_task(k.b, "main");
    df_build_op(k.b, df_rn(DF_STEP, 1, df_just(1)));
    df_build_op(k.b, df_vn(DF_FILL, rows, df_just(1)));
    df_build_op(k.b, df_t(DF_ACTIVATE, df_build_find_task(k.b, "main")));
    df_build_region(k.b, df_block(1, 1, 1, 2), "pe");
    df_build_finish(k.b, &k.d);
    fabric_options o = {.threads = threads, .always = true};
    k.f = fabric_open(&k.d, &k.m, &o, k.engine, &k.st);
    if (!k.f) fail_msg("%s", k.st.text);
    support_failed(desk_run(&k, 1000), &k.st, CODE_CHECK, "PE (1, 1) pe task main: FILL leaves the 48 data bytes by vector rows");
    assert_int_equal(desk_word(&k, 1, 1, 40), 1); // R1 = 4 was the last that fits: element 4 at 4 (4 + 6 + 1) = 44
    assert_int_equal(desk_word(&k, 1, 1, 44), 1);
    desk_end(&k);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_two_dimensions_and_registers),
      cmocka_unit_test(test_loops_and_skips),
      cmocka_unit_test(test_tasks_start_block_and_halt),
      cmocka_unit_test(test_one_word),
      cmocka_unit_test(test_long_messages),
      cmocka_unit_test(test_odd_halves_and_a_flipped_bit),
      cmocka_unit_test(test_colors_share_a_link_in_turn),
      cmocka_unit_test(test_blocked_color_blocks_no_other),
      cmocka_unit_test(test_ring_of_full_queues),
      cmocka_unit_test(test_receiver_expects_more),
      cmocka_unit_test(test_circle_is_refused),
      cmocka_unit_test(test_slow_is_no_stall),
      cmocka_unit_test(test_start_beside_a_blocked_sender),
      cmocka_unit_test(test_multicast_and_switch),
      cmocka_unit_test(test_waits_for_long),
      cmocka_unit_test(test_vector_leaves_memory),
      cmocka_unit_test(test_a_second_run_is_the_same),
      cmocka_unit_test(test_chain_and_broadcast),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

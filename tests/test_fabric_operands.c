// Operands that the fabric or a register decides: a factor that comes as a wavelet, vectors that grow, and
// types that are mixed. Values and cycles by hand.
#include "tests/fabric_support.h"

#include "sim/fabric/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 10 };

// ---- two PEs: the west one sends, the east one works with what comes

typedef struct pair {
  desk k;
  u32 to, a, factor; // of the east PE
} pair;

static pair pair_begin(df_type factor) {
  pair p = {.k = desk_begin("cs3", NULL, 2, 1)};
  df_builder *b = p.k.b;
  df_build_class(b, "east");
  p.to = df_build_array(b, "to", DF_F32, 4 * N);
  p.a = df_build_array(b, "a", DF_F32, N);
  p.factor = df_build_in(b, "factor", factor, df_just(1), 5, 2);
  desk_active_task(b, "main");
  df_build_class(b, "west");
  df_build_out(b, "out", DF_I32, df_just(1), 5, 0);
  df_build_array(b, "nothing", DF_I32, 100);
  desk_active_task(b, "main");
  df_build_region(b, df_pe(0, 0), "west");
  df_build_region(b, df_pe(1, 0), "east");
  df_build_route(b, df_pe(0, 0), 5, PORT_RAMP, PORT_EAST);
  df_build_route(b, df_pe(1, 0), 5, PORT_WEST, PORT_RAMP);
  return p;
}

static df_builder *open_task(pair *p, const char *class) {
  df_build_class(p->k.b, class);
  df_build_task(p->k.b, "main");
  return p->k.b;
}

static void send_number(pair *p, float value) {
  df_build_op(open_task(p, "west"), df_vn(DF_SEND, 0, df_number(value)));
}

// Some 56 cycles in which the west PE does not send: 15 + 100 / 2.44.
static void send_late(pair *p) {
  df_build_op(open_task(p, "west"), df_vn(DF_FILL, 1, df_just(1)));
}

// a[i] = 1 + i.
static void pair_open(pair *p) {
  desk_open(&p->k);
  for (u32 i = 0; i < N; i++) {
    const float v = 1 + (float)i;
    fabric_write(p->k.f, 1, 0, 16 * N + 4 * i, &v, 4);
  }
}

static u64 pair_run(pair *p) {
  pair_open(p);
  desk_run_well(&p->k);
  return p->k.result.cycles;
}

static float result(const pair *p, u32 i) {
  return number_of_bits(desk_word(&p->k, 1, 0, 4 * i));
}

static u32 view_of(pair *p, const char *name, u32 elements) {
  df_build_class(p->k.b, "east");
  return df_build_view(p->k.b, name, DF_F32, df_just(0), df_just((i32)elements));
}

// ---- values and order

static void test_factors_come_in_order(void **state) {
  (void)state;
  static const float factors[] = {3, -0.5f, 7, 0.25f};
  pair p = pair_begin(DF_F32);
  for (u32 i = 0; i < 4; i++) send_number(&p, factors[i]);
  const u32 row = view_of(&p, "row", N);
  df_build_moved_by(p.k.b, row, 0, 4 * N);
  df_builder *b = open_task(&p, "east");
  df_build_op(b, df_rn(DF_LOOP, 0, df_just(4)));
  df_build_op(b, df_vvv(DF_SCALE, row, p.a, p.factor));
  df_build_op(b, df_none(DF_END));
  pair_run(&p);
  for (u32 i = 0; i < 4 * N; i++) assert_true(result(&p, i) == factors[i / N] * (1 + (float)(i % N)));
  assert_int_equal(p.k.result.counts.wavelets, 4);
  desk_end(&p.k);
}

static void test_axpy_adds_up(void **state) {
  (void)state;
  pair p = pair_begin(DF_F32);
  for (u32 i = 1; i <= 3; i++) send_number(&p, (float)i / 2);
  const u32 row = view_of(&p, "row", N);
  df_build_class(p.k.b, "east");
  df_build_task(p.k.b, "each"); // a data task that a factor starts takes it
  df_build_started_by(p.k.b, TRIGGER_DATA, 5, 2);
  df_build_op(p.k.b, df_vvv(DF_AXPY, row, p.a, p.factor));
  pair_run(&p);
  for (u32 i = 0; i < N; i++) assert_true(result(&p, i) == 3 * (1 + (float)i));
  assert_int_equal(p.k.result.counts.tasks, 2 + 3);
  assert_int_equal(p.k.result.counts.macs, 3 * N);
  desk_end(&p.k);
}

static void test_narrow_factor_is_the_low_half(void **state) {
  (void)state;
  for (u32 type = DF_F16; type <= DF_BF16; type++) {
    pair p = pair_begin((df_type)type);
    const u32 half = type == DF_F16 ? number_to_f16(-1.5f) : number_to_bf16(-1.5f);
    df_build_op(open_task(&p, "west"), df_vn(DF_SEND, 0, df_just((i32)(0x7bcd0000u | half))));
    const u32 row = view_of(&p, "row", N);
    df_build_op(open_task(&p, "east"), df_vvv(DF_SCALE, row, p.a, p.factor));
    pair_run(&p);
    for (u32 i = 0; i < N; i++) assert_true(result(&p, i) == -1.5f * (1 + (float)i));
    desk_end(&p.k);
  }
}

// ---- cycles

// The east PE waits for the factor: then the set-up of 16 cycles and 2 cycles an element.
static u64 late_cycles(bool receive, u32 n) {
  pair p = pair_begin(DF_F32);
  send_late(&p);
  send_number(&p, 2);
  const u32 row = view_of(&p, "row", receive ? 1 : n);
  df_build_op(open_task(&p, "east"), receive ? df_vv(DF_MOV, row, p.factor) : df_vvv(DF_AXPY, row, p.a, p.factor));
  const u64 cycles = pair_run(&p);
  if (n) assert_true(result(&p, 0) == 2);
  desk_end(&p.k);
  return cycles;
}

static void test_set_up_begins_with_the_factor(void **state) {
  (void)state;
  // a MOV of one word that waits, set up, takes 1 / 2.44 cycles from the arrival on: the cycle it comes in
  const u64 arrival = late_cycles(true, 1) - 1;
  assert_int_equal(late_cycles(false, 0), arrival + 16);
  assert_int_equal(late_cycles(false, 1), arrival + 16 + 2);
  assert_int_equal(late_cycles(false, N), arrival + 16 + 2 * N);
}

// The factor waits for the east PE, or lies in its memory.
static u64 early_cycles(bool stream) {
  pair p = pair_begin(DF_F32);
  send_number(&p, 2);
  const u32 row = view_of(&p, "row", N), all = view_of(&p, "all", 4 * N), last = view_of(&p, "last", 1);
  df_builder *b = open_task(&p, "east");
  df_build_op(b, df_vn(DF_FILL, all, df_just(1)));
  df_build_op(b, df_vvv(DF_AXPY, row, p.a, stream ? p.factor : p.a));
  if (!stream) df_build_op(b, df_vv(DF_MOV, last, p.factor)); // or the wavelet were left
  const u64 cycles = pair_run(&p);
  assert_true(result(&p, N - 1) == (stream ? 1 + 2 * N : 1 + N) && result(&p, N) == 1);
  desk_end(&p.k);
  return cycles;
}

static void test_a_factor_that_waits_costs_nothing(void **state) {
  (void)state;
  assert_int_equal(early_cycles(true), 15 + 4 * N / 2.44 + 16 + 2 * N); // 67.4
  assert_int_equal(early_cycles(false), early_cycles(true) + 15 + 1);   // and the MOV
}

// Taken while other instructions have the datapath: the set-up is over when they end.
static void test_a_factor_is_taken_beside_other_work(void **state) {
  (void)state;
  pair p = pair_begin(DF_F32);
  send_number(&p, 2);
  const u32 row = view_of(&p, "row", N);
  df_build_class(p.k.b, "east");
  const u32 other = df_build_array(p.k.b, "other", DF_F32, 200);
  df_builder *b = open_task(&p, "east");
  df_build_op(b, df_on(df_vvv(DF_AXPY, row, p.a, p.factor), 1));
  df_build_op(b, df_vvv(DF_MUL, other, other, other)); // 1 + 17 + 400 cycles
  const u64 cycles = pair_run(&p);
  assert_in_range(cycles, 1 + 17 + 400 + 2 * N, 1 + 17 + 400 + 2 * N + 1);
  assert_true(result(&p, N - 1) == 2 * N);
  desk_end(&p.k);
}

// ---- nothing to do, nothing that comes

static void test_a_factor_is_taken_for_no_element(void **state) {
  (void)state;
  pair p = pair_begin(DF_F32);
  for (u32 i = 0; i < 3; i++) send_number(&p, (float)(i + 1));
  const u32 none = view_of(&p, "none", 0), row = view_of(&p, "row", N);
  df_builder *b = open_task(&p, "east");
  df_build_op(b, df_vvv(DF_AXPY, none, p.a, p.factor));
  df_build_op(b, df_vvv(DF_SCALE, none, p.a, p.factor));
  df_build_op(b, df_vvv(DF_AXPY, row, p.a, p.factor));
  pair_run(&p); // no wavelet is left, or it had stalled
  assert_true(result(&p, 0) == 3 && result(&p, N - 1) == 3 * N);
  desk_end(&p.k);
}

static void test_a_factor_that_does_not_come(void **state) {
  (void)state;
  for (u32 n = 0; n <= N; n += N) {
    pair p = pair_begin(DF_F32);
    const u32 row = view_of(&p, "row", n);
    df_build_op(open_task(&p, "east"), df_vvv(DF_AXPY, row, p.a, p.factor));
    pair_open(&p);
    char sentence[128];
    snprintf(sentence, sizeof sentence, "PE (1, 0) east task main AXPY at element 0 of %u waits for color 5", n);
    support_failed(desk_run(&p.k, 1000000), &p.k.st, CODE_CHECK, sentence);
    desk_end(&p.k);
  }
}

static void test_a_control_wavelet_is_no_factor(void **state) {
  (void)state;
  for (u32 beside = 0; beside < 2; beside++) { // on a microthread the task of the control wavelet can start
    pair p = pair_begin(DF_F32);
    df_build_op(open_task(&p, "west"), df_v(DF_CONTROL, 0));
    send_number(&p, 2);
    const u32 row = view_of(&p, "row", N);
    df_build_op(open_task(&p, "east"), df_on(df_vvv(DF_AXPY, row, p.a, p.factor), beside));
    df_build_task(p.k.b, "turn");
    df_build_started_by(p.k.b, TRIGGER_CONTROL, 5, 2);
    df_build_op(p.k.b, df_rn(DF_SET, 0, df_just(1)));
    pair_open(&p);
    const bool ok = desk_run(&p.k, 1000000);
    if (beside) {
      support_ok(ok, &p.k.st);
      assert_true(result(&p, N - 1) == 2 * N);
    } else {
      support_failed(ok, &p.k.st, CODE_CHECK, "AXPY at element 0 of 10 waits for color 5");
    }
    desk_end(&p.k);
  }
}

// What is scaled may be sent on, two values a wavelet, by a factor of another width.
static void test_scaled_values_may_be_sent(void **state) {
  (void)state;
  pair p = pair_begin(DF_F32);
  send_number(&p, 0.5f);
  df_build_class(p.k.b, "east");
  const u32 out = df_build_out(p.k.b, "scaled", DF_F16, df_just(N), 6, 1);
  df_build_op(open_task(&p, "east"), df_vvv(DF_SCALE, out, p.a, p.factor));
  df_build_class(p.k.b, "west");
  const u32 got = df_build_array(p.k.b, "got", DF_F16, N), in = df_build_in(p.k.b, "in", DF_F16, df_just(N), 6, 0);
  const u32 at = df_build_address(p.k.b, got);
  df_build_op(open_task(&p, "west"), df_vv(DF_MOV, got, in));
  df_build_route(p.k.b, df_pe(1, 0), 6, PORT_RAMP, PORT_WEST);
  df_build_route(p.k.b, df_pe(0, 0), 6, PORT_EAST, PORT_RAMP);
  pair_run(&p);
  u16 halves[N];
  fabric_read(p.k.f, 0, 0, at, halves, sizeof halves);
  for (u32 i = 0; i < N; i++) assert_true(number_from_f16(halves[i]) == 0.5f * (1 + (float)i));
  assert_int_equal(p.k.result.counts.wavelets, 1 + N / 2);
  desk_end(&p.k);
}

// ---- lengths that grow

static void test_rows_of_a_triangle(void **state) {
  (void)state;
  desk k = desk_begin("cs3", NULL, 1, 1);
  df_build_class(k.b, "pe");
  df_build_array(k.b, "square", DF_I32, 25);
  const u32 row = df_build_view(k.b, "row", DF_I32, df_just(0), df_just(-1));
  df_build_moved_by(k.b, row, 3, 20);
  df_build_longer_by(k.b, row, 3);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_rn(DF_LOOP, 3, df_just(5)));
  df_build_op(k.b, df_vn(DF_FILL, row, df_just(7))); // -1, 0, 1, 2 and 3 elements
  df_build_op(k.b, df_none(DF_END));
  df_build_region(k.b, df_pe(0, 0), "pe");
  desk_open(&k);
  desk_run_well(&k);
  for (u32 i = 0; i < 25; i++) assert_int_equal(desk_word(&k, 0, 0, 4 * i), i % 5 + 1 < i / 5 ? 7 : 0);
  // LOOP 1, five times FILL 15 and END 7, 6 elements at 2.44 a cycle
  assert_in_range(k.result.cycles, 1 + 5 * 22 + 2, 1 + 5 * 22 + 4);
  desk_end(&k);
}

// The register is read when the instruction is issued: what the task does to it later does not matter.
static void test_streams_grow_at_both_ends(void **state) {
  (void)state;
  desk k = desk_begin("cs3", NULL, 2, 1);
  for (u32 way = 0; way < 2; way++) {
    df_build_class(k.b, way ? "east" : "west");
    const u32 words = df_build_array(k.b, "words", DF_F32, 10);
    const u32 part = df_build_view(k.b, "part", DF_F32, df_just(0), df_just(1));
    const u32 end =
        way ? df_build_in(k.b, "end", DF_F32, df_just(1), 0, 0) : df_build_out(k.b, "end", DF_F32, df_just(1), 0, 0);
    df_build_moved_by(k.b, part, 1, 4);
    df_build_longer_by(k.b, part, 0);
    df_build_longer_by(k.b, end, 0);
    (void)words;
    desk_active_task(k.b, "main");
    for (u32 i = 0; i < 4; i++) { // 1, 2, 3 and 4 words
      const df_instruction move = way ? df_vv(DF_MOV, part, end) : df_vv(DF_MOV, end, part);
      df_build_op(k.b, df_on(move, 1));
      df_build_op(k.b, df_rn(DF_STEP, 0, df_just(1)));
      df_build_op(k.b, df_rn(DF_STEP, 1, df_just((i32)i + 1)));
    }
  }
  df_build_region(k.b, df_pe(0, 0), "west");
  df_build_region(k.b, df_pe(1, 0), "east");
  df_build_route(k.b, df_pe(0, 0), 0, PORT_RAMP, PORT_EAST);
  df_build_route(k.b, df_pe(1, 0), 0, PORT_WEST, PORT_RAMP);
  desk_open(&k);
  u32 words[10];
  for (u32 i = 0; i < 10; i++) words[i] = number_bits((float)i + 0.5f);
  fabric_write(k.f, 0, 0, 0, words, sizeof words);
  desk_run_well(&k);
  desk_expect(&k, 1, 0, 0, words, 10);
  assert_int_equal(k.result.counts.wavelets, 10);
  desk_end(&k);
}

// ---- mixed types: a chain of fp32 that adds what lies in memory in 16 bits

static u64 chain(df_type kept, float ret_sums[N]) {
  desk k = desk_begin("cs3", NULL, 3, 1);
  const u32 size = df_type_bytes(kept);
  df_build_class(k.b, "first");
  const u32 words = df_build_array(k.b, "words", DF_F32, N), start = df_build_out(k.b, "out", DF_F32, df_just(N), 0, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, start, words));
  df_build_class(k.b, "link");
  const u32 own = df_build_array(k.b, "own", kept, N), in = df_build_in(k.b, "in", DF_F32, df_just(N), 0, 0);
  const u32 out = df_build_out(k.b, "out", DF_F32, df_just(N), 1, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vvv(DF_ADD, out, in, own));
  df_build_class(k.b, "last");
  const u32 sums = df_build_array(k.b, "sums", DF_F32, N), come = df_build_in(k.b, "in", DF_F32, df_just(N), 1, 0);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vv(DF_MOV, sums, come));
  df_build_region(k.b, df_pe(0, 0), "first");
  df_build_region(k.b, df_pe(1, 0), "link");
  df_build_region(k.b, df_pe(2, 0), "last");
  for (u32 i = 0; i < 2; i++) {
    df_build_route(k.b, df_pe(i, 0), i, PORT_RAMP, PORT_EAST);
    df_build_route(k.b, df_pe(i + 1, 0), i, PORT_WEST, PORT_RAMP);
  }
  desk_open(&k);
  for (u32 i = 0; i < N; i++) {
    const float v = (float)i + 0x1p-20f, mine = 0.375f * (float)i; // v needs fp32, mine does not
    const u32 bits = kept == DF_F16 ? number_to_f16(mine) : kept == DF_BF16 ? number_to_bf16(mine) : number_bits(mine);
    fabric_write(k.f, 0, 0, 4 * i, &v, 4);
    fabric_write(k.f, 1, 0, size * i, &bits, size);
  }
  desk_run_well(&k);
  for (u32 i = 0; i < N; i++) ret_sums[i] = number_of_bits(desk_word(&k, 2, 0, 4 * i));
  const u64 cycles = k.result.cycles;
  desk_end(&k);
  return cycles;
}

static void test_types_are_mixed_in_a_chain(void **state) {
  (void)state;
  float sums[N];
  const u64 cycles = chain(DF_F32, sums);
  for (u32 type = DF_F32; type <= DF_BF16; type++) {
    assert_int_equal(chain((df_type)type, sums), cycles);
    for (u32 i = 0; i < N; i++) assert_true(sums[i] == ((float)i + 0x1p-20f) + 0.375f * (float)i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_factors_come_in_order),
      cmocka_unit_test(test_axpy_adds_up),
      cmocka_unit_test(test_narrow_factor_is_the_low_half),
      cmocka_unit_test(test_set_up_begins_with_the_factor),
      cmocka_unit_test(test_a_factor_that_waits_costs_nothing),
      cmocka_unit_test(test_a_factor_is_taken_beside_other_work),
      cmocka_unit_test(test_a_factor_is_taken_for_no_element),
      cmocka_unit_test(test_a_factor_that_does_not_come),
      cmocka_unit_test(test_a_control_wavelet_is_no_factor),
      cmocka_unit_test(test_scaled_values_may_be_sent),
      cmocka_unit_test(test_rows_of_a_triangle),
      cmocka_unit_test(test_streams_grow_at_both_ends),
      cmocka_unit_test(test_types_are_mixed_in_a_chain),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

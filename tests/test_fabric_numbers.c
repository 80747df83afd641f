// Numbers and vector instructions of the fabric, against definitions in double precision.
#include "tests/fabric_support.h"

#include "base/random.h"
#include "sim/fabric/number.h"

#include <math.h>
#include <string.h>

// ---- numbers, against the definition in double precision

static double value_ref(u32 h, u32 fraction_bits, i32 bias) {
  u32 exponent = (h & 0x7fff) >> fraction_bits, fraction = h & ((1u << fraction_bits) - 1);
  double v = exponent ? ldexp(1 + ldexp(fraction, -(i32)fraction_bits), (i32)exponent - bias) : ldexp(fraction, 1 - bias - (i32)fraction_bits);
  return h & 0x8000 ? -v : v;
}

static double decode_ref(u32 bits, u32 type) {
  if (type == DF_F16) return value_ref(bits, 10, 15);
  if (type == DF_BF16) return value_ref(bits, 7, 127);
  return (double)number_of_bits(bits);
}

// Rounds to the nearest, ties to even, as integers in units of the last place.
static double round_ref(double v, u32 type) {
  if (type == DF_F32) return (double)(float)v;
  i32 fraction_bits = type == DF_F16 ? 10 : 7, lowest = type == DF_F16 ? -14 : -126, exponent;
  if (v == 0) return v;
  frexp(v, &exponent);
  i32 unit = (exponent - 1 < lowest ? lowest : exponent - 1) - fraction_bits;
  return ldexp(nearbyint(ldexp(v, -unit)), unit);
}

static u32 encode_exact(double v, u32 type) {
  float f = (float)v;
  return type == DF_F16 ? number_to_f16(f) : type == DF_BF16 ? number_to_bf16(f) : number_bits(f);
}

static void check_between(u32 h, u32 type) { // h and the next larger one are finite
  u16 (*to)(float) = type == DF_F16 ? number_to_f16 : number_to_bf16;
  float low = (float)decode_ref(h, type), high = (float)decode_ref(h + 1, type);
  float middle = (float)(((double)low + (double)high) / 2);
  assert_true((double)middle == ((double)low + (double)high) / 2);
  assert_int_equal(to(middle), h & 1 ? h + 1 : h);
  assert_int_equal(to(nextafterf(middle, low)), h);
  assert_int_equal(to(nextafterf(middle, high)), h + 1);
}

static void test_all_16_bit_numbers(void **state) {
  (void)state;
  for (u32 h = 0; h < 65536; h++) {
    u32 infinite16 = (h & 0x7fff) >= 0x7c00, infinite_b = (h & 0x7fff) >= 0x7f80;
    if (!infinite16) assert_true((double)number_from_f16((u16)h) == decode_ref(h, DF_F16));
    if (!infinite_b) assert_true((double)number_from_bf16((u16)h) == decode_ref(h, DF_BF16));
    if ((h & 0x7fff) <= 0x7c00) assert_int_equal(number_to_f16(number_from_f16((u16)h)), h);
    else assert_true(isnan(number_from_f16((u16)h)) && (number_to_f16(number_from_f16((u16)h)) & 0x7fff) > 0x7c00);
    if ((h & 0x7fff) <= 0x7f80) assert_int_equal(number_to_bf16(number_from_bf16((u16)h)), h);
    else assert_true(isnan(number_from_bf16((u16)h)) && (number_to_bf16(number_from_bf16((u16)h)) & 0x7fff) > 0x7f80);
    if ((h & 0x7fff) + 1 < 0x7c00) check_between(h, DF_F16);
    if ((h & 0x7fff) + 1 < 0x7f80) check_between(h, DF_BF16);
  }
  assert_int_equal(number_to_f16(65519.996f), 0x7bff);
  assert_int_equal(number_to_f16(65520.0f), 0x7c00);
  assert_int_equal(number_to_f16(-1e30f), 0xfc00);
  assert_int_equal(number_to_f16(0x1p-25f), 0); // half of the smallest: to even
  assert_int_equal(number_to_f16(0x1.000002p-25f), 1);
  assert_int_equal(number_to_f16(-0.0f), 0x8000);
  assert_int_equal(number_to_bf16(3.4e38f), 0x7f80);
}

// ---- vector instructions on one PE

enum { N = 37 };

typedef struct operation {
  u32 op;
  double setup32, rate32, setup16, rate16; // of cs3
} operation;

static double expected(u32 op, double to, double a, double b, u32 type) {
  switch (op) {
  case DF_MOV:
    return a;
  case DF_ADD:
    return round_ref(a + b, type);
  case DF_SUB:
    return round_ref(a - b, type);
  case DF_MAX:
    return a > b ? a : b;
  case DF_MUL:
  case DF_SCALE:
    return round_ref(a * b, type);
  case DF_FILL:
    return -3;
  case DF_CONST:
    return round_ref(-0.3f, type);
  case DF_EXP:
    return exp(a);
  case DF_LOG:
    return log(a);
  case DF_TANH:
    return tanh(a);
  case DF_ERF:
    return erf(a);
  case DF_RSQRT:
    return 1 / sqrt(a);
  case DF_DIV:
    return a / b;
  default:
    return round_ref(to + round_ref(a * b, type), type);
  }
}

static double draw(u32 type, u32 i) {
  return round_ref(random_unit(5, RANDOM_TEST, 1, i) * 8 - 4 + ldexp(random_unit(5, RANDOM_TEST, 2, i), -(i32)(i % 13)), type);
}

// Functions of the C library are near the double's: within 2 units of the last place of fp32, and then rounded.
static bool is_near(double got, double want, u32 type) {
  double part = type == DF_F32 ? 0 : type == DF_F16 ? 0x1p-11 : 0x1p-8;
  return fabs(got - want) <= fabs(want) * (part + 0x1p-22) + (type == DF_F16 ? 0x1p-25 : 0);
}

static bool of_positive(u32 op) { return op == DF_LOG || op == DF_RSQRT; }

static void put(const desk *k, u32 address, u32 type, u32 from, bool positive) {
  for (u32 i = 0; i < N; i++) {
    double v = draw(type, from + i);
    u32 bits = encode_exact(positive ? fabs(v) : v, type);
    fabric_write(k->f, 0, 0, address + i * df_type_bytes((df_type)type), &bits, df_type_bytes((df_type)type));
  }
}

static void check_operation(const operation *o, u32 type) {
  desk k = desk_begin("cs3", NULL, 1, 1);
  df_build_class(k.b, "pe");
  u32 to = df_build_array(k.b, "to", (df_type)type, N), a = df_build_array(k.b, "a", (df_type)type, N);
  u32 b = df_build_array(k.b, "b", (df_type)type, N), at_to = df_build_address(k.b, to);
  desk_active_task(k.b, "main");
  if (o->op == DF_FILL || o->op == DF_CONST) df_build_op(k.b, df_vn((df_opcode)o->op, to, o->op == DF_FILL ? df_just(-3) : df_number(-0.3f)));
  else df_build_op(k.b, df_vvv((df_opcode)o->op, to, a, b)); // b is not read where there is none
  df_build_region(k.b, df_pe(0, 0), "pe");
  u32 at_a = df_build_address(k.b, a), at_b = df_build_address(k.b, b), size = df_type_bytes((df_type)type);
  desk_open(&k);
  put(&k, at_to, type, 0, false);
  put(&k, at_a, type, 100, of_positive(o->op));
  put(&k, at_b, type, 200, false);
  desk_run_well(&k);
  for (u32 i = 0; i < N; i++) {
    bool scalar = o->op == DF_AXPY || o->op == DF_SCALE, library = o->op >= DF_EXP && o->op <= DF_DIV;
    double x = of_positive(o->op) ? fabs(draw(type, 100 + i)) : draw(type, 100 + i);
    double want = expected(o->op, draw(type, i), x, draw(type, scalar ? 200 : 200 + i), type);
    u32 bits = 0;
    fabric_read(k.f, 0, 0, at_to + i * size, &bits, size);
    if (library ? !is_near(decode_ref(bits, type), want, type) : decode_ref(bits, type) != want) fail_msg("op %u type %u element %u: %.9g, expected %.9g", o->op, type, i, decode_ref(bits, type), want);
  }
  double cycles = size == 2 ? o->setup16 + N / o->rate16 : o->setup32 + N / o->rate32;
  assert_in_range(k.result.cycles, (u64)floor(cycles), (u64)ceil(cycles));
  desk_end(&k);
}

static void test_vector_instructions(void **state) {
  (void)state;
  static const operation all[] = {
      {DF_MOV, 15, 2.44, 15, 4.82}, {DF_ADD, 15, 0.5, 15, 2.92}, {DF_SUB, 15, 0.5, 15, 2.92}, {DF_MAX, 15, 0.5, 15, 2.92},
      {DF_MUL, 17, 0.5, 16, 2.92},  {DF_FMA, 17, 0.5, 16, 2.92}, {DF_AXPY, 16, 0.5, 16, 2.92}, {DF_SCALE, 17, 0.5, 16, 2.92},
      {DF_FILL, 15, 2.44, 15, 4.82}, {DF_CONST, 15, 2.44, 15, 4.82},
      {DF_EXP, 0, 1. / 40, 0, 1. / 40}, {DF_LOG, 0, 1. / 40, 0, 1. / 40}, {DF_TANH, 0, 1. / 60, 0, 1. / 60},
      {DF_ERF, 0, 1. / 60, 0, 1. / 60}, {DF_RSQRT, 0, 1. / 40, 0, 1. / 40}, {DF_DIV, 0, 1. / 50, 0, 1. / 50},
  };
  for (u32 i = 0; i < COUNT_OF(all); i++)
    for (u32 type = DF_F32; type <= DF_BF16; type++) check_operation(&all[i], type);
}

static void test_dot_sums_in_fp32(void **state) {
  (void)state;
  for (u32 type = DF_F32; type <= DF_BF16; type++) {
    desk k = desk_begin("cs3", NULL, 1, 1);
    df_build_class(k.b, "pe");
    u32 to = df_build_array(k.b, "to", DF_F32, 1), a = df_build_array(k.b, "a", (df_type)type, N), b = df_build_array(k.b, "b", (df_type)type, N);
    u32 at_a = df_build_address(k.b, a), at_b = df_build_address(k.b, b);
    desk_active_task(k.b, "main");
    df_build_op(k.b, df_vvv(DF_DOT, to, a, b));
    df_build_region(k.b, df_pe(0, 0), "pe");
    desk_open(&k);
    u32 start = number_bits(0.25f);
    fabric_write(k.f, 0, 0, 0, &start, 4);
    put(&k, at_a, type, 100, false);
    put(&k, at_b, type, 200, false);
    desk_run_well(&k);
    double want = 0.25;
    for (u32 i = 0; i < N; i++) want = round_ref(want + round_ref(draw(type, 100 + i) * draw(type, 200 + i), DF_F32), DF_F32);
    assert_true((double)number_of_bits(desk_word(&k, 0, 0, 0)) == want);
    assert_int_equal(k.result.cycles, type == DF_F32 ? 17 + 2 * N : 29); // 16 + 37 / 2.92 = 28.7
    assert_int_equal(k.result.counts.macs, N);
    desk_end(&k);
  }
}

// One PE, one instruction: `to` of one type and as many elements of another in `a`, then b[0] where it has one.
// `memory` is what they hold, before and after.
static u64 run_one(df_instruction op, df_type to, df_type from, u32 n, void *memory, u32 bytes) {
  desk k = desk_begin("cs3", NULL, 1, 1);
  df_build_class(k.b, "pe");
  op.to = (u16)df_build_array(k.b, "to", to, n);
  op.a = (u16)df_build_array(k.b, "a", from, n);
  if (instruction_get(op.opcode)->form == FORM_VVS) op.b = (u16)df_build_array(k.b, "b", from, 1);
  desk_active_task(k.b, "main");
  df_build_op(k.b, op);
  df_build_region(k.b, df_pe(0, 0), "pe");
  desk_open(&k);
  fabric_write(k.f, 0, 0, 0, memory, bytes);
  desk_run_well(&k);
  fabric_read(k.f, 0, 0, 0, memory, bytes);
  u64 cycles = k.result.cycles;
  desk_end(&k);
  return cycles;
}

static void test_top_is_the_largest(void **state) {
  (void)state;
  for (u32 type = DF_F32; type <= DF_BF16; type++)
    for (u32 first = 0; first < 2; first++) { // below or above all others
      u32 words[8] = {number_bits(first ? 9.f : -9.f)};
      float a[] = {-4, -0.5f, -3, 2.5f, NAN, 1};
      u8 memory[6 * 4 + 6 * 4], none[20];
      u32 size = df_type_bytes((df_type)type);
      memset(memory, 0xa5, sizeof memory);
      memset(none, 0xa5, sizeof none);
      memcpy(memory, words, 4);
      for (u32 i = 0; i < 6; i++) {
        u32 bits = encode_exact((double)a[i], type);
        memcpy(memory + 24 + i * size, &bits, size);
      }
      u64 cycles = run_one(df_vv(DF_TOP, 0, 0), DF_F32, (df_type)type, 6, memory, 24 + 6 * size);
      memcpy(words, memory, 4);
      assert_true(number_of_bits(words[0]) == (first ? 9.f : 2.5f));
      assert_memory_equal(memory + 4, none, 20); // no other element of `to`
      assert_int_equal(cycles, type == DF_F32 ? 15 + 12 : 18); // the width of a: 15 + 6 / 2.92 = 17.05
    }
}

static void test_equal_makes_numbers_of_integers(void **state) {
  (void)state;
  static const u32 a[] = {7, 0xffffffff, 7, 0x7fffffff, 0, 8}, want[] = {1, 0, 1, 0, 0, 0};
  for (u32 type = DF_F32; type <= DF_BF16; type++) {
    u32 size = df_type_bytes((df_type)type), at_a = 6 * size, b = 7;
    u8 memory[24 + 24 + 4] = {0};
    memcpy(memory + at_a, a, sizeof a);
    memcpy(memory + at_a + sizeof a, &b, 4);
    u64 cycles = run_one(df_vvv(DF_EQUAL, 0, 0, 0), (df_type)type, DF_I32, 6, memory, at_a + 28);
    for (u32 i = 0; i < 6; i++) {
      u32 bits = 0;
      memcpy(&bits, memory + i * size, size);
      assert_int_equal(bits, encode_exact(want[i], type));
    }
    assert_int_equal(cycles, type == DF_F32 ? 15 + 12 : 18);
  }
}

// 0 / 0, log of 0 and of less, 1 / sqrt(0): what IEEE 754 says, nothing stops.
static void test_functions_outside_their_domain(void **state) {
  (void)state;
  float after[8] = {0, 0, 0, 0, 0, -1, 1, INFINITY};
  run_one(df_vv(DF_LOG, 0, 0), DF_F32, DF_F32, 4, after, 32);
  assert_true(after[0] == -INFINITY && isnan(after[1]) && after[2] == 0 && after[3] == INFINITY);
  run_one(df_vv(DF_RSQRT, 0, 0), DF_F32, DF_F32, 4, after, 32);
  assert_true(after[0] == INFINITY && isnan(after[1]) && after[2] == 1 && after[3] == 0);
  run_one(df_vv(DF_TANH, 0, 0), DF_F32, DF_F32, 4, after, 32);
  assert_true(after[0] == 0 && after[3] == 1);
}

static void test_integers(void **state) {
  (void)state;
  static const u32 a[] = {5, 0xffffffff, 0x7fffffff, 3}, b[] = {7, 1, 1, 0xfffffff0};
  static const struct {
    u32 op, want[4];
  } all[] = {{DF_ADD, {12, 0, 0x80000000, 0xfffffff3}}, {DF_SUB, {0xfffffffe, 0xfffffffe, 0x7ffffffe, 19}}, {DF_MAX, {7, 1, 0x7fffffff, 3}}, {DF_FILL, {9, 9, 9, 9}}};
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    desk k = desk_begin("cs3", NULL, 1, 1);
    df_build_class(k.b, "pe");
    u32 to = df_build_array(k.b, "to", DF_I32, 4), x = df_build_array(k.b, "a", DF_I32, 4), y = df_build_array(k.b, "b", DF_I32, 4);
    desk_active_task(k.b, "main");
    df_build_op(k.b, all[i].op == DF_FILL ? df_vn(DF_FILL, to, df_just(9)) : df_vvv((df_opcode)all[i].op, to, x, y));
    df_build_region(k.b, df_pe(0, 0), "pe");
    desk_open(&k);
    fabric_write(k.f, 0, 0, 16, a, 16);
    fabric_write(k.f, 0, 0, 32, b, 16);
    desk_run_well(&k);
    desk_expect(&k, 0, 0, 0, all[i].want, 4);
    desk_end(&k);
  }
}

// ---- banks of the SRAM

typedef struct meeting_case {
  u32 op, type;
  i32 to, a, b, a_stride; // addresses; 0: the type's size
  double share;           // of the elements that wait for a bank
} meeting_case;

// Cycles of one instruction over `n` elements. A PE in the west sends as many where `a` is 0 and comes from the fabric.
static u64 cycles_of(const meeting_case *c, u32 n, const char *preset, const char *changes) {
  desk k = desk_begin(preset, changes, 2, 1);
  const df_affine length = df_just((i32)n);
  const df_type type = (df_type)c->type;
  df_build_class(k.b, "west");
  df_build_bytes(k.b, 4 * n);
  const u32 sent = df_build_view(k.b, "sent", type, df_just(0), length), out = df_build_out(k.b, "out", type, length, 3, 0);
  desk_active_task(k.b, "main");
  if (!c->a) df_build_op(k.b, df_vv(DF_MOV, out, sent));
  df_build_class(k.b, "east");
  df_build_bytes(k.b, 8192);
  const bool one = c->op == DF_DOT;
  const u32 to = df_build_view(k.b, "to", one ? DF_F32 : type, df_just(c->to), one ? df_just(1) : length);
  const u32 a = c->a ? df_build_view(k.b, "a", type, df_just(c->a), length) : df_build_in(k.b, "a", type, length, 3, 0);
  const u32 b = df_build_view(k.b, "b", type, df_just(c->b), length);
  if (c->a_stride) df_build_stride(k.b, a, c->a_stride);
  desk_active_task(k.b, "main");
  df_build_op(k.b, df_vvv((df_opcode)c->op, to, a, b));
  df_build_region(k.b, df_pe(0, 0), "west");
  df_build_region(k.b, df_pe(1, 0), "east");
  if (!c->a) df_build_route(k.b, df_pe(0, 0), 3, PORT_RAMP, PORT_EAST);
  if (!c->a) df_build_route(k.b, df_pe(1, 0), 3, PORT_WEST, PORT_RAMP);
  desk_open(&k);
  desk_run_well(&k);
  const u64 cycles = k.result.cycles;
  desk_end(&k);
  return cycles;
}

// Elements wait where operands that are read together begin in the same of four banks.
static void test_operands_in_one_bank(void **state) {
  (void)state;
  enum { LONG = 400 };
  static const meeting_case all[] = {
      {DF_AXPY, DF_F16, 0, 1024, 2048, 0, 1},    {DF_AXPY, DF_F16, 0, 1028, 2048, 0, 0}, // b is read once
      {DF_AXPY, DF_BF16, 4, 1032, 2048, 0, 0},   {DF_AXPY, DF_BF16, 8, 1032, 2048, 0, 1},
      {DF_AXPY, DF_F16, 0, 1026, 2048, 0, 0.5},  // half a word apart: every other element
      {DF_AXPY, DF_F16, 0, 1024, 2048, 4, 0.25}, // two strides: the banks pass each other
      {DF_AXPY, DF_F16, 0, 1024, 2048, 16, 0.25},
      {DF_ADD, DF_F16, 4, 1024, 2048, 0, 1},     {DF_ADD, DF_F16, 0, 1024, 2052, 0, 0}, // `to` is only written
      {DF_SUB, DF_F16, 4, 1024, 2048, 0, 1},     {DF_MAX, DF_BF16, 4, 1024, 2048, 0, 1},
      {DF_MUL, DF_F16, 4, 1024, 2048, 0, 1},     {DF_MUL, DF_F16, 0, 1024, 2052, 0, 0},
      {DF_DOT, DF_F16, 4, 1024, 2048, 0, 1},     {DF_DOT, DF_BF16, 0, 1024, 2052, 0, 0},
      {DF_FMA, DF_F16, 0, 1028, 2056, 0, 0},     {DF_FMA, DF_F16, 0, 1024, 2052, 0, 1}, // reads all three
      {DF_FMA, DF_F16, 0, 1028, 2048, 0, 1},     {DF_FMA, DF_F16, 0, 1028, 2052, 0, 1},
      {DF_SCALE, DF_F16, 0, 1024, 2048, 0, 0},   {DF_MOV, DF_F16, 0, 1024, 2048, 0, 0},
      {DF_AXPY, DF_F32, 0, 2048, 4000, 0, 0},    {DF_DOT, DF_F32, 0, 1024, 2048, 0, 0},
      {DF_ADD, DF_F16, 0, 0, 0, 0, 0}, // one operand comes from the fabric
  };
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    const meeting_case *c = &all[i];
    const u64 free_of = cycles_of(c, LONG, "cs3", "pe.bank_conflict_factor=1");
    const double waits = c->share * 0.94 * LONG / 2.92, cycles = (double)cycles_of(c, LONG, "cs3", NULL);
    if (fabs(cycles - (double)free_of - waits) > 1) // whole cycles, and elements in 1024ths
      fail_msg("case %u: %g cycles, %g without conflicts, %g more expected", i, cycles, (double)free_of, waits);
  }
  assert_int_equal(cycles_of(&all[0], LONG, "cs3", NULL), 282); // 16 + 1.94 x 400 / 2.92 = 281.75
  assert_int_equal(cycles_of(&all[0], LONG, "cs2_sdk", NULL), 107); // the simulator has none: 7 + 400 / 4
  assert_int_equal(cycles_of(&all[0], 1, "cs3", "pe.bank_conflict_factor=200"), 85); // 16 + 200 / 2.92
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_16_bit_numbers),
      cmocka_unit_test(test_vector_instructions),
      cmocka_unit_test(test_dot_sums_in_fp32),
      cmocka_unit_test(test_top_is_the_largest),
      cmocka_unit_test(test_equal_makes_numbers_of_integers),
      cmocka_unit_test(test_functions_outside_their_domain),
      cmocka_unit_test(test_integers),
      cmocka_unit_test(test_operands_in_one_bank),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

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
  default:
    return round_ref(to + round_ref(a * b, type), type);
  }
}

static double draw(u32 type, u32 i) {
  return round_ref(random_unit(5, RANDOM_TEST, 1, i) * 8 - 4 + ldexp(random_unit(5, RANDOM_TEST, 2, i), -(i32)(i % 13)), type);
}

static void put(const desk *k, u32 address, u32 type, u32 from) {
  for (u32 i = 0; i < N; i++) {
    u32 bits = encode_exact(draw(type, from + i), type);
    fabric_write(k->f, 0, 0, address + i * df_type_bytes((df_type)type), &bits, df_type_bytes((df_type)type));
  }
}

static void check_operation(const operation *o, u32 type) {
  desk k = desk_begin("cs3", NULL, 1, 1);
  df_build_class(k.b, "pe");
  u32 to = df_build_array(k.b, "to", (df_type)type, N), a = df_build_array(k.b, "a", (df_type)type, N);
  u32 b = df_build_array(k.b, "b", (df_type)type, N), at_to = df_build_address(k.b, to);
  desk_active_task(k.b, "main");
  if (o->op == DF_FILL) df_build_op(k.b, df_vn(DF_FILL, to, df_just(-3)));
  else df_build_op(k.b, o->op == DF_MOV ? df_vv(DF_MOV, to, a) : df_vvv((df_opcode)o->op, to, a, b));
  df_build_region(k.b, df_pe(0, 0), "pe");
  u32 at_a = df_build_address(k.b, a), at_b = df_build_address(k.b, b), size = df_type_bytes((df_type)type);
  desk_open(&k);
  put(&k, at_to, type, 0);
  put(&k, at_a, type, 100);
  put(&k, at_b, type, 200);
  desk_run_well(&k);
  for (u32 i = 0; i < N; i++) {
    bool scalar = o->op == DF_AXPY || o->op == DF_SCALE;
    double want = expected(o->op, draw(type, i), draw(type, 100 + i), draw(type, scalar ? 200 : 200 + i), type);
    u32 bits = 0;
    fabric_read(k.f, 0, 0, at_to + i * size, &bits, size);
    if (decode_ref(bits, type) != want) fail_msg("op %u type %u element %u: %.9g, expected %.9g", o->op, type, i, decode_ref(bits, type), want);
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
      {DF_FILL, 15, 2.44, 15, 4.82},
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
    put(&k, at_a, type, 100);
    put(&k, at_b, type, 200);
    desk_run_well(&k);
    double want = 0.25;
    for (u32 i = 0; i < N; i++) want = round_ref(want + round_ref(draw(type, 100 + i) * draw(type, 200 + i), DF_F32), DF_F32);
    assert_true((double)number_of_bits(desk_word(&k, 0, 0, 0)) == want);
    assert_int_equal(k.result.cycles, type == DF_F32 ? 17 + 2 * N : 29); // 16 + 37 / 2.92 = 28.7
    assert_int_equal(k.result.counts.macs, N);
    desk_end(&k);
  }
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_16_bit_numbers),
      cmocka_unit_test(test_vector_instructions),
      cmocka_unit_test(test_dot_sums_in_fp32),
      cmocka_unit_test(test_integers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

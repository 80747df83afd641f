// Field values: units, bounds, choices, round trips, hashing and the printed forms.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/field.h"
#include "base/hash.h"
#include "base/random.h"

#define DEMO_FIELDS(F)                                                                             \
  F(U32, layers, "layers", UNIT_NONE, "4", 1, 100000, NULL, "how many")                            \
  F(U64, tokens, "tokens", UNIT_NONE, "10k", 0, 0x1p64, NULL, "how many tokens")                   \
  F(F64, lr, "lr", UNIT_NONE, "2^-7", 1e-9, 1, NULL, "how fast")                                   \
  F(BOOL, bias, "bias", UNIT_NONE, "true", 0, 0, NULL, "with a bias|or without")                   \
  F(ENUM, norm, "norm", UNIT_NONE, "rmsnorm", 0, 0, "layernorm|rmsnorm|none", "which norm")        \
  F(TEXT, data, "data", UNIT_NONE, "a b", 0, 0, NULL, "which text")                                \
  F(U32, sram_bytes, "pe.sram_bytes", UNIT_BYTES, "48KiB", 0, 1e9, NULL, "memory")                 \
  F(U64, memory_bytes, "memory_bytes", UNIT_BYTES, "40GB", 0, 1e18, NULL, "memory")                \
  F(F64, clock_hz, "pe.clock_hz", UNIT_HZ, "1.1GHz", 1, 1e12, NULL, "clock")                       \
  F(F64, wait_s, "io.wait_s", UNIT_SECONDS, "10ms", 0, 1e9, NULL, "time")                          \
  F(F64, lane, "io.deep.lane", UNIT_BITS_PER_S, "1.2Tb/s", 0, 1e18, NULL, "rate")                  \
  F(F64, power, "io.power", UNIT_WATTS, "23kW", 0, 1e9, NULL, "power")                             \
  F(F64, energy, "energy", UNIT_JOULES, "0.15pJ", 0, 1, NULL, "energy")                            \
  F(F64, rate, "rate", UNIT_PER_S, "10G/s", 0, 1e18, NULL, "rate")                                 \
  F(U32, hop, "hop_cycles", UNIT_CYCLES, "7", 0, 100, NULL, "cycles")                              \
  F(F64, any, "any", UNIT_NONE, "-1e-3", -INFINITY, INFINITY, NULL, "any number")

typedef struct demo_spec {
  DEMO_FIELDS(FIELD_MEMBER)
} demo_spec;
#define ROW(...) FIELD_ROW(demo_spec, __VA_ARGS__)
static const field rows[] = {DEMO_FIELDS(ROW)};
static const field_table demo = {"demo", "A section.", rows, COUNT_OF(rows), sizeof(demo_spec)};

static bool parse(demo_spec *spec, const char *key, const char *value, status *st) {
  const field *f = field_find(&demo, key);
  assert_non_null(f);
  status_clear(st);
  return field_parse(&demo, f, spec, value, "run.yaml:14:9", st);
}

static void assert_refused(const char *key, const char *value, const char *sentence) {
  demo_spec before, spec;
  field_defaults(&demo, &before);
  spec = before;
  status st = {0};
  assert_false(parse(&spec, key, value, &st));
  assert_int_equal(st.code, CODE_CONFIG);
  assert_string_equal(st.text, sentence);
  assert_memory_equal(&spec, &before, sizeof spec); // untouched on failure
}

static void assert_number(const char *key, const char *value, double wanted) {
  demo_spec spec;
  field_defaults(&demo, &spec);
  status st = {0};
  if (!parse(&spec, key, value, &st)) fail_msg("%s", st.text);
  const field *f = field_find(&demo, key);
  const char *at = (const char *)&spec + f->offset;
  double got = 0;
  if (f->type == FIELD_F64)
    memcpy(&got, at, sizeof got);
  else if (f->type == FIELD_U64)
    got = (double)*(const u64 *)(const void *)at;
  else
    got = *(const u32 *)(const void *)at;
  if (got != wanted) fail_msg("%s: %.17g is not %.17g", value, got, wanted);
}

static void defaults_are_parsed(void **state) {
  (void)state;
  demo_spec spec;
  memset(&spec, 0xFF, sizeof spec);
  field_defaults(&demo, &spec);
  assert_int_equal(spec.layers, 4);
  assert_int_equal(spec.tokens, 10000);
  assert_true(spec.lr == 0.0078125);
  assert_true(spec.bias);
  assert_int_equal(spec.norm, 1);
  assert_string_equal(spec.data, "a b");
  assert_int_equal(spec.sram_bytes, 49152);
  assert_int_equal(spec.memory_bytes, 40000000000ull);
  assert_true(spec.clock_hz == 1.1e9 && spec.wait_s == 0.01 && spec.lane == 1.2e12);
  assert_true(spec.power == 23000 && spec.energy == 0.15e-12 && spec.rate == 1e10);
}

static void units_are_understood(void **state) {
  (void)state;
  assert_number("pe.sram_bytes", "48KiB", 49152);
  assert_number("pe.sram_bytes", "48 KiB", 49152);
  assert_number("pe.sram_bytes", "2MB", 2e6);
  assert_number("pe.sram_bytes", "1.5KiB", 1536);
  assert_number("pe.sram_bytes", "512", 512);
  assert_number("memory_bytes", "1TiB", 0x1p40);
  assert_number("pe.clock_hz", "1100MHz", 1.1e9);
  assert_number("io.wait_s", "2us", 2e-6);
  assert_number("io.wait_s", "2\xC2\xB5s", 2e-6);
  assert_number("io.wait_s", "90min", 5400);
  assert_number("io.wait_s", "1.5h", 5400);
  assert_number("io.wait_s", "3", 3);
  assert_number("io.deep.lane", "150GB/s", 1.2e12);
  assert_number("io.deep.lane", "100Gb/s", 1e11);
  assert_number("rate", "10G/s", 1e10);
  assert_number("energy", "3.7nJ", 3.7e-9);
  assert_number("energy", "0.0037uJ", 0.0037e-6);
  assert_number("layers", "3e2", 300);
  assert_number("layers", "2^10", 1024);
  assert_number("layers", "10k", 10000);
  assert_number("layers", "4.0", 4);
  assert_number("layers", "0.5k", 500);
  assert_number("tokens", "3M", 3e6);
  assert_number("tokens", "1.3T", 1.3e12);
  assert_number("lr", "6e-3", 6e-3);
  assert_number("any", "-2^-7", -0.0078125);
}

static void whole_numbers_are_exact(void **state) {
  (void)state;
  demo_spec spec;
  status st = {0};
  field_defaults(&demo, &spec);
  assert_true(parse(&spec, "tokens", "18446744073709551615", &st));
  assert_true(spec.tokens == UINT64_MAX);
  assert_true(parse(&spec, "tokens", "9007199254740993", &st)); // no double holds it
  assert_true(spec.tokens == 9007199254740993ull);
  assert_false(parse(&spec, "tokens", "18446744073709551616", &st));
  assert_false(parse(&spec, "tokens", "-1", &st));
}

static void refusals_are_sentences(void **state) {
  (void)state;
  assert_refused(
      "layers", "0",
      "run.yaml:14:9: demo.layers = \"0\" is out of bounds: it must lie between 1 and 100000");
  assert_refused(
      "layers", "-3",
      "run.yaml:14:9: demo.layers = \"-3\" is out of bounds: it must lie between 1 and 100000");
  assert_refused("layers", "1.5", "run.yaml:14:9: demo.layers = \"1.5\" is not a whole number");
  assert_refused("layers", "four",
                 "run.yaml:14:9: demo.layers = \"four\" is not a whole number such as 12 or 10k");
  assert_refused("layers", "12x",
                 "run.yaml:14:9: demo.layers = \"12x\" is not a whole number such as 12 or 10k");
  assert_refused("layers", "10m",
                 "run.yaml:14:9: demo.layers = \"10m\" is not a whole number such as 12 or 10k");
  assert_refused(
      "pe.sram_bytes", "48K",
      "run.yaml:14:9: demo.pe.sram_bytes = \"48K\" is not a size such as 48KiB, 2MB or 512");
  assert_refused("pe.sram_bytes", "2GiB",
                 "run.yaml:14:9: demo.pe.sram_bytes = \"2GiB\" is out of bounds: "
                 "it must lie between 0 and 1GB");
  assert_refused("pe.clock_hz", "1.1GB",
                 "run.yaml:14:9: demo.pe.clock_hz = \"1.1GB\" is not a frequency such as 1.1GHz");
  assert_refused(
      "lr", "2",
      "run.yaml:14:9: demo.lr = \"2\" is out of bounds: it must lie between 1e-09 and 1");
  assert_refused("bias", "maybe", "run.yaml:14:9: demo.bias = \"maybe\" is not true or false");
  assert_refused("norm", "rmsnrom",
                 "run.yaml:14:9: demo.norm = \"rmsnrom\" is not one of layernorm, "
                 "rmsnorm, none, did you mean \"rmsnorm\"?");
  assert_refused("norm", "batch",
                 "run.yaml:14:9: demo.norm = \"batch\" is not one of layernorm, rmsnorm, none");
  assert_refused("data", "\xff", "run.yaml:14:9: demo.data = \"\xff\" is not UTF-8 text");
}

static void nonsense_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"",      " ",   "nan", "inf", "0x10",  "1e",
                                      "1e999", ".",   "-",   "--1", "1..2",  "1,000",
                                      "2^",    "3^2", "2^-", "1 2", "1e5k5", "1k k"};
  demo_spec spec;
  status st = {0};
  field_defaults(&demo, &spec);
  for (u32 i = 0; i < COUNT_OF(wrong); i++) {
    if (parse(&spec, "any", wrong[i], &st)) fail_msg("\"%s\" was taken for %g", wrong[i], spec.any);
  }
  char long_text[FIELD_TEXT_MAX + 2];
  memset(long_text, 'x', sizeof long_text);
  long_text[FIELD_TEXT_MAX] = 0;
  assert_false(parse(&spec, "data", long_text, &st));
  long_text[FIELD_TEXT_MAX - 1] = 0;
  assert_true(parse(&spec, "data", long_text, &st));
}

static void words_for_true_and_false(void **state) {
  (void)state;
  demo_spec spec;
  status st = {0};
  static const char *const yes[] = {"true", "yes", "on", "True", "ON"};
  static const char *const no[] = {"false", "no", "off", "False", "OFF"};
  for (u32 i = 0; i < COUNT_OF(yes); i++) {
    spec.bias = false;
    assert_true(parse(&spec, "bias", yes[i], &st) && spec.bias);
    assert_true(parse(&spec, "bias", no[i], &st) && !spec.bias);
  }
}

static void assert_printed(const char *key, const char *value, const char *wanted) {
  demo_spec spec;
  status st = {0};
  field_defaults(&demo, &spec);
  assert_true(parse(&spec, key, value, &st));
  text out = {0};
  field_format(field_find(&demo, key), &spec, &out);
  assert_string_equal(text_get(&out), wanted);
  text_free(&out);
}

static void values_print_as_they_are_read(void **state) {
  (void)state;
  assert_printed("pe.sram_bytes", "49152", "48KiB");
  assert_printed("pe.sram_bytes", "49153", "49153B");
  assert_printed("pe.sram_bytes", "2000000", "2MB");
  assert_printed("pe.sram_bytes", "0", "0");
  assert_printed("memory_bytes", "40GB", "40GB");
  assert_printed("lr", "2^-7", "0.0078125");
  assert_printed("lr", "0.1", "0.1");
  assert_printed("lr", "3.9e-3", "0.0039");
  assert_printed("pe.clock_hz", "1100000000", "1.1GHz");
  assert_printed("io.wait_s", "0.010", "10ms");
  assert_printed("io.wait_s", "5400", "5400s");
  assert_printed("io.deep.lane", "150GB/s", "1.2Tb/s");
  assert_printed("energy", "0.15pJ", "150fJ");
  assert_printed("rate", "10G/s", "10G/s");
  assert_printed("tokens", "18446744073709551615", "18446744073709551615");
  assert_printed("norm", "none", "none");
  assert_printed("bias", "off", "false");
}

// Any double in any unit: printed, read back, the same bits.
static void doubles_round_trip(void **state) {
  (void)state;
  static const char *const keys[] = {"any",    "memory_bytes", "io.wait_s",
                                     "energy", "pe.clock_hz",  "io.deep.lane"};
  for (u32 i = 0; i < 3000; i++) {
    const double exponent = random_unit(3, RANDOM_TEST, 1, i) * 36 - 18;
    double v = random_normal(3, RANDOM_TEST, 0, i) * pow(10, exponent);
    if (i % 3 == 0) v = (double)(i32)(v * 1000) / 1000;
    field f = *field_find(&demo, keys[i % COUNT_OF(keys)]);
    f.type = FIELD_F64;
    f.offset = 0;
    f.min = -INFINITY;
    f.max = INFINITY;
    text out = {0};
    status st = {0};
    double back = 0;
    field_format(&f, &v, &out);
    if (!field_parse(&demo, &f, &back, text_get(&out), "", &st)) fail_msg("%s", st.text);
    if (back != v) fail_msg("%.17g came back from \"%s\" as %.17g", v, text_get(&out), back);
    text_free(&out);
  }
}

static void the_hash_sees_every_field(void **state) {
  (void)state;
  static const char *const others[] = {"5",   "7",  "0.5",  "no", "none", "b",   "1", "2",
                                       "3Hz", "4s", "5b/s", "6W", "0.7J", "8/s", "9", "10"};
  assert_int_equal(COUNT_OF(others), demo.count);
  demo_spec spec, changed;
  field_defaults(&demo, &spec);
  const u64 before = field_hash(HASH_START, &demo, &spec);
  u64 seen[COUNT_OF(others)];
  for (u32 i = 0; i < demo.count; i++) {
    status st = {0};
    changed = spec;
    assert_true(field_parse(&demo, &rows[i], &changed, others[i], "", &st));
    seen[i] = field_hash(HASH_START, &demo, &changed);
    assert_true(seen[i] != before);
    for (u32 k = 0; k < i; k++) assert_true(seen[i] != seen[k]);
  }
  assert_true(field_hash(HASH_START, &demo, &spec) == before);
  spec.any = 0.0;
  changed = spec;
  changed.any = -0.0;
  assert_true(field_hash(1, &demo, &spec) == field_hash(1, &demo, &changed));
}

static void sections_print_as_yaml(void **state) {
  (void)state;
  demo_spec spec;
  field_defaults(&demo, &spec);
  text out = {0};
  field_print(&demo, &spec, &out);
  assert_string_equal(text_get(&out), "demo:\n"
                                      "  layers: 4\n"
                                      "  tokens: 10000\n"
                                      "  lr: 0.0078125\n"
                                      "  bias: true\n"
                                      "  norm: rmsnorm\n"
                                      "  data: \"a b\"\n"
                                      "  pe:\n"
                                      "    sram_bytes: 48KiB\n"
                                      "  memory_bytes: 40GB\n"
                                      "  pe.clock_hz: 1.1GHz\n" // its group was closed already
                                      "  io:\n"
                                      "    wait_s: 10ms\n"
                                      "    deep:\n"
                                      "      lane: 1.2Tb/s\n"
                                      "    power: 23kW\n"
                                      "  energy: 150fJ\n"
                                      "  rate: 10G/s\n"
                                      "  hop_cycles: 7\n"
                                      "  any: -0.001\n");
  text_free(&out);
}

static void the_docs_page_has_every_row(void **state) {
  (void)state;
  text out = {0};
  field_markdown(&demo, &out);
  assert_non_null(
      strstr(text_get(&out), "| `demo.layers` | whole | `4` | 1 .. 100000 | how many |\n"));
  assert_non_null(
      strstr(text_get(&out), "| `demo.norm` | choice | `rmsnorm` | layernorm\\|rmsnorm\\|none | "));
  assert_non_null(strstr(
      text_get(&out), "| `demo.pe.sram_bytes` | whole, bytes | `48KiB` | 0 .. 1GB | memory |\n"));
  assert_non_null(strstr(text_get(&out), "| with a bias\\|or without |\n"));
  text_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_parsed),           cmocka_unit_test(units_are_understood),
      cmocka_unit_test(whole_numbers_are_exact),       cmocka_unit_test(refusals_are_sentences),
      cmocka_unit_test(nonsense_is_refused),           cmocka_unit_test(words_for_true_and_false),
      cmocka_unit_test(values_print_as_they_are_read), cmocka_unit_test(doubles_round_trip),
      cmocka_unit_test(the_hash_sees_every_field),     cmocka_unit_test(sections_print_as_yaml),
      cmocka_unit_test(the_docs_page_has_every_row),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Machines: presets and their sources, the relations between numbers, identity, and the figures that the
// published ones lead one to expect.
#include "tests/sim_support.h"

#include "base/embed.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const char *const presets[] = {"cs2", "cs2_sdk", "cs3", "mesh16"};

static void read_preset(const char *name, arena *a, config *c, machine_spec *spec) {
  status st = {0};
  config_init(c, a);
  config_bind(c, &machine_table, spec);
  support_ok(machine_preset(c, name, &st), &st);
}

static void presets_parse(void **state) {
  (void)state;
  u32 embedded = 0;
  for (u32 i = 0; i < embed_count(); i++) embedded += text_starts(embed_get(i)->name, "presets/machines/");
  assert_int_equal(embedded, COUNT_OF(presets));
  for (u32 i = 0; i < COUNT_OF(presets); i++) {
    machine m = sim_machine(presets[i], NULL);
    status st = {0};
    support_ok(machine_check(&m, &st), &st);
    assert_true(m.pes_usable == m.spec.usable_width * m.spec.usable_height);
  }
}

static void every_number_has_a_source(void **state) {
  (void)state;
  for (u32 i = 0; i < COUNT_OF(presets); i++) {
    arena *a = arena_create("test");
    config c;
    machine_spec spec;
    status st = {0};
    read_preset(presets[i], a, &c, &spec);
    support_ok(machine_sources_check(&c, &st), &st);
    for (u32 k = 0; k < machine_table.count; k++) { // none is left at its default
      char key[128];
      snprintf(key, sizeof key, "machine.%s", machine_table.fields[k].key);
      if (machine_table.fields[k].type == FIELD_TEXT) continue;
      if (config_note(&c, key)->level != LEVEL_PRESET) fail_msg("%s does not state %s", presets[i], key);
    }
    arena_destroy(a);
  }
}

static void planted(const char *yaml, const char *key) {
  arena *a = arena_create("test");
  config c;
  machine_spec spec;
  status st = {0};
  read_preset("cs3", a, &c, &spec);
  support_ok(config_read(&c, "planted.yaml", yaml, strlen(yaml), "machine", LEVEL_PRESET, &st), &st);
  support_failed(machine_sources_check(&c, &st), &st, CODE_CONFIG, key);
  assert_non_null(strstr(st.text, "has no source"));
  arena_destroy(a);
}

static void numbers_without_source_are_refused(void **state) {
  (void)state;
  planted("clock: 1.1GHz\n", "machine.clock");
  planted("pe:\n  sram_bytes: 48KiB\n", "machine.pe.sram_bytes");
  planted("io:\n  rate: {value: 1Tb/s, source: \"a blog\"}\n", "machine.io.rate");
  planted("dsd:\n  fma16_rate: {value: 3, source: \"[HW]without a space\"}\n", "machine.dsd.fma16_rate");
}

static void a_users_number_needs_no_source(void **state) {
  (void)state;
  arena *a = arena_create("test");
  config c;
  machine_spec spec;
  status st = {0};
  read_preset("cs3", a, &c, &spec);
  support_ok(config_assign(&c, "machine.clock=850MHz", LEVEL_SET, "--set", &st), &st);
  support_ok(machine_sources_check(&c, &st), &st);
  assert_true(spec.clock_hz == 850e6);
  arena_destroy(a);
}

static void relation_fails(machine m, status_code code, const char *part) {
  status st = {0};
  support_failed(machine_check(&m, &st), &st, code, part);
}

static void broken_relations_are_refused(void **state) {
  (void)state;
  const machine good = sim_machine("cs3", NULL);
  machine m = good;
  m.spec.usable_width = m.spec.fabric_width + 1;
  relation_fails(m, CODE_CONFIG, "does not lie inside the fabric");
  m = good;
  m.spec.usable_height = m.spec.fabric_height + 1;
  relation_fails(m, CODE_CONFIG, "does not lie inside the fabric");
  m = good;
  m.spec.code_base_bytes = m.spec.sram_bytes;
  relation_fails(m, CODE_CONFIG, "leaves nothing");
  m = good;
  m.spec.fma16_rate = 8.5;
  relation_fails(m, CODE_CONFIG, "exceed pe.lanes_fp16");
  m = good;
  m.spec.dot16_rate = 8.5;
  relation_fails(m, CODE_CONFIG, "exceed pe.lanes_fp16");
  m = good;
  m.spec.fabric_width = m.spec.fabric_height = m.spec.usable_width = m.spec.usable_height = 100000;
  relation_fails(m, CODE_CONFIG, "more PEs than can be numbered");
}

static void derived_numbers_are_recomputed(void **state) {
  (void)state;
  const machine good = sim_machine("cs2", NULL);
  machine m = good;
  m.pes_usable--;
  relation_fails(m, CODE_BUG, "does not follow");
  m = good;
  m.io_wavelets_per_cycle *= 1.001;
  relation_fails(m, CODE_BUG, "does not follow");
  m = good;
  m.peak_flops *= 1.001;
  relation_fails(m, CODE_BUG, "does not follow");
  m = good;
  m.spec.clock_hz *= 2;
  relation_fails(m, CODE_BUG, "does not follow");
}

static void failure_leaves_the_machine_alone(void **state) {
  (void)state;
  machine m = sim_machine("cs2", NULL), before = m;
  machine_spec bad = m.spec;
  bad.fma16_rate = 100;
  status st = {0};
  assert_false(machine_build(&bad, &m, &st));
  assert_memory_equal(&m, &before, sizeof m);
}

static void hash_is_of_the_numbers(void **state) {
  (void)state;
  const machine m = sim_machine("cs3", NULL);
  u64 hashes[64];
  u32 count = 0;
  hashes[count++] = machine_hash(&m);
  for (u32 i = 0; i < machine_table.count; i++) {
    const field *f = &machine_table.fields[i];
    machine other = m;
    u8 *at = (u8 *)&other.spec + f->offset;
    if (f->type == FIELD_TEXT) {
      memcpy(at, "elsewhere", 10);
      assert_true(machine_hash(&other) == hashes[0]);
      continue;
    }
    u32 whole;
    double real;
    if (f->type == FIELD_U32) {
      memcpy(&whole, at, sizeof whole);
      whole++;
      memcpy(at, &whole, sizeof whole);
    } else {
      assert_int_equal(f->type, FIELD_F64);
      memcpy(&real, at, sizeof real);
      real += real / 1048576;
      memcpy(at, &real, sizeof real);
    }
    hashes[count] = machine_hash(&other);
    for (u32 k = 0; k < count; k++)
      if (hashes[k] == hashes[count]) fail_msg("%s does not change the hash", f->key);
    count++;
  }
  for (u32 i = 1; i < COUNT_OF(presets); i++) { // and presets differ
    const machine a = sim_machine(presets[i - 1], NULL), b = sim_machine(presets[i], NULL);
    assert_true(machine_hash(&a) != machine_hash(&b));
  }
}

// The edge and the peak, against what the datasheets say.
static void figures_are_the_published_ones(void **state) {
  (void)state;
  const machine cs2 = sim_machine("cs2", NULL), cs3 = sim_machine("cs3", NULL);
  // 1.2 Tb/s are about 34 wavelets a cycle over 750 columns: a weight every 22 cycles and column
  sim_near(cs2.io_wavelets_per_cycle, 1.2e12 / 32 / 1.1e9, 1e-12);
  sim_near(cs2.spec.usable_width / cs2.io_wavelets_per_cycle, 22, 1e-9);
  // 6.6 PFLOP/s from the 757 x 996 PEs that a program can address; the datasheet's 7.5 counts all 850,000
  // cores, also those outside that fabric: 850,000 x 4 x 2 x 1.1 GHz
  sim_near(cs2.peak_flops, 757.0 * 996 * 4 * 2 * 1.1e9, 1e-12);
  sim_near(cs2.peak_flops, 6.635e15, 1e-3);
  sim_near(cs2.peak_flops * 850000 / (757 * 996), 7.48e15, 1e-3);
  // WSE-3: 15.8 from 900,000 cores with 8 lanes
  sim_near(cs3.peak_flops * 900000 / (762 * 1172), 15.84e15, 1e-3);
  assert_int_equal(cs2.pes_usable, 750 * 994);
  assert_int_equal(cs3.pes_usable, 755 * 1170);
}

static void the_slower_of_edge_and_memoryx_feeds(void **state) {
  (void)state;
  machine m = sim_machine("cs3", "memoryx.rate=0.6Tb/s");
  sim_near(m.io_wavelets_per_cycle, 0.6e12 / 32 / 1.1e9, 1e-12);
  m = sim_machine("cs3", "io.rate=0.3Tb/s");
  sim_near(m.io_wavelets_per_cycle, 0.3e12 / 32 / 1.1e9, 1e-12);
}

static void unknown_presets_say_what_is_known(void **state) {
  (void)state;
  arena *a = arena_create("test");
  config c;
  machine_spec spec;
  status st = {0};
  config_init(&c, a);
  config_bind(&c, &machine_table, &spec);
  support_failed(machine_preset(&c, "cs4", &st), &st, CODE_CONFIG,
                 "there is no preset \"cs4\"; known: cs2, cs2_sdk, cs3, mesh16");
  st = (status){0};
  support_failed(machine_preset(&c, "no/such.yaml", &st), &st, CODE_NO_INPUT, "no/such.yaml");
  arena_destroy(a);
}

static void the_page_names_every_number(void **state) {
  (void)state;
  arena *a = arena_create("test");
  text page = {0};
  machine_markdown(&page, a);
  for (u32 i = 0; i < COUNT_OF(presets); i++) {
    char title[32];
    snprintf(title, sizeof title, "\n## %s\n", presets[i]);
    assert_non_null(strstr(text_get(&page), title));
  }
  for (u32 i = 0; i < machine_table.count; i++) {
    if (machine_table.fields[i].type == FIELD_TEXT) continue;
    char key[80];
    snprintf(key, sizeof key, "| `%s` | ", machine_table.fields[i].key);
    u32 found = 0;
    for (const char *p = text_get(&page); (p = strstr(p, key)); p++) found++;
    assert_int_equal(found, COUNT_OF(presets));
  }
  assert_null(strstr(text_get(&page), "| default |"));
  text_free(&page);
  arena_destroy(a);
}

static void printed_machines_read_back(void **state) {
  (void)state;
  const machine m = sim_machine("mesh16", NULL);
  text t = {0};
  machine_print(&m, &t);
  arena *a = arena_create("test");
  config c;
  machine_spec spec;
  status st = {0};
  config_init(&c, a);
  config_bind(&c, &machine_table, &spec);
  support_ok(config_read(&c, "printed", text_get(&t), t.size, "", LEVEL_FILE, &st), &st);
  machine again;
  support_ok(machine_build(&spec, &again, &st), &st);
  assert_true(machine_hash(&m) == machine_hash(&again));
  text_free(&t);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(presets_parse),
      cmocka_unit_test(every_number_has_a_source),
      cmocka_unit_test(numbers_without_source_are_refused),
      cmocka_unit_test(a_users_number_needs_no_source),
      cmocka_unit_test(broken_relations_are_refused),
      cmocka_unit_test(derived_numbers_are_recomputed),
      cmocka_unit_test(failure_leaves_the_machine_alone),
      cmocka_unit_test(hash_is_of_the_numbers),
      cmocka_unit_test(figures_are_the_published_ones),
      cmocka_unit_test(the_slower_of_edge_and_memoryx_feeds),
      cmocka_unit_test(unknown_presets_say_what_is_known),
      cmocka_unit_test(the_page_names_every_number),
      cmocka_unit_test(printed_machines_read_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

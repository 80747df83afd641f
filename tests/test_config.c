// Configurations: sections, levels, YAML with places in its errors, presets, printing, the schema.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"

#define TOP_FIELDS(F)                                                                              \
  F(U64, seed, "seed", UNIT_NONE, "1", 0, 0x1p64, NULL, "seed of all random numbers")              \
  F(U32, systems, "systems", UNIT_NONE, "1", 1, 1000, NULL, "how many machines")
#define MODEL_FIELDS(F)                                                                            \
  F(TEXT, preset, "preset", UNIT_NONE, "", 0, 0, NULL, "a named model")                            \
  F(U32, layers, "layers", UNIT_NONE, "4", 1, 1000, NULL, "number of blocks")                      \
  F(ENUM, norm, "norm", UNIT_NONE, "rmsnorm", 0, 0, "layernorm|rmsnorm", "which norm")
#define TRAIN_FIELDS(F)                                                                            \
  F(F64, lr, "lr", UNIT_NONE, "2^-7", 1e-9, 1, NULL, "learning rate")                              \
  F(U32, steps, "steps", UNIT_NONE, "100", 0, 1e9, NULL, "steps")                                  \
  F(TEXT, data, "data", UNIT_NONE, "", 0, 0, NULL, "training text")
#define MACHINE_FIELDS(F)                                                                          \
  F(TEXT, preset, "preset", UNIT_NONE, "cs3", 0, 0, NULL, "a named machine")                       \
  F(U32, sram_bytes, "pe.sram_bytes", UNIT_BYTES, "48KiB", 0, 1e9, NULL, "memory of a PE")         \
  F(U32, queues, "pe.in.queues", UNIT_NONE, "8", 0, 100, NULL, "input queues")                     \
  F(F64, clock_hz, "clock_hz", UNIT_HZ, "1.1GHz", 1, 1e12, NULL, "clock")

typedef struct top_spec {
  TOP_FIELDS(FIELD_MEMBER)
} top_spec;
typedef struct model_spec {
  MODEL_FIELDS(FIELD_MEMBER)
} model_spec;
typedef struct train_spec {
  TRAIN_FIELDS(FIELD_MEMBER)
} train_spec;
typedef struct machine_spec {
  MACHINE_FIELDS(FIELD_MEMBER)
} machine_spec;
#define TOP_ROW(...) FIELD_ROW(top_spec, __VA_ARGS__)
#define MODEL_ROW(...) FIELD_ROW(model_spec, __VA_ARGS__)
#define TRAIN_ROW(...) FIELD_ROW(train_spec, __VA_ARGS__)
#define MACHINE_ROW(...) FIELD_ROW(machine_spec, __VA_ARGS__)
static const field top_rows[] = {TOP_FIELDS(TOP_ROW)};
static const field model_rows[] = {MODEL_FIELDS(MODEL_ROW)};
static const field train_rows[] = {TRAIN_FIELDS(TRAIN_ROW)};
static const field machine_rows[] = {MACHINE_FIELDS(MACHINE_ROW)};
static const field_table top_table = {"", "The run.", top_rows, COUNT_OF(top_rows),
                                      sizeof(top_spec)};
static const field_table model_table = {"model", "What is trained.", model_rows,
                                        COUNT_OF(model_rows), sizeof(model_spec)};
static const field_table train_table = {"train", "How.", train_rows, COUNT_OF(train_rows),
                                        sizeof(train_spec)};
static const field_table machine_table = {"machine", "On what.", machine_rows,
                                          COUNT_OF(machine_rows), sizeof(machine_spec)};

typedef struct bench {
  config c;
  top_spec top;
  model_spec model;
  train_spec train;
  machine_spec machine;
  status st;
} bench;

static int open_bench(void **state) {
  bench *b = test_calloc(1, sizeof *b);
  config_init(&b->c, arena_create("test"));
  config_bind(&b->c, &top_table, &b->top);
  config_bind(&b->c, &model_table, &b->model);
  config_bind(&b->c, &train_table, &b->train);
  config_bind(&b->c, &machine_table, &b->machine);
  *state = b;
  return 0;
}

static int close_bench(void **state) {
  bench *b = *state;
  arena_destroy(b->c.memory);
  test_free(b);
  return 0;
}

static bool read_yaml(bench *b, const char *yaml) {
  return config_read(&b->c, "run.yaml", yaml, strlen(yaml), "", LEVEL_FILE, &b->st);
}

static void assert_refused(bench *b, const char *yaml, const char *sentence) {
  const top_spec top = b->top;
  const model_spec model = b->model;
  assert_false(read_yaml(b, yaml));
  assert_int_equal(b->st.code, CODE_CONFIG);
  assert_string_equal(b->st.text, sentence);
  assert_memory_equal(&b->top, &top, sizeof top); // also what stood before the error is undone
  assert_memory_equal(&b->model, &model, sizeof model);
  assert_string_equal(config_note(&b->c, "seed")->origin, "default");
  status_clear(&b->st);
}

static void a_run_file_is_read(void **state) {
  bench *b = *state;
  assert_true(read_yaml(b, "# a comment\n"
                           "seed: 42\n"
                           "machine: cs2\n"
                           "model:\n"
                           "  layers: 12\n"
                           "  norm: \"layernorm\"\n"
                           "train: {lr: 2^-8, data: 'a: b # c'}\n"
                           "machine.pe.in.queues: 3\n"));
  assert_int_equal(b->top.seed, 42);
  assert_int_equal(b->top.systems, 1);
  assert_string_equal(b->machine.preset, "cs2");
  assert_int_equal(b->machine.queues, 3);
  assert_int_equal(b->model.layers, 12);
  assert_int_equal(b->model.norm, 0);
  assert_true(b->train.lr == 1.0 / 256);
  assert_string_equal(b->train.data, "a: b # c");
  assert_string_equal(config_note(&b->c, "model.layers")->origin, "run.yaml:5:3");
  assert_int_equal(config_note(&b->c, "model.layers")->level, LEVEL_FILE);
  assert_string_equal(config_note(&b->c, "machine")->origin, "run.yaml:3:1");
  assert_string_equal(config_note(&b->c, "train.steps")->origin, "default");
}

static void a_preset_file_is_read(void **state) {
  bench *b = *state;
  const char *yaml = "pe:\n"
                     "  sram_bytes: {value: 64KiB, source: \"White paper, page 3\"}\n"
                     "  in:\n"
                     "    queues:\n"
                     "      source: ASSUMED\n"
                     "      value: 4\n"
                     "clock_hz: 900MHz\n";
  assert_true(config_read(&b->c, "m.yaml", yaml, strlen(yaml), "machine", LEVEL_PRESET, &b->st));
  assert_int_equal(b->machine.sram_bytes, 65536);
  assert_int_equal(b->machine.queues, 4);
  assert_true(b->machine.clock_hz == 9e8);
  assert_string_equal(config_note(&b->c, "machine.pe.sram_bytes")->source, "White paper, page 3");
  assert_string_equal(config_note(&b->c, "machine.pe.in.queues")->source, "ASSUMED");
  assert_string_equal(config_note(&b->c, "machine.pe.in.queues")->origin, "m.yaml:4:5");
  assert_null(config_note(&b->c, "machine.clock_hz")->source);
}

static void empty_files_state_nothing(void **state) {
  bench *b = *state;
  assert_true(read_yaml(b, ""));
  assert_true(read_yaml(b, "# only a comment\n"));
  assert_true(read_yaml(b, "---\n"));
  assert_true(read_yaml(b, "{}\n"));
  assert_int_equal(b->top.seed, 1);
}

static void unknown_keys_have_a_place_and_a_guess(void **state) {
  bench *b = *state;
  assert_refused(b, "seed: 7\ntrain:\n    rl: 3\n",
                 "run.yaml:3:5: unknown key \"train.rl\", did you mean \"train.lr\"?");
  assert_refused(b, "seed: 7\nmodle:\n  layers: 3\n",
                 "run.yaml:2:1: unknown key \"modle\", did you mean \"model\"?");
  assert_refused(b, "sed: 7\n", "run.yaml:1:1: unknown key \"sed\", did you mean \"seed\"?");
  assert_refused(b, "train:\n  layers: 3\n",
                 "run.yaml:2:3: unknown key \"train.layers\", did you mean \"model.layers\"?");
  assert_refused(b, "layers: 3\n",
                 "run.yaml:1:1: unknown key \"layers\", did you mean \"model.layers\"?");
  assert_refused(b, "machine:\n  pq:\n    sram_bytes: 3\n",
                 "run.yaml:2:3: unknown key \"machine.pq\", did you mean \"machine.pe\"?");
  assert_refused(b, "xylophone: 3\n", "run.yaml:1:1: unknown key \"xylophone\"");
  assert_refused(b, "\"\": 3\n", "run.yaml:1:1: unknown key \"\"");
}

static void wrong_values_have_a_place(void **state) {
  bench *b = *state;
  assert_refused(
      b, "seed: 9\nmodel:\n  layers: 0\n",
      "run.yaml:3:3: model.layers = \"0\" is out of bounds: it must lie between 1 and 1000");
  assert_refused(
      b, "seed: 9\nmodel: {norm: rmsnrom}\n",
      "run.yaml:2:9: model.norm = \"rmsnrom\" is not one of layernorm, rmsnorm, did you mean "
      "\"rmsnorm\"?");
  assert_refused(b, "seed: x\n",
                 "run.yaml:1:1: seed = \"x\" is not a whole number such as 12 or 10k");
}

static void shapes_that_do_not_fit_are_refused(void **state) {
  bench *b = *state;
  assert_refused(b, "seed: 1\nseed: 2\n", "run.yaml:2:1: \"seed\" is stated twice in this file");
  assert_refused(b, "model:\n  layers: 1\nmodel:\n  norm: rmsnorm\n",
                 "run.yaml:3:1: \"model\" is stated twice in this file");
  assert_refused(b, "model: tiny\nmodel:\n  layers: 1\n",
                 "run.yaml:2:1: \"model\" is stated twice in this file");
  assert_refused(b, "model:\n  layers: 1\nmodel.layers: 2\n",
                 "run.yaml:3:1: \"model.layers\" is stated twice in this file");
  assert_refused(b, "seed: [1, 2]\n", "run.yaml:1:7: seed is a list, but a single value is wanted");
  assert_refused(b, "train: [1]\n", "run.yaml:1:8: train is a list, but a single value is wanted");
  assert_refused(b, "train: 5\n",
                 "run.yaml:1:1: \"train\" is a section: its keys are wanted, not a value");
  assert_refused(b, "seed:\n", "run.yaml:1:6: seed has no value");
  assert_refused(
      b, "seed: {valeu: 3}\n",
      "run.yaml:1:8: seed holds \"valeu\", but only {value: ..., source: ...} fits here");
  assert_refused(b, "seed: {source: x}\n", "run.yaml:1:7: seed has no \"value\" beside its source");
  assert_refused(b, "seed: {value: 1, value: 2}\n",
                 "run.yaml:1:18: seed holds \"value\" twice, but only "
                 "{value: ..., source: ...} fits here");
  assert_refused(b, "seed: {value: [1]}\n",
                 "run.yaml:1:15: seed.value is a list, but a single value is wanted");
  assert_refused(b, "- 1\n", "run.yaml:1:1: a mapping of keys to values is wanted at the top");
  assert_refused(b, "? [a]\n: 1\n", "run.yaml:1:3: a key is a list, but a single value is wanted");
  assert_refused(b, "seed: &x 1\n", "run.yaml:1:7: an anchor is not understood here");
  assert_refused(b, "seed: *x\n",
                 "run.yaml:1:7: an alias is not understood here: state the value again");
  assert_refused(b, "seed: 1\n---\nseed: 2\n",
                 "run.yaml:2:1: a second document begins here, but only one is read");
  assert_refused(b, "seed: \"a\\0b\"\n", "run.yaml:1:7: seed holds a zero byte");
}

static void yaml_errors_have_a_place(void **state) {
  bench *b = *state;
  assert_refused(b, "seed: 3\nmodel: {layers: 1\n",
                 "run.yaml:3:1: this is not YAML: while parsing a flow "
                 "mapping, did not find expected ',' or '}'");
  assert_false(read_yaml(b, "seed: 3\n\tmodel: 1\n"));
  assert_true(text_starts(b->st.text, "run.yaml:2:1: this is not YAML: "));
}

// The stronger level wins, whichever comes first; among equals the later.
static void levels_decide(void **state) {
  bench *b = *state;
  config *c = &b->c;
  status *st = &b->st;
  assert_true(config_set(c, "model.layers", "9", LEVEL_FLAG, "--layers", NULL, st));
  assert_true(config_set(c, "model.layers", "8", LEVEL_SET, "--set", NULL, st));
  assert_int_equal(b->model.layers, 9);
  assert_true(read_yaml(b, "model:\n  layers: 7\n  norm: layernorm\n"));
  assert_int_equal(b->model.layers, 9);
  assert_string_equal(config_note(c, "model.layers")->origin, "--layers");
  assert_true(config_set(c, "model.norm", "rmsnorm", LEVEL_PRESET, "p.yaml:1:1", NULL, st));
  assert_int_equal(b->model.norm, 0);
  assert_true(config_set(c, "model.layers", "10", LEVEL_FLAG, "--layers", NULL, st));
  assert_int_equal(b->model.layers, 10);
  // A weaker value that is wrong is still wrong.
  assert_false(config_set(c, "model.layers", "zero", LEVEL_PRESET, "p.yaml:2:1", NULL, st));
  assert_int_equal(b->model.layers, 10);
  assert_true(text_starts(st->text, "p.yaml:2:1: model.layers = \"zero\" is not"));
}

static void assignments_are_split(void **state) {
  bench *b = *state;
  assert_true(config_assign(&b->c, "train.data=a=b", LEVEL_SET, "--set", &b->st));
  assert_string_equal(b->train.data, "a=b");
  assert_true(config_assign(&b->c, "seed=5", LEVEL_SET, "--set", &b->st));
  assert_int_equal(b->top.seed, 5);
  assert_true(config_assign(&b->c, "model=tiny", LEVEL_SET, "--set", &b->st));
  assert_string_equal(b->model.preset, "tiny");
  assert_false(config_assign(&b->c, "train.lr", LEVEL_SET, "--set", &b->st));
  assert_int_equal(b->st.code, CODE_USAGE);
  status_clear(&b->st);
  assert_false(config_assign(&b->c, "train.lrr=1", LEVEL_SET, "--set", &b->st));
  assert_string_equal(b->st.text, "--set: unknown key \"train.lrr\", did you mean \"train.lr\"?");
}

static void files_on_disk_are_read(void **state) {
  bench *b = *state;
  assert_false(config_read_file(&b->c, "/nonexistent/run.yaml", "", LEVEL_FILE, &b->st));
  assert_int_equal(b->st.code, CODE_NO_INPUT);
  status_clear(&b->st);
  char path[] = "/tmp/weft-config-XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "seed: 77\n", 9), 9);
  close(fd);
  assert_true(config_read_file(&b->c, path, "", LEVEL_FILE, &b->st));
  unlink(path);
  assert_int_equal(b->top.seed, 77);
  assert_true(text_starts(config_note(&b->c, "seed")->origin, path));
}

static void print_shows_origins(void **state) {
  bench *b = *state;
  assert_true(read_yaml(b, "train:\n  data: 'x: #y'\nmachine:\n  pe:\n"
                           "    sram_bytes: {value: 1KiB, source: me}\n"));
  text out = {0};
  config_print(&b->c, true, &out);
  assert_string_equal(text_get(&out), "seed: 1  # default\n"
                                      "systems: 1  # default\n"
                                      "model:\n"
                                      "  preset: \"\"  # default\n"
                                      "  layers: 4  # default\n"
                                      "  norm: rmsnorm  # default\n"
                                      "train:\n"
                                      "  lr: 0.0078125  # default\n"
                                      "  steps: 100  # default\n"
                                      "  data: \"x: #y\"  # run.yaml:2:3\n"
                                      "machine:\n"
                                      "  preset: cs3  # default\n"
                                      "  pe:\n"
                                      "    sram_bytes: 1KiB  # run.yaml:5:5 (me)\n"
                                      "    in:\n"
                                      "      queues: 8  # default\n"
                                      "  clock_hz: 1.1GHz  # default\n");
  text_free(&out);
}

// What is printed is a run file that states the same values, whatever the text in it.
static void print_reads_back(void **state) {
  bench *b = *state;
  static const char *const words[] = {"",
                                      " ",
                                      "a:",
                                      "- x",
                                      "#",
                                      "~",
                                      "null",
                                      "*a",
                                      "a\nb\t\"c\"\\",
                                      "\x7f\x01",
                                      "gr\xC3\xBC\xC3\x9F",
                                      "{x}",
                                      "'",
                                      "50%",
                                      "@x",
                                      "!t",
                                      "a: b",
                                      "x:"};
  for (u32 i = 0; i < COUNT_OF(words); i++) {
    for (u32 origin = 0; origin < 2; origin++) {
      bench *again;
      open_bench((void **)&again);
      assert_true(config_set(&b->c, "train.data", words[i], LEVEL_SET, "x", NULL, &b->st));
      assert_true(config_set(&b->c, "train.lr", "0.1", LEVEL_SET, "x", NULL, &b->st));
      assert_true(config_set(&b->c, "seed", "18446744073709551615", LEVEL_SET, "x", NULL, &b->st));
      text out = {0};
      config_print(&b->c, origin, &out);
      if (!read_yaml(again, text_get(&out))) fail_msg("%s in\n%s", again->st.text, text_get(&out));
      assert_memory_equal(&again->train, &b->train, sizeof b->train);
      assert_memory_equal(&again->top, &b->top, sizeof b->top);
      assert_memory_equal(&again->machine, &b->machine, sizeof b->machine);
      text_free(&out);
      close_bench((void **)&again);
    }
  }
}

static void the_schema_names_every_key(void **state) {
  bench *b = *state;
  text out = {0};
  config_schema(&b->c, &out);
  json_error_t e;
  json_t *all = json_loads(text_get(&out), 0, &e);
  assert_non_null(all);
  const char *draft = NULL, *sentence = NULL;
  json_t *machine = NULL, *layers = NULL, *queues = NULL;
  assert_int_equal(json_unpack(all, "{s:s, s:{s:{s:s}, s:o}}", "$schema", &draft, "properties",
                               "seed", "description", &sentence, "machine", &machine),
                   0);
  assert_string_equal(draft, "https://json-schema.org/draft/2020-12/schema");
  assert_string_equal(sentence, "seed of all random numbers");
  json_t *section = json_array_get(json_object_get(machine, "anyOf"), 0);
  assert_int_equal(json_unpack(section, "{s:{s:{s:{s:{s:{s:o}}}}}}", "properties", "pe",
                               "properties", "in", "properties", "queues", &queues),
                   0);
  assert_non_null(queues);
  json_t *model = json_object_get(json_object_get(all, "properties"), "model");
  model = json_array_get(json_object_get(model, "anyOf"), 0);
  layers = json_object_get(json_object_get(model, "properties"), "layers");
  double low = 0, high = 0;
  assert_int_equal(json_unpack(layers, "{s:[{s:F,s:F},o]}", "anyOf", "minimum", &low, "maximum",
                               &high, &machine),
                   0);
  assert_true(low == 1 && high == 1000);
  json_decref(all);
  text_free(&out);
}

#define BENCH(test) cmocka_unit_test_setup_teardown(test, open_bench, close_bench)

int main(void) {
  const struct CMUnitTest tests[] = {
      BENCH(a_run_file_is_read),         BENCH(a_preset_file_is_read),
      BENCH(empty_files_state_nothing),  BENCH(unknown_keys_have_a_place_and_a_guess),
      BENCH(wrong_values_have_a_place),  BENCH(shapes_that_do_not_fit_are_refused),
      BENCH(yaml_errors_have_a_place),   BENCH(levels_decide),
      BENCH(assignments_are_split),      BENCH(files_on_disk_are_read),
      BENCH(print_shows_origins),        BENCH(print_reads_back),
      BENCH(the_schema_names_every_key),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// The command line as users meet it: every error is one sentence with its code and leaves nothing
// behind, every document is JSON, every help page begins with examples, every command that a run
// suggests works.
#include "tests/child.h"

#include <dirent.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define TINY                                                                                                           \
  "--machine", "mesh16", "--threads", "1", "--set", "model.layers=1", "--set", "model.width=16", "--set",              \
      "model.heads=2", "--set", "train.seq=16", "--set", "train.batch=2", "--set", "train.eval_sequences=2"

// ---- a folder per test

static char folder[256];

static int make_folder(void **state) {
  (void)state;
  support_folder(folder, sizeof folder);
  return 0;
}

static int drop_folder(void **state) {
  (void)state;
  support_remove(folder);
  return 0;
}

static const char *in_folder(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void put(const char *name, const void *bytes, size_t n) {
  status st = {0};
  support_ok(file_write(in_folder(name), bytes, n, &st), &st);
}

static u32 entries(void) {
  DIR *dir = opendir(folder);
  assert_non_null(dir);
  u32 count = 0;
  for (struct dirent *e = readdir(dir); e; e = readdir(dir)) count += e->d_name[0] != '.';
  closedir(dir);
  return count;
}

// ---- errors

// One line on stderr that begins with "weft: " and contains `part`, nothing on stdout, no new files.
static void refused(const char *const *arguments, int code, const char *part) {
  const u32 before = entries();
  child c = child_run(folder, arguments);
  child_expect(&c, code);
  if (!strstr(c.err, part)) fail_msg("\"%s\" is not in: %s", part, c.err);
  assert_true(text_starts(c.err, "weft: "));
  const char *end = strchr(c.err, '\n');
  assert_non_null(end);
  assert_string_equal(end, "\n");
  assert_string_equal(c.out, "");
  assert_int_equal(entries(), before);
  child_free(&c);
}

static void usage_errors(void **state) {
  (void)state;
  refused(CHILD_ARGS("trian"), 2, "unknown command \"trian\", did you mean \"train\"?");
  refused(CHILD_ARGS("train", "--thread", "1"), 2, "did you mean --threads?");
  refused(CHILD_ARGS("train", "--seed"), 2, "--seed needs a value");
  refused(CHILD_ARGS("train", "--json=1"), 2, "--json takes no value");
  refused(CHILD_ARGS("train", "a.yaml", "b.yaml"), 2, "one argument too many");
  refused(CHILD_ARGS("train", "-j"), 2, "two dashes");
  refused(CHILD_ARGS("train", "--set", "model.layers"), 2, "key=value");
  refused(CHILD_ARGS("train", "--threads", "many"), 2, "not a whole number");
  refused(CHILD_ARGS("config", "shwo"), 2, "did you mean \"show\"?");
  refused(CHILD_ARGS("verify"), 2, "which recorded model");
  refused(CHILD_ARGS("generate"), 2, "which checkpoint");
  refused(CHILD_ARGS("map", "--search", "--json"), 2, "--search prints tables");
}

static void configuration_errors(void **state) {
  (void)state;
  static const char unknown[] = "model:\n  layers: 2\ntrain:\n  rl: 1\n";
  put("run.yaml", unknown, strlen(unknown));
  refused(CHILD_ARGS("train", "run.yaml"), 78, "run.yaml:4:3: unknown key \"train.rl\", did you mean \"train.lr\"?");
  static const char beyond[] = "train:\n  lr: -1\n";
  put("beyond.yaml", beyond, strlen(beyond));
  refused(CHILD_ARGS("train", "beyond.yaml"), 78, "beyond.yaml:2:");
  refused(CHILD_ARGS("train", "--set", "train.lrr=1"), 78,
          "--set: unknown key \"train.lrr\", did you mean \"train.lr\"?");
  refused(CHILD_ARGS("train", "--machine", "cs4"), 78, "did you mean \"cs");
  refused(CHILD_ARGS("train", "--model", "gpt2-smal"), 78, "did you mean \"gpt2-small\"?");
  refused(CHILD_ARGS("train", "--set", "model.width=130"), 78, "heads");
  refused(CHILD_ARGS("train", "--machine", "mesh16", "--set", "model.width=16384", "--set", "model.heads=128"), 78,
          "SRAM");
}

static void missing_files(void **state) {
  (void)state;
  refused(CHILD_ARGS("train", "none.yaml"), 66, "none.yaml");
  refused(CHILD_ARGS("train", "--data", "none.txt"), 66, "none.txt");
  refused(CHILD_ARGS("train", "--data", "two\n\x1b[2Jlines.txt"), 66, "two??[2Jlines.txt");
  refused(CHILD_ARGS("verify", "none.safetensors"), 66, "none.safetensors");
  refused(CHILD_ARGS("runs"), 66, "weft.db");
  refused(CHILD_ARGS("train", "--resume", "1"), 66, "weft.db");
  refused(CHILD_ARGS("generate", "--from", "none"), 66, "none");
}

enum { LLMC_HEADER_WORDS = 256, BIN_TOKENS = 4096 };

static void bad_data(void **state) {
  (void)state;
  u16 tokens[BIN_TOKENS];
  for (u32 i = 0; i < BIN_TOKENS; i++) tokens[i] = (u16)(i * 7 % 50);
  put("odd.bin", tokens, sizeof tokens - 1);
  refused(CHILD_ARGS("train", TINY, "--set", "model.vocab=50", "--data", "odd.bin"), 65, "odd.bin");
  put("good.bin", tokens, sizeof tokens);
  refused(CHILD_ARGS("train", TINY, "--set", "model.vocab=49", "--data", "good.bin"), 65, "beyond the vocabulary");
  refused(CHILD_ARGS("train", TINY, "--data", "good.bin"), 78, "model.vocab");
  struct {
    i32 header[LLMC_HEADER_WORDS];
    u16 tokens[BIN_TOKENS];
  } file = {.header = {20240520, 1, BIN_TOKENS}};
  memcpy(file.tokens, tokens, sizeof tokens);
  put("short.bin", &file, sizeof file - 100);
  refused(CHILD_ARGS("train", TINY, "--set", "model.vocab=50", "--data", "short.bin"), 65, "short.bin");
  put("tiny.txt", "to be or not", 12);
  refused(CHILD_ARGS("train", TINY, "--data", "tiny.txt"), 65, "tiny.txt");
  put("weft.db", "this is no database, but a text that somebody wrote\n", 52);
  refused(CHILD_ARGS("train", TINY), 65, "weft.db");
  refused(CHILD_ARGS("train", TINY, "--out", "results"), 65, "weft.db"); // results is not left behind
}

static void outputs_that_fail(void **state) {
  (void)state;
  child c = child_shell(folder, WEFT_PROGRAM " machine list > /dev/full");
  child_expect(&c, 74);
  child_free(&c);
  put("taken", "a file", 6);
  refused(CHILD_ARGS("train", TINY, "--out", "taken/results"), 73, "taken");
}

// ---- what works

static child worked(const char *const *arguments) {
  child c = child_run(folder, arguments);
  child_expect(&c, 0);
  return c;
}

static void help_begins_with_examples(void **state) {
  (void)state;
  child all = worked(CHILD_ARGS("--help"));
  u32 commands = 0;
  for (const char *p = strstr(all.out, "Commands:\n"); p && (p = strchr(p, '\n')) && text_starts(p, "\n  ");) {
    p += 3;
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(p, " "), p);
    child c = worked(CHILD_ARGS(name, "--help"));
    char example[64], usage[64];
    snprintf(example, sizeof example, "  weft %s", name);
    snprintf(usage, sizeof usage, "\nweft %s", name);
    assert_true(text_starts(c.out, example));
    const char *second = strstr(c.out + strlen(example), example), *after = strstr(c.out, usage);
    assert_non_null(second);
    assert_non_null(after);
    assert_true(second < after);
    child_free(&c);
    commands++;
  }
  assert_true(commands >= 6);
  child version = worked(CHILD_ARGS("--version"));
  assert_true(text_starts(version.out, "weft "));
  child bare = worked((const char *const[]){NULL});
  assert_string_equal(bare.out, all.out);
  child_free(&all);
  child_free(&version);
  child_free(&bare);
}

// Parses stdout and checks the schema.
static json_t *document(const char *const *arguments, const char *schema) {
  child c = worked(arguments);
  json_error_t error;
  json_t *d = json_loads(c.out, JSON_REJECT_DUPLICATES, &error);
  if (!d) fail_msg("line %d: %s\n%s", error.line, error.text, c.out);
  const char *kind = json_string_value(json_object_get(d, "schema"));
  assert_non_null(kind);
  assert_string_equal(kind, schema);
  child_free(&c);
  return d;
}

static void documents_parse(void **state) {
  (void)state;
  json_decref(document(CHILD_ARGS("config", "show", "--json"), "weft.config/1"));
  json_decref(document(CHILD_ARGS("config", "rules", "--json"), "weft.config/1"));
  json_decref(document(CHILD_ARGS("config", "models", "--json"), "weft.config/1"));
  json_decref(document(CHILD_ARGS("machine", "--json"), "weft.machine/1"));
  json_decref(document(CHILD_ARGS("machine", "show", "cs3", "--json"), "weft.machine/1"));
  json_t *d = document(CHILD_ARGS("config", "schema"), "weft.config/1");
  assert_non_null(json_object_get(json_object_get(d, "properties"), "train"));
  json_decref(d);
  static const char *const pages[] = {"config", "machine"};
  for (u32 i = 0; i < COUNT_OF(pages); i++) {
    child page = worked(CHILD_ARGS(pages[i], "markdown"));
    d = document(CHILD_ARGS(pages[i], "markdown", "--json"), i ? "weft.machine/1" : "weft.config/1");
    assert_string_equal(json_string_value(json_object_get(d, "markdown")), page.out);
    json_decref(d);
    child_free(&page);
  }
}

static void names_move_no_cursor(void **state) {
  (void)state;
  json_decref(document(CHILD_ARGS("simulate", TINY, "--db", "named.db", "--set", "record.name=a\x1b[2J\nb", "--json"),
                       "weft.simulate/1"));
  child list = worked(CHILD_ARGS("runs", "--db", "named.db")),
        show = worked(CHILD_ARGS("runs", "show", "1", "--db", "named.db"));
  assert_non_null(strstr(list.out, "a?[2J?b\n"));
  assert_non_null(strstr(show.out, "a?[2J?b\n"));
  assert_null(strchr(list.out, '\x1b'));
  assert_null(strchr(show.out, '\x1b'));
  child_free(&list);
  child_free(&show);
}

static void the_step_is_told(void **state) {
  (void)state;
  child c = worked(CHILD_ARGS("simulate", TINY, "--set", "train.tokens=1M"));
  const char *whole = strstr(c.out, "whole training of 1.00 Mtokens: ");
  assert_non_null(whole);
  const char *energy = strstr(whole, ", ");
  assert_non_null(energy);
  assert_int_equal(energy[strcspn(energy, "\n") - 1], 'J');
  child_free(&c);
  // Nothing is trained, so data that holds no sequence still gives its vocabulary.
  put("tiny.txt", "to be or not", 12);
  json_decref(document(CHILD_ARGS("simulate", TINY, "--data", "tiny.txt", "--json"), "weft.simulate/1"));
  json_decref(document(CHILD_ARGS("map", TINY, "--json"), "weft.map/1"));
  refused(CHILD_ARGS("map", TINY, "--json", "--print", "graph"), 2, "choose one");
}

static void what_is_shown_reads_back(void **state) {
  (void)state;
  child first = worked(CHILD_ARGS("config", "show", "--model", "gpt2-small", "--set", "train.lr=0.1", "--seed", "9"));
  put("shown.yaml", first.out, strlen(first.out));
  child second = worked(CHILD_ARGS("config", "show", "shown.yaml"));
  assert_string_equal(first.out, second.out);
  child_free(&first);
  child_free(&second);
}

static void stronger_statements_win(void **state) {
  (void)state;
  static const char stated[] = "seed: 2\nmodel: gpt2-small\ntrain: {lr: 0.5}\n";
  put("run.yaml", stated, strlen(stated));
  json_t *d = document(
      CHILD_ARGS("config", "show", "run.yaml", "--seed", "4", "--set", "seed=3", "--set", "model.heads=8", "--json"),
      "weft.config/1");
  json_t *values = json_object_get(d, "values");
  static const char *const expected[][3] = {{"seed", "4", "--seed"},
                                            {"model.heads", "8", "--set"},
                                            {"model.layers", "12", "presets/models/gpt2-small.yaml"},
                                            {"train.lr", "0.5", "run.yaml:3:"},
                                            {"train.batch", "8", "default"}};
  for (u32 i = 0; i < COUNT_OF(expected); i++) {
    json_t *row = json_object_get(values, expected[i][0]);
    assert_string_equal(json_string_value(json_object_get(row, "value")), expected[i][1]);
    assert_true(text_starts(json_string_value(json_object_get(row, "origin")), expected[i][2]));
  }
  json_decref(d);
}

static void verify_passes_and_fails(void **state) {
  (void)state;
  char path[512];
  snprintf(path, sizeof path, "%s/golden/sp_L1_N32.safetensors", support_shared());
  if (!file_exists(path)) skip();
  json_t *d = document(CHILD_ARGS("verify", path, "--json"), "weft.verify/1");
  assert_true(json_is_true(json_object_get(d, "pass")));
  assert_true(json_real_value(json_object_get(d, "loss_max_abs")) < 5e-6);
  assert_true(json_is_number(json_object_get(d, "grad_max_rel")));
  assert_true(json_is_number(json_object_get(d, "weight_max_abs")));
  json_decref(d);
  arena *a = arena_create("test");
  status st = {0};
  char *bytes;
  size_t size;
  support_ok(file_read(path, a, &bytes, &size, &st), &st);
  // One weight in the middle of the file is off.
  const double wrong = 3;
  memcpy(bytes + size / 16 * 8, &wrong, sizeof wrong);
  put("sp_L1_N32.safetensors", bytes, size);
  char line[1400];
  snprintf(line, sizeof line, "cp %s/golden/sp_L1_N32.json .", support_shared());
  child copied = child_shell(folder, line);
  child c = child_run(folder, CHILD_ARGS("verify", "sp_L1_N32.safetensors", "--json"));
  child_expect(&c, 1);
  json_t *failed = json_loads(c.out, 0, NULL);
  assert_true(json_is_false(json_object_get(failed, "pass")));
  json_decref(failed);
  child_free(&c);
  child_free(&copied);
  arena_destroy(a);
}

// ---- a run and what can be asked about it

static void check_run(json_t *d) {
  assert_int_equal(json_integer_value(json_object_get(d, "steps")), 40);
  const double first = json_real_value(json_object_get(d, "loss_first"));
  assert_true(json_real_value(json_object_get(d, "loss_last")) < first);
  assert_true(json_real_value(json_object_get(d, "val_loss")) < first);
  assert_true(json_real_value(json_object_get(d, "host_tokens_per_s")) > 0);
  assert_true(json_real_value(json_object_get(d, "model_tokens_per_s")) > 0);
  assert_int_equal(json_integer_value(json_object_get(d, "run_id")), 1);
  static const char *const files[] = {"report", "trace", "checkpoint"};
  for (u32 i = 0; i < COUNT_OF(files); i++) {
    assert_true(file_exists(in_folder(json_string_value(json_object_get(d, files[i])))));
  }
  json_t *next = json_object_get(d, "next");
  assert_int_equal(json_array_size(next), 3);
  for (u32 i = 0; i < 3; i++) {
    child c = child_shell(folder, json_string_value(json_array_get(next, i)));
    child_expect(&c, 0);
    assert_true(c.out[0]);
    child_free(&c);
  }
}

static void run_is_recorded(void **state) {
  (void)state;
  json_t *d = document(CHILD_ARGS("train", TINY, "--set", "train.steps=40", "--json"), "weft.train/1");
  check_run(d);
  json_decref(d);
  json_decref(document(CHILD_ARGS("runs", "--json"), "weft.runs/1"));
  json_t *row = document(CHILD_ARGS("runs", "show", "last", "--json"), "weft.runs/1");
  assert_string_equal(json_string_value(json_object_get(row, "state")), "finished");
  assert_string_equal(json_string_value(json_object_get(row, "machine")), "mesh16");
  json_decref(row);
  json_t *series = document(CHILD_ARGS("runs", "metrics", "1", "loss", "--json"), "weft.runs/1");
  assert_int_equal(json_array_size(json_object_get(series, "points")), 40);
  json_decref(series);
  refused(CHILD_ARGS("runs", "metrics", "1", "los"), 2, "did you mean \"loss\"?");
  refused(CHILD_ARGS("runs", "show", "77"), 66, "77");
  refused(CHILD_ARGS("train", "--resume", "1"), 2, "finished");
  refused(CHILD_ARGS("train", TINY, "--out", "weft-runs/1"), 73, "holds the checkpoint");
  // The run file that it leaves says the same run.
  json_t *again = document(CHILD_ARGS("train", "weft-runs/1/run.yaml", "--threads", "2", "--out", "again", "--json"),
                           "weft.train/1");
  json_decref(again);
  child same = child_shell(folder, "for f in model.safetensors optimizer.safetensors config.json weft.json; do "
                                   "cmp weft-runs/1/checkpoint/$f again/checkpoint/$f || exit 1; done");
  child_expect(&same, 0);
  child_free(&same);
}

static void text_is_generated(void **state) {
  (void)state;
  char data[4001];
  for (u32 i = 0; i < 4000; i++) data[i] = "the cat sat.\n"[i % 13];
  put("cats.txt", data, 4000);
  json_t *d = document(CHILD_ARGS("train", TINY, "--data", "cats.txt", "--set", "data.vocab=chars", "--set",
                                  "train.steps=150", "--out", "cats", "--json"),
                       "weft.train/1");
  json_decref(d);
  d = document(CHILD_ARGS("generate", "--from", "cats/checkpoint", "--prompt", "the cat", "--tokens", "30",
                          "--temperature", "0", "--json"),
               "weft.generate/1");
  assert_int_equal(json_integer_value(json_object_get(d, "tokens")), 30);
  assert_int_equal(strlen(json_string_value(json_object_get(d, "text"))), 30);
  json_decref(d);
  refused(CHILD_ARGS("generate", "--from", "cats/checkpoint", "--prompt", "dog"), 65, "'d'");
  refused(CHILD_ARGS("generate", "--from", "cats/checkpoint", "--tokens", "-1"), 2, "--tokens");
  // The checkpoint alone suffices.
  child moved = child_shell(folder, "mkdir elsewhere && mv cats/checkpoint elsewhere/c && rm -r weft.db cats.txt");
  child_expect(&moved, 0);
  child c = worked(CHILD_ARGS("generate", "--from", "elsewhere/c", "--tokens", "5"));
  child_free(&c);
  child_free(&moved);
}

static i64 db_number(const char *sql) {
  sqlite3 *db;
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_open_v2(in_folder("weft.db"), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  const i64 value = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  sqlite3_close(db);
  return value;
}

static void divergence_is_said(void **state) {
  (void)state;
  // Decay times rate is a million, so weights grow a million-fold each step.
  child c = child_run(folder, CHILD_ARGS("train", TINY, "--set", "train.lr=1000", "--set", "train.weight_decay=1000",
                                         "--set", "train.warmup=0", "--json"));
  child_expect(&c, 1);
  assert_non_null(strstr(c.err, "diverged"));
  json_t *d = json_loads(c.out, 0, NULL);
  assert_non_null(d);
  assert_string_equal(json_string_value(json_object_get(d, "state")), "diverged");
  assert_true(json_is_null(json_object_get(d, "loss_last")));
  json_decref(d);
  child_free(&c);
  assert_int_equal(db_number("SELECT count(*) FROM metric WHERE value IS NULL AND key = 1"), 1);
  assert_int_equal(db_number("SELECT count(*) FROM run WHERE status = 'diverged'"), 1);
}

int main(void) {
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, drop_folder)
  const struct CMUnitTest tests[] = {
      IN_FOLDER(usage_errors),
      IN_FOLDER(configuration_errors),
      IN_FOLDER(missing_files),
      IN_FOLDER(bad_data),
      IN_FOLDER(outputs_that_fail),
      IN_FOLDER(help_begins_with_examples),
      IN_FOLDER(documents_parse),
      IN_FOLDER(names_move_no_cursor),
      IN_FOLDER(the_step_is_told),
      IN_FOLDER(what_is_shown_reads_back),
      IN_FOLDER(stronger_statements_win),
      IN_FOLDER(verify_passes_and_fails),
      IN_FOLDER(run_is_recorded),
      IN_FOLDER(text_is_generated),
      IN_FOLDER(divergence_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Token streams: what is read, how it is split and drawn, and what is refused.
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "model/compute/tokens.h"

typedef struct fixture {
  char folder[256];
  data_options options;
  tokens_request request;
  arena *a;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  support_folder(f->folder, sizeof f->folder);
  field_defaults(&data_table, &f->options);
  f->request = (tokens_request){.options = &f->options, .seq = 8};
  f->a = arena_create("test");
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  support_remove(f->folder);
  arena_destroy(f->a);
  free(f);
  return 0;
}

// Writes a file of the fixture and makes it data.path.
static void put(fixture *f, char *option, const char *name, const void *bytes, size_t n) {
  status st = {0};
  snprintf(option, FIELD_TEXT_MAX, "%s/%s", f->folder, name);
  support_ok(file_write(option, bytes, n, &st), &st);
}

static void open_ok(fixture *f, token_data *d) {
  status st = {0};
  support_ok(tokens_open(&f->request, f->a, d, &st), &st);
}

// A failure must also leave the result untouched.
static void refused(fixture *f, status_code code, const char *part) {
  status st = {0};
  token_data d, before;
  memset(&d, 0x5a, sizeof d);
  memcpy(&before, &d, sizeof d);
  support_failed(tokens_open(&f->request, f->a, &d, &st), &st, code, part);
  assert_memory_equal(&d, &before, sizeof d);
}

static const char words[] = "the quick brown fox jumps over the lazy dog, "
                            "the quick brown fox jumps over the lazy dog, and once more: the quick brown fox.";

static void text_as_bytes(void **state) {
  fixture *f = *state;
  token_data d;
  put(f, f->options.path, "words.txt", words, sizeof words - 1);
  f->options.held_out = 0.25;
  open_ok(f, &d);
  u64 n = sizeof words - 1;
  assert_true(d.is_text);
  assert_int_equal(d.vocab, 256);
  assert_int_equal(d.train_count, (u64)(0.75 * (double)n));
  assert_int_equal(d.held_count, n - d.train_count);
  for (u64 i = 0; i < n; i++) assert_int_equal(i < d.train_count ? d.train[i] : d.held[i - d.train_count], words[i]);
  assert_int_equal(d.char_of['q'], 'q');
  assert_int_equal(d.char_of['Q'], 'Q');
  assert_int_equal(d.id_of['q'], 'q');
  assert_int_equal(d.id_of['Q'], UINT32_MAX);
  tokens_close(&d);
  assert_null(d.train);
}

static void text_as_characters(void **state) {
  fixture *f = *state;
  token_data d;
  static const char abc[] = "cabbage\xff" "cabbage\xff" "cabbage\xff" "cabbage";
  put(f, f->options.path, "abc", abc, sizeof abc - 1);
  f->options.vocab = VOCAB_CHARS;
  f->options.held_out = 0.4;
  open_ok(f, &d);
  assert_int_equal(d.vocab, 6); // a b c e g 0xff
  assert_memory_equal(d.char_of, "abceg\xff", 6);
  assert_int_equal(d.train[0], 2);
  assert_int_equal(d.train[7], 5);
  assert_int_equal(d.id_of['d'], UINT32_MAX);
  tokens_close(&d);
  f->request.vocab = 5;
  refused(f, CODE_DATA, "token 5 at position 7 is beyond the vocabulary of 5");
  f->request.vocab = 100;
  open_ok(f, &d);
  assert_int_equal(d.vocab, 100);
  tokens_close(&d);
}

static void windows(void **state) {
  fixture *f = *state;
  token_data d;
  u32 in[8], target[8], again[8];
  f->request.builtin = words;
  f->request.builtin_size = sizeof words - 1;
  f->options.held_out = 0.5;
  open_ok(f, &d);
  bool first = false, last = false, differ = false;
  for (u32 step = 1; step <= 500; step++)
    for (u32 i = 0; i < 4; i++) {
      tokens_batch(&d, 7, step, i, (token_window){8, in, target});
      for (u32 t = 0; t + 1 < 8; t++) assert_int_equal(in[t + 1], target[t]);
      first = first || (in[0] == d.train[0] && in[7] == d.train[7]);
      last = last || target[7] == d.train[d.train_count - 1];
      tokens_batch(&d, 7, step, i, (token_window){8, again, target});
      assert_memory_equal(in, again, sizeof in);
      tokens_batch(&d, 8, step, i, (token_window){8, again, target});
      differ = differ || memcmp(in, again, sizeof in) != 0;
    }
  assert_true(first && last && differ);
  tokens_held(&d, 0, 5, (token_window){8, in, target});
  assert_int_equal(in[0], d.held[0]);
  tokens_held(&d, 4, 5, (token_window){8, in, target});
  assert_int_equal(target[7], d.held[d.held_count - 1]);
  tokens_close(&d);
}

static void shortest_data(void **state) {
  fixture *f = *state;
  token_data d;
  u32 in[8], target[8];
  put(f, f->options.path, "short", "0123456789abcdefgh", 18);
  f->options.held_out = 0.5;
  open_ok(f, &d);
  tokens_batch(&d, 1, 1, 0, (token_window){8, in, target});
  assert_int_equal(in[0], '0');
  tokens_held(&d, 2, 3, (token_window){8, in, target});
  assert_int_equal(in[0], '9');
  tokens_close(&d);
  f->request.seq = 9;
  refused(f, CODE_DATA, "the training part has 9 tokens, one sequence needs 10");
  f->request.seq = 8;
  f->options.held_out = 0.4;
  refused(f, CODE_DATA, "the held-out part has 8 tokens, one sequence needs 9");
  f->options.held_out = 0;
  refused(f, CODE_DATA, "the held-out part has 0 tokens");
  put(f, f->options.path, "empty", "", 0);
  refused(f, CODE_DATA, "the training part has 0 tokens");
}

static void missing(void **state) {
  fixture *f = *state;
  refused(f, CODE_CONFIG, "data.path is empty");
  snprintf(f->options.path, FIELD_TEXT_MAX, "%s/nowhere.txt", f->folder);
  refused(f, CODE_NO_INPUT, "nowhere.txt");
}

static void held_out_file(void **state) {
  fixture *f = *state;
  token_data d;
  put(f, f->options.path, "train.txt", "abcabcabcabc", 12);
  put(f, f->options.val_path, "val.txt", "zabcabcabc", 10);
  f->options.vocab = VOCAB_CHARS;
  open_ok(f, &d);
  assert_int_equal(d.vocab, 4);
  assert_int_equal(d.train_count, 12);
  assert_int_equal(d.held_count, 10);
  assert_int_equal(d.held[0], 3);
  tokens_close(&d);
  put(f, f->options.val_path, "val.bin", "zabcabcabc", 10);
  refused(f, CODE_DATA, "are not of one format");
}

enum { BIN_TOKENS = 100 };

static void nanogpt(void **state) {
  fixture *f = *state;
  token_data d;
  u16 tokens[BIN_TOKENS];
  for (u32 i = 0; i < BIN_TOKENS; i++) tokens[i] = (u16)(i * 300);
  put(f, f->options.path, "train.bin", tokens, sizeof tokens);
  refused(f, CODE_CONFIG, "state model.vocab");
  f->request.vocab = 50257;
  open_ok(f, &d);
  assert_false(d.is_text);
  assert_int_equal(d.vocab, 50257);
  assert_int_equal(d.train_count, 90);
  assert_int_equal(d.held_count, 10);
  assert_int_equal(d.held[0], 27000);
  tokens_close(&d);
  f->request.vocab = 29700;
  refused(f, CODE_DATA, "train.bin: token 29700 at position 99 is beyond the vocabulary of 29700");
  f->request.vocab = 50257;
  put(f, f->options.path, "train.bin", tokens, sizeof tokens - 1);
  refused(f, CODE_DATA, "199 bytes is an odd size");
  f->options.format = FORMAT_LLMC;
  refused(f, CODE_DATA, "too short for llm.c's header");
}

typedef struct llmc_file {
  i32 header[256];
  u16 tokens[BIN_TOKENS];
} llmc_file;

static void llmc(void **state) {
  fixture *f = *state;
  token_data d;
  llmc_file file = {.header = {20240520, 1, BIN_TOKENS}};
  for (u32 i = 0; i < BIN_TOKENS; i++) file.tokens[i] = (u16)i;
  f->request.vocab = 100;
  put(f, f->options.path, "a.bin", &file, sizeof file);
  open_ok(f, &d);
  assert_int_equal(d.train_count, 90);
  assert_int_equal(d.train[89], 89);
  assert_int_equal(d.held[9], 99);
  tokens_close(&d);
  put(f, f->options.path, "a.bin", &file, sizeof file - 2);
  refused(f, CODE_DATA, "states 100 tokens, which make 1224 bytes, but the file has 1222");
  put(f, f->options.path, "a.bin", &file, sizeof file + 0);
  file.header[2] = -1;
  put(f, f->options.path, "a.bin", &file, sizeof file);
  refused(f, CODE_DATA, "states -1 tokens");
  file.header[2] = BIN_TOKENS;
  file.header[1] = 2;
  put(f, f->options.path, "a.bin", &file, sizeof file);
  refused(f, CODE_DATA, "version 2 at offset 4");
  file.header[0] = 20240801;
  put(f, f->options.path, "a.bin", &file, sizeof file);
  refused(f, CODE_DATA, "32-bit tokens");
  file.header[0] = 1;
  put(f, f->options.path, "a.bin", &file, sizeof file);
  f->options.format = FORMAT_LLMC;
  refused(f, CODE_DATA, "magic number 1");
}

static u64 hash_of(fixture *f) {
  token_data d;
  open_ok(f, &d);
  u64 hash = d.hash;
  tokens_close(&d);
  return hash;
}

static void identity(void **state) {
  fixture *f = *state;
  put(f, f->options.path, "words.txt", words, sizeof words - 1);
  u64 plain = hash_of(f);
  assert_int_equal(plain, hash_of(f));
  f->options.held_out = 0.2;
  u64 split = hash_of(f);
  f->options.held_out = 0.1;
  f->options.vocab = VOCAB_CHARS;
  u64 chars = hash_of(f);
  f->options.vocab = VOCAB_BYTES;
  put(f, f->options.path, "words.txt", words, sizeof words - 2);
  u64 shorter = hash_of(f);
  assert_int_not_equal(plain, split);
  assert_int_not_equal(plain, chars);
  assert_int_not_equal(plain, shorter);
}

static void tiny_shakespeare(void **state) {
  fixture *f = *state;
  token_data d;
  if (!support_shared()) skip();
  snprintf(f->options.path, FIELD_TEXT_MAX, "%s/data/tinyshakespeare.txt", support_shared());
  if (!file_exists(f->options.path)) skip();
  f->options.vocab = VOCAB_CHARS;
  open_ok(f, &d);
  assert_int_equal(d.vocab, 65);
  assert_int_equal(d.train_count, 1003854);
  assert_int_equal(d.held_count, 111540);
  assert_int_equal(d.char_of[0], '\n');
  assert_int_equal(d.char_of[64], 'z');
  tokens_close(&d);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(text_as_bytes), TEST(text_as_characters), TEST(windows),
                                     TEST(shortest_data), TEST(missing),            TEST(held_out_file),
                                     TEST(nanogpt),       TEST(llmc),               TEST(identity),
                                     TEST(tiny_shakespeare)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

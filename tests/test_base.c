// The floor base/: status, texts, arenas, hashes, random numbers, files, embedded files, the log.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/embed.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/random.h"
#include "base/status.h"
#include "base/text.h"

// ---- status and bugs

static void status_keeps_the_first_failure(void **state) {
  (void)state;
  status st = {0};
  assert_true(status_ok(&st));
  assert_false(status_fail(&st, CODE_IO, "disk %d", 7));
  assert_false(status_fail(&st, CODE_DATA, "later"));
  assert_int_equal(st.code, CODE_IO);
  assert_string_equal(st.text, "disk 7");
  status_clear(&st);
  assert_true(status_ok(&st));
  assert_string_equal(st.text, "");
}

// What a bug is told to the handler, seen from another process: bug_fail does not come back.
static void leave_with_line(const char *file, int line, const char *what) {
  _exit(line == 41 && strcmp(file, "x.c") == 0 && strstr(what, "boom") ? 70 : 1);
}

typedef void action(void);

static int exit_of(action *act) {
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    bug_set_handler(leave_with_line);
    act();
    _exit(0);
  }
  int how = 0;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFEXITED(how));
  return WEXITSTATUS(how);
}

static void a_bug(void) {
  bug_fail("x.c", 41, "boom");
}
static void no_bug(void) {
  require(1 + 1 == 2);
}
static void another_bug(void) {
  require(1 + 1 == 3);
}

static void bugs_reach_the_handler(void **state) {
  (void)state;
  assert_int_equal(exit_of(a_bug), 70);
  assert_int_equal(exit_of(no_bug), 0);
  assert_int_equal(exit_of(another_bug), 1);
}

// ---- text

static void text_grows(void **state) {
  (void)state;
  text t = {0};
  assert_string_equal(text_get(&t), "");
  for (u32 i = 0; i < 1000; i++) text_format(&t, "%u,", i);
  text_add(&t, "end");
  text_add_bytes(&t, "\0x", 2);
  assert_int_equal(t.size, 10 * 2 + 90 * 3 + 900 * 4 + 3 + 2);
  assert_memory_equal(t.data + t.size - 5, "end\0x", 6);
  text_clear(&t);
  assert_int_equal(t.size, 0);
  assert_string_equal(text_get(&t), "");
  text_free(&t);
}

static void text_finds_near_words(void **state) {
  (void)state;
  assert_int_equal(text_distance("", ""), 0);
  assert_int_equal(text_distance("kitten", "sitting"), 3);
  assert_int_equal(text_distance("train.rl", "train.lr"), 2);
  assert_int_equal(text_distance("abc", ""), 3);
  static const char *const words[] = {"model.layers", "train.lr", "train.steps"};
  assert_string_equal(text_nearest("train.rl", words, 3), "train.lr");
  assert_string_equal(text_nearest("model.layer", words, 3), "model.layers");
  assert_null(text_nearest("colour", words, 3));
  assert_null(text_nearest("x", words, 3));
  assert_null(text_nearest("x", (const char *const[]){"y"}, 1));
}

static const char *si(double v, const char *unit) {
  static char out[64];
  return text_si(v, unit, out, sizeof out);
}

static const char *bytes_for_people(double v) {
  static char out[64];
  return text_bytes(v, out, sizeof out);
}

static const char *duration(double v) {
  static char out[64];
  return text_duration(v, out, sizeof out);
}

static void numbers_for_people(void **state) {
  (void)state;
  assert_string_equal(si(1234567, ""), "1.23 M");
  assert_string_equal(si(999999, "B"), "1.00 MB");
  assert_string_equal(si(999.4, "B"), "999 B");
  assert_string_equal(si(0, ""), "0");
  assert_string_equal(si(12, "tok/s"), "12 tok/s");
  assert_string_equal(si(45600, "tok/s"), "45.6 ktok/s");
  assert_string_equal(si(0.15e-12, "J"), "0.15 pJ");
  assert_string_equal(si(-2.5e9, "Hz"), "-2.50 GHz");
  assert_string_equal(bytes_for_people(49152), "48.0 KiB");
  assert_string_equal(bytes_for_people(512), "512 B");
  assert_string_equal(bytes_for_people(1048575), "1.0 MiB");
  assert_string_equal(duration(7500), "2 h 05 min");
  assert_string_equal(duration(187), "3 min 07 s");
  assert_string_equal(duration(59.99), "1 min 00 s");
  assert_string_equal(duration(0.0456), "45.6 ms");
  assert_string_equal(duration(3600.0 * 76), "3 d 04 h");
  assert_true(text_starts("model.layers", "model."));
  assert_false(text_starts("mod", "model."));
  assert_true(text_ends("a.yaml", ".yaml"));
  assert_false(text_ends("yaml", ".yaml"));
}

// ---- arena

static bool all_zero(const u8 *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (p[i]) return false;
  }
  return true;
}

static void arena_gives_aligned_zeros(void **state) {
  (void)state;
  arena *a = arena_create("test");
  u8 *kept[200];
  for (u32 i = 0; i < 200; i++) {
    kept[i] = arena_take(a, 17 * i + 1);
    assert_int_equal((uintptr_t)kept[i] % 64, 0);
    assert_true(all_zero(kept[i], 17 * i + 1));
    memset(kept[i], (int)(i + 1), 17 * i + 1);
  }
  for (u32 i = 0; i < 200; i++) { // none overlaps another
    for (u32 k = 0; k < 17 * i + 1; k++) assert_int_equal(kept[i][k], i + 1);
  }
  assert_true(arena_bytes(a) >= 200 * 199 / 2 * 17 + 200);
  assert_string_equal(arena_format(a, "%s-%d", "x", 3), "x-3");
  assert_string_equal(arena_text(a, "copy"), "copy");
  assert_non_null(arena_take(a, 0));
  arena_destroy(a);
  arena_destroy(NULL);
}

static void arena_rewinds(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const arena_mark empty = arena_save(a);
  u8 *first = arena_take(a, 100);
  memset(first, 1, 100);
  const arena_mark mark = arena_save(a);
  const size_t before = arena_bytes(a);
  for (u32 round = 0; round < 3; round++) {
    const size_t sizes[] = {1000, 70000, 300000, 20, 5000000};
    for (u32 i = 0; i < COUNT_OF(sizes); i++) {
      u8 *p = arena_take(a, sizes[i] + round * 100000);
      assert_true(all_zero(p, sizes[i] + round * 100000)); // also where a former round wrote
      memset(p, 0xAB, sizes[i] + round * 100000);
    }
    arena_rewind(a, mark);
    assert_int_equal(arena_bytes(a), before);
  }
  assert_int_equal(first[99], 1);
  arena_rewind(a, empty);
  assert_int_equal(arena_bytes(a), 0);
  u8 *again = arena_take(a, 100);
  assert_ptr_equal(again, first);
  assert_true(all_zero(again, 100));
  arena_destroy(a);
}

static void take_after_seal(void) {
  arena *a = arena_create("test");
  arena_take(a, 10);
  arena_seal(a);
  arena_take(a, 10);
}

static void take_too_much(void) {
  arena_take(arena_create("test"), SIZE_MAX - 100);
}

static void rewind_forwards(void) {
  arena *a = arena_create("test");
  arena_take(a, 10);
  arena_rewind(a, (arena_mark){0, 4096});
}

static void arena_misuse_is_a_bug(void **state) {
  (void)state;
  assert_int_equal(exit_of(take_after_seal), 1);
  assert_int_equal(exit_of(take_too_much), 1);
  assert_int_equal(exit_of(rewind_forwards), 1);
}

static void arena_big_takes_fail_in_words(void **state) {
  (void)state;
  arena *a = arena_create("test");
  status st = {0};
  assert_non_null(arena_take_big(a, 1 << 20, "activations", &st));
  assert_true(status_ok(&st));
  assert_null(arena_take_big(a, SIZE_MAX / 2 + 1, "activations", &st));
  assert_int_equal(st.code, CODE_CONFIG);
  assert_true(text_starts(st.text, "activations needs 9223372036854775808 bytes"));
  assert_non_null(arena_take(a, 10)); // still usable
  arena_destroy(a);
}

// ---- hash and random

static void hash_is_fnv_1a(void **state) {
  (void)state;
  assert_int_equal(hash_bytes(HASH_START, "", 0), HASH_START);
  assert_true(hash_bytes(HASH_START, "a", 1) == 0xaf63dc4c8601ec8cull); // published vectors
  assert_true(hash_bytes(HASH_START, "foobar", 6) == 0x85944171f73967e8ull);
  assert_true(hash_bytes(hash_bytes(HASH_START, "foo", 3), "bar", 3) == 0x85944171f73967e8ull);
  assert_true(hash_text(HASH_START, "foobar") == hash_bytes(HASH_START, "foobar", 7));
  const u8 little[8] = {8, 7, 6, 5, 4, 3, 2, 1};
  assert_true(hash_u64(HASH_START, 0x0102030405060708ull) == hash_bytes(HASH_START, little, 8));
}

static void assert_block(u64 key, const u32 counter[4], const u32 wanted[4]) {
  u32 got[4];
  const u64 index = (u64)counter[1] << 32 | counter[0];
  random_block(key, (random_purpose)counter[3], counter[2], index, got);
  assert_memory_equal(got, wanted, sizeof got);
}

// Known answers of Random123 1.09, file kat_vectors, philox4x32 10.
static void philox_known_answers(void **state) {
  (void)state;
  assert_block(0, (u32[]){0, 0, 0, 0}, (u32[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  assert_block(~0ull, (u32[]){~0u, ~0u, ~0u, ~0u},
               (u32[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  assert_block(0x299f31d0a4093822ull, (u32[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
               (u32[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void random_draws_have_their_moments(void **state) {
  (void)state;
  enum { N = 100000 };
  double sum = 0, squares = 0, fourth = 0, unit = 0;
  u32 counts[7] = {0};
  for (u32 i = 0; i < N; i++) {
    const double x = random_normal(1, RANDOM_TEST, 2, i), u = random_unit(1, RANDOM_TEST, 3, i);
    assert_true(isfinite(x) && u >= 0 && u < 1);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
    unit += u;
    counts[random_below(1, RANDOM_TEST, 4, i, 7)]++;
  }
  // Five standard deviations of each estimate.
  assert_true(fabs(sum / N) < 5 / sqrt(N));
  assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
  assert_true(fabs(fourth / N - 3) < 5 * sqrt(96.0 / N));
  assert_true(fabs(unit / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
  for (u32 i = 0; i < 7; i++) assert_true(fabs(counts[i] - N / 7.0) < 5 * sqrt(N * 6.0 / 49));
  assert_int_equal(random_below(9, RANDOM_TEST, 0, 0, 1), 0);
}

// The own logarithm and cosine against the C library's.
static void normal_is_box_muller(void **state) {
  (void)state;
  for (u32 i = 0; i < 10000; i++) {
    u32 w[4];
    random_block(5, RANDOM_TEST, 1, i, w);
    const double u = ((double)(((u64)w[1] << 32 | w[0]) >> 11) + 1) * 0x1p-53;
    const double v = (double)(((u64)w[3] << 32 | w[2]) >> 11) * 0x1p-53;
    const double wanted = sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
    assert_true(fabs(random_normal(5, RANDOM_TEST, 1, i) - wanted) < 1e-14);
  }
}

static void random_depends_on_every_argument(void **state) {
  (void)state;
  const u64 n = 1ull << 62;
  const u64 base = random_below(1, RANDOM_INIT, 1, 1, n);
  assert_true(base == random_below(1, RANDOM_INIT, 1, 1, n));
  assert_true(base != random_below(2, RANDOM_INIT, 1, 1, n));
  assert_true(base != random_below(1 | 1ull << 40, RANDOM_INIT, 1, 1, n));
  assert_true(base != random_below(1, RANDOM_BATCH, 1, 1, n));
  assert_true(base != random_below(1, RANDOM_INIT, 2, 1, n));
  assert_true(base != random_below(1, RANDOM_INIT, 1, 2, n));
  assert_true(base != random_below(1, RANDOM_INIT, 1, 1 | 1ull << 40, n));
}

// ---- files

static char folder[256];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/weft-test-XXXXXX");
  return mkdtemp(folder) ? 0 : 1;
}

static int drop_folder(void **state) {
  (void)state;
  char command[300];
  static const char *const left[] = {"a/b/c", "a/b", "a", "file", "file.partial", "empty", "pipe", ""};
  for (u32 i = 0; i < COUNT_OF(left); i++) {
    snprintf(command, sizeof command, "%s/%s", folder, left[i]);
    remove(command);
  }
  return 0;
}

static const char *in_folder(const char *name) {
  static char path[2][400];
  static u32 turn;
  turn ^= 1;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static void assert_content(const char *path, const char *wanted) {
  arena *a = arena_create("test");
  status st = {0};
  char *data = NULL;
  size_t size = 99;
  assert_true(file_read(path, a, &data, &size, &st));
  assert_int_equal(size, strlen(wanted));
  assert_string_equal(data, wanted);
  arena_destroy(a);
}

static void files_land_whole(void **state) {
  (void)state;
  status st = {0};
  const char *path = in_folder("file");
  assert_true(file_write(path, "one", 3, &st));
  assert_content(path, "one");
  file_writer w;
  assert_true(file_begin(&w, path, &st) && file_put(&w, "second", 6, &st));
  assert_content(path, "one"); // not before the commit
  assert_true(file_exists(in_folder("file.partial")));
  assert_true(file_commit(&w, &st));
  assert_content(path, "second");
  assert_true(file_begin(&w, path, &st) && file_put(&w, "third", 5, &st));
  file_abandon(&w);
  assert_content(path, "second");
  assert_false(file_exists(in_folder("file.partial")));
}

// A full disk, by way of /dev/full behind the name that is written first.
static void a_failed_write_leaves_the_old_file(void **state) {
  (void)state;
  status st = {0};
  assert_true(file_write(in_folder("file"), "old", 3, &st));
  assert_int_equal(symlink("/dev/full", in_folder("file.partial")), 0);
  assert_false(file_write(in_folder("file"), "new", 3, &st));
  assert_int_equal(st.code, CODE_IO);
  assert_non_null(strstr(st.text, "/file: writing failed: No space left"));
  assert_content(in_folder("file"), "old");
  assert_false(file_exists(in_folder("file.partial")));

  status_clear(&st);
  static u8 much[1 << 20];
  assert_int_equal(symlink("/dev/full", in_folder("file.partial")), 0);
  file_writer w;
  assert_true(file_begin(&w, in_folder("file"), &st));
  assert_false(file_put(&w, much, sizeof much, &st));
  assert_false(file_put(&w, much, 1, &st)); // and no crash when the caller goes on
  assert_false(file_commit(&w, &st));
  assert_content(in_folder("file"), "old");
}

static void missing_places_have_codes(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  char *data = (char *)&st;
  size_t size = 5;
  assert_false(file_read(in_folder("none"), a, &data, &size, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  assert_ptr_equal(data, &st); // outputs are untouched on failure
  assert_int_equal(size, 5);
  status_clear(&st);
  assert_false(file_read(folder, a, &data, &size, &st));
  assert_int_equal(st.code, CODE_IO);
  status_clear(&st);
  assert_false(file_write(in_folder("none/file"), "x", 1, &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
  status_clear(&st);
  char path[2000];
  memset(path, 'x', sizeof path - 1);
  path[sizeof path - 1] = 0;
  assert_false(file_write(path, "x", 1, &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
  arena_destroy(a);
}

static void folders_are_made(void **state) {
  (void)state;
  status st = {0};
  assert_true(file_make_dirs(in_folder("a/b/c"), &st));
  assert_true(file_make_dirs(in_folder("a/b//c/"), &st)); // again is fine
  struct stat info;
  assert_int_equal(stat(in_folder("a/b/c"), &info), 0);
  assert_true(S_ISDIR(info.st_mode));
  assert_true(file_write(in_folder("file"), "x", 1, &st));
  assert_false(file_make_dirs(in_folder("file/d"), &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
}

static void files_map(void **state) {
  (void)state;
  status st = {0};
  const void *data = NULL;
  size_t size = 0;
  assert_true(file_write(in_folder("file"), "mapped", 6, &st));
  assert_true(file_map(in_folder("file"), &data, &size, &st));
  assert_int_equal(size, 6);
  assert_memory_equal(data, "mapped", 6);
  file_unmap(data, size);
  assert_true(file_write(in_folder("empty"), "", 0, &st));
  assert_true(file_map(in_folder("empty"), &data, &size, &st));
  assert_null(data);
  assert_int_equal(size, 0);
  file_unmap(data, size);
  assert_false(file_map(in_folder("none"), &data, &size, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  status_clear(&st);
  assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
  assert_false(file_map(in_folder("pipe"), &data, &size, &st)); // and no waiting for a writer
  assert_int_equal(st.code, CODE_NO_INPUT);
}

static void endless_files_are_refused(void **state) {
  (void)state;
  arena *a = arena_create("test");
  status st = {0};
  char *data = NULL;
  size_t size;
  assert_false(file_read("/dev/zero", a, &data, &size, &st));
  assert_int_equal(st.code, CODE_DATA);
  assert_null(data);
  arena_destroy(a);
}

static void clocks_go_forward(void **state) {
  (void)state;
  const double t = clock_seconds();
  usleep(2000);
  assert_true(clock_seconds() - t >= 0.002);
  assert_true(clock_unix_ms() > 1700000000000ll); // after 2023
}

// ---- embedded files and the log

static void embedded_files_are_the_sources(void **state) {
  (void)state;
  for (u32 i = 1; i < embed_count(); i++) {
    assert_true(strcmp(embed_get(i - 1)->name, embed_get(i)->name) < 0);
  }
  for (u32 i = 0; i < embed_count(); i++)
    assert_ptr_equal(embed_find(embed_get(i)->name), embed_get(i));
  assert_null(embed_find("none"));
  const embed_file *corpus = embed_find("corpus.txt");
  assert_non_null(corpus);
  assert_non_null(memmem(corpus->data, corpus->size, "==== base/embed.c\n//", 20));
  assert_non_null(memmem(corpus->data, corpus->size, "==== tests/test_base.c\n//", 25));
  arena *a = arena_create("test");
  status st = {0};
  char *page = NULL;
  size_t size = 0;
  assert_true(file_read(WEFT_SOURCE_DIR "/base/embed.c", a, &page, &size, &st));
  assert_non_null(memmem(corpus->data, corpus->size, page, size));
  arena_destroy(a);
}

static char last_line[64];
static log_level last_level;

static void remember(log_level level, const char *line) {
  snprintf(last_line, sizeof last_line, "%s", line);
  last_level = level;
}

static void the_log_says_only_when_asked(void **state) {
  (void)state;
  log_say(LOG_WARN, "silence %d", 1);
  assert_string_equal(last_line, "");
  log_set_sink(remember);
  log_say(LOG_WARN, "step %d", 2);
  assert_string_equal(last_line, "step 2");
  assert_int_equal(last_level, LOG_WARN);
  log_set_sink(NULL);
  log_say(LOG_INFO, "step %d", 3);
  assert_string_equal(last_line, "step 2");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, drop_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(status_keeps_the_first_failure),
      cmocka_unit_test(bugs_reach_the_handler),
      cmocka_unit_test(text_grows),
      cmocka_unit_test(text_finds_near_words),
      cmocka_unit_test(numbers_for_people),
      cmocka_unit_test(arena_gives_aligned_zeros),
      cmocka_unit_test(arena_rewinds),
      cmocka_unit_test(arena_misuse_is_a_bug),
      cmocka_unit_test(arena_big_takes_fail_in_words),
      cmocka_unit_test(hash_is_fnv_1a),
      cmocka_unit_test(philox_known_answers),
      cmocka_unit_test(random_draws_have_their_moments),
      cmocka_unit_test(normal_is_box_muller),
      cmocka_unit_test(random_depends_on_every_argument),
      IN_FOLDER(files_land_whole),
      IN_FOLDER(a_failed_write_leaves_the_old_file),
      IN_FOLDER(missing_places_have_codes),
      IN_FOLDER(folders_are_made),
      IN_FOLDER(files_map),
      cmocka_unit_test(clocks_go_forward),
      cmocka_unit_test(endless_files_are_refused),
      cmocka_unit_test(embedded_files_are_the_sources),
      cmocka_unit_test(the_log_says_only_when_asked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Traces: what is written comes back, a cut anywhere is noticed, and the bytes are what Perfetto reads
// (checked by a small protobuf walk of this file's own).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/random.h"
#include "traces/protobuf.h"
#include "traces/trace_walk.h"

static char folder[] = "/tmp/weft-trace-XXXXXX";

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder); // every test leaves it empty
}

static const char *path_of(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static trace_slice slice(trace_track track, const char *name, i64 start_ns, i64 end_ns) {
  return (trace_slice){.track = track, .name = name, .category = "phase", .start_ns = start_ns, .end_ns = end_ns};
}

static void add(trace *t, trace_track track, const char *name, i64 start_ns, i64 end_ns) {
  const trace_slice s = slice(track, name, start_ns, end_ns);
  trace_add_slice(t, &s);
}

static void finish(trace *t) {
  status st = {0};
  assert_true(trace_finish(t, &st));
  assert_true(status_ok(&st));
}

static trace_info inspect(const char *path) {
  status st = {0};
  trace_info info = {0};
  if (!trace_inspect(path, &info, &st)) fail_msg("%s", st.text);
  return info;
}

// Without the sync of file_write, which thousands of small files would wait for.
static void put_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

// Two rows with nested slices in no order, two counters.
static void write_small(const char *path) {
  status st = {0};
  trace *t = trace_create(path, 0, &st);
  assert_non_null(t);
  const trace_track wafer = trace_add_track(t, 0, "wafer");
  const trace_track row = trace_add_track(t, wafer, "row 0");
  const trace_track other = trace_add_track(t, wafer, "row 1");
  const trace_track power = trace_add_counter(t, 0, "power", "W");
  const trace_track memory = trace_add_counter(t, wafer, "sram", "bytes");
  add(t, row, "matmul", 10, 20);
  const trace_arg args[] = {{"bound by", "edge I/O", 0}, {"words", NULL, 4096}, {"rate", NULL, 0.25}};
  trace_slice s = slice(row, "layer", 0, 30);
  s.args = args;
  s.arg_count = COUNT_OF(args);
  trace_add_slice(t, &s);
  add(t, row, "matmul", 20, 28);
  add(t, row, "drain", 28, 28);
  add(t, other, "layer", 5, 1005);
  trace_add_value(t, power, 7, 23000.5);
  trace_add_value(t, power, 3, 1);
  trace_add_value(t, memory, 3, 48128);
  finish(t);
}

static void comes_back_as_written(void **state) {
  (void)state;
  const char *path = path_of("small.pftrace");
  write_small(path);
  const trace_info info = inspect(path);
  assert_int_equal(info.tracks, 3);
  assert_int_equal(info.counters, 2);
  assert_int_equal(info.slices, 5);
  assert_int_equal(info.counter_values, 3);
  assert_int_equal(info.packets, 1 + 5 + 2 * 5 + 3 + 1);
  assert_int_equal(info.first_ns, 0);
  assert_int_equal(info.last_ns, 1005);
  assert_false(info.truncated);
  assert_false(info.budget_cut);
  char partial[300];
  snprintf(partial, sizeof partial, "%s.partial", path);
  assert_false(file_exists(partial));
  unlink(path);
}

static void totals_add_up(void **state) {
  (void)state;
  const char *path = path_of("totals.pftrace");
  write_small(path);
  arena *a = arena_create("test");
  status st = {0};
  const trace_total *rows;
  u32 count;
  assert_true(trace_totals(path, a, &rows, &count, &st));
  assert_int_equal(count, 4);
  assert_string_equal(rows[0].track, "wafer/row 1");
  assert_string_equal(rows[0].name, "layer");
  assert_true(rows[0].total_ns == 1000 && rows[0].count == 1 && rows[0].longest_ns == 1000);
  assert_string_equal(rows[1].track, "wafer/row 0");
  assert_true(rows[1].total_ns == 30);
  assert_string_equal(rows[2].name, "matmul");
  assert_true(rows[2].count == 2 && rows[2].total_ns == 18 && rows[2].longest_ns == 10);
  assert_string_equal(rows[3].name, "drain");
  assert_true(rows[3].count == 1 && rows[3].total_ns == 0);
  arena_destroy(a);
  unlink(path);
}

// ---- the bytes, without weft's reader

typedef struct walk {
  u32 packets, begins, ends, values, names, needs_state, depth, deepest;
  u64 first_flags, last_ns;
  bool ordered, categories;
  char order[4096]; // begins and ends of the track looked at
  u64 track;
} walk;

static u64 varint(const u8 **at) {
  u64 value = 0;
  for (u32 shift = 0;; shift += 7) {
    const u8 byte = *(*at)++;
    value |= (u64)(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

static void walk_event(walk *w, const u8 *at, const u8 *end) {
  u64 type = 0, track = 0;
  bool category = false;
  while (at < end) {
    const u64 tag = varint(&at);
    if ((tag & 7) == 0) {
      const u64 value = varint(&at);
      if (tag >> 3 == 9) type = value;
      if (tag >> 3 == 11) track = value;
    } else if ((tag & 7) == 1) {
      assert_int_equal(tag >> 3, 44); // double_counter_value
      at += 8;
    } else {
      assert_int_equal(tag & 7, 2);
      const u64 size = varint(&at);
      category = category || tag >> 3 == 22;
      at += size;
    }
  }
  assert_ptr_equal(at, end);
  w->categories = w->categories && category;
  w->begins += type == 1;
  w->ends += type == 2;
  w->values += type == 4;
  if (track == w->track && (type == 1 || type == 2)) strcat(w->order, type == 1 ? "(" : ")");
}

static void walk_packets(walk *w, const u8 *at, const u8 *end);

static void walk_inflated(walk *w, const u8 *bytes, u64 size) {
  assert_true(size < 512 << 10);
  uLongf room = 8 << 20;
  u8 *out = malloc(room);
  assert_int_equal(uncompress(out, &room, bytes, (uLong)size), Z_OK);
  assert_true(room < 512 << 10);
  walk_packets(w, out, out + room);
  free(out);
}

static void walk_packet(walk *w, const u8 *at, const u8 *end) {
  u64 time = UINT64_MAX, flags = 0, sequence = 0;
  bool named = false;
  while (at < end) {
    const u64 tag = varint(&at), value = varint(&at); // a number or a length: no other kinds here
    if (tag == (8 << 3 | 0)) time = value;
    if (tag == (10 << 3 | 0)) sequence = value;
    if (tag == (13 << 3 | 0)) flags = value;
    if ((tag & 7) != 2) continue;
    if (tag >> 3 == 50) {
      walk_inflated(w, at, value);
      return;
    }
    if (tag >> 3 == 12) named = true;
    if (tag >> 3 == 11) walk_event(w, at, at + value);
    at += value;
  }
  assert_ptr_equal(at, end);
  assert_true(sequence != 0);
  if (w->packets++ == 0) w->first_flags = flags;
  w->names += named;
  w->needs_state += flags == 2;
  assert_true(!named || flags == 2);
  if (time == UINT64_MAX) return;
  w->ordered = w->ordered && time >= w->last_ns;
  w->last_ns = time;
}

static void walk_packets(walk *w, const u8 *at, const u8 *end) {
  while (at < end) {
    assert_int_equal(varint(&at), 1 << 3 | 2);
    const u64 size = varint(&at);
    assert_true(size <= (u64)(end - at));
    walk_packet(w, at, at + size);
    at += size;
  }
  assert_ptr_equal(at, end);
}

static walk walk_file(const char *path, u64 track) {
  status st = {0};
  const void *data;
  size_t size;
  walk w = {.ordered = true, .categories = true, .track = track};
  assert_true(file_map(path, &data, &size, &st));
  walk_packets(&w, data, (const u8 *)data + size);
  file_unmap(data, size);
  return w;
}

static void bytes_follow_the_format(void **state) {
  (void)state;
  const char *path = path_of("bytes.pftrace");
  write_small(path);
  const walk w = walk_file(path, 3); // uuid 1 is the root, 2 the wafer, 3 row 0
  assert_int_equal(w.packets, 20);
  assert_int_equal(w.begins, 5);
  assert_int_equal(w.ends, 5);
  assert_int_equal(w.values, 3);
  assert_int_equal(w.names, 3);       // layer, matmul, drain: each where it is first used
  assert_int_equal(w.needs_state, 5); // every begin names its event by iid
  assert_int_equal(w.first_flags, 3);
  assert_true(w.ordered);
  assert_true(w.categories);
  assert_string_equal(w.order, "(()()())");
  unlink(path);
}

// A literal: the whole of a tiny trace's summary packet, as Perfetto's proto would encode it.
static void summary_is_literal(void **state) {
  (void)state;
  static const u8 expected[] = {0x50, 0x01,             // sequence 1
                                0x40, 0x09,             // at 9 ns
                                0x5a, 0x7d,             // track event
                                0x48, 0x03, 0x58, 0x01, // instant, on the root
                                0xb2, 0x01, 12,   'w',  'e',  'f', 't', '.', 's', 'u', 'm', 'm', 'a',  'r',
                                'y',  0xba, 0x01, 12,   'e',  'n', 'd', ' ', 'o', 'f', ' ', 't', 'r',  'a',
                                'c',  'e',  0x22, 10,   0x52, 6,   's', 'l', 'i', 'c', 'e', 's', 0x18, 1};
  const char *path = path_of("literal.pftrace");
  status st = {0};
  trace *t = trace_create(path, 0, &st);
  add(t, trace_add_track(t, 0, "a"), "b", 4, 9);
  finish(t);
  arena *a = arena_create("test");
  char *data;
  size_t size;
  assert_true(file_read(path, a, &data, &size, &st));
  const char *found = memmem(data, size, expected, 4);
  assert_non_null(found);
  assert_memory_equal(found + 6, expected + 6, sizeof expected - 6);
  arena_destroy(a);
  unlink(path);
}

// ---- cuts, budget, nesting, failures

static void every_cut_is_noticed(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s", path_of("cut.pftrace"));
  write_small(path);
  arena *a = arena_create("test");
  status st = {0};
  char *data;
  size_t size;
  assert_true(file_read(path, a, &data, &size, &st));
  for (size_t cut = 0; cut < size; cut++) {
    put_file(path, data, cut);
    assert_true(inspect(path).truncated);
  }
  put_file(path, data, size);
  assert_false(inspect(path).truncated);
  arena_destroy(a);
  unlink(path);
}

// A file of several frames that lost one in the middle, and one that was cut between two frames.
static void a_lost_frame_is_noticed(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s", path_of("frames.pftrace"));
  status st = {0};
  trace *t = trace_create(path, 0, &st);
  const trace_track track = trace_add_track(t, 0, "row");
  for (i64 i = 0; i < 60000; i++) add(t, track, i % 3 ? "even" : "odd", 10 * i, 10 * i + 7);
  finish(t);
  const walk w = walk_file(path, 0);
  assert_int_equal(w.begins, 60000);
  arena *a = arena_create("test");
  char *data;
  size_t size;
  assert_true(file_read(path, a, &data, &size, &st));
  size_t cuts[64];
  u32 frames = 0;
  const u8 *at = (const u8 *)data, *end = at + size;
  while (at < end) {
    cuts[frames++] = (size_t)(at - (const u8 *)data);
    at++;
    const u64 packet = varint(&at);
    at += packet;
  }
  assert_true(frames >= 5);
  put_file(path, data, cuts[3]);
  const trace_info cut = inspect(path);
  assert_true(cut.truncated && cut.slices > 10000 && cut.slices < 60000);
  memmove(data + cuts[2], data + cuts[3], size - cuts[3]);
  put_file(path, data, size - (cuts[3] - cuts[2]));
  assert_true(inspect(path).truncated);
  arena_destroy(a);
  unlink(path);
}

static void damage_never_crashes(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s", path_of("damaged.pftrace"));
  write_small(path);
  arena *a = arena_create("test");
  status st = {0};
  char *data;
  size_t size;
  assert_true(file_read(path, a, &data, &size, &st));
  u32 refused = 0, truncated = 0;
  for (u32 i = 0; i < 2000; i++) {
    const size_t at = (size_t)random_below(1, RANDOM_TEST, 0, i, size);
    const char before = data[at];
    data[at] = (char)(before ^ (char)(1 + random_below(1, RANDOM_TEST, 1, i, 255)));
    put_file(path, data, size);
    trace_info info;
    status seen = {0};
    if (!trace_inspect(path, &info, &seen)) {
      assert_int_equal(seen.code, CODE_DATA);
      refused++;
    } else {
      truncated += info.truncated;
    }
    data[at] = before;
  }
  assert_true(refused > 500);
  assert_true(truncated > 0);
  arena_destroy(a);
  unlink(path);
}

static void budget_stops_and_says_so(void **state) {
  (void)state;
  const char *path = path_of("budget.pftrace");
  status st = {0};
  trace *t = trace_create(path, 100, &st);
  const trace_track track = trace_add_track(t, 0, "row");
  const trace_track counter = trace_add_counter(t, 0, "wavelets", NULL);
  for (i64 i = 0; i < 70; i++) add(t, track, "slice", i, i + 1);
  for (i64 i = 0; i < 70; i++) trace_add_value(t, counter, i, (double)i);
  finish(t);
  const trace_info info = inspect(path);
  assert_int_equal(info.slices, 70);
  assert_int_equal(info.counter_values, 30);
  assert_true(info.budget_cut);
  assert_false(info.truncated);
  unlink(path);
}

static void check_event(void *user, const trace_event *e) {
  char *order = user;
  if (e->kind == TRACE_EVENT_BEGIN) strcat(order, e->name);
  if (e->kind == TRACE_EVENT_END) strcat(order, ")");
  if (e->arg_count) {
    assert_string_equal(e->args[0].key, "n");
    assert_true(e->args[0].number == -3 && e->args[1].number == 0.1);
    assert_string_equal(e->args[2].text, "t");
  }
}

// At equal times: what ends goes first, then the outer begins before the inner, an empty one included.
static void nested_slices_keep_their_order(void **state) {
  (void)state;
  const char *path = path_of("nested.pftrace");
  status st = {0};
  trace *t = trace_create(path, 0, &st);
  const trace_track track = trace_add_track(t, 0, "row");
  const trace_arg args[] = {{"n", NULL, -3}, {"x", NULL, 0.1}, {"s", "t", 0}};
  add(t, track, "f", 10, 20);
  add(t, track, "c", 0, 5);
  add(t, track, "e", 10, 10);
  add(t, track, "d", 5, 10);
  add(t, track, "b", 0, 10);
  trace_slice outer = slice(track, "a", 0, 10);
  outer.args = args;
  outer.arg_count = COUNT_OF(args);
  trace_add_slice(t, &outer); // the same as b, but added later: inside of it
  finish(t);
  arena *a = arena_create("test");
  char order[256] = "";
  trace_info info;
  const trace_walker walker = {.event = check_event, .user = order};
  assert_true(trace_walk(path, &walker, a, &info, &st));
  assert_string_equal(order, "bac)d)))fe))");
  assert_int_equal(walk_file(path, 2).begins, 6);
  arena_destroy(a);
  unlink(path);
}

static void large_text_has_its_own_packet(void **state) {
  (void)state;
  const char *path = path_of("large.pftrace");
  status st = {0};
  char *large = malloc(600001);
  memset(large, 'x', 600000);
  large[600000] = 0;
  trace *t = trace_create(path, 0, &st);
  const trace_track track = trace_add_track(t, 0, "row");
  const trace_arg arg = {"text", large, 0};
  for (i64 i = 0; i < 3; i++) {
    trace_slice s = slice(track, "slice", 10 * i, 10 * i + 5);
    s.args = &arg;
    s.arg_count = i == 1;
    trace_add_slice(t, &s);
  }
  finish(t);
  assert_int_equal(walk_file(path, 0).begins, 3);
  assert_false(inspect(path).truncated);
  free(large);
  unlink(path);
}

static void empty_trace_is_whole(void **state) {
  (void)state;
  const char *path = path_of("empty.pftrace");
  status st = {0};
  finish(trace_create(path, 0, &st));
  const trace_info info = inspect(path);
  assert_false(info.truncated);
  assert_int_equal(info.packets, 2);
  unlink(path);
}

static void same_calls_same_bytes(void **state) {
  (void)state;
  char first[256];
  snprintf(first, sizeof first, "%s", path_of("one.pftrace"));
  write_small(first);
  const char *second = path_of("two.pftrace");
  write_small(second);
  arena *a = arena_create("test");
  status st = {0};
  char *x, *y;
  size_t nx, ny;
  assert_true(file_read(first, a, &x, &nx, &st));
  assert_true(file_read(second, a, &y, &ny, &st));
  assert_int_equal(nx, ny);
  assert_memory_equal(x, y, nx);
  arena_destroy(a);
  unlink(first);
  unlink(second);
}

static void the_world_answers_in_sentences(void **state) {
  (void)state;
  status st = {0};
  trace_info info;
  assert_null(trace_create("/nonexistent/x.pftrace", 0, &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
  status_clear(&st);
  const char *path = path_of("foreign");
  assert_false(trace_inspect(path, &info, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  status_clear(&st);
  put_file(path, "{\"traceEvents\":[]}", 18);
  assert_false(trace_inspect(path, &info, &st));
  assert_int_equal(st.code, CODE_DATA);
  assert_non_null(strstr(st.text, "is not a Perfetto trace"));
  unlink(path);
  status_clear(&st);
  trace *t = trace_create(path_of("left"), 0, &st);
  trace_abandon(t);
  assert_false(file_exists(path_of("left")));
  assert_false(file_exists(path_of("left.partial")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(comes_back_as_written),          cmocka_unit_test(totals_add_up),
      cmocka_unit_test(bytes_follow_the_format),        cmocka_unit_test(summary_is_literal),
      cmocka_unit_test(every_cut_is_noticed),           cmocka_unit_test(a_lost_frame_is_noticed),
      cmocka_unit_test(damage_never_crashes),           cmocka_unit_test(budget_stops_and_says_so),
      cmocka_unit_test(nested_slices_keep_their_order), cmocka_unit_test(large_text_has_its_own_packet),
      cmocka_unit_test(empty_trace_is_whole),           cmocka_unit_test(same_calls_same_bytes),
      cmocka_unit_test(the_world_answers_in_sentences),
  };
  return cmocka_run_group_tests_name("trace", tests, make_folder, remove_folder);
}

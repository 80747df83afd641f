// The safetensors reader is strict, and what it writes it reads back.
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/compute/safetensors.h"

typedef struct fixture {
  char folder[256], path[300];
  arena *a;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  support_folder(f->folder, sizeof f->folder);
  snprintf(f->path, sizeof f->path, "%s/x.safetensors", f->folder);
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

// Plain, as thousands of these need not survive a power cut.
static void put(fixture *f, const void *bytes, size_t n) {
  FILE *file = fopen(f->path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, n, file), n);
  assert_int_equal(fclose(file), 0);
}

// A file with this header and `data` zero bytes after it; returns its size.
static size_t compose(u8 *out, const char *header, size_t header_bytes, size_t data) {
  u64 length = header_bytes;
  memcpy(out, &length, 8);
  memcpy(out + 8, header, header_bytes);
  memset(out + 8 + header_bytes, 0, data);
  return 8 + header_bytes + data;
}

static void refused(fixture *f, const char *part) {
  status st = {0};
  st_file file, before;
  memset(&file, 0x5a, sizeof file);
  memcpy(&before, &file, sizeof file);
  support_failed(st_open(f->path, f->a, &file, &st), &st, CODE_DATA, part);
  assert_memory_equal(&file, &before, sizeof file);
}

static void round_trip(void **state) {
  fixture *f = *state;
  float w[6] = {1, -2, 3.5f, 0, 1e-38f, -INFINITY};
  u8 bytes[3] = {0, 7, 255};
  i64 whole[1] = {-5};
  const st_tensor out[] = {{.name = "h0.w \"quoted\" \xc3\xa9", .dtype = ST_F32, .dims = 2, .shape = {2, 3}, .data = w},
                           {.name = "bytes", .dtype = ST_U8, .dims = 1, .shape = {3}, .data = bytes},
                           {.name = "empty", .dtype = ST_F64, .dims = 2, .shape = {0, 4}, .data = w},
                           {.name = "scalar", .dtype = ST_I64, .dims = 0, .data = whole}};
  status st = {0};
  support_ok(st_write(f->path, out, COUNT_OF(out), "{\"format\": \"pt\", \"step\": \"12\"}", &st), &st);
  st_file file;
  support_ok(st_open(f->path, f->a, &file, &st), &st);
  assert_int_equal(file.count, 4);
  assert_string_equal(file.metadata, "{\"format\":\"pt\",\"step\":\"12\"}");
  const st_tensor *t = st_find(&file, out[0].name);
  assert_non_null(t);
  assert_int_equal(t->count, 6);
  assert_int_equal(t->dims, 2);
  assert_int_equal(t->shape[1], 3);
  assert_memory_equal(t->data, w, sizeof w);
  assert_true(st_value(t, 5) == -INFINITY);
  assert_true(st_value(st_find(&file, "bytes"), 2) == 255);
  assert_true(st_value(st_find(&file, "scalar"), 0) == -5);
  assert_int_equal(st_find(&file, "empty")->count, 0);
  assert_null(st_find(&file, "nothing"));
  st_close(&file);
  assert_int_equal(file.count, 0);
}

static void every_dtype(void **state) {
  fixture *f = *state;
  float f32 = -1.5f;
  double f64 = 1.0 / 3;
  u16 half[5] = {0xc100, 0x0001, 0x7c00, 0x3555, 0x8000}, brain[1] = {0xc049}, u16s[1] = {65535};
  i64 int64 = -1;
  u64 uint64 = 1ull << 40;
  i32 int32 = -7;
  u32 uint32 = UINT32_MAX;
  u8 byte = 9;
  const st_tensor out[] = {
      {.name = "a", .dtype = ST_F32, .data = &f32},   {.name = "b", .dtype = ST_F64, .data = &f64},
      {.name = "c", .dtype = ST_F16, .dims = 1, .shape = {5}, .data = half},
      {.name = "d", .dtype = ST_BF16, .data = brain}, {.name = "e", .dtype = ST_I64, .data = &int64},
      {.name = "f", .dtype = ST_U64, .data = &uint64}, {.name = "g", .dtype = ST_I32, .data = &int32},
      {.name = "h", .dtype = ST_U32, .data = &uint32}, {.name = "i", .dtype = ST_U16, .data = u16s},
      {.name = "j", .dtype = ST_U8, .data = &byte}};
  status st = {0};
  st_file file;
  support_ok(st_write(f->path, out, COUNT_OF(out), NULL, &st), &st);
  support_ok(st_open(f->path, f->a, &file, &st), &st);
  assert_string_equal(file.metadata, "{}");
  const double want[] = {-1.5, 1.0 / 3, -2.5, -3.140625, -1, 1099511627776.0, -7, 4294967295.0, 65535, 9};
  for (u32 i = 0; i < COUNT_OF(want); i++) assert_true(st_value(&file.tensors[i], 0) == want[i]);
  const st_tensor *halves = st_find(&file, "c");
  assert_true(st_value(halves, 1) == 0x1p-24);
  assert_true(isinf(st_value(halves, 2)));
  assert_true(st_value(halves, 3) == 0.333251953125);
  assert_true(st_value(halves, 4) == 0 && signbit(st_value(halves, 4)));
  st_close(&file);
}

typedef struct bad_header {
  const char *header;
  size_t data;
  const char *part;
} bad_header;

#define T(name, dtype, shape, offsets) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const bad_header bad_headers[] = {
    {"", 0, "not a safetensors file"},
    {"[]", 0, "does not start with '{'"},
    {" {}", 0, "does not start with '{'"},
    {"{", 0, "does not start"},
    {"{,}", 0, "not valid JSON"},
    {"{} x", 0, "not valid JSON"},
    {"{\"\xff\":1}", 0, "not valid JSON"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "not valid JSON: duplicate"},
    {"{" T("a", "F33", "[1]", "[0,4]") "}", 4, "\"a\" has dtype F33"},
    {"{" T("a", "f32", "[1]", "[0,4]") "}", 4, "\"a\" has dtype f32"},
    {"{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype (not a text)"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "exactly dtype, shape and data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "exactly dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"offsets\":[0,4]}}", 4, "needs two data_offsets"},
    {"{\"a\":7}", 4, "exactly dtype"},
    {"{" T("a", "F32", "4", "[0,4]") "}", 4, "shape of at most 4 numbers"},
    {"{" T("a", "F32", "[1,1,1,1,1]", "[0,4]") "}", 4, "shape of at most 4 numbers"},
    {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "shape that is not whole numbers"},
    {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, "shape that is not whole numbers"},
    {"{" T("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "shape that is not whole numbers"},
    {"{" T("a", "F32", "[99999999999999999999]", "[0,4]") "}", 4, "not valid JSON"},
    {"{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "product overflows"},
    {"{" T("a", "F64", "[4611686018427387904]", "[0,0]") "}", 0, "its shape and dtype want another"},
    {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "its shape and dtype want another number"},
    {"{" T("a", "F32", "[1]", "[0]") "}", 4, "needs two data_offsets"},
    {"{" T("a", "F32", "[1]", "[0,4,8]") "}", 4, "needs two data_offsets"},
    {"{" T("a", "F32", "[1]", "[0.0,4]") "}", 4, "data_offsets that are not whole"},
    {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, "data_offsets that are not whole"},
    {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "beyond the 4 bytes of data"},
    {"{" T("a", "F32", "[1]", "[4,8]") "}", 4, "beyond the 4 bytes of data"},
    {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, "a hole before tensor \"a\" at offset 4"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, "a hole before tensor \"b\""},
    {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", 8, "an overlap before tensor \"b\""},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, "an overlap before tensor"},
    {"{" T("a", "F32", "[1]", "[0,4]") "}", 5, "1 bytes after the last tensor"},
    {"{}", 3, "3 bytes after the last tensor"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ must hold texts"},
    {"{\"__metadata__\":{\"step\":1}}", 0, "__metadata__ must hold texts"},
};

static void strict(void **state) {
  fixture *f = *state;
  u8 bytes[1024];
  for (u32 i = 0; i < COUNT_OF(bad_headers); i++) {
    const bad_header *b = &bad_headers[i];
    put(f, bytes, compose(bytes, b->header, strlen(b->header), b->data));
    refused(f, b->part);
  }
  status st = {0};
  st_file file;
  support_failed(st_open("nowhere.safetensors", f->a, &file, &st), &st, CODE_NO_INPUT, "nowhere.safetensors");
}

static void lengths(void **state) {
  fixture *f = *state;
  u8 bytes[64] = {0};
  put(f, bytes, 0);
  refused(f, "0 bytes is too short");
  put(f, bytes, 7);
  refused(f, "7 bytes is too short");
  u64 length = 57;
  memcpy(bytes, &length, 8);
  put(f, bytes, 64);
  refused(f, "a header of 57 bytes does not fit");
  length = UINT64_MAX - 7;
  memcpy(bytes, &length, 8);
  put(f, bytes, 64);
  refused(f, "does not fit");
}

// Empty tensors, blanks after the header and tensors out of order are all within the format.
static void lenient_where_the_format_is(void **state) {
  fixture *f = *state;
  u8 bytes[1024];
  const char *header = "{" T("b", "F32", "[1]", "[4,8]") "," T("e", "F32", "[0]", "[4,4]") "," T(
      "a", "F32", "[]", "[0,4]") "}     ";
  put(f, bytes, compose(bytes, header, strlen(header), 8));
  status st = {0};
  st_file file;
  support_ok(st_open(f->path, f->a, &file, &st), &st);
  assert_int_equal(file.count, 3);
  assert_string_equal(file.tensors[0].name, "a");
  assert_string_equal(file.tensors[1].name, "e");
  assert_string_equal(file.tensors[2].name, "b");
  assert_true(st_value(&file.tensors[2], 0) == 0);
  st_close(&file);
}

// Whatever is damaged, the answer is a sentence or a file whose every tensor can be read.
static void damaged(void **state) {
  fixture *f = *state;
  u8 good[512], bytes[512];
  const char *header = "{\"__metadata__\":{\"k\":\"v\"}," T("a", "F32", "[2,1]", "[0,8]") "," T("b", "U16", "[3]", "[8,14]") "}";
  size_t n = compose(good, header, strlen(header), 14);
  for (size_t i = 0; i < n; i++)
    for (u32 bit = 0; bit < 9; bit++) {
      memcpy(bytes, good, n);
      if (bit < 8) bytes[i] = (u8)(bytes[i] ^ (1u << bit));
      put(f, bytes, bit == 8 ? i : n); // the ninth time cut off there
      status st = {0};
      st_file file;
      if (!st_open(f->path, f->a, &file, &st)) {
        assert_int_equal(st.code, CODE_DATA);
        assert_true(st.text[0] != 0);
        continue;
      }
      for (u32 t = 0; t < file.count; t++)
        for (u64 k = 0; k < file.tensors[t].count; k++) (void)st_value(&file.tensors[t], k);
      st_close(&file);
    }
}

static void failed_write_leaves_nothing(void **state) {
  fixture *f = *state;
  float w = 1;
  const st_tensor out = {.name = "w", .dtype = ST_F32, .data = &w};
  char path[400];
  snprintf(path, sizeof path, "%s/missing/x.safetensors", f->folder);
  status st = {0};
  support_failed(st_write(path, &out, 1, NULL, &st), &st, CODE_CANT_CREATE, "x.safetensors");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(round_trip), TEST(every_dtype), TEST(strict), TEST(lengths),
                                     TEST(lenient_where_the_format_is), TEST(damaged),
                                     TEST(failed_write_leaves_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Reading and writing safetensors. What a reader may rely on after st_open:
//  1. every tensor has a known dtype, at most ST_DIMS_MAX dimensions, and product of shape x size = bytes;
//  2. tensors are sorted by offset and cover the data from 0 to the exact end without hole or overlap;
//  3. data may be unaligned (the header's length is free), so values are read with memcpy.
#include "model/compute/safetensors.h"

#include "base/file.h"
#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 100 * 1000 * 1000, PREFIX = 8 };

static const struct {
  const char *name;
  u32 bytes;
} dtypes[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
              {"U64", 8}, {"I32", 4}, {"U32", 4}, {"U16", 2},  {"U8", 1}};

// What is being read: for messages and for the extent of the data.
typedef struct reader {
  const char *path;
  const u8 *data; // first byte after the header
  u64 data_bytes;
  arena *a;
} reader;

static bool read_dtype(const reader *r, const char *name, json_t *value, st_tensor *t, status *st) {
  const char *word = json_string_value(value);
  for (u32 i = 0; word && i < COUNT_OF(dtypes); i++)
    if (!strcmp(word, dtypes[i].name)) {
      t->dtype = (st_dtype)i;
      return true;
    }
  return status_fail(st, CODE_DATA, "%s: tensor \"%s\" has dtype %s, which is not read", r->path, name,
                     word ? word : "(not a text)");
}

static bool read_shape(const reader *r, const char *name, json_t *value, st_tensor *t, status *st) {
  if (!json_is_array(value) || json_array_size(value) > ST_DIMS_MAX)
    return status_fail(st, CODE_DATA, "%s: tensor \"%s\" needs a shape of at most %d numbers", r->path, name,
                       ST_DIMS_MAX);
  t->dims = (u32)json_array_size(value);
  t->count = 1;
  for (u32 d = 0; d < t->dims; d++) {
    json_t *extent = json_array_get(value, d);
    if (!json_is_integer(extent) || json_integer_value(extent) < 0)
      return status_fail(st, CODE_DATA, "%s: tensor \"%s\" has a shape that is not whole numbers from 0", r->path,
                         name);
    t->shape[d] = (u64)json_integer_value(extent);
    if (__builtin_mul_overflow(t->count, t->shape[d], &t->count))
      return status_fail(st, CODE_DATA, "%s: tensor \"%s\" has a shape whose product overflows", r->path, name);
  }
  return true;
}

static bool read_offsets(const reader *r, const char *name, json_t *value, st_tensor *t, status *st) {
  u64 at[2];
  if (!json_is_array(value) || json_array_size(value) != 2)
    return status_fail(st, CODE_DATA, "%s: tensor \"%s\" needs two data_offsets", r->path, name);
  for (u32 i = 0; i < 2; i++) {
    json_t *offset = json_array_get(value, i);
    if (!json_is_integer(offset) || json_integer_value(offset) < 0)
      return status_fail(st, CODE_DATA, "%s: tensor \"%s\" has data_offsets that are not whole numbers from 0",
                         r->path, name);
    at[i] = (u64)json_integer_value(offset);
  }
  if (at[0] > at[1] || at[1] > r->data_bytes)
    return status_fail(st, CODE_DATA, "%s: tensor \"%s\" lies at [%llu, %llu), beyond the %llu bytes of data",
                       r->path, name, (unsigned long long)at[0], (unsigned long long)at[1],
                       (unsigned long long)r->data_bytes);
  u64 bytes;
  if (__builtin_mul_overflow(t->count, (u64)dtypes[t->dtype].bytes, &bytes) || bytes != at[1] - at[0])
    return status_fail(st, CODE_DATA, "%s: tensor \"%s\" has %llu bytes, its shape and dtype want another number",
                       r->path, name, (unsigned long long)(at[1] - at[0]));
  t->data = r->data + at[0];
  return true;
}

static bool read_tensor(const reader *r, const char *name, json_t *entry, st_tensor *t, status *st) {
  t->name = arena_text(r->a, name);
  if (!json_is_object(entry) || json_object_size(entry) != 3)
    return status_fail(st, CODE_DATA, "%s: tensor \"%s\" needs exactly dtype, shape and data_offsets", r->path, name);
  return read_dtype(r, name, json_object_get(entry, "dtype"), t, st) &&
         read_shape(r, name, json_object_get(entry, "shape"), t, st) &&
         read_offsets(r, name, json_object_get(entry, "data_offsets"), t, st);
}

static bool read_metadata(const reader *r, json_t *metadata, const char **ret, status *st) {
  *ret = "{}";
  if (!metadata) return true;
  const char *key;
  json_t *value;
  bool ok = json_is_object(metadata);
  if (ok) json_object_foreach(metadata, key, value) ok = ok && json_is_string(value);
  if (!ok) return status_fail(st, CODE_DATA, "%s: __metadata__ must hold texts only", r->path);
  char *words = json_dumps(metadata, JSON_COMPACT);
  require(words != NULL);
  *ret = arena_text(r->a, words);
  free(words);
  return true;
}

static int by_offset(const void *x, const void *y) {
  const st_tensor *a = x, *b = y;
  if (a->data != b->data) return (const u8 *)a->data < (const u8 *)b->data ? -1 : 1;
  // Empty tensors come before the one that starts at the same place.
  return (a->count > b->count) - (a->count < b->count);
}

static bool check_cover(const reader *r, st_tensor *tensors, u32 count, status *st) {
  qsort(tensors, count, sizeof *tensors, by_offset);
  const u8 *end = r->data;
  for (u32 i = 0; i < count; i++) {
    const u8 *begin = tensors[i].data;
    if (begin != end)
      return status_fail(st, CODE_DATA, "%s: %s before tensor \"%s\" at offset %lld", r->path,
                         begin > end ? "a hole" : "an overlap", tensors[i].name, (long long)(begin - r->data));
    end = begin + tensors[i].count * dtypes[tensors[i].dtype].bytes;
  }
  u64 covered = (u64)(end - r->data);
  if (covered == r->data_bytes) return true;
  return status_fail(st, CODE_DATA, "%s: %llu bytes after the last tensor belong to none", r->path,
                     (unsigned long long)(r->data_bytes - covered));
}

static bool read_entries(const reader *r, json_t *header, st_file *f, status *st) {
  st_tensor *tensors = arena_array(r->a, st_tensor, json_object_size(header));
  const char *key;
  json_t *value;
  json_object_foreach(header, key, value) {
    if (!strcmp(key, "__metadata__")) continue;
    if (!read_tensor(r, key, value, &tensors[f->count++], st)) return false;
  }
  f->tensors = tensors;
  return check_cover(r, tensors, f->count, st) &&
         read_metadata(r, json_object_get(header, "__metadata__"), &f->metadata, st);
}

static bool read_header(const char *path, arena *a, st_file *f, status *st) {
  const u8 *bytes = f->map;
  u64 length = 0;
  if (f->map_size < PREFIX)
    return status_fail(st, CODE_DATA, "%s: %zu bytes is too short for a safetensors file", path, f->map_size);
  memcpy(&length, bytes, sizeof length);
  if (length > HEADER_MAX || length > f->map_size - PREFIX)
    return status_fail(st, CODE_DATA, "%s: a header of %llu bytes does not fit (file %zu bytes, limit 100 MB)", path,
                       (unsigned long long)length, f->map_size);
  if (length < 2 || bytes[PREFIX] != '{')
    return status_fail(st, CODE_DATA, "%s: the header does not start with '{' at offset 8; not a safetensors file",
                       path);
  json_error_t error;
  json_t *header = json_loadb((const char *)bytes + PREFIX, (size_t)length, JSON_REJECT_DUPLICATES, &error);
  if (!header)
    return status_fail(st, CODE_DATA, "%s: the header is not valid JSON: %s (byte %d)", path, error.text,
                       PREFIX + error.position);
  reader r = {path, bytes + PREFIX + length, f->map_size - PREFIX - length, a};
  bool ok = read_entries(&r, header, f, st);
  json_decref(header);
  return ok;
}

bool st_open(const char *path, arena *a, st_file *ret_file, status *st) {
  st_file f = {0};
  if (!file_map(path, &f.map, &f.map_size, st)) return false;
  if (!read_header(path, a, &f, st)) {
    st_close(&f);
    return false;
  }
  *ret_file = f;
  return true;
}

void st_close(st_file *f) {
  if (f->map) file_unmap(f->map, f->map_size);
  *f = (st_file){0};
}

const st_tensor *st_find(const st_file *f, const char *name) {
  for (u32 i = 0; i < f->count; i++)
    if (!strcmp(f->tensors[i].name, name)) return &f->tensors[i];
  return NULL;
}

static float float_of_bits(u32 bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static double half_value(u32 bits) {
  u32 exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude = exponent == 31  ? (double)float_of_bits(0x7f800000u | fraction << 13)
                     : exponent == 0 ? fraction * 0x1p-24
                                     : (double)float_of_bits((exponent + 112) << 23 | fraction << 13);
  return bits >> 15 ? -magnitude : magnitude;
}

double st_value(const st_tensor *t, u64 index) {
  require(index < t->count);
  union {
    u8 bytes[8];
    float f32;
    double f64;
    i64 int64;
    u64 uint64;
    i32 int32;
    u32 uint32;
    u16 uint16;
  } v = {{0}};
  u32 size = dtypes[t->dtype].bytes;
  memcpy(v.bytes, (const u8 *)t->data + index * size, size);
  switch (t->dtype) {
  case ST_F32: return (double)v.f32;
  case ST_F64: return v.f64;
  case ST_F16: return half_value(v.uint16);
  case ST_BF16: return (double)float_of_bits((u32)v.uint16 << 16);
  case ST_I64: return (double)v.int64;
  case ST_U64: return (double)v.uint64;
  case ST_I32: return v.int32;
  case ST_U32: return v.uint32;
  case ST_U16: return v.uint16;
  case ST_U8: return v.bytes[0];
  }
  bug_fail(__FILE__, __LINE__, "dtype has a case");
}

static u64 tensor_bytes(const st_tensor *t) {
  u64 count = 1;
  for (u32 d = 0; d < t->dims; d++) count *= t->shape[d];
  return count * dtypes[t->dtype].bytes;
}

// The header's JSON, padded with blanks so that the data starts at a multiple of eight.
static char *build_header(const st_tensor *tensors, u32 count, const char *metadata_json) {
  json_t *header = json_object();
  if (metadata_json) {
    json_t *metadata = json_loads(metadata_json, JSON_REJECT_DUPLICATES, NULL);
    require(json_is_object(metadata));
    json_object_set_new(header, "__metadata__", metadata);
  }
  u64 at = 0;
  for (u32 i = 0; i < count; i++) {
    const st_tensor *t = &tensors[i];
    json_t *shape = json_array();
    for (u32 d = 0; d < t->dims; d++) json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    u64 end = at + tensor_bytes(t);
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[t->dtype].name, "shape", shape,
                              "data_offsets", (json_int_t)at, (json_int_t)end);
    require(!json_object_get(header, t->name));
    require(json_object_set_new(header, t->name, entry) == 0);
    at = end;
  }
  char *words = json_dumps(header, JSON_COMPACT);
  json_decref(header);
  require(words != NULL);
  return words;
}

bool st_write(const char *path, const st_tensor *tensors, u32 count, const char *metadata_json, status *st) {
  char *header = build_header(tensors, count, metadata_json);
  u64 length = strlen(header), padding = (8 - length % 8) % 8, total = length + padding;
  file_writer w;
  bool ok = file_begin(&w, path, st);
  if (ok) {
    ok = file_put(&w, &total, sizeof total, st) && file_put(&w, header, length, st) &&
         file_put(&w, "        ", padding, st);
    for (u32 i = 0; ok && i < count; i++) ok = file_put(&w, tensors[i].data, tensor_bytes(&tensors[i]), st);
    if (ok)
      ok = file_commit(&w, st);
    else
      file_abandon(&w);
  }
  free(header);
  return ok;
}

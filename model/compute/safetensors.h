// The safetensors format, read strictly (size, header length, UTF-8 JSON without duplicate keys, dtype,
// shape, offsets, overflow, product = bytes, contiguous from 0 to the exact end) and written atomically.
#pragma once

#include "base/arena.h"

typedef enum { ST_F32, ST_F64, ST_F16, ST_BF16, ST_I64, ST_U64, ST_I32, ST_U32, ST_U16, ST_U8 } st_dtype;
enum { ST_DIMS_MAX = 4 };

typedef struct st_tensor {
  const char *name;
  st_dtype dtype;
  u32 dims;
  u64 shape[ST_DIMS_MAX];
  u64 count;        // product of shape
  const void *data; // inside the file's mapping, or the caller's when writing
} st_tensor;

typedef struct st_file {
  const st_tensor *tensors; // in file order
  u32 count;
  const char *metadata; // the __metadata__ object as JSON text, "{}" if absent
  const void *map;
  size_t map_size;
} st_file;

// CODE_NO_INPUT when missing, CODE_DATA with the offending tensor and rule otherwise.
bool st_open(const char *path, arena *a, st_file *ret_file, status *st);
void st_close(st_file *f);
const st_tensor *st_find(const st_file *f, const char *name); // NULL if absent
double st_value(const st_tensor *t, u64 index); // any dtype as a double
bool st_write(const char *path, const st_tensor *tensors, u32 count, const char *metadata_json, status *st);

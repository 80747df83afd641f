// The few pieces of the protobuf wire format that a trace needs, writing into a text and reading from
// bytes without copying them.
#pragma once

#include "base/text.h"

typedef enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 } pb_wire;

// ---- writing: one call per field
void pb_put_varint(text *out, u64 value); // bare, without a tag
void pb_put_u64(text *out, u32 field, u64 value);
void pb_put_double(text *out, u32 field, double value);
void pb_put_bytes(text *out, u32 field, const void *bytes, size_t n);
void pb_put_text(text *out, u32 field, const char *s);
// A nested message: what is written between open and close is its body.
size_t pb_open(text *out, u32 field);
void pb_close(text *out, size_t opened);

// ---- reading
typedef struct pb_reader {
  const u8 *at, *end;
  bool bad; // a tag, a number or a length that runs past the end, or a wire type nobody uses
} pb_reader;

typedef struct pb_field {
  u32 number;
  pb_wire wire;
  u64 value;       // PB_VARINT and the bits of the fixed ones
  const u8 *bytes; // PB_BYTES
  size_t size;
} pb_field;

pb_reader pb_read(const void *bytes, size_t n);
bool pb_next(pb_reader *r, pb_field *ret_field); // false at the end, and when bad
double pb_double(const pb_field *f);

// The protobuf wire format: tags, varints, fixed words, length-prefixed bytes.
#include "traces/protobuf.h"
#include <string.h>

enum { VARINT_MAX = 10 };

static u32 encode(u64 value, u8 out[VARINT_MAX]) {
  u32 n = 0;
  for (; value >= 128; value >>= 7) out[n++] = (u8)(value | 128);
  out[n++] = (u8)value;
  return n;
}

void pb_put_varint(text *out, u64 value) {
  u8 bytes[VARINT_MAX];
  text_add_bytes(out, bytes, encode(value, bytes));
}

static void put_tag(text *out, u32 field, pb_wire wire) {
  pb_put_varint(out, (u64)field << 3 | (u64)wire);
}

void pb_put_u64(text *out, u32 field, u64 value) {
  put_tag(out, field, PB_VARINT);
  pb_put_varint(out, value);
}

void pb_put_double(text *out, u32 field, double value) {
  u64 bits;
  u8 bytes[8];
  memcpy(&bits, &value, sizeof bits);
  for (u32 i = 0; i < 8; i++) bytes[i] = (u8)(bits >> (8 * i));
  put_tag(out, field, PB_FIXED64);
  text_add_bytes(out, bytes, sizeof bytes);
}

void pb_put_bytes(text *out, u32 field, const void *bytes, size_t n) {
  put_tag(out, field, PB_BYTES);
  pb_put_varint(out, n);
  text_add_bytes(out, bytes, n);
}

void pb_put_text(text *out, u32 field, const char *s) {
  pb_put_bytes(out, field, s, strlen(s));
}

size_t pb_open(text *out, u32 field) {
  put_tag(out, field, PB_BYTES);
  return out->size;
}

// The length is known only now: the body moves up to make room for it. Bodies are small.
void pb_close(text *out, size_t opened) {
  u8 length[VARINT_MAX];
  const size_t body = out->size - opened;
  const u32 n = encode(body, length);
  text_add_bytes(out, length, n);
  memmove(out->data + opened + n, out->data + opened, body);
  memcpy(out->data + opened, length, n);
}

pb_reader pb_read(const void *bytes, size_t n) {
  const u8 *at = bytes;
  return (pb_reader){at, n ? at + n : at, false};
}

static bool take_varint(pb_reader *r, u64 *ret_value) {
  u64 value = 0;
  for (u32 i = 0; i < VARINT_MAX && r->at < r->end; i++) {
    const u8 byte = *r->at++;
    value |= (u64)(byte & 127) << (7 * i);
    if (byte < 128) {
      *ret_value = value;
      return true;
    }
  }
  r->bad = true;
  return false;
}

static bool take_fixed(pb_reader *r, u32 n, u64 *ret_value) {
  if ((size_t)(r->end - r->at) < n) {
    r->bad = true;
    return false;
  }
  u64 value = 0;
  for (u32 i = 0; i < n; i++) value |= (u64)r->at[i] << (8 * i);
  r->at += n;
  *ret_value = value;
  return true;
}

bool pb_next(pb_reader *r, pb_field *ret_field) {
  u64 tag;
  if (r->bad || r->at == r->end || !take_varint(r, &tag)) return false;
  pb_field f = {.number = (u32)(tag >> 3), .wire = (pb_wire)(tag & 7)};
  bool ok = f.number > 0 && tag >> 3 < 1u << 29;
  switch (f.wire) {
  case PB_VARINT:
    ok = ok && take_varint(r, &f.value);
    break;
  case PB_FIXED64:
    ok = ok && take_fixed(r, 8, &f.value);
    break;
  case PB_FIXED32:
    ok = ok && take_fixed(r, 4, &f.value);
    break;
  case PB_BYTES:
    ok = ok && take_varint(r, &f.value) && f.value <= (u64)(r->end - r->at);
    if (!ok) break;
    f.bytes = r->at;
    f.size = (size_t)f.value;
    r->at += f.size;
    break;
  default:
    ok = false;
  }
  r->bad = !ok;
  if (ok) *ret_field = f;
  return ok;
}

double pb_double(const pb_field *f) {
  double value;
  memcpy(&value, &f->value, sizeof value);
  return value;
}

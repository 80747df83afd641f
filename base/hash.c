// FNV-1a, byte by byte: slow beside newer hashes, but its result is easy to recompute anywhere.
#include "base/hash.h"

#include <string.h>

u64 hash_bytes(u64 hash, const void *bytes, size_t n) {
  const u8 *p = bytes;
  for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001b3ull;
  return hash;
}

u64 hash_u64(u64 hash, u64 value) {
  u8 bytes[8];
  for (u32 i = 0; i < 8; i++) bytes[i] = (u8)(value >> (8 * i));
  return hash_bytes(hash, bytes, sizeof bytes);
}

u64 hash_text(u64 hash, const char *s) {
  return hash_bytes(hash, s, strlen(s) + 1);
}

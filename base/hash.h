// A 64-bit hash for identity (configurations, programs, data), not for security.
#pragma once

#include "base/types.h"

// Start with hash = HASH_START and chain: h = hash_bytes(h, p, n). The result depends on the bytes
// and their order only, not on how they were split over calls.
#define HASH_START 0xcbf29ce484222325ull
u64 hash_bytes(u64 hash, const void *bytes, size_t n); // FNV-1a
u64 hash_u64(u64 hash, u64 value);                      // little-endian bytes of value
u64 hash_text(u64 hash, const char *s);                 // the bytes and a terminating zero

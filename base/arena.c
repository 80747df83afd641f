// An arena is a list of blocks, each at least as large as the one before.
// Invariants:
//  1. Blocks before `current` are never taken from again until a rewind; blocks after it have used
//  = 0.
//  2. Bytes at and above a block's `dirty` mark are zero; those below are cleared when taken again.
//  3. Every block's memory starts at a multiple of 64, and `used` is a multiple of 64.
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 64, ARENA_FIRST_BYTES = 64 * 1024, ARENA_GROW_MAX_BYTES = 64 * 1024 * 1024 };

typedef struct arena_block {
  void *raw; // what calloc gave
  u8 *data;
  size_t size, used, dirty;
} arena_block;

struct arena {
  const char *name;
  arena_block *blocks;
  u32 count, room, current;
  bool sealed;
};

static _Noreturn void out_of_memory(const char *name, size_t bytes) {
  char what[256];
  snprintf(what, sizeof what, "out of memory: the %s arena wanted %zu bytes more", name, bytes);
  bug_fail(__FILE__, __LINE__, what);
}

arena *arena_create(const char *name) {
  arena *a = calloc(1, sizeof *a);
  if (!a) out_of_memory(name, sizeof *a);
  a->name = name;
  return a;
}

void arena_destroy(arena *a) {
  if (!a) return;
  for (u32 i = 0; i < a->count; i++) free(a->blocks[i].raw);
  free(a->blocks);
  free(a);
}

// calloc, not malloc and memset: large blocks then cost nothing until they are touched.
static bool block_open(arena_block *b, size_t size) {
  void *raw = size > SIZE_MAX - ARENA_ALIGN ? NULL : calloc(1, size + ARENA_ALIGN);
  if (!raw) return false;
  const size_t skip = (ARENA_ALIGN - (uintptr_t)raw % ARENA_ALIGN) % ARENA_ALIGN;
  *b = (arena_block){.raw = raw, .data = (u8 *)raw + skip, .size = size};
  return true;
}

static bool list_grow(arena *a) {
  if (a->count < a->room) return true;
  const u32 room = a->room ? 2 * a->room : 8;
  arena_block *blocks = realloc(a->blocks, room * sizeof *blocks);
  if (!blocks) return false;
  a->blocks = blocks;
  a->room = room;
  return true;
}

static size_t block_size(const arena *a, size_t bytes) {
  size_t size = ARENA_FIRST_BYTES;
  if (a->count) size = 2 * a->blocks[a->count - 1].size;
  if (size > ARENA_GROW_MAX_BYTES) size = ARENA_GROW_MAX_BYTES;
  return bytes > size ? bytes : size;
}

// Makes the current block one that has room for `bytes`, reusing blocks that a rewind left behind.
static bool make_room(arena *a, size_t bytes) {
  if (a->count) {
    const arena_block *b = &a->blocks[a->current];
    if (b->size - b->used >= bytes) return true;
    if (a->current + 1 < a->count) {
      arena_block *next = &a->blocks[a->current + 1];
      if (next->size < bytes) {
        arena_block larger;
        if (!block_open(&larger, bytes)) return false;
        free(next->raw);
        *next = larger;
      }
      a->current++;
      return true;
    }
  }
  if (!list_grow(a)) return false;
  if (!block_open(&a->blocks[a->count], block_size(a, bytes))) return false;
  a->current = a->count++;
  return true;
}

static void *try_take(arena *a, size_t bytes) {
  if (a->sealed) {
    char what[256];
    snprintf(what, sizeof what, "memory was wanted from the %s arena after it was sealed", a->name);
    bug_fail(__FILE__, __LINE__, what);
  }
  if (bytes > SIZE_MAX / 2) return NULL;
  bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  if (!make_room(a, bytes)) return NULL;
  arena_block *b = &a->blocks[a->current];
  u8 *data = b->data + b->used;
  if (b->dirty > b->used) {
    const size_t stale = b->dirty - b->used;
    memset(data, 0, stale < bytes ? stale : bytes);
  }
  b->used += bytes;
  if (b->dirty < b->used) b->dirty = b->used;
  return data;
}

void *arena_take(arena *a, size_t bytes) {
  void *data = try_take(a, bytes);
  if (!data) out_of_memory(a->name, bytes);
  return data;
}

void *arena_take_big(arena *a, size_t bytes, const char *what, status *st) {
  void *data = try_take(a, bytes);
  if (!data) {
    status_fail(st, CODE_CONFIG,
                "%s needs %zu bytes (%.1f GiB), more memory than this computer gives", what, bytes,
                (double)bytes / (1024.0 * 1024.0 * 1024.0));
  }
  return data;
}

char *arena_text(arena *a, const char *text) {
  const size_t bytes = strlen(text) + 1;
  return memcpy(arena_take(a, bytes), text, bytes);
}

char *arena_format(arena *a, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  const int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  require(n >= 0);
  char *out = arena_take(a, (size_t)n + 1);
  vsnprintf(out, (size_t)n + 1, format, again);
  va_end(again);
  return out;
}

void arena_seal(arena *a) {
  a->sealed = true;
}

arena_mark arena_save(const arena *a) {
  return (arena_mark){.block = a->current, .used = a->count ? a->blocks[a->current].used : 0};
}

void arena_rewind(arena *a, arena_mark mark) {
  require(!a->sealed);
  if (!a->count) return;
  require(mark.block <= a->current);
  require(mark.block < a->current || mark.used <= a->blocks[mark.block].used);
  for (u32 i = mark.block + 1; i <= a->current; i++) a->blocks[i].used = 0;
  a->blocks[mark.block].used = mark.used;
  a->current = mark.block;
}

size_t arena_bytes(const arena *a) {
  size_t bytes = 0;
  for (u32 i = 0; i < a->count; i++) bytes += a->blocks[i].used;
  return bytes;
}

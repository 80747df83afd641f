// Memory with one owner: taken piece by piece, given back all at once.
#pragma once

#include "base/status.h"

typedef struct arena arena;

// name appears in messages only and must outlive the arena.
arena *arena_create(const char *name);
void arena_destroy(arena *a); // NULL is fine

// Zeroed memory aligned to 64 bytes. Never NULL: a bug if the arena is sealed; running out of memory
// calls bug_fail with a sentence (use arena_take_big where the size comes from the user).
void *arena_take(arena *a, size_t bytes);

// As arena_take, but the failure is the world's: NULL and a sentence naming `what` and the size.
void *arena_take_big(arena *a, size_t bytes, const char *what, status *st);

#define arena_array(a, type, n) ((type *)arena_take((a), sizeof(type) * (size_t)(n)))

// A copy of text in the arena.
char *arena_text(arena *a, const char *text);
char *arena_format(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

// After this, taking memory is a bug: nothing is allocated while simulating.
void arena_seal(arena *a);

// Scratch use: everything taken after the mark is given back.
typedef struct arena_mark {
  u32 block;
  size_t used;
} arena_mark;
arena_mark arena_save(const arena *a);
void arena_rewind(arena *a, arena_mark mark);

size_t arena_bytes(const arena *a); // taken so far

// A growing text, and the small text functions that everyone needs.
#pragma once

#include "base/types.h"
#include <stdarg.h>

// Zero-initialise before use, text_free after. `data` is NUL-terminated once anything was added
// (use text_get for "" otherwise).
typedef struct text {
  char *data;
  size_t size, room;
} text;

void text_add(text *t, const char *s);
void text_add_bytes(text *t, const void *bytes, size_t n);
void text_format(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *text_get(const text *t);
void text_clear(text *t);
void text_free(text *t);

// Levenshtein distance, for "did you mean".
u32 text_distance(const char *a, const char *b);

// The candidate nearest to `word`, or NULL when none is near enough to be worth saying.
const char *text_nearest(const char *word, const char *const *candidates, u32 count);

// "1.23 M", "48.0 KiB", "2 h 05 min": for people, never for machines. Writes into out, returns out.
char *text_si(double value, const char *unit, char *out, size_t room);
char *text_bytes(double bytes, char *out, size_t room);
char *text_duration(double seconds, char *out, size_t room);
bool text_starts(const char *s, const char *prefix);
bool text_ends(const char *s, const char *suffix);

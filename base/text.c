// A growing text, nearest words, and numbers written for people.
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_reserve(text *t, size_t more) {
  const size_t wanted = t->size + more + 1;
  require(wanted > t->size);
  if (wanted <= t->room) return;
  size_t room = t->room ? 2 * t->room : 64;
  if (room < wanted) room = wanted;
  char *data = realloc(t->data, room);
  if (!data) bug_fail(__FILE__, __LINE__, "out of memory for a text");
  t->data = data;
  t->room = room;
}

void text_add_bytes(text *t, const void *bytes, size_t n) {
  text_reserve(t, n);
  if (n) memcpy(t->data + t->size, bytes, n);
  t->size += n;
  t->data[t->size] = 0;
}

void text_add(text *t, const char *s) {
  text_add_bytes(t, s, strlen(s));
}

void text_format(text *t, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  const int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  require(n >= 0);
  text_reserve(t, (size_t)n);
  vsnprintf(t->data + t->size, (size_t)n + 1, format, again);
  va_end(again);
  t->size += (size_t)n;
}

const char *text_get(const text *t) {
  return t->data ? t->data : "";
}

void text_clear(text *t) {
  t->size = 0;
  if (t->data) t->data[0] = 0;
}

void text_free(text *t) {
  free(t->data);
  *t = (text){0};
}

enum { DISTANCE_MAX = 256 }; // longer words are cut: nobody mistypes a key of that length

u32 text_distance(const char *a, const char *b) {
  u32 row[DISTANCE_MAX + 1];
  const size_t na = strnlen(a, DISTANCE_MAX), nb = strnlen(b, DISTANCE_MAX);
  for (u32 j = 0; j <= nb; j++) row[j] = j;
  for (u32 i = 1; i <= na; i++) {
    u32 diagonal = row[0];
    row[0] = i;
    for (u32 j = 1; j <= nb; j++) {
      const u32 above = row[j];
      u32 best = diagonal + (a[i - 1] != b[j - 1]);
      if (above + 1 < best) best = above + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
      diagonal = above;
    }
  }
  return row[nb];
}

// Near enough: one slip, and one more for each four letters; and never a wholly different word.
const char *text_nearest(const char *word, const char *const *candidates, u32 count) {
  const char *nearest = NULL;
  const u32 length = (u32)strnlen(word, DISTANCE_MAX);
  u32 best = 1 + length / 4;
  for (u32 i = 0; i < count; i++) {
    const u32 distance = text_distance(word, candidates[i]);
    if (distance >= length && distance > 0) continue;
    if (distance < best || (distance == best && !nearest)) {
      best = distance;
      nearest = candidates[i];
    }
  }
  return nearest;
}

char *text_si(double value, const char *unit, char *out, size_t room) {
  static const char *const prefixes[] = {"p", "n", "u", "m", "", "k", "M", "G", "T", "P", "E"};
  const u32 plain = 4;
  u32 at = plain;
  double v = value;
  // 999.5 rather than 1000: three digits would otherwise round up to "1e+03".
  while (isfinite(v) && fabs(v) >= 999.5 && at + 1 < COUNT_OF(prefixes)) v /= 1000, at++;
  while (v != 0 && fabs(v) < 0.9995 && at > 0) v *= 1000, at--;
  const char *gap = prefixes[at][0] || unit[0] ? " " : "";
  const int digits = !isfinite(v) || at == plain || fabs(v) >= 99.95 ? -1
                     : fabs(v) >= 9.995                              ? 1
                                                                     : 2;
  if (digits < 0) {
    snprintf(out, room, "%.3g%s%s%s", v, gap, prefixes[at], unit);
  } else {
    snprintf(out, room, "%.*f%s%s%s", digits, v, gap, prefixes[at], unit);
  }
  return out;
}

char *text_bytes(double bytes, char *out, size_t room) {
  static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  u32 at = 0;
  double v = bytes;
  while (fabs(v) >= 1023.95 && at + 1 < COUNT_OF(names)) v /= 1024, at++;
  snprintf(out, room, "%.*f %s", at ? 1 : 0, v, names[at]);
  return out;
}

char *text_duration(double seconds, char *out, size_t room) {
  if (!(seconds >= 59.95) || !(seconds < 1e15)) {
    text_si(seconds, "s", out, room);
    return out;
  }
  const u64 s = (u64)(seconds + 0.5);
  const u64 days = s / 86400, hours = s / 3600, minutes = s / 60;
  if (days) {
    snprintf(out, room, "%llu d %02llu h", (unsigned long long)days,
             (unsigned long long)(hours % 24));
  } else if (hours) {
    snprintf(out, room, "%llu h %02llu min", (unsigned long long)hours,
             (unsigned long long)(minutes % 60));
  } else {
    snprintf(out, room, "%llu min %02llu s", (unsigned long long)minutes,
             (unsigned long long)(s % 60));
  }
  return out;
}

bool text_starts(const char *s, const char *prefix) {
  return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_ends(const char *s, const char *suffix) {
  const size_t n = strlen(s), k = strlen(suffix);
  return n >= k && strcmp(s + n - k, suffix) == 0;
}

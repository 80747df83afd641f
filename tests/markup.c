// A small scanner for well-formed markup: elements, attributes, text; no entities but the usual five.
#include "markup.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

typedef struct scan {
  const char *at;
  const char *names[DEPTH_MAX];
  size_t lengths[DEPTH_MAX];
  u32 depth;
  const char *wrong;
} scan;

static bool is_entity(const char *p) {
  static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
  for (u32 i = 0; i < COUNT_OF(known); i++)
    if (text_starts(p, known[i])) return true;
  return false;
}

// Attributes up to the '>' of a tag; returns whether the tag closes itself.
static bool scan_attributes(scan *s) {
  for (;;) {
    s->at += strspn(s->at, " \n");
    if (text_starts(s->at, "/>")) return s->at += 2, true;
    if (*s->at == '>') return s->at++, false;
    const size_t name = strcspn(s->at, "= />\n");
    if (name == 0 || s->at[name] != '=' || s->at[name + 1] != '"')
      return s->wrong = "an attribute without quotes", false;
    for (s->at += name + 2; *s->at != '"'; s->at++) {
      if (*s->at == 0 || *s->at == '<') return s->wrong = "an attribute that does not end", false;
      if (*s->at == '&' && !is_entity(s->at)) return s->wrong = "a bare & in an attribute", false;
    }
    s->at++;
  }
}

static void scan_close(scan *s) {
  const size_t n = strcspn(s->at + 2, ">");
  if (s->depth == 0 || s->lengths[s->depth - 1] != n || strncmp(s->names[s->depth - 1], s->at + 2, n) != 0) {
    s->wrong = "an end tag that closes nothing";
    return;
  }
  s->depth--;
  s->at += 2 + n + 1;
}

static void scan_open(scan *s) {
  const char *name = s->at + 1;
  const size_t n = strcspn(name, " />\n");
  s->at = name + n;
  if (n == 0 || scan_attributes(s) || s->wrong) return;
  if (s->depth == DEPTH_MAX) {
    s->wrong = "too deep";
    return;
  }
  s->names[s->depth] = name;
  s->lengths[s->depth++] = n;
  if (n == 5 && strncmp(name, "style", 5) == 0) { // raw text up to its end tag
    const char *end = strstr(s->at, "</style>");
    if (end) s->at = end;
  }
}

const char *markup_wrong(const char *page, char *out, size_t room) {
  scan s = {.at = page};
  if (text_starts(s.at, "<?xml")) s.at = strchr(s.at, '>') + 1;
  if (text_starts(s.at, "<!DOCTYPE html>")) s.at += strlen("<!DOCTYPE html>");
  while (*s.at && !s.wrong) {
    if (text_starts(s.at, "</"))
      scan_close(&s);
    else if (*s.at == '<')
      scan_open(&s);
    else if (*s.at == '&' && !is_entity(s.at))
      s.wrong = "a bare & in text";
    else
      s.at++;
  }
  if (!s.wrong && s.depth) s.wrong = "a tag that is never closed";
  if (!s.wrong) return NULL;
  snprintf(out, room, "%s near: %.60s", s.wrong, *s.at ? s.at : s.names[s.depth - 1]);
  return out;
}

u32 markup_in_tags(const char *page, const char *part) {
  u32 count = 0;
  const size_t n = strlen(part);
  bool inside = false;
  for (const char *p = page; *p; p++) {
    if (*p == '<') inside = true;
    if (*p == '>') inside = false;
    count += inside && strncmp(p, part, n) == 0;
  }
  return count;
}

u32 markup_count(const char *page, const char *part) {
  u32 count = 0;
  for (const char *p = page; (p = strstr(p, part)) != NULL; p += strlen(part)) count++;
  return count;
}

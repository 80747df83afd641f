// Tables of fields: defaults, lookup, printing as YAML, hashing and the docs page. Values
// themselves are read and written in field_value.c.
#include "base/field.h"

#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void field_defaults(const field_table *t, void *spec) {
  memset(spec, 0, t->spec_size);
  for (u32 i = 0; i < t->count; i++) {
    const field *f = &t->fields[i];
    status st = {0};
    const char *value = f->default_text;
    if (!value && f->type == FIELD_TEXT) value = "";
    if (!value) status_fail(&st, CODE_BUG, "%s.%s has no default", t->name, f->key);
    if (!value || !field_parse(t, f, spec, value, "default", &st)) {
      bug_fail(__FILE__, __LINE__, st.text);
    }
  }
}

const field *field_find(const field_table *t, const char *key) {
  for (u32 i = 0; i < t->count; i++) {
    if (strcmp(t->fields[i].key, key) == 0) return &t->fields[i];
  }
  return NULL;
}

// ---- printing

// Whether YAML reads it back as itself without quotes. Conservative: quotes never hurt.
static bool plain_safe(const char *s) {
  const char *const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";
  if (!s[0] || !strchr(letters, s[0])) return false;
  for (const char *p = s; *p; p++) {
    if (!strchr(letters, *p) && !strchr("+-=^@", *p)) return false;
  }
  return true;
}

static void add_scalar(const char *s, text *out) {
  if (plain_safe(s)) {
    text_add(out, s);
    return;
  }
  text_add(out, "\"");
  for (const char *p = s; *p; p++) {
    const u8 c = (u8)*p;
    if (c == '"' || c == '\\')
      text_format(out, "\\%c", c);
    else if (c == '\n')
      text_add(out, "\\n");
    else if (c < 0x20 || c == 0x7f)
      text_format(out, "\\x%02X", c);
    else
      text_add_bytes(out, p, 1);
  }
  text_add(out, "\"");
}

static void add_value(const field *f, const void *spec, text *out) {
  text value = {0};
  field_format(f, spec, &value);
  if (f->type == FIELD_TEXT)
    add_scalar(text_get(&value), out);
  else
    text_add(out, text_get(&value));
  text_free(&value);
}

// Length of the longest shared start of both keys that ends in a dot.
static size_t shared_groups(const char *a, const char *b) {
  size_t shared = 0;
  for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
    if (a[i] == '.') shared = i + 1;
  }
  return shared;
}

// Whether a group ("pe.") was already printed and closed before row i: a mapping may not open
// twice, so such a key is printed with its dots.
static bool group_closed(const field_table *t, u32 i, size_t size) {
  for (u32 k = 0; k < i; k++) {
    if (strncmp(t->fields[k].key, t->fields[i].key, size) == 0) return true;
  }
  return false;
}

static void indent(u32 depth, text *out) {
  for (u32 i = 0; i < depth; i++) text_add(out, "  ");
}

void field_print(const field_table *t, const void *spec, text *out) {
  const u32 top = t->name[0] ? 1 : 0;
  if (top) text_format(out, "%s:\n", t->name);
  char open[256] = ""; // the group that the next line would be in, with its dots
  for (u32 i = 0; i < t->count; i++) {
    const char *key = t->fields[i].key;
    require(strlen(key) < sizeof open);
    size_t at = shared_groups(open, key);
    u32 depth = top;
    for (size_t k = 0; k < at; k++) depth += key[k] == '.';
    const char *dot;
    while ((dot = strchr(key + at, '.')) && !group_closed(t, i, (size_t)(dot - key) + 1)) {
      indent(depth++, out);
      text_format(out, "%.*s:\n", (int)(dot - key - (ptrdiff_t)at), key + at);
      at = (size_t)(dot - key) + 1;
    }
    snprintf(open, sizeof open, "%.*s", (int)at, key);
    indent(depth, out);
    text_format(out, "%s: ", key + at);
    add_value(&t->fields[i], spec, out);
    text_add(out, "\n");
  }
}

// ---- identity and docs

u64 field_hash(u64 hash, const field_table *t, const void *spec) {
  for (u32 i = 0; i < t->count; i++) {
    const field *f = &t->fields[i];
    const char *at = (const char *)spec + f->offset;
    u64 bits = 0;
    hash = hash_text(hash, f->key);
    if (f->type == FIELD_TEXT) {
      hash = hash_text(hash, at);
      continue;
    }
    if (f->type == FIELD_U64) bits = *(const u64 *)(const void *)at;
    if (f->type == FIELD_U32 || f->type == FIELD_ENUM) bits = *(const u32 *)(const void *)at;
    if (f->type == FIELD_BOOL) bits = *(const bool *)at;
    if (f->type == FIELD_F64) {
      const double value = *(const double *)(const void *)at + 0.0; // -0 is the same value as 0
      memcpy(&bits, &value, sizeof bits);
    }
    hash = hash_u64(hash, bits);
  }
  return hash;
}

// A table cell: '|' would end it.
static void add_cell(const char *s, text *out) {
  for (; *s; s++) text_add(out, *s == '|' ? "\\|" : (char[]){*s, 0});
}

// A bound in the field's own unit, by way of a spec that holds only it.
static void add_bound(const field *f, double bound, text *out) {
  const field alone = {.key = f->key, .type = FIELD_F64, .unit = f->unit, .offset = 0};
  field_format(&alone, &bound, out);
}

static void add_bounds(const field *f, text *out) {
  if (f->type == FIELD_ENUM) {
    add_cell(f->choices, out);
  } else if (f->type == FIELD_U32 || f->type == FIELD_U64 || f->type == FIELD_F64) {
    add_bound(f, f->min, out);
    text_add(out, " .. ");
    add_bound(f, f->max, out);
  }
}

void field_markdown(const field_table *t, text *out) {
  static const char *const types[] = {"whole", "whole", "number", "bool", "choice", "text"};
  text_add(out, "| key | type, unit | default | bounds | sentence |\n|---|---|---|---|---|\n");
  for (u32 i = 0; i < t->count; i++) {
    const field *f = &t->fields[i];
    text_format(out, "| `%s%s%s` | %s", t->name, t->name[0] ? "." : "", f->key, types[f->type]);
    if (f->unit != UNIT_NONE) text_format(out, ", %s", field_unit_name(f->unit));
    text_add(out, " | ");
    if (f->default_text && f->default_text[0]) {
      text_add(out, "`");
      add_cell(f->default_text, out);
      text_add(out, "`");
    }
    text_add(out, " | ");
    add_bounds(f, out);
    text_add(out, " | ");
    add_cell(f->sentence ? f->sentence : "", out);
    text_add(out, " |\n");
  }
}

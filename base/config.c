// Sections, keys and levels. Reading YAML into them is in config_yaml.c.
#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_key.h"

void config_init(config *c, arena *memory) {
  *c = (config){.memory = memory};
}

void config_bind(config *c, const field_table *table, void *spec) {
  require(c->count < CONFIG_SECTIONS_MAX);
  for (u32 i = 0; i < c->count; i++) require(strcmp(c->sections[i].table->name, table->name) != 0);
  config_section *s = &c->sections[c->count++];
  *s = (config_section){table, spec, arena_array(c->memory, field_note, table->count)};
  field_defaults(table, spec);
  for (u32 i = 0; i < table->count; i++) {
    s->notes[i] = (field_note){.level = LEVEL_DEFAULT, .origin = "default"};
  }
}

// ---- keys

// What follows "name." in a key, or NULL when the key is of another section.
static const char *key_in_section(const field_table *t, const char *key) {
  const size_t n = strlen(t->name);
  if (n == 0) return key;
  return strncmp(key, t->name, n) == 0 && key[n] == '.' ? key + n + 1 : NULL;
}

config_key config_key_find(const config *c, const char *key) {
  for (u32 i = 0; i < c->count; i++) {
    const config_section *s = &c->sections[i];
    const bool bare = s->table->name[0] && strcmp(s->table->name, key) == 0;
    const char *inner = bare ? "preset" : key_in_section(s->table, key);
    const field *f = inner ? field_find(s->table, inner) : NULL;
    if (f) return (config_key){s, f, &s->notes[f - s->table->fields]};
  }
  return (config_key){0};
}

bool config_key_is_group(const config *c, const char *key) {
  const size_t n = strlen(key);
  for (u32 i = 0; i < c->count; i++) {
    const field_table *t = c->sections[i].table;
    if (t->name[0] && strcmp(t->name, key) == 0) return true;
    const char *inner = key_in_section(t, key);
    if (!inner || !inner[0]) continue;
    const size_t length = n - (size_t)(inner - key);
    for (u32 k = 0; k < t->count; k++) {
      const char *name = t->fields[k].key;
      if (strncmp(name, inner, length) == 0 && name[length] == '.') return true;
    }
  }
  return false;
}

enum { CANDIDATES_MAX = 4096 };

typedef struct candidates {
  const char **words;
  u32 count;
} candidates;

static void candidate_add(candidates *w, const char *word) {
  if (w->count && strcmp(w->words[w->count - 1], word) == 0) return;
  require(w->count < CANDIDATES_MAX);
  w->words[w->count++] = word;
}

// Every full key, section name and group of keys.
static candidates candidates_all(const config *c) {
  candidates w = {.words = arena_array(c->memory, const char *, CANDIDATES_MAX)};
  for (u32 i = 0; i < c->count; i++) {
    const field_table *t = c->sections[i].table;
    const char *dot = t->name[0] ? "." : "";
    if (t->name[0]) candidate_add(&w, t->name);
    for (u32 k = 0; k < t->count; k++) {
      const char *key = t->fields[k].key;
      for (const char *p = strchr(key, '.'); p; p = strchr(p + 1, '.')) {
        candidate_add(&w, arena_format(c->memory, "%s%s%.*s", t->name, dot, (int)(p - key), key));
      }
      candidate_add(&w, arena_format(c->memory, "%s%s%s", t->name, dot, key));
    }
  }
  return w;
}

// A key that is right but for its section: "layers" or "train.layers" for "model.layers".
static const char *same_ending(const candidates *w, const char *key) {
  const char *dot = strrchr(key, '.');
  const char *last = dot ? dot + 1 : key;
  if (!last[0]) return NULL;
  for (u32 i = 0; i < w->count; i++) {
    const char *end = strrchr(w->words[i], '.');
    if (end && strcmp(end + 1, last) == 0) return w->words[i];
  }
  return NULL;
}

bool config_key_unknown(const config *c, const char *key, const char *where, status *st) {
  const arena_mark mark = arena_save(c->memory);
  const candidates w = candidates_all(c);
  const char *near = text_nearest(key, w.words, w.count);
  if (!near || text_distance(near, key) > 2) { // two letters swapped count as 2
    const char *moved = same_ending(&w, key);
    if (moved) near = moved;
  }
  status_fail(st, CODE_CONFIG, "%s%sunknown key \"%.200s\"%s%s%s", where ? where : "",
              where && where[0] ? ": " : "", key, near ? ", did you mean \"" : "", near ? near : "",
              near ? "\"?" : "");
  arena_rewind(c->memory, mark);
  return false;
}

const field_note *config_note(const config *c, const char *key) {
  const config_key k = config_key_find(c, key);
  require(k.field);
  return k.note;
}

// ---- setting

static size_t field_size(const field *f) {
  switch (f->type) {
  case FIELD_U32:
  case FIELD_ENUM:
    return sizeof(u32);
  case FIELD_U64:
    return sizeof(u64);
  case FIELD_F64:
    return sizeof(double);
  case FIELD_BOOL:
    return sizeof(bool);
  case FIELD_TEXT:
    return FIELD_TEXT_MAX;
  }
  bug_fail(__FILE__, __LINE__, "a field of no known type");
}

// Whether the value would parse, leaving the spec as it is.
static bool check_only(const config_section *s, const field *f, const char *value,
                       const char *where, status *st) {
  char kept[FIELD_TEXT_MAX];
  char *at = (char *)s->spec + f->offset;
  memcpy(kept, at, field_size(f));
  const bool ok = field_parse(s->table, f, s->spec, value, where, st);
  memcpy(at, kept, field_size(f));
  return ok;
}

bool config_set(config *c, const char *key, const char *value, field_level level, const char *where,
                const char *source, status *st) {
  const config_key k = config_key_find(c, key);
  if (!k.field) return config_key_unknown(c, key, where, st);
  if (k.note->level > level) return check_only(k.section, k.field, value, where, st);
  if (!field_parse(k.section->table, k.field, k.section->spec, value, where, st)) return false;
  *k.note = (field_note){.level = level,
                         .origin = arena_text(c->memory, where ? where : ""),
                         .source = source ? arena_text(c->memory, source) : NULL};
  return true;
}

bool config_assign(config *c, const char *assignment, field_level level, const char *where,
                   status *st) {
  const char *equals = strchr(assignment, '=');
  if (!equals || equals == assignment) {
    return status_fail(st, CODE_USAGE, "%s: \"%.200s\" is not of the form key=value", where,
                       assignment);
  }
  const char *key = arena_format(c->memory, "%.*s", (int)(equals - assignment), assignment);
  return config_set(c, key, equals + 1, level, where, NULL, st);
}

// ---- snapshots

static size_t snapshot_size(const config_section *s) {
  return s->table->spec_size + s->table->count * sizeof(field_note);
}

void *config_snapshot(const config *c) {
  size_t size = 1;
  for (u32 i = 0; i < c->count; i++) size += snapshot_size(&c->sections[i]);
  u8 *all = malloc(size), *p = all;
  if (!all) bug_fail(__FILE__, __LINE__, "out of memory for a configuration");
  for (u32 i = 0; i < c->count; i++) {
    const config_section *s = &c->sections[i];
    memcpy(p, s->spec, s->table->spec_size);
    memcpy(p + s->table->spec_size, s->notes, s->table->count * sizeof(field_note));
    p += snapshot_size(s);
  }
  return all;
}

void config_restore(config *c, const void *snapshot) {
  const u8 *p = snapshot;
  for (u32 i = 0; i < c->count; i++) {
    config_section *s = &c->sections[i];
    memcpy(s->spec, p, s->table->spec_size);
    memcpy(s->notes, p + s->table->spec_size, s->table->count * sizeof(field_note));
    p += snapshot_size(s);
  }
}

// ---- printing

// field_print gives one line per field in table order, and lines of groups, which end in ':' (a
// text value that could end so is quoted).
static void print_section(const config_section *s, bool with_origin, text *out) {
  text all = {0};
  field_print(s->table, s->spec, &all);
  u32 row = 0;
  for (const char *line = text_get(&all); *line;) {
    const char *end = strchr(line, '\n');
    require(end && end > line);
    text_add_bytes(out, line, (size_t)(end - line));
    if (end[-1] != ':') {
      require(row < s->table->count);
      const field_note *note = &s->notes[row++];
      if (with_origin) text_format(out, "  # %s", note->origin);
      if (with_origin && note->source) text_format(out, " (%s)", note->source);
    }
    text_add(out, "\n");
    line = end + 1;
  }
  require(row == s->table->count);
  text_free(&all);
}

void config_print(const config *c, bool with_origin, text *out) {
  for (u32 i = 0; i < c->count; i++) print_section(&c->sections[i], with_origin, out);
}

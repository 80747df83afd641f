// YAML into a config, event by event, and the schema of what is read. Mappings flatten to dotted
// keys; whatever a table of fields cannot hold (lists, anchors, several documents) is refused with
// its place.
#include "base/config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/config_key.h"
#include "base/file.h"

enum { KEY_MAX = 256, WHERE_MAX = 512, SEEN_MAX = 4096 };

typedef struct reader {
  config *c;
  const char *name;
  field_level level;
  yaml_parser_t parser;
  yaml_event_t event;
  bool held;         // event holds something to delete
  arena *memory;     // for the keys seen
  const char **seen; // full path of every key of this file, groups too
  u32 seen_count;
  status *st;
} reader;

typedef struct place {
  char text[WHERE_MAX];
} place;

static place place_of(const reader *r, yaml_mark_t mark) {
  place p;
  snprintf(p.text, sizeof p.text, "%.440s:%zu:%zu", r->name, mark.line + 1, mark.column + 1);
  return p;
}

static bool fail_at(reader *r, yaml_mark_t mark, const char *what) {
  return status_fail(r->st, CODE_CONFIG, "%s: %s", place_of(r, mark).text, what);
}

static bool next(reader *r) {
  if (r->held) yaml_event_delete(&r->event);
  r->held = yaml_parser_parse(&r->parser, &r->event) != 0;
  if (!r->held) {
    const yaml_parser_t *p = &r->parser;
    const bool reading = p->error == YAML_READER_ERROR;
    char what[256];
    snprintf(what, sizeof what, "this is not YAML: %s%s%s", p->context ? p->context : "",
             p->context ? ", " : "", p->problem ? p->problem : "unreadable");
    return fail_at(r, reading ? p->mark : p->problem_mark, what);
  }
  if (r->event.type == YAML_ALIAS_EVENT) {
    return fail_at(r, r->event.start_mark,
                   "an alias is not understood here: state the value again");
  }
  const bool anchored =
      (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.anchor) ||
      (r->event.type == YAML_MAPPING_START_EVENT && r->event.data.mapping_start.anchor);
  if (anchored) return fail_at(r, r->event.start_mark, "an anchor is not understood here");
  return true;
}

static bool is(const reader *r, yaml_event_type_t type) {
  return r->event.type == type;
}

static const char *scalar(const reader *r) {
  return (const char *)r->event.data.scalar.value;
}

// A scalar with text in it. `what` names what was wanted.
static bool want_scalar(reader *r, const char *what) {
  const yaml_mark_t mark = r->event.start_mark;
  char sentence[KEY_MAX + 128];
  const char *wrong = NULL;
  if (is(r, YAML_SEQUENCE_START_EVENT))
    wrong = "is a list, but a single value is wanted";
  else if (is(r, YAML_MAPPING_START_EVENT))
    wrong = "is a mapping, but a single value is wanted";
  else if (!is(r, YAML_SCALAR_EVENT))
    wrong = "has no value";
  else if (r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !scalar(r)[0])
    wrong = "has no value";
  else if (strlen(scalar(r)) != r->event.data.scalar.length)
    wrong = "holds a zero byte";
  if (!wrong) return true;
  snprintf(sentence, sizeof sentence, "%s %s", what, wrong);
  return fail_at(r, mark, sentence);
}

static bool note_seen(reader *r, const char *path, yaml_mark_t mark) {
  for (u32 i = 0; i < r->seen_count; i++) {
    if (strcmp(r->seen[i], path) != 0) continue;
    char what[KEY_MAX + 64];
    snprintf(what, sizeof what, "\"%s\" is stated twice in this file", path);
    return fail_at(r, mark, what);
  }
  if (r->seen_count == SEEN_MAX) return fail_at(r, mark, "this file has too many keys");
  r->seen[r->seen_count++] = arena_text(r->memory, path);
  return true;
}

// {value: V, source: "..."}: the current event is the mapping's start; ends on its end.
static bool read_sourced(reader *r, const char *path, const char *where) {
  char *parts[2] = {NULL, NULL};
  static const char *const names[2] = {"value", "source"};
  const yaml_mark_t start = r->event.start_mark;
  for (;;) {
    if (!next(r)) return false;
    if (is(r, YAML_MAPPING_END_EVENT)) break;
    if (!want_scalar(r, path)) return false;
    u32 part = 0;
    while (part < 2 && strcmp(scalar(r), names[part]) != 0) part++;
    char what[2 * KEY_MAX + 128];
    if (part == 2 || parts[part]) {
      snprintf(what, sizeof what,
               "%s holds \"%.100s\"%s, but only {value: ..., source: ...} fits here", path,
               scalar(r), part < 2 ? " twice" : "");
      return fail_at(r, r->event.start_mark, what);
    }
    snprintf(what, sizeof what, "%s.%s", path, names[part]);
    if (!next(r) || !want_scalar(r, what)) return false;
    parts[part] = arena_text(r->memory, scalar(r));
  }
  if (!parts[0]) {
    char what[KEY_MAX + 64];
    snprintf(what, sizeof what, "%s has no \"value\" beside its source", path);
    return fail_at(r, start, what);
  }
  return config_set(r->c, path, parts[0], r->level, where, parts[1], r->st);
}

static bool read_mapping(reader *r, const char *path);

// The current event is the value of `path`.
static bool read_value(reader *r, const char *path, yaml_mark_t mark) {
  const place where = place_of(r, mark);
  const config_key key = config_key_find(r->c, path);
  const bool group = config_key_is_group(r->c, path);
  if (!key.field && !group) return config_key_unknown(r->c, path, where.text, r->st);
  if (!note_seen(r, path, mark)) return false;
  if (is(r, YAML_MAPPING_START_EVENT)) {
    return group ? read_mapping(r, path) : read_sourced(r, path, where.text);
  }
  if (!want_scalar(r, path)) return false;
  if (key.field) return config_set(r->c, path, scalar(r), r->level, where.text, NULL, r->st);
  char what[KEY_MAX + 64];
  snprintf(what, sizeof what, "\"%s\" is a section: its keys are wanted, not a value", path);
  return fail_at(r, mark, what);
}

// The current event is the mapping's start; ends on its end. Recursion is bounded by KEY_MAX, as
// each level makes the path longer.
static bool read_mapping(reader *r, const char *path) {
  for (;;) {
    if (!next(r)) return false;
    if (is(r, YAML_MAPPING_END_EVENT)) return true;
    const yaml_mark_t mark = r->event.start_mark;
    if (!want_scalar(r, "a key")) return false;
    char key[KEY_MAX];
    const char *dot = path[0] ? "." : "";
    const int n = snprintf(key, sizeof key, "%s%s%s", path, dot, scalar(r));
    if (n < 0 || n >= KEY_MAX) return fail_at(r, mark, "this key is too long");
    if (!next(r) || !read_value(r, key, mark)) return false;
  }
}

static bool read_document(reader *r, const char *prefix) {
  if (!next(r)) return false; // the stream's start
  if (!next(r)) return false;
  if (is(r, YAML_STREAM_END_EVENT)) return true; // nothing but comments
  if (!next(r)) return false;
  const bool empty = is(r, YAML_SCALAR_EVENT) && !scalar(r)[0];
  if (!empty && !is(r, YAML_MAPPING_START_EVENT)) {
    return fail_at(r, r->event.start_mark, "a mapping of keys to values is wanted at the top");
  }
  if (!empty && !read_mapping(r, prefix)) return false;
  if (!next(r)) return false; // the document's end
  if (!next(r)) return false;
  if (is(r, YAML_STREAM_END_EVENT)) return true;
  return fail_at(r, r->event.start_mark, "a second document begins here, but only one is read");
}

bool config_read(config *c, const char *name, const char *yaml, size_t size, const char *prefix,
                 field_level level, status *st) {
  reader r = {.c = c, .name = name, .level = level, .st = st};
  if (!yaml_parser_initialize(&r.parser)) bug_fail(__FILE__, __LINE__, "out of memory for YAML");
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)yaml, size);
  r.memory = arena_create("yaml");
  r.seen = arena_array(r.memory, const char *, SEEN_MAX);
  void *before = config_snapshot(c);
  const bool ok = read_document(&r, prefix);
  if (!ok) config_restore(c, before);
  free(before);
  if (r.held) yaml_event_delete(&r.event);
  yaml_parser_delete(&r.parser);
  arena_destroy(r.memory);
  return ok;
}

bool config_read_file(config *c, const char *path, const char *prefix, field_level level,
                      status *st) {
  arena *memory = arena_create("yaml file");
  char *data = NULL;
  size_t size = 0;
  const bool ok = file_read(path, memory, &data, &size, st) &&
                  config_read(c, path, data, size, prefix, level, st);
  arena_destroy(memory);
  return ok;
}

// ---- schema

static json_t *choices_json(const char *choices) {
  json_t *list = json_array();
  for (const char *p = choices; p;) {
    const char *bar = strchr(p, '|');
    const size_t n = bar ? (size_t)(bar - p) : strlen(p);
    json_array_append_new(list, json_stringn(p, n));
    p = bar ? bar + 1 : NULL;
  }
  return list;
}

// Numbers may be stated with a suffix, and are strings to YAML then: their bounds hold only where
// the value is a bare number.
static json_t *scalar_schema(const field *f) {
  switch (f->type) {
  case FIELD_U32:
  case FIELD_U64:
    return json_pack("{s:[s,s],s:f,s:f}", "type", "integer", "string", "minimum", f->min, "maximum",
                     f->max);
  case FIELD_F64:
    return json_pack("{s:[s,s],s:f,s:f}", "type", "number", "string", "minimum", f->min, "maximum",
                     f->max);
  case FIELD_BOOL:
    return json_pack("{s:[b,b,s,s,s,s]}", "enum", 1, 0, "yes", "no", "on", "off");
  case FIELD_ENUM:
    return json_pack("{s:o}", "enum", choices_json(f->choices));
  case FIELD_TEXT:
    return json_pack("{s:[s,s,s]}", "type", "string", "number", "boolean");
  }
  bug_fail(__FILE__, __LINE__, "a field of no known type");
}

static json_t *leaf_schema(const field *f) {
  json_t *sourced = json_pack("{s:s,s:{s:o,s:{s:s}},s:[s],s:b}", "type", "object", "properties",
                              "value", scalar_schema(f), "source", "type", "string", "required",
                              "value", "additionalProperties", 0);
  json_t *leaf =
      json_pack("{s:s,s:s,s:[o,o]}", "description", f->sentence ? f->sentence : "", "default",
                f->default_text ? f->default_text : "", "anyOf", scalar_schema(f), sourced);
  if (f->unit != UNIT_NONE)
    json_object_set_new(leaf, "$comment", json_string(field_unit_name(f->unit)));
  require(leaf);
  return leaf;
}

// The properties of the object schema that `name` leads to, made when it is new.
static json_t *group_properties(json_t *properties, const char *name, size_t n) {
  char key[KEY_MAX];
  snprintf(key, sizeof key, "%.*s", (int)n, name);
  json_t *group = json_object_get(properties, key);
  if (!group) {
    group = json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0);
    json_object_set_new(properties, key, group);
  }
  return json_object_get(group, "properties");
}

static void schema_section(const field_table *t, json_t *top) {
  json_t *properties = t->name[0] ? group_properties(top, t->name, strlen(t->name)) : top;
  for (u32 i = 0; i < t->count; i++) {
    json_t *at = properties;
    const char *key = t->fields[i].key;
    for (const char *dot = strchr(key, '.'); dot; dot = strchr(key, '.')) {
      at = group_properties(at, key, (size_t)(dot - key));
      key = dot + 1;
    }
    json_object_set_new(at, key, leaf_schema(&t->fields[i]));
  }
  if (!t->name[0]) return;
  json_t *section = json_object_get(top, t->name);
  json_object_set_new(section, "description", json_string(t->sentence ? t->sentence : ""));
  if (!field_find(t, "preset")) return;
  json_t *either = json_pack("{s:[O,{s:s}]}", "anyOf", section, "type", "string");
  json_object_set_new(top, t->name, either);
}

void config_schema(const config *c, text *out) {
  json_t *top = json_object();
  for (u32 i = 0; i < c->count; i++) schema_section(c->sections[i].table, top);
  json_t *all = json_pack(
      "{s:s,s:s,s:s,s:o,s:b}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
      "a weft run file", "type", "object", "properties", top, "additionalProperties", 0);
  require(all);
  char *dump = json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
  require(dump);
  text_add(out, dump);
  text_add(out, "\n");
  free(dump);
  json_decref(all);
}

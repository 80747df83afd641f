// Reading a sweep: YAML into factors, each key and value checked where it stands.
#include "runtime/sweep_spec.h"

#include "base/config_key.h"
#include "base/file.h"
#include "runtime/presets.h"
#include "runtime/sweep_draw.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static const char *const commands[] = {"train", "simulate"};

const char *sweep_command_name(sweep_command c) {
  require(c <= SWEEP_SIMULATE);
  return commands[c];
}

typedef struct reader {
  sweep_spec *s;
  arena *memory;
  yaml_document_t *document;
  run_spec *scratch;    // to check keys and values against
  sweep_factor *factor; // zip and random: what its keys join
  sweep_draw draw;
  status *st;
} reader;

static const char *where_of(const reader *r, const yaml_node_t *n) {
  return arena_format(r->memory, "%s:%zu:%zu", r->s->file, n->start_mark.line + 1, n->start_mark.column + 1);
}

static bool fail_at(const reader *r, const yaml_node_t *n, const char *what) {
  return status_fail(r->st, CODE_CONFIG, "%s: %s", where_of(r, n), what);
}

static yaml_node_t *node(const reader *r, int index) {
  return yaml_document_get_node(r->document, index);
}

static bool is_scalar(const yaml_node_t *n) {
  return n->type == YAML_SCALAR_NODE;
}

static const char *scalar(const reader *r, const yaml_node_t *n) {
  return arena_text(r->memory, (const char *)n->data.scalar.value);
}

// Value `name` of a mapping, or NULL.
static yaml_node_t *child(const reader *r, const yaml_node_t *map, const char *name) {
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
    const yaml_node_t *key = node(r, p->key);
    if (is_scalar(key) && strcmp((const char *)key->data.scalar.value, name) == 0) return node(r, p->value);
  }
  return NULL;
}

// Fails where the value does not fit the field.
static bool check_value(const reader *r, const char *key, const yaml_node_t *value) {
  if (!is_scalar(value)) return fail_at(r, value, "a single value is wanted here");
  return config_set(&r->scratch->config, key, scalar(r, value), LEVEL_SET, where_of(r, value), NULL, r->st);
}

// ---- mappings of keys, nested or dotted

typedef bool leaf_function(reader *r, const char *key, const yaml_node_t *name, const yaml_node_t *value);

static bool walk(reader *r, const yaml_node_t *map, const char *prefix, leaf_function *leaf) {
  if (map->type != YAML_MAPPING_NODE) return fail_at(r, map, "a mapping of keys is wanted here");
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
    const yaml_node_t *name = node(r, p->key), *value = node(r, p->value);
    if (!is_scalar(name)) return fail_at(r, name, "a key is wanted here");
    const char *key = arena_format(r->memory, "%s%s%s", prefix, prefix[0] ? "." : "", scalar(r, name));
    const config *c = &r->scratch->config;
    if (value->type == YAML_MAPPING_NODE && config_key_is_group(c, key)) {
      if (!walk(r, value, key, leaf)) return false;
    } else if (!config_key_find(c, key).field) {
      return config_key_unknown(c, key, where_of(r, name), r->st);
    } else if (!leaf(r, key, name, value)) {
      return false;
    }
  }
  return true;
}

// ---- base

static bool base_leaf(reader *r, const char *key, const yaml_node_t *name, const yaml_node_t *value) {
  sweep_spec *s = r->s;
  const yaml_node_t *inner = value->type == YAML_MAPPING_NODE ? child(r, value, "value") : NULL;
  if (inner) value = inner; // {value: V, source: "..."}
  for (u32 i = 0; i < s->base_count; i++) {
    if (strcmp(s->base[i].key, key) == 0) return fail_at(r, name, "this key is stated twice");
  }
  if (s->base_count == 4096) return fail_at(r, name, "this file has too many keys");
  if (!check_value(r, key, value)) return false;
  s->base[s->base_count++] = (run_assignment){key, scalar(r, value), false, where_of(r, value)};
  return true;
}

static bool read_base(reader *r, const yaml_node_t *n) {
  sweep_spec *s = r->s;
  if (n->type == YAML_MAPPING_NODE) {
    s->base = arena_array(r->memory, run_assignment, 4096);
    return walk(r, n, "", base_leaf);
  }
  if (!is_scalar(n)) return fail_at(r, n, "base is the path of a run file, or the sections of one");
  const char *path = scalar(r, n), *slash = strrchr(s->file, '/');
  if (s->embedded) return fail_at(r, n, "a preset has no files beside it");
  const int folder = slash && path[0] != '/' ? (int)(slash + 1 - s->file) : 0;
  s->base_path = arena_format(r->memory, "%.*s%s", folder, s->file, path);
  run_spec *of = arena_array(r->memory, run_spec, 1);
  run_spec_init(of, r->memory);
  return config_read_file(&of->config, s->base_path, "", LEVEL_FILE, r->st);
}

// ---- axes

static bool axis_begin(reader *r, const char *key, const yaml_node_t *name) {
  sweep_spec *s = r->s;
  if (text_starts(key, "record.")) return fail_at(r, name, "a record key tells where a run is kept: it is no axis");
  for (u32 i = 0; i < s->factor_count; i++) {
    for (u32 k = 0; k < s->factors[i].key_count; k++) {
      if (strcmp(s->factors[i].keys[k], key) == 0) return fail_at(r, name, "this key has an axis already");
    }
  }
  if (s->key_count++ == SWEEP_KEYS_MAX) return fail_at(r, name, "a sweep has 64 axes at most");
  return true;
}

static sweep_factor *factor_new(reader *r) {
  require(r->s->factor_count < SWEEP_KEYS_MAX);
  sweep_factor *f = &r->s->factors[r->s->factor_count++];
  f->keys = arena_array(r->memory, const char *, SWEEP_KEYS_MAX);
  f->where = arena_array(r->memory, const char *, SWEEP_KEYS_MAX);
  return f;
}

// Adds a key whose values are columns[key]; rows follow when the factor is complete.
static void factor_key(const reader *r, sweep_factor *f, const char *key, const yaml_node_t *name) {
  f->keys[f->key_count] = key;
  f->where[f->key_count++] = where_of(r, name);
}

// The list's values, checked; a single value is a list of one.
static bool list_of(const reader *r, const char *key, const yaml_node_t *n, const char ***ret_values, u32 *ret_count) {
  if (is_scalar(n)) {
    *ret_values = arena_array(r->memory, const char *, 1);
    **ret_values = scalar(r, n);
    *ret_count = 1;
    return check_value(r, key, n);
  }
  if (n->type != YAML_SEQUENCE_NODE) return fail_at(r, n, "a list of values is wanted here");
  const yaml_node_item_t *items = n->data.sequence.items.start;
  const size_t count = (size_t)(n->data.sequence.items.top - items);
  if (!count || count > SWEEP_POINTS_MAX) return fail_at(r, n, count ? "this list is too long" : "this list is empty");
  *ret_values = arena_array(r->memory, const char *, count);
  *ret_count = (u32)count;
  for (size_t i = 0; i < count; i++) {
    const yaml_node_t *item = node(r, items[i]);
    if (!check_value(r, key, item)) return false;
    (*ret_values)[i] = scalar(r, item);
  }
  return true;
}

static bool grid_leaf(reader *r, const char *key, const yaml_node_t *name, const yaml_node_t *value) {
  if (!axis_begin(r, key, name)) return false;
  sweep_factor *f = factor_new(r);
  factor_key(r, f, key, name);
  return list_of(r, key, value, &f->values, &f->rows);
}

// Until the factor is complete its values lie column by column.
static bool zip_leaf(reader *r, const char *key, const yaml_node_t *name, const yaml_node_t *value) {
  const char **values;
  u32 count;
  sweep_factor *f = r->factor;
  if (!axis_begin(r, key, name) || !list_of(r, key, value, &values, &count)) return false;
  if (f->key_count && count != f->rows) {
    return status_fail(r->st, CODE_CONFIG, "%s: %s has %u values, but %s, zipped with it, has %u", where_of(r, value),
                       key, count, f->keys[0], f->rows);
  }
  const char **wider = arena_array(r->memory, const char *, (size_t)count *(f->key_count + 1));
  for (u32 row = 0; row < count; row++) {
    for (u32 k = 0; k < f->key_count; k++) wider[row * (f->key_count + 1) + k] = f->values[row * f->key_count + k];
    wider[row * (f->key_count + 1) + f->key_count] = values[row];
  }
  f->values = wider;
  f->rows = count;
  factor_key(r, f, key, name);
  return true;
}

static bool read_one_zip(reader *r, const yaml_node_t *n) {
  if (r->s->factor_count == SWEEP_KEYS_MAX) return fail_at(r, n, "a sweep has 64 axes at most");
  r->factor = factor_new(r);
  return walk(r, n, "", zip_leaf) && (r->factor->key_count || fail_at(r, n, "zip names no key"));
}

static bool read_zip(reader *r, const yaml_node_t *n) {
  if (n->type != YAML_SEQUENCE_NODE) return read_one_zip(r, n);
  for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
    if (!read_one_zip(r, node(r, *i))) return false;
  }
  return true;
}

// ---- random

static bool read_range(reader *r, const char *key, const yaml_node_t *n, sweep_range *range) {
  for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
    const yaml_node_t *name = node(r, p->key), *value = node(r, p->value);
    const char *word = is_scalar(name) ? scalar(r, name) : "";
    const bool bound = strcmp(word, "min") == 0 || strcmp(word, "max") == 0;
    if (!bound && strcmp(word, "log") != 0) return fail_at(r, name, "a range is {min: ..., max: ..., log: true}");
    if (bound && !check_value(r, key, value)) return false;
    if (!is_scalar(value)) return fail_at(r, value, "a single value is wanted here");
    const char *said = scalar(r, value);
    if (bound) *(word[1] == 'i' ? &range->min : &range->max) = said;
    if (!bound) range->log = strcmp(said, "true") == 0;
    if (!bound && !range->log && strcmp(said, "false") != 0) return fail_at(r, value, "log is true or false");
  }
  if (!range->min || !range->max) return fail_at(r, n, "a range needs min and max");
  return true;
}

static bool random_leaf(reader *r, const char *key, const yaml_node_t *name, const yaml_node_t *value) {
  sweep_range range = {.key = key};
  if (!axis_begin(r, key, name)) return false;
  if (value->type != YAML_MAPPING_NODE && !list_of(r, key, value, &range.choices, &range.choice_count)) return false;
  if (value->type == YAML_MAPPING_NODE && !read_range(r, key, value, &range)) return false;
  const config_key k = config_key_find(&r->scratch->config, key);
  range.field = k.field;
  const char *wrong = range.choices ? NULL : sweep_range_check(&range, k.section);
  if (wrong) return fail_at(r, value, wrong);
  sweep_factor *f = r->factor;
  r->draw.ranges[f->key_count] = range;
  factor_key(r, f, key, name);
  return true;
}

static bool whole_number(const reader *r, const yaml_node_t *n, u64 max, u64 *ret) {
  char *end = NULL;
  const char *word = is_scalar(n) ? scalar(r, n) : "";
  const unsigned long long value = strtoull(word, &end, 10);
  *ret = value;
  if (end != word && !*end && word[0] != '-' && value <= max) return true;
  return status_fail(r->st, CODE_CONFIG, "%s: a whole number up to %llu is wanted here", where_of(r, n),
                     (unsigned long long)max);
}

// `count` and a single-valued `seed` are the sweep's own; they are taken out before the keys are walked.
static bool read_random(reader *r, yaml_node_t *n) {
  if (n->type != YAML_MAPPING_NODE) return fail_at(r, n, "a mapping of keys is wanted here");
  u64 count = 0;
  r->draw.seed = 1;
  yaml_node_pair_t *keep = n->data.mapping.pairs.start;
  for (yaml_node_pair_t *p = keep; p < n->data.mapping.pairs.top; p++) {
    const yaml_node_t *value = node(r, p->value);
    const char *name = is_scalar(node(r, p->key)) ? scalar(r, node(r, p->key)) : "";
    if (strcmp(name, "count") == 0) {
      if (!whole_number(r, value, SWEEP_POINTS_MAX, &count)) return false;
    } else if (strcmp(name, "seed") == 0 && is_scalar(value)) {
      if (!whole_number(r, value, UINT64_MAX, &r->draw.seed)) return false;
    } else {
      *keep++ = *p;
    }
  }
  n->data.mapping.pairs.top = keep;
  if (!count) return fail_at(r, n, "random needs a count: how many points to draw");
  if (r->s->factor_count == SWEEP_KEYS_MAX) return fail_at(r, n, "a sweep has 64 axes at most");
  r->factor = factor_new(r);
  if (!walk(r, n, "", random_leaf)) return false;
  if (!r->factor->key_count) return fail_at(r, n, "random names no key to draw");
  sweep_draw_rows(&r->draw, r->factor, (u32)count, r->memory);
  return true;
}

// ---- the file

static bool read_name(reader *r, const yaml_node_t *n) {
  const char *word = is_scalar(n) ? scalar(r, n) : "";
  if (!word[0] || strlen(word) > 100) return fail_at(r, n, "name is a word of at most 100 letters");
  r->s->name = word;
  return true;
}

static bool read_command(reader *r, const yaml_node_t *n) {
  const char *word = is_scalar(n) ? scalar(r, n) : "";
  for (u32 i = 0; i < COUNT_OF(commands); i++) {
    if (strcmp(word, commands[i]) != 0) continue;
    r->s->command = (sweep_command)i;
    return true;
  }
  return fail_at(r, n, "command is train or simulate");
}

static bool read_grid(reader *r, const yaml_node_t *n) {
  return walk(r, n, "", grid_leaf);
}

static const char *const parts[] = {"name", "command", "base", "grid", "zip", "random"};

static bool read_part(reader *r, const yaml_node_t *name, yaml_node_t *value) {
  const char *word = is_scalar(name) ? scalar(r, name) : "";
  if (strcmp(word, "name") == 0) return read_name(r, value);
  if (strcmp(word, "command") == 0) return read_command(r, value);
  if (strcmp(word, "base") == 0) return read_base(r, value);
  if (strcmp(word, "grid") == 0) return read_grid(r, value);
  if (strcmp(word, "zip") == 0) return read_zip(r, value);
  if (strcmp(word, "random") == 0) return read_random(r, value);
  const char *near = text_nearest(word, parts, COUNT_OF(parts));
  return status_fail(r->st, CODE_CONFIG, "%s: unknown key \"%.100s\"%s%s%s; a sweep has %s", where_of(r, name), word,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                     "name, command, base, grid, zip and random");
}

static bool count_points(sweep_spec *s, status *st) {
  u64 product = 1;
  for (u32 i = 0; i < s->factor_count; i++) {
    product *= s->factors[i].rows;
    if (product > SWEEP_POINTS_MAX) {
      return status_fail(st, CODE_CONFIG, "%s: has more than %d points; state fewer values", s->file, SWEEP_POINTS_MAX);
    }
  }
  s->product = (u32)product;
  return s->key_count || status_fail(st, CODE_CONFIG, "%s: states no axis; grid, zip or random name some", s->file);
}

static bool read_document(reader *r) {
  yaml_node_t *root = yaml_document_get_root_node(r->document);
  if (!root || root->type != YAML_MAPPING_NODE) {
    return status_fail(r->st, CODE_CONFIG, "%s: a mapping with grid, zip or random is wanted", r->s->file);
  }
  const char *seen[COUNT_OF(parts)];
  u32 seen_count = 0;
  for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
    const yaml_node_t *name = node(r, p->key);
    if (!read_part(r, name, node(r, p->value))) return false;
    for (u32 i = 0; i < seen_count; i++) {
      if (strcmp(seen[i], scalar(r, name)) == 0) return fail_at(r, name, "this part is stated twice");
    }
    seen[seen_count++] = scalar(r, name);
  }
  return count_points(r->s, r->st);
}

// "presets/sweeps/lr.yaml" -> "lr".
static const char *stem_of(const char *file, arena *a) {
  const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file, *dot = strrchr(name, '.');
  return arena_format(a, "%.*s", dot && dot > name ? (int)(dot - name) : (int)strlen(name), name);
}

bool sweep_spec_read(sweep_spec *s, const char *file, const char *yaml, size_t size, arena *a, status *st) {
  yaml_parser_t parser;
  yaml_document_t document;
  const bool embedded = s->embedded;
  *s = (sweep_spec){.file = arena_text(a, file), .name = stem_of(file, a), .embedded = embedded};
  if (!yaml_parser_initialize(&parser)) bug_fail(__FILE__, __LINE__, "out of memory for YAML");
  yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, size);
  if (!yaml_parser_load(&parser, &document)) {
    status_fail(st, CODE_CONFIG, "%s:%zu:%zu: this is not YAML: %s", file, parser.problem_mark.line + 1,
                parser.problem_mark.column + 1, parser.problem ? parser.problem : "unreadable");
    yaml_parser_delete(&parser);
    return false;
  }
  reader *r = arena_array(a, reader, 1);
  *r = (reader){.s = s, .memory = a, .document = &document, .scratch = arena_array(a, run_spec, 1), .st = st};
  run_spec_init(r->scratch, a);
  const bool ok = read_document(r);
  yaml_document_delete(&document);
  yaml_parser_delete(&parser);
  return ok;
}

bool sweep_spec_load(sweep_spec *s, const char *word, arena *a, status *st) {
  s->embedded = !presets_is_path(word);
  if (s->embedded) {
    const embed_file *f = presets_find("sweeps", word);
    return f ? sweep_spec_read(s, word, (const char *)f->data, f->size, a, st)
             : presets_unknown("sweeps", "sweep", word, st);
  }
  char *data;
  size_t size;
  return file_read(word, a, &data, &size, st) && sweep_spec_read(s, word, data, size, a, st);
}

// From factors to points, each with the identity of its run.
#include "runtime/sweep_points.h"

#include "base/config_key.h"
#include "base/file.h"
#include "base/hash.h"
#include "runtime/run_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- axes

typedef struct axis_place {
  u32 factor, key;
} axis_place;

static axis_place place_of(const sweep *s, u32 axis) {
  u32 factor = 0;
  while (axis >= s->spec.factors[factor].key_count) axis -= s->spec.factors[factor++].key_count;
  require(factor < s->spec.factor_count);
  return (axis_place){factor, axis};
}

u32 sweep_axis_count(const sweep *s) {
  return s->spec.key_count;
}

const char *sweep_axis_key(const sweep *s, u32 axis) {
  const axis_place at = place_of(s, axis);
  return s->spec.factors[at.factor].keys[at.key];
}

// The last factor changes fastest.
static u32 row_of(const sweep *s, u32 index, u32 factor) {
  for (u32 i = s->spec.factor_count; i-- > factor + 1;) index /= s->spec.factors[i].rows;
  return index % s->spec.factors[factor].rows;
}

const char *sweep_axis_value(const sweep *s, const sweep_point *p, u32 axis) {
  const axis_place at = place_of(s, axis);
  const sweep_factor *f = &s->spec.factors[at.factor];
  return f->values[row_of(s, p->index, at.factor) * f->key_count + at.key];
}

const char *sweep_point_name(const sweep *s, const sweep_point *p, arena *a) {
  text name = {0};
  for (u32 i = 0; i < sweep_axis_count(s); i++) {
    const char *key = sweep_axis_key(s, i), *dot = strrchr(key, '.');
    text_format(&name, "%s%s=%s", i ? " " : "", dot ? dot + 1 : key, sweep_axis_value(s, p, i));
  }
  if (name.size > 200) name.data[200] = 0;
  const char *out = arena_text(a, text_get(&name));
  text_free(&name);
  return out;
}

// The hash is in the name, so that points and ranks never share a folder; a number is added where an older
// sweep, or one into another database, left one. mkdir decides who has it.
const char *sweep_point_folder(const sweep *s, const sweep_point *p, arena *a, status *st) {
  char *name = arena_text(a, s->spec.name);
  for (char *at = name; *at; at++) {
    if (strchr("/ \\:*?\"'<>|$", *at)) *at = '-';
  }
  if (!file_make_dirs(s->folder, st)) return NULL;
  const char *folder = arena_format(a, "%s/%s-%016llx", s->folder, name, (unsigned long long)p->hash), *first = folder;
  for (u32 again = 2; mkdir(folder, 0777) != 0; again++) {
    if (errno != EEXIST || again > 10000) {
      status_fail(st, CODE_CANT_CREATE, "%s: cannot be created: %s", folder, strerror(errno));
      return NULL;
    }
    folder = arena_format(a, "%s-%u", first, again);
  }
  return folder;
}

// ---- what a point states

// base, then the command line, then the axes.
static u32 stated_sets(const sweep *s, const sweep_point *p, arena *a, run_assignment **ret_sets) {
  const sweep_spec *spec = &s->spec;
  run_assignment *sets = arena_array(a, run_assignment, spec->base_count + s->set_count + spec->key_count + 8);
  u32 n = 0;
  for (u32 i = 0; i < spec->base_count; i++) sets[n++] = spec->base[i];
  for (u32 i = 0; i < s->set_count; i++) sets[n++] = s->sets[i];
  for (u32 i = 0; i < spec->key_count; i++) {
    const axis_place at = place_of(s, i);
    const char *where = spec->factors[at.factor].where[at.key];
    sets[n++] = (run_assignment){sweep_axis_key(s, i), sweep_axis_value(s, p, i), false, where};
  }
  for (u32 i = 0; i < n; i++) sets[i].is_flag = false; // all are --set to the run: the last one counts
  *ret_sets = sets;
  return n;
}

bool sweep_point_spec(const sweep *s, const sweep_point *p, run_spec *ret_spec, arena *a, status *st) {
  run_assignment *sets;
  const u32 n = stated_sets(s, p, a, &sets);
  return run_spec_load(ret_spec, s->spec.base_path, sets, n, a, st);
}

static bool is_stated(const run_spec *r, const char *key) {
  return config_key_find(&r->config, key).note->level != LEVEL_DEFAULT;
}

bool sweep_point_sets(const sweep *s, const sweep_point *p, arena *a, const run_assignment **ret_sets, u32 *ret_count,
                      status *st) {
  run_spec *r = arena_array(a, run_spec, 1);
  run_assignment *sets;
  u32 n = stated_sets(s, p, a, &sets);
  if (!run_spec_load(r, s->spec.base_path, sets, n, a, st)) return false;
  sets[n++] = (run_assignment){"record.experiment", s->spec.name, false, ""};
  if (!is_stated(r, "record.name")) {
    sets[n++] = (run_assignment){"record.name", sweep_point_name(s, p, a), false, ""};
  }
  // A page and a trace for each of hundreds of points are wanted only where somebody says so.
  const bool train = s->spec.command == SWEEP_TRAIN;
  if (train && !is_stated(r, "record.trace")) sets[n++] = (run_assignment){"record.trace", "false", false, ""};
  if (train && !is_stated(r, "record.report")) sets[n++] = (run_assignment){"record.report", "false", false, ""};
  *ret_sets = sets;
  *ret_count = n;
  return true;
}

// ---- identity

// What the data says of a run, found once for each way in which points state their data.
typedef struct known_data {
  u64 key, hash;
  u32 vocab;
} known_data;

enum { KNOWN_DATA_MAX = 64 };
typedef struct known_list {
  known_data rows[KNOWN_DATA_MAX];
  u32 count;
} known_list;

static bool look_at_data(run_spec *r, known_list *known, known_data *ret, status *st) {
  u64 key = field_hash(HASH_START, &data_table, &r->data);
  key = hash_u64(hash_u64(key, r->model.vocab), r->train.seq);
  for (u32 i = 0; i < known->count; i++) {
    *ret = known->rows[i];
    if (ret->key == key) return true;
  }
  arena *a = arena_create("sweep data");
  token_data data;
  const bool ok = run_data_open(r, a, &data, st);
  if (ok) {
    *ret = (known_data){key, data.hash, data.vocab};
    known->rows[known->count < KNOWN_DATA_MAX ? known->count++ : KNOWN_DATA_MAX - 1] = *ret;
    tokens_close(&data);
  }
  arena_destroy(a);
  return ok;
}

static bool identify(const sweep *s, sweep_point *p, known_list *known, arena *a, status *st) {
  run_spec *r = arena_array(a, run_spec, 1);
  if (!sweep_point_spec(s, p, r, a, st)) return false;
  const bool train = s->spec.command == SWEEP_TRAIN;
  if (train || !r->model.vocab) {
    known_data data;
    if (!look_at_data(r, known, &data, st)) return false;
    if (!r->model.vocab) r->model.vocab = data.vocab;
    if (train) p->data_hash = data.hash;
  }
  const model_spec *m = &r->model;
  const double width = m->width, weights = (4 + 2 * m->mlp) * m->layers * width * width + width * m->vocab;
  p->steps = r->train.steps;
  p->cost = train ? p->steps * r->train.batch * r->train.seq * weights + 1 : 1;
  p->hash = run_spec_hash(r);
  return true;
}

// Which of equal points stays must not depend on the sort: the first.
static int by_hash(const void *x, const void *y) {
  const sweep_point *a = x, *b = y;
  if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
  return a->index < b->index ? -1 : a->index > b->index;
}

static int by_index(const void *x, const void *y) {
  const sweep_point *a = x, *b = y;
  return a->index < b->index ? -1 : a->index > b->index;
}

static void drop_equal(sweep *s) {
  u32 kept = 0;
  qsort(s->points, s->count, sizeof *s->points, by_hash);
  for (u32 i = 0; i < s->count; i++) {
    if (!i || s->points[i].hash != s->points[i - 1].hash) s->points[kept++] = s->points[i];
  }
  s->equal = s->count - kept;
  s->count = kept;
  qsort(s->points, s->count, sizeof *s->points, by_index);
}

static bool find_places(sweep *s, arena *a, status *st) {
  run_spec *r = arena_array(a, run_spec, 1);
  if (!sweep_point_spec(s, &s->points[0], r, a, st)) return false;
  s->db = arena_text(a, r->record.db);
  const char *slash = strrchr(s->db, '/');
  s->folder = r->record.out[0] ? arena_text(a, r->record.out)
                               : arena_format(a, "%.*sweft-runs", slash ? (int)(slash + 1 - s->db) : 0, s->db);
  return true;
}

bool sweep_open(sweep *s, const char *word, arena *a, status *st) {
  if (!sweep_spec_load(&s->spec, word, a, st)) return false;
  s->count = s->spec.product;
  s->points = arena_array(a, sweep_point, s->count);
  known_list *known = arena_array(a, known_list, 1);
  arena *scratch = arena_create("sweep point");
  bool ok = find_places(s, a, st);
  for (u32 i = 0; i < s->count && ok; i++) {
    const arena_mark mark = arena_save(scratch);
    s->points[i].index = i;
    ok = identify(s, &s->points[i], known, scratch, st);
    arena_rewind(scratch, mark);
  }
  arena_destroy(scratch);
  if (ok) drop_equal(s);
  return ok;
}

void sweep_keep_shard(sweep *s, u32 index, u32 count) {
  u32 kept = 0;
  for (u32 i = index; i < s->count; i += count) s->points[kept++] = s->points[i];
  s->count = kept;
}

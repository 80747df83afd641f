// Checkpoints: a folder of model.safetensors, optimizer.safetensors and config.json. Invariants:
//  1. FOLDER.partial is written and synced whole, then takes FOLDER's place in one rename.
//  2. Where the file system cannot exchange two names, FOLDER goes to FOLDER.old first; a reader that
//     finds no FOLDER takes FOLDER.old, which is removed only while FOLDER stands.
//  3. Nothing but a checkpoint's own files is ever removed.
#include "model/compute/checkpoint.h"

#include "base/file.h"
#include "base/log.h"
#include "model/compute/safetensors.h"
#include "model/compute/trainer_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL_FILE "model.safetensors"
#define OPTIMIZER_FILE "optimizer.safetensors"
#define CONFIG_FILE "config.json"
#define NOTE_FILE "weft.json"

static const char *const own_files[] = {MODEL_FILE,
                                        OPTIMIZER_FILE,
                                        CONFIG_FILE,
                                        NOTE_FILE,
                                        MODEL_FILE ".partial",
                                        OPTIMIZER_FILE ".partial",
                                        CONFIG_FILE ".partial",
                                        NOTE_FILE ".partial"};

// The names of one checkpoint on disk.
typedef struct folder_names {
  const char *place, *partial, *old;
} folder_names;

static folder_names names_of(const char *folder, arena *a) {
  char *place = arena_text(a, folder);
  size_t n = strlen(place);
  while (n > 1 && place[n - 1] == '/') place[--n] = 0;
  return (folder_names){place, arena_format(a, "%s.partial", place), arena_format(a, "%s.old", place)};
}

static bool folder_exists(const char *path) {
  struct stat info;
  return stat(path, &info) == 0;
}

static bool is_own(const char *name) {
  for (u32 i = 0; i < COUNT_OF(own_files); i++)
    if (!strcmp(name, own_files[i])) return true;
  return !strcmp(name, ".") || !strcmp(name, "..");
}

// A folder with anything else in it is somebody's, and is not replaced.
static bool check_replaceable(const char *place, status *st) {
  if (!folder_exists(place)) return true;
  DIR *dir = opendir(place);
  if (!dir)
    return status_fail(st, CODE_CANT_CREATE, "%s: cannot hold a checkpoint: %s", place, strerror(errno));
  bool ok = true;
  for (struct dirent *e = readdir(dir); ok && e; e = readdir(dir))
    if (!is_own(e->d_name))
      ok = status_fail(st, CODE_CANT_CREATE,
                       "%s: holds \"%s\", which is no part of a checkpoint, and would be replaced; choose another folder",
                       place, e->d_name);
  closedir(dir);
  return ok;
}

static bool remove_folder(const char *path, arena *a, status *st) {
  for (u32 i = 0; i < COUNT_OF(own_files); i++) unlink(arena_format(a, "%s/%s", path, own_files[i]));
  if (rmdir(path) == 0 || errno == ENOENT) return true;
  return status_fail(st, CODE_CANT_CREATE, "%s: cannot be removed: %s; remove it by hand", path, strerror(errno));
}

// Renames survive a power cut once the folder that holds the names is on disk.
static void sync_parent(const char *path, arena *a) {
  const char *slash = strrchr(path, '/');
  const char *parent = slash ? arena_format(a, "%.*s", (int)(slash - path + 1), path) : ".";
  int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

static bool put_in_place(const folder_names *n, arena *a, status *st) {
  bool ok;
  if (!folder_exists(n->place)) {
    ok = rename(n->partial, n->place) == 0;
  } else {
    ok = renameat2(AT_FDCWD, n->partial, AT_FDCWD, n->place, RENAME_EXCHANGE) == 0;
    if (!ok && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
      if (!remove_folder(n->old, a, st)) return false;
      ok = rename(n->place, n->old) == 0 && rename(n->partial, n->place) == 0;
    }
  }
  if (!ok)
    return status_fail(st, CODE_CANT_CREATE, "%s: the checkpoint cannot be put in place: %s", n->place,
                       strerror(errno));
  sync_parent(n->place, a);
  // The new checkpoint stands; what is left of the former one is only in the way.
  status left = {0};
  if (!remove_folder(n->partial, a, &left) || !remove_folder(n->old, a, &left)) log_say(LOG_WARN, "%s", left.text);
  return true;
}

// ---- writing

static st_tensor tensor_of(const trainer *t, u32 p, const char *name, const float *values) {
  const graph_tensor *g = &t->setup.graph->tensors[t->setup.graph->params[p]];
  st_tensor out = {.name = name, .dtype = ST_F32, .count = t->count[p], .data = values};
  if (g->rows > 1) out.shape[out.dims++] = g->rows;
  out.shape[out.dims++] = g->cols;
  return out;
}

static const char *param_name(const trainer *t, u32 p) {
  return t->setup.graph->tensors[t->setup.graph->params[p]].name;
}

static bool write_model(const trainer *t, const char *folder, const char *metadata, arena *a, status *st) {
  u32 count = t->setup.graph->param_count;
  st_tensor *tensors = arena_array(a, st_tensor, count);
  for (u32 p = 0; p < count; p++) tensors[p] = tensor_of(t, p, param_name(t, p), t->param[p]);
  return st_write(arena_format(a, "%s/" MODEL_FILE, folder), tensors, count, metadata, st);
}

static bool write_optimizer(const trainer *t, const char *folder, const char *metadata, arena *a, status *st) {
  u32 count = t->setup.graph->param_count;
  st_tensor *tensors = arena_array(a, st_tensor, 2 * (u64)count);
  for (u32 p = 0; p < count; p++) {
    tensors[p] = tensor_of(t, p, arena_format(a, "m/%s", param_name(t, p)), t->m[p]);
    tensors[count + p] = tensor_of(t, p, arena_format(a, "v/%s", param_name(t, p)), t->v[p]);
  }
  return st_write(arena_format(a, "%s/" OPTIMIZER_FILE, folder), tensors, 2 * count, metadata, st);
}

static json_t *field_json(const field *f, const void *spec) {
  const char *at = (const char *)spec + f->offset;
  switch (f->type) {
  case FIELD_U32: return json_integer(*(const u32 *)(const void *)at);
  case FIELD_F64: return json_real(*(const double *)(const void *)at);
  case FIELD_BOOL: return json_boolean(*(const bool *)at);
  default: break;
  }
  text value = {0};
  field_format(f, spec, &value);
  json_t *out = json_string(text_get(&value));
  text_free(&value);
  return out;
}

static bool write_config(const trainer *t, const char *folder, arena *a, status *st) {
  json_t *model = json_object();
  for (u32 i = 0; i < model_table.count; i++)
    json_object_set_new(model, model_table.fields[i].key,
                        field_json(&model_table.fields[i], &t->setup.graph->model));
  json_t *root = json_pack("{s:s, s:o, s:I, s:I, s:s}", "schema", "weft.checkpoint/1", "model", model, "seq",
                           (json_int_t)t->setup.graph->seq, "step", (json_int_t)t->steps_done, "seed",
                           arena_format(a, "%llu", (unsigned long long)t->setup.seed));
  require(root != NULL);
  char *words = json_dumps(root, JSON_INDENT(1));
  json_decref(root);
  require(words != NULL);
  bool ok = file_write(arena_format(a, "%s/" CONFIG_FILE, folder), words, strlen(words), st);
  free(words);
  return ok;
}

static bool write_note(const char *note, const char *folder, arena *a, status *st) {
  return !note || file_write(arena_format(a, "%s/" NOTE_FILE, folder), note, strlen(note), st);
}

static bool save(const trainer *t, const folder_names *n, const char *note, arena *a, status *st) {
  const char *metadata =
      arena_format(a, "{\"format\": \"pt\", \"step\": \"%llu\", \"seed\": \"%llu\"}",
                   (unsigned long long)t->steps_done, (unsigned long long)t->setup.seed);
  return check_replaceable(n->place, st) && remove_folder(n->partial, a, st) && file_make_dirs(n->partial, st) &&
         write_model(t, n->partial, metadata, a, st) && write_optimizer(t, n->partial, metadata, a, st) &&
         write_config(t, n->partial, a, st) && write_note(note, n->partial, a, st) && put_in_place(n, a, st);
}

bool checkpoint_save(const trainer *t, const char *folder, const char *note, status *st) {
  arena *a = arena_create("checkpoint");
  folder_names n = names_of(folder, a);
  bool ok = save(t, &n, note, a, st);
  arena_destroy(a);
  return ok;
}

bool trainer_save(const trainer *t, const char *folder, status *st) {
  return checkpoint_save(t, folder, NULL, st);
}

// ---- reading

bool checkpoint_exists(const char *folder) {
  arena *a = arena_create("checkpoint");
  folder_names n = names_of(folder, a);
  bool found = folder_exists(n.place) || folder_exists(n.old);
  arena_destroy(a);
  return found;
}

// The folder to read from: FOLDER, or FOLDER.old where a save was cut off between two renames.
static const char *readable(const char *folder, arena *a) {
  folder_names n = names_of(folder, a);
  return !folder_exists(n.place) && folder_exists(n.old) ? n.old : n.place;
}

static bool metadata_number(const char *path, const st_file *f, const char *key, u64 *ret, status *st) {
  json_t *metadata = json_loads(f->metadata, 0, NULL);
  const char *word = json_string_value(json_object_get(metadata, key));
  char *end = NULL;
  errno = 0;
  u64 value = word && word[0] >= '0' && word[0] <= '9' ? strtoull(word, &end, 10) : 0;
  bool ok = end && *end == 0 && errno == 0;
  json_decref(metadata);
  if (!ok) return status_fail(st, CODE_DATA, "%s: no \"%s\" in its metadata; it is not a checkpoint of weft", path, key);
  *ret = value;
  return true;
}

static void shape_text(const st_tensor *t, char *out, size_t room) {
  size_t at = (size_t)snprintf(out, room, "[");
  for (u32 d = 0; d < t->dims && at < room; d++)
    at += (size_t)snprintf(out + at, room - at, "%s%llu", d ? ", " : "", (unsigned long long)t->shape[d]);
  if (at < room) snprintf(out + at, room - at, "]");
}

static bool same_shape(const st_tensor *a, const st_tensor *b) {
  return a->dims == b->dims && memcmp(a->shape, b->shape, a->dims * sizeof a->shape[0]) == 0;
}

// Copies come after every check, so a checkpoint that does not fit changes nothing.
typedef struct pending_copy {
  float *to;
  const st_tensor *from;
} pending_copy;

static bool match(const char *path, const st_file *f, const st_tensor *want, pending_copy *ret, status *st) {
  const st_tensor *found = st_find(f, want->name);
  if (!found) return status_fail(st, CODE_DATA, "%s: has no \"%s\"; it is of another model", path, want->name);
  if (found->dtype != ST_F32)
    return status_fail(st, CODE_DATA, "%s: \"%s\" is not of 32-bit floats", path, want->name);
  if (!same_shape(found, want)) {
    char has[96], wants[96];
    shape_text(found, has, sizeof has);
    shape_text(want, wants, sizeof wants);
    return status_fail(st, CODE_DATA, "%s: \"%s\" is %s, the model wants %s; it is of another model", path,
                       want->name, has, wants);
  }
  ret->from = found;
  return true;
}

// One file of the checkpoint, opened and compared with the trainer.
typedef struct opened {
  const char *path;
  st_file file;
  u64 step;
} opened;

static bool open_one(const trainer *t, opened *o, u32 tensors, arena *a, status *st) {
  u64 seed = 0;
  if (!st_open(o->path, a, &o->file, st) || !metadata_number(o->path, &o->file, "step", &o->step, st) ||
      !metadata_number(o->path, &o->file, "seed", &seed, st))
    return false;
  if (seed != t->setup.seed)
    return status_fail(st, CODE_DATA, "%s: was made with seed %llu, this run has seed %llu; state the same seed",
                       o->path, (unsigned long long)seed, (unsigned long long)t->setup.seed);
  if (o->file.count != tensors)
    return status_fail(st, CODE_DATA, "%s: holds %u tensors, this model wants %u; it is of another model", o->path,
                       o->file.count, tensors);
  return true;
}

static bool match_all(trainer *t, const opened *model, const opened *optimizer, pending_copy *copies, arena *a,
                      status *st) {
  for (u32 p = 0; p < t->setup.graph->param_count; p++) {
    const char *name = param_name(t, p);
    const char *names[3] = {name, arena_format(a, "m/%s", name), arena_format(a, "v/%s", name)};
    float *to[3] = {t->param[p], t->m[p], t->v[p]};
    for (u32 k = 0; k < 3; k++) {
      const opened *o = k ? optimizer : model;
      st_tensor want = tensor_of(t, p, names[k], NULL);
      copies[3 * p + k].to = to[k];
      if (!match(o->path, &o->file, &want, &copies[3 * p + k], st)) return false;
    }
  }
  return true;
}

static bool load(trainer *t, opened *model, opened *optimizer, arena *a, status *st) {
  u32 count = t->setup.graph->param_count;
  if (!open_one(t, model, count, a, st) || !open_one(t, optimizer, 2 * count, a, st)) return false;
  if (model->step != optimizer->step)
    return status_fail(st, CODE_DATA, "%s: is of step %llu, %s of step %llu; the folder mixes two checkpoints",
                       model->path, (unsigned long long)model->step, optimizer->path,
                       (unsigned long long)optimizer->step);
  pending_copy *copies = arena_array(a, pending_copy, 3 * (u64)count);
  if (!match_all(t, model, optimizer, copies, a, st)) return false;
  for (u32 i = 0; i < 3 * count; i++)
    memcpy(copies[i].to, copies[i].from->data, copies[i].from->count * sizeof(float));
  t->steps_done = model->step;
  return true;
}

bool trainer_load(trainer *t, const char *folder, status *st) {
  arena *a = arena_create("checkpoint");
  const char *place = readable(folder, a);
  opened model = {.path = arena_format(a, "%s/" MODEL_FILE, place)};
  opened optimizer = {.path = arena_format(a, "%s/" OPTIMIZER_FILE, place)};
  bool ok = load(t, &model, &optimizer, a, st);
  st_close(&model.file);
  st_close(&optimizer.file);
  arena_destroy(a);
  return ok;
}

static const char *scalar_text(const json_t *value, arena *a) {
  if (json_is_string(value)) return json_string_value(value);
  if (json_is_integer(value)) return arena_format(a, "%lld", (long long)json_integer_value(value));
  if (json_is_real(value)) return arena_format(a, "%.17g", json_real_value(value));
  return json_is_boolean(value) ? (json_is_true(value) ? "true" : "false") : NULL;
}

static bool read_model(const char *path, const json_t *section, arena *a, model_spec *ret, status *st) {
  field_defaults(&model_table, ret);
  if (!json_is_object(section)) return status_fail(st, CODE_DATA, "%s: has no \"model\"; it is not a checkpoint of weft", path);
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)section, key, value) {
    const field *f = field_find(&model_table, key);
    const char *words = scalar_text(value, a);
    status why = {0};
    if (!f || !words) return status_fail(st, CODE_DATA, "%s: model.%s is not understood; is it of a newer weft?", path, key);
    if (!field_parse(&model_table, f, ret, words, path, &why)) return status_fail(st, CODE_DATA, "%s", why.text);
  }
  return true;
}

static bool read_info(const char *path, const json_t *root, arena *a, checkpoint_info *ret, status *st) {
  json_int_t seq = json_integer_value(json_object_get(root, "seq"));
  json_int_t step = json_integer_value(json_object_get(root, "step"));
  const char *seed = json_string_value(json_object_get(root, "seed"));
  if (seq < 1 || seq > UINT32_MAX || step < 0 || !seed)
    return status_fail(st, CODE_DATA, "%s: lacks seq, step or seed; it is not a checkpoint of weft", path);
  ret->seq = (u32)seq;
  ret->step = (u64)step;
  ret->seed = strtoull(seed, NULL, 10);
  return read_model(path, json_object_get(root, "model"), a, &ret->model, st);
}

bool checkpoint_read_info(const char *folder, arena *a, checkpoint_info *ret_info, status *st) {
  const char *path = arena_format(a, "%s/" CONFIG_FILE, readable(folder, a));
  char *words = NULL;
  size_t size = 0;
  if (!file_read(path, a, &words, &size, st)) return false;
  json_error_t error;
  json_t *root = json_loadb(words, size, JSON_REJECT_DUPLICATES, &error);
  if (!root) return status_fail(st, CODE_DATA, "%s:%d:%d: not valid JSON: %s", path, error.line, error.column, error.text);
  checkpoint_info info = {0};
  bool ok = read_info(path, root, a, &info, st);
  json_decref(root);
  if (ok) *ret_info = info;
  return ok;
}

bool checkpoint_read_note(const char *folder, arena *a, char **ret_note, status *st) {
  size_t size = 0;
  return file_read(arena_format(a, "%s/" NOTE_FILE, readable(folder, a)), a, ret_note, &size, st);
}

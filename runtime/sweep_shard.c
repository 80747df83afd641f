// Ranks and their databases.
#include "runtime/sweep_shard.h"

#include "base/text.h"
#include "runtime/launcher.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_word(const char *word, sweep_shard *ret, arena *a, status *st) {
  const char *slash = strchr(word, '/');
  const char *left = slash ? arena_format(a, "%.*s", (int)(slash - word), word) : word;
  ret->found = "--shard";
  if (slash && launcher_number(left, &ret->index) && launcher_number(slash + 1, &ret->count) && ret->index < ret->count)
    return true;
  return status_fail(st, CODE_USAGE, "--shard: \"%.60s\" is not I/N with I from 0 to N-1, such as 0/4", word);
}

// A job array's part: tasks first, first + step, ...
static bool array_part(sweep_shard *ret) {
  u32 id, first = 0, step = 1, count;
  if (!launcher_number(getenv("SLURM_ARRAY_TASK_ID"), &id) ||
      !launcher_number(getenv("SLURM_ARRAY_TASK_COUNT"), &count))
    return false;
  if (!launcher_number(getenv("SLURM_ARRAY_TASK_MIN"), &first)) first = 0;
  if (!launcher_number(getenv("SLURM_ARRAY_TASK_STEP"), &step) || !step) step = 1;
  if (id < first || (id - first) / step >= count) return false;
  *ret = (sweep_shard){(id - first) / step, count, "SLURM_ARRAY_TASK_ID"};
  return true;
}

bool sweep_shard_find(const char *word, sweep_shard *ret, arena *a, status *st) {
  *ret = (sweep_shard){0, 1, NULL};
  if (word) return read_word(word, ret, a, st);
  sweep_shard array;
  launcher_part launcher;
  const bool in_array = array_part(&array), launched = launcher_find(&launcher);
  if (in_array) *ret = array;
  if (launched) *ret = (sweep_shard){launcher.index, launcher.count, launcher.found};
  if (in_array && launched) { // each task of the array is a launch
    ret->index = array.index * launcher.count + launcher.index;
    ret->count = array.count * launcher.count;
  }
  return true;
}

// Length of the path without ".db".
static int stem_length(const char *path) {
  const size_t n = strlen(path);
  return (int)(text_ends(path, ".db") ? n - 3 : n);
}

const char *sweep_shard_db(const char *path, const sweep_shard *shard, arena *a) {
  if (shard->count == 1) return path;
  return arena_format(a, "%.*s.%uof%u.db", stem_length(path), path, shard->index, shard->count);
}

static bool is_rank(const char *words) {
  u32 index, count;
  int end = 0;
  return sscanf(words, ".%uof%u.db%n", &index, &count, &end) == 2 && end && !words[end] && index < count;
}

u32 sweep_shard_list(const char *path, arena *a, const char ***ret_paths) {
  text pattern = {0};
  for (int i = 0; i < stem_length(path); i++) {
    if (strchr("*?[\\", path[i])) text_add(&pattern, "\\");
    text_add_bytes(&pattern, path + i, 1);
  }
  text_add(&pattern, ".*of*.db");
  glob_t found = {0};
  u32 count = 0;
  const bool any = glob(text_get(&pattern), 0, NULL, &found) == 0;
  *ret_paths = arena_array(a, const char *, found.gl_pathc + 1);
  for (size_t i = 0; any && i < found.gl_pathc; i++) {
    if (is_rank(found.gl_pathv[i] + stem_length(path))) (*ret_paths)[count++] = arena_text(a, found.gl_pathv[i]);
  }
  globfree(&found);
  text_free(&pattern);
  return count;
}

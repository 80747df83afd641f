// The embedded presets as lists of names.
#include "runtime/presets.h"

#include <stdio.h>
#include <string.h>

static const char suffix[] = ".yaml";

// The name inside "presets/KIND/NAME.yaml" in the arena, or NULL.
static const char *name_in(const char *path, const char *kind, arena *a) {
  char folder[64];
  snprintf(folder, sizeof folder, "presets/%s/", kind);
  if (!text_starts(path, folder) || !text_ends(path, suffix)) return NULL;
  const char *name = path + strlen(folder);
  return arena_format(a, "%.*s", (int)(strlen(name) - strlen(suffix)), name);
}

u32 presets_list(const char *kind, arena *a, const char *const **ret_names) {
  const char **names = arena_array(a, const char *, embed_count() + 1);
  u32 count = 0;
  for (u32 i = 0; i < embed_count(); i++) {
    const char *name = name_in(embed_get(i)->name, kind, a);
    if (name) names[count++] = name;
  }
  *ret_names = names;
  return count;
}

const embed_file *presets_find(const char *kind, const char *name) {
  char path[FIELD_TEXT_MAX + 64];
  snprintf(path, sizeof path, "presets/%s/%s%s", kind, name, suffix);
  return embed_find(path);
}

bool presets_is_path(const char *word) {
  return strchr(word, '/') || text_ends(word, suffix);
}

bool presets_unknown(const char *kind, const char *what, const char *name, status *st) {
  arena *a = arena_create("presets");
  const char *const *names;
  const u32 count = presets_list(kind, a, &names);
  const char *near = text_nearest(name, names, count);
  text known = {0};
  for (u32 i = 0; i < count; i++) text_format(&known, "%s%s", i ? ", " : "", names[i]);
  status_fail(st, CODE_CONFIG, "%s: there is no preset \"%.100s\"%s%s%s; known are %s, or give the path of a YAML file",
              what, name, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", text_get(&known));
  text_free(&known);
  arena_destroy(a);
  return false;
}

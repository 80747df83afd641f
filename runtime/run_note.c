// Writing and reading weft.json.
#include "runtime/run_note.h"

#include "model/compute/checkpoint.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char schema[] = "weft.note/1";

// Byte of each token id. With the vocabulary of bytes all 256 count, occurring or not.
static json_t *bytes_json(const run_spec *r, const token_data *d) {
  u32 count = 0;
  for (u32 c = 0; c < 256; c++) count += d->id_of[c] != UINT32_MAX;
  if (r->data.vocab == VOCAB_BYTES) count = 256;
  json_t *bytes = json_array();
  for (u32 id = 0; id < count; id++) json_array_append_new(bytes, json_integer(d->char_of[id]));
  return bytes;
}

char *run_note_make(const run_spec *r, const token_data *data, arena *a) {
  text yaml = {0};
  run_spec_print(r, false, &yaml);
  char hash[17];
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)data->hash);
  json_t *about = json_pack("{s:s,s:b}", "hash", hash, "text", data->is_text);
  if (data->is_text) json_object_set_new(about, "bytes", bytes_json(r, data));
  json_t *note = json_pack("{s:s,s:s,s:o}", "schema", schema, "config", text_get(&yaml), "data", about);
  require(note);
  char *dump = json_dumps(note, JSON_INDENT(1));
  require(dump);
  char *words = arena_format(a, "%s\n", dump);
  free(dump);
  json_decref(note);
  text_free(&yaml);
  return words;
}

static bool read_vocab(const json_t *about, run_vocab *v) {
  v->is_text = json_is_true(json_object_get(about, "text"));
  for (u32 c = 0; c < 256; c++) v->id_of[c] = UINT32_MAX;
  if (!v->is_text) return true;
  const json_t *bytes = json_object_get(about, "bytes");
  const size_t count = json_array_size(bytes);
  if (count == 0 || count > 256) return false;
  for (u32 id = 0; id < count; id++) {
    const json_t *byte = json_array_get(bytes, id);
    const json_int_t value = json_integer_value(byte);
    if (!json_is_integer(byte) || value < 0 || value > 255 || v->id_of[value] != UINT32_MAX) return false;
    v->byte_of[id] = (u8)value;
    v->id_of[value] = id;
  }
  v->count = (u32)count;
  return true;
}

static bool read_parts(const char *folder, const json_t *note, run_spec *spec, run_vocab *v, arena *a, status *st) {
  const char *where = arena_format(a, "%s/weft.json", folder);
  const char *kind = json_string_value(json_object_get(note, "schema"));
  const char *yaml = json_string_value(json_object_get(note, "config"));
  if (!kind || strcmp(kind, schema) != 0 || !yaml) {
    return status_fail(st, CODE_DATA, "%s: is not the note of a weft checkpoint, or of a newer weft", where);
  }
  run_spec_init(spec, a);
  const char *name = arena_format(a, "%s:config", where);
  if (!config_read(&spec->config, name, yaml, strlen(yaml), "", LEVEL_FILE, st)) return false;
  if (read_vocab(json_object_get(note, "data"), v)) return true;
  return status_fail(st, CODE_DATA, "%s: its list of bytes is damaged; copy the checkpoint again", where);
}

bool run_note_read(const char *folder, arena *a, run_spec *ret_spec, run_vocab *ret_vocab, status *st) {
  char *words = NULL;
  if (!checkpoint_read_note(folder, a, &words, st)) return false;
  json_error_t error;
  json_t *note = json_loads(words, JSON_REJECT_DUPLICATES, &error);
  if (!note) {
    return status_fail(st, CODE_DATA, "%s/weft.json:%d:%d: not valid JSON: %s", folder, error.line, error.column,
                       error.text);
  }
  run_vocab vocab = {0};
  const bool ok = read_parts(folder, note, ret_spec, &vocab, a, st);
  json_decref(note);
  if (ok) *ret_vocab = vocab;
  return ok;
}

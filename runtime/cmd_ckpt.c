// weft ckpt: what a checkpoint holds, and its weights in Hugging Face's layout.
#include "runtime/commands.h"
#include "runtime/output.h"

#include "model/compute/checkpoint.h"
#include "model/compute/gpt2_files.h"
#include "model/compute/safetensors.h"
#include "model/graph/graph_count.h"

#include <string.h>

// A checkpoint's model and the graph it stands for.
typedef struct opened_ckpt {
  const char *folder;
  checkpoint_info info;
  graph g;
} opened_ckpt;

static bool open_ckpt(const command_call *c, opened_ckpt *k, status *st) {
  k->folder = command_argument(c, 1);
  if (!k->folder) return status_fail(st, CODE_USAGE, "weft ckpt wants the folder of a checkpoint");
  return checkpoint_read_info(k->folder, c->memory, &k->info, st) &&
         graph_build(&k->info.model, (base_hyper){1, 0, 0}, k->info.seq, c->memory, &k->g, st);
}

static bool info(const command_call *c, status *st) {
  opened_ckpt k;
  if (!open_ckpt(c, &k, st)) return false;
  const model_spec *m = &k.info.model;
  const unsigned long long params = graph_count(&k.g).params, step = k.info.step;
  if (command_flag(c, "json")) {
    json_t *d = output_document("ckpt");
    json_object_set_new(d, "step", json_integer((json_int_t)step));
    json_object_set_new(d, "seq", json_integer(k.info.seq));
    json_object_set_new(d, "params", json_integer((json_int_t)params));
    json_object_set_new(d, "tensors", json_integer(k.g.param_count));
    output_json(d);
    return true;
  }
  output_format("%s: step %llu, %u layers, width %u, %u heads, vocabulary %u, sequences of %u\n%llu parameters in %u tensors\n",
                k.folder, step, m->layers, m->width, m->heads, m->vocab, k.info.seq, params, k.g.param_count);
  return true;
}

// The parameters of a checkpoint, where they lie in its file.
static bool find_params(const opened_ckpt *k, const char *path, const st_file *f, float **params, status *st) {
  for (u32 p = 0; p < k->g.param_count; p++) {
    const graph_tensor *t = &k->g.tensors[k->g.params[p]];
    const st_tensor *found = st_find(f, t->name);
    if (!found || found->dtype != ST_F32 || found->count != (u64)t->rows * t->cols)
      return status_fail(st, CODE_DATA, "%s: has no \"%s\" of %u x %u 32-bit floats", path, t->name, t->rows, t->cols);
    params[p] = (float *)(uintptr_t)found->data; // only read
  }
  return true;
}

static bool convert(const command_call *c, status *st) {
  opened_ckpt k;
  const char *to = command_argument(c, 2);
  if (!to) return status_fail(st, CODE_USAGE, "weft ckpt convert FOLDER OUT: where to?");
  if (!open_ckpt(c, &k, st)) return false;
  const char *path = arena_format(c->memory, "%s/model.safetensors", k.folder);
  float **params = arena_array(c->memory, float *, k.g.param_count);
  st_file f = {0};
  const bool ok = st_open(path, c->memory, &f, st) && find_params(&k, path, &f, params, st) &&
                  gpt2_write(&k.g, params, to, st);
  st_close(&f);
  if (!ok) return false;
  if (command_flag(c, "json")) {
    json_t *d = output_document("ckpt");
    json_object_set_new(d, "folder", output_words(to, strlen(to)));
    json_object_set_new(d, "tensors", json_integer(k.g.param_count));
    output_json(d);
  } else {
    output_format("%s: model.safetensors and config.json of a GPT2LMHeadModel\n", to);
  }
  return true;
}

enum { INFO, CONVERT };
static const char *const words[] = {"info", "convert"};

static bool run(const command_call *c, status *st) {
  u32 word;
  if (!command_word(c, words, COUNT_OF(words), &word, st)) return false;
  if (!command_arguments_max(c, word == CONVERT ? 3 : 2, st)) return false;
  return word == CONVERT ? convert(c, st) : info(c, st);
}

const command cmd_ckpt = {
    .name = "ckpt",
    .arguments = "info FOLDER | convert FOLDER OUT",
    .sentence = "what a checkpoint holds, and its weights for Hugging Face",
    .examples = {{"weft ckpt info weft-runs/1/checkpoint", "its step, shape and parameters"},
                 {"weft ckpt convert weft-runs/1/checkpoint gpt2-out", "a folder that transformers can load"}},
    .details = "  info      one checkpoint\n  convert   model.safetensors and config.json in GPT-2's names and layout;\n"
               "            --set train.init=FOLDER of weft train is the way back",
    .groups = COMMAND_JSON,
    .arguments_max = 3,
    .run = run,
};

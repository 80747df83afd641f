// One table says what a parameter is called elsewhere and whether it lies transposed there.
#include "model/compute/gpt2_files.h"

#include "base/file.h"
#include "base/text.h"
#include "model/compute/safetensors.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct gpt2_name {
  const char *ours, *theirs; // without the layer
  bool transposed;           // Conv1D keeps [in][out]
} gpt2_name;

// In the order of llm.c's file, which keeps a block's parameter of all layers together.
static const gpt2_name names[] = {
    {"wte", "wte.weight", false},
    {"wpe", "wpe.weight", false},
    {"ln1.g", "ln_1.weight", false},
    {"ln1.b", "ln_1.bias", false},
    {"attn.wqkv", "attn.c_attn.weight", true},
    {"attn.bqkv", "attn.c_attn.bias", false},
    {"attn.wo", "attn.c_proj.weight", true},
    {"attn.bo", "attn.c_proj.bias", false},
    {"ln2.g", "ln_2.weight", false},
    {"ln2.b", "ln_2.bias", false},
    {"mlp.w1", "mlp.c_fc.weight", true},
    {"mlp.b1", "mlp.c_fc.bias", false},
    {"mlp.w2", "mlp.c_proj.weight", true},
    {"mlp.b2", "mlp.c_proj.bias", false},
    {"lnf.g", "ln_f.weight", false},
    {"lnf.b", "ln_f.bias", false},
};

static const graph_tensor *tensor_of(const graph *g, u32 param) { return &g->tensors[g->params[param]]; }

// A parameter's row of the table; NULL for the unembedding of its own.
static const gpt2_name *name_of(const graph *g, u32 param) {
  const graph_tensor *t = tensor_of(g, param);
  const char *name = t->layer == GRAPH_NONE ? t->name : strchr(t->name, '.') + 1;
  for (u32 i = 0; i < COUNT_OF(names); i++)
    if (!strcmp(names[i].ours, name)) return &names[i];
  return NULL;
}

static const char *their_name(const graph *g, u32 param, const char *prefix, arena *a) {
  const gpt2_name *n = name_of(g, param);
  u32 layer = tensor_of(g, param)->layer;
  if (!n) return "lm_head.weight";
  return layer == GRAPH_NONE ? arena_format(a, "%s%s", prefix, n->theirs) : arena_format(a, "%sh.%u.%s", prefix, layer, n->theirs);
}

static void transpose(const float *from, u32 rows, u32 cols, float *to) {
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j++) to[j * rows + i] = from[i * cols + j];
}

// ---- Hugging Face

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool read_tensor(const graph *g, u32 p, const st_tensor *from, float *to) {
  const graph_tensor *t = tensor_of(g, p);
  const gpt2_name *n = name_of(g, p);
  bool turned = n && n->transposed, table = !strcmp(t->name, "wpe");
  u64 rows = turned ? t->cols : t->rows, cols = turned ? t->rows : t->cols;
  u64 have_rows = from->dims == 2 ? from->shape[0] : 1, have_cols = from->dims ? from->shape[from->dims - 1] : 0;
  if (from->dims > 2 || have_cols != cols || (table ? have_rows < rows : have_rows != rows)) return false;
  for (u64 i = 0; i < rows * cols; i++)
    to[turned ? i % cols * rows + i / cols : i] = (float)st_value(from, i);
  return true;
}

static bool read_safetensors(const graph *g, const char *path, float *const *params, arena *a, status *st) {
  st_file f = {0};
  if (!st_open(path, a, &f, st)) return false;
  const char *prefix = st_find(&f, "wte.weight") ? "" : "transformer.";
  bool ok = true;
  for (u32 p = 0; ok && p < g->param_count; p++) {
    const char *name = their_name(g, p, prefix, a);
    const st_tensor *from = st_find(&f, name);
    if (!from)
      ok = status_fail(st, CODE_DATA, "%s: has no \"%s\"; it is not a GPT-2 of %u layers", path, name, g->model.layers);
    else if (!read_tensor(g, p, from, params[p]))
      ok = status_fail(st, CODE_DATA, "%s: \"%s\" does not have the shape that the model wants", path, name);
  }
  st_close(&f);
  return ok;
}

static json_t *config_json(const char *path, arena *a, status *st) {
  char *words = NULL;
  size_t size = 0;
  if (!file_read(path, a, &words, &size, st)) return NULL;
  json_error_t error;
  json_t *root = json_loadb(words, size, JSON_REJECT_DUPLICATES, &error);
  if (!root) status_fail(st, CODE_DATA, "%s:%d:%d: not valid JSON: %s", path, error.line, error.column, error.text);
  return root;
}

static u32 number(const json_t *root, const char *key) {
  json_int_t v = json_integer_value(json_object_get(root, key));
  return v > 0 && v <= UINT32_MAX ? (u32)v : 0;
}

static bool read_config(const char *path, const json_t *root, model_spec *m, u32 *ret_positions, status *st) {
  const char *act = json_string_value(json_object_get(root, "activation_function"));
  field_defaults(&model_table, m);
  m->layers = number(root, "n_layer"), m->width = number(root, "n_embd"), m->heads = number(root, "n_head");
  m->vocab = number(root, "vocab_size");
  *ret_positions = number(root, "n_positions");
  if (!m->layers || !m->width || !m->heads || !m->vocab || !*ret_positions)
    return status_fail(st, CODE_DATA, "%s: lacks n_layer, n_embd, n_head, vocab_size or n_positions; it is not a GPT-2", path);
  if (act && strcmp(act, "gelu_new") != 0 && strcmp(act, "gelu") != 0 && strcmp(act, "gelu_pytorch_tanh") != 0)
    return status_fail(st, CODE_DATA, "%s: activation_function \"%s\" is not known here; gelu_new and gelu are", path, act);
  u32 inner = number(root, "n_inner");
  m->mlp = inner ? (double)inner / m->width : 4;
  m->activation = act && !strcmp(act, "gelu") ? ACT_GELU_ERF : ACT_GELU;
  m->position = POSITION_LEARNED;
  m->tied = !json_is_false(json_object_get(root, "tie_word_embeddings"));
  m->parameterization = PARAM_SP;
  json_t *eps = json_object_get(root, "layer_norm_epsilon");
  if (json_is_number(eps)) m->ln_eps = json_number_value(eps);
  return model_check(m, st);
}

bool gpt2_read_config(const char *folder, arena *a, model_spec *ret_model, u32 *ret_positions, status *st) {
  const char *path = arena_format(a, "%s/config.json", folder);
  json_t *root = config_json(path, a, st);
  model_spec m;
  bool ok = root && read_config(path, root, &m, ret_positions, st);
  json_decref(root);
  if (ok) *ret_model = m;
  return ok;
}

static bool check_writable(const graph *g, status *st) {
  const model_spec *m = &g->model;
  const model_rules *r = &g->rules;
  const char *why = NULL;
  if (m->position != POSITION_LEARNED) why = "its positions are not learned";
  else if (m->activation != ACT_GELU && m->activation != ACT_GELU_ERF) why = "its activation is not GELU";
  else if (m->norm != NORM_LAYERNORM) why = "its norm is not LayerNorm";
  else if (m->block != BLOCK_SERIAL) why = "its blocks are parallel";
  else if (m->attention != ATTENTION_CAUSAL) why = "its attention is bidirectional";
  else if (!m->bias) why = "it has no biases";
  else if (r->embed_mult != 1 || r->logit_mult != 1 || r->residual_mult != 1) why = "its rules multiply embeddings, branches or logits";
  else if (fabs(r->attention_scale * sqrt(model_head_width(m)) - 1) > 1e-12) why = "its scores are not scaled by 1/sqrt(d_head)";
  if (!why) return true;
  return status_fail(st, CODE_CONFIG, "this model has no GPT-2 form: %s", why);
}

static bool write_config(const graph *g, const char *path, status *st) {
  const model_spec *m = &g->model;
  json_t *root = json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:b, s:s}", "architectures",
                           "GPT2LMHeadModel", "model_type", "gpt2", "activation_function",
                           m->activation == ACT_GELU ? "gelu_new" : "gelu", "n_layer", (int)m->layers, "n_embd", (int)m->width,
                           "n_head", (int)m->heads, "n_inner", (int)model_hidden_width(m), "n_positions", (int)g->seq, "n_ctx",
                           (int)g->seq, "vocab_size", (int)m->vocab, "layer_norm_epsilon", m->ln_eps, "tie_word_embeddings",
                           (int)m->tied, "torch_dtype", "float32");
  require(root != NULL);
  char *words = json_dumps(root, JSON_INDENT(2));
  json_decref(root);
  require(words != NULL);
  bool ok = file_write(path, words, strlen(words), st);
  free(words);
  return ok;
}

bool gpt2_write(const graph *g, float *const *params, const char *folder, status *st) {
  if (!check_writable(g, st) || !file_make_dirs(folder, st)) return false;
  arena *a = arena_create("gpt2");
  st_tensor *all = arena_array(a, st_tensor, g->param_count);
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *t = tensor_of(g, p);
    const gpt2_name *n = name_of(g, p);
    st_tensor *out = &all[p];
    *out = (st_tensor){.name = their_name(g, p, "transformer.", a), .dtype = ST_F32, .data = params[p]};
    out->count = (u64)t->rows * t->cols;
    if (n && n->transposed) {
      float *turned = arena_array(a, float, out->count);
      transpose(params[p], t->rows, t->cols, turned);
      out->data = turned;
    }
    if (t->rows > 1 || t->role == ROLE_EMBED) out->shape[out->dims++] = n && n->transposed ? t->cols : t->rows;
    out->shape[out->dims++] = n && n->transposed ? t->rows : t->cols;
  }
  bool ok = st_write(arena_format(a, "%s/model.safetensors", folder), all, g->param_count, "{\"format\": \"pt\"}", st) &&
            write_config(g, arena_format(a, "%s/config.json", folder), st);
  arena_destroy(a);
  return ok;
}

// ---- llm.c

enum { LLMC_MAGIC = 20240326, LLMC_FP32 = 3, LLMC_HEADER = 256 };

// 256 words: magic, version, positions, vocabulary, layers, heads, width, rows of the vocabulary's table.
static bool check_header(const graph *g, const char *path, const i32 *h, status *st) {
  const model_spec *m = &g->model;
  if (h[0] != LLMC_MAGIC) return status_fail(st, CODE_DATA, "%s: is no model of llm.c: its first word is %d, not %d", path, h[0], LLMC_MAGIC);
  if (h[1] != LLMC_FP32) return status_fail(st, CODE_DATA, "%s: is of version %d; only 3 (fp32) is read", path, h[1]);
  if (h[2] < 0 || (u32)h[2] < g->seq || (u32)h[3] != m->vocab || (u32)h[4] != m->layers || (u32)h[5] != m->heads ||
      (u32)h[6] != m->width || h[7] < h[3])
    return status_fail(st, CODE_DATA, "%s: holds %d layers of width %d with %d heads, %d positions and a vocabulary of %d; the model differs",
                       path, h[4], h[6], h[5], h[2], h[3]);
  if (!m->tied || m->position != POSITION_LEARNED || !m->bias || model_hidden_width(m) != 4 * m->width)
    return status_fail(st, CODE_DATA, "%s: a GPT-2 is tied, has learned positions, biases and mlp 4; the model differs", path);
  return true;
}

static bool copy_llmc(const graph *g, const char *path, const char *bytes, size_t size, float *const *params, status *st) {
  size_t at = LLMC_HEADER * sizeof(i32);
  if (size < at) return status_fail(st, CODE_DATA, "%s: is shorter than a header of llm.c", path);
  i32 h[LLMC_HEADER];
  memcpy(h, bytes, sizeof h);
  if (!check_header(g, path, h, st)) return false;
  for (u32 i = 0; i < COUNT_OF(names); i++)
    for (u32 p = 0; p < g->param_count; p++) {
      if (name_of(g, p) != &names[i]) continue;
      const graph_tensor *t = tensor_of(g, p);
      u64 rows = i == 0 ? (u32)h[7] : i == 1 ? (u32)h[2] : t->rows, have = rows * t->cols * sizeof(float);
      if (size - at < have) return status_fail(st, CODE_DATA, "%s: ends inside \"%s\"", path, t->name);
      memcpy(params[p], bytes + at, (size_t)t->rows * t->cols * sizeof(float));
      at += have;
    }
  if (at != size) return status_fail(st, CODE_DATA, "%s: has %zu bytes behind the last parameter", path, size - at);
  return true;
}

// Mapped, not read: GPT-2's smallest is half a GB.
static bool read_llmc(const graph *g, const char *path, float *const *params, status *st) {
  const void *bytes;
  size_t size;
  if (!file_map(path, &bytes, &size, st)) return false;
  bool ok = copy_llmc(g, path, bytes, size, params, st);
  file_unmap(bytes, size);
  return ok;
}

bool gpt2_read(const graph *g, const char *path, float *const *params, status *st) {
  const model_spec *m = &g->model;
  if (m->norm != NORM_LAYERNORM || m->block != BLOCK_SERIAL || m->activation == ACT_SWIGLU)
    return status_fail(st, CODE_CONFIG, "%s: a GPT-2 has LayerNorm, serial blocks and no gate; the model differs", path);
  arena *a = arena_create("gpt2");
  bool ok = text_ends(path, ".bin") ? read_llmc(g, path, params, st)
                                    : read_safetensors(g, is_folder(path) ? arena_format(a, "%s/model.safetensors", path) : path,
                                                       params, a, st);
  arena_destroy(a);
  return ok;
}

// The journey of a GPT-2-shaped model through the files of others (gpt2_journey.h).
#include "tests/gpt2_journey.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/compute/gpt2_files.h"
#include "model/compute/safetensors.h"
#include "model/compute/trainer.h"
#include "tests/support.h"

typedef struct entry {
  const char *ours, *theirs;
  u32 rows, cols;  // as llm.c stores it, [out][in]; cols 0: a vector
  bool transposed; // in Hugging Face's files
} entry;

typedef struct journey {
  const gpt2_journey *j;
  arena *a;
  graph g;
  trainer *t;
  char folder[256];
} journey;

enum { IN_BLOCK = 12 };

static void block_entries(const gpt2_journey *j, entry to[IN_BLOCK]) {
  u32 n = j->width;
  const entry all[IN_BLOCK] = {
      {"ln1.g", "ln_1.weight", n, 0, false},
      {"ln1.b", "ln_1.bias", n, 0, false},
      {"attn.wqkv", "attn.c_attn.weight", 3 * n, n, true},
      {"attn.bqkv", "attn.c_attn.bias", 3 * n, 0, false},
      {"attn.wo", "attn.c_proj.weight", n, n, true},
      {"attn.bo", "attn.c_proj.bias", n, 0, false},
      {"ln2.g", "ln_2.weight", n, 0, false},
      {"ln2.b", "ln_2.bias", n, 0, false},
      {"mlp.w1", "mlp.c_fc.weight", 4 * n, n, true},
      {"mlp.b1", "mlp.c_fc.bias", 4 * n, 0, false},
      {"mlp.w2", "mlp.c_proj.weight", n, 4 * n, true},
      {"mlp.b2", "mlp.c_proj.bias", n, 0, false},
  };
  memcpy(to, all, sizeof all);
}

static size_t entry_count(const entry *e) {
  return (size_t)e->rows * (e->cols ? e->cols : 1);
}

// Entry e of block `layer`; blocks' tensors are numbered after the two tables, the last norm behind them.
static u64 number_of(u32 e, u32 layer) {
  return 2 + (u64)e * 1000 + layer;
}

static bool is_gain(u64 tensor) {
  u64 e = (tensor - 2) / 1000; // wraps for the tables
  return e == 0 || e == 6 || tensor == number_of(IN_BLOCK, 0);
}

// A weight of the file: small but for gains, and different at every place.
static float weight_at(u64 tensor, u64 index) {
  u64 h = (tensor + 1) * 0x9e3779b97f4a7c15ull + index * 0xd1342543de82ef95ull;
  h ^= h >> 29;
  float small = (float)((double)(h * 0xbf58476d1ce4e5b9ull >> 40) / (1 << 24) - 0.5) * 0.04f;
  return is_gain(tensor) ? 1 + small : small;
}

static void put_values(FILE *out, u64 tensor, size_t count, size_t zeros) {
  for (size_t i = 0; i < count + zeros; i++) {
    float v = i < count ? weight_at(tensor, i) : 0;
    fwrite(&v, sizeof v, 1, out);
  }
}

static void write_llmc(const journey *y, const char *path) {
  const gpt2_journey *j = y->j;
  const i32 header[256] = {20240326,          3,
                           (i32)j->positions, (i32)j->vocab,
                           (i32)j->layers,    (i32)j->heads,
                           (i32)j->width,     (i32)j->padded_vocab};
  entry block[IN_BLOCK];
  block_entries(j, block);
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  fwrite(header, sizeof header, 1, out);
  put_values(out, 0, (size_t)j->vocab * j->width, (size_t)(j->padded_vocab - j->vocab) * j->width);
  put_values(out, 1, (size_t)j->positions * j->width, 0);
  for (u32 e = 0; e < IN_BLOCK; e++)
    for (u32 l = 0; l < j->layers; l++) put_values(out, number_of(e, l), entry_count(&block[e]), 0);
  put_values(out, number_of(IN_BLOCK, 0), j->width, 0);
  put_values(out, number_of(IN_BLOCK, 1), j->width, 0);
  assert_int_equal(fclose(out), 0);
}

static float *param(const journey *y, const char *name) {
  u32 p = graph_find_param(&y->g, name);
  if (p == GRAPH_NONE) fail_msg("no %s", name);
  return trainer_param(y->t, p);
}

static void loaded(const journey *y, const char *name, u64 tensor, size_t count) {
  const float *v = param(y, name);
  for (size_t i = 0; i < count; i++)
    if (v[i] != weight_at(tensor, i)) fail_msg("%s[%zu] is %g", name, i, v[i]);
}

static void check_loaded(const journey *y) {
  const gpt2_journey *j = y->j;
  entry block[IN_BLOCK];
  block_entries(j, block);
  loaded(y, "wte", 0, (size_t)j->vocab * j->width);
  loaded(y, "wpe", 1, (size_t)j->seq * j->width); // the first positions
  for (u32 e = 0; e < IN_BLOCK; e++)
    for (u32 l = 0; l < j->layers; l++)
      loaded(y, arena_format(y->a, "h%u.%s", l, block[e].ours), number_of(e, l), entry_count(&block[e]));
  loaded(y, "lnf.g", number_of(IN_BLOCK, 0), j->width);
  loaded(y, "lnf.b", number_of(IN_BLOCK, 1), j->width);
}

// The file's tensor is the trainer's, transposed where it should be.
static void stored(const journey *y, const st_file *file, const char *ours, const char *theirs, const entry *e) {
  const st_tensor *t = st_find(file, theirs);
  const float *v = param(y, ours);
  if (!t) fail_msg("no %s", theirs);
  u64 rows = e->transposed ? e->cols : e->rows, cols = e->transposed ? e->rows : e->cols;
  assert_true(t->dims == (e->cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols));
  for (u64 r = 0; r < rows; r++)
    for (u64 c = 0; c < (cols ? cols : 1); c++) {
      u64 here = e->transposed ? c * rows + r : r * (cols ? cols : 1) + c;
      if ((float)st_value(t, r * (cols ? cols : 1) + c) != v[here])
        fail_msg("%s[%llu][%llu]", theirs, (unsigned long long)r, (unsigned long long)c);
    }
}

static void check_stored(const journey *y, const char *folder) {
  const gpt2_journey *j = y->j;
  status st = {0};
  st_file file;
  entry block[IN_BLOCK];
  block_entries(j, block);
  support_ok(st_open(arena_format(y->a, "%s/model.safetensors", folder), y->a, &file, &st), &st);
  assert_int_equal(file.count, 4 + IN_BLOCK * j->layers);
  stored(y, &file, "wte", "transformer.wte.weight", &(entry){.rows = j->vocab, .cols = j->width});
  stored(y, &file, "wpe", "transformer.wpe.weight", &(entry){.rows = j->seq, .cols = j->width});
  for (u32 e = 0; e < IN_BLOCK; e++)
    for (u32 l = 0; l < j->layers; l++)
      stored(y, &file, arena_format(y->a, "h%u.%s", l, block[e].ours),
             arena_format(y->a, "transformer.h.%u.%s", l, block[e].theirs), &block[e]);
  stored(y, &file, "lnf.g", "transformer.ln_f.weight", &(entry){.rows = j->width});
  stored(y, &file, "lnf.b", "transformer.ln_f.bias", &(entry){.rows = j->width});
  st_close(&file);
}

static void build(journey *y) {
  const gpt2_journey *j = y->j;
  model_spec m;
  train_options *o = arena_array(y->a, train_options, 1);
  status st = {0};
  field_defaults(&model_table, &m);
  field_defaults(&train_table, o);
  m.layers = j->layers, m.width = j->width, m.heads = j->heads, m.vocab = j->vocab, m.tied = true;
  m.activation = ACT_GELU, m.position = POSITION_LEARNED, m.parameterization = PARAM_SP;
  o->seq = j->seq, o->batch = j->batch, o->steps = 10, o->lr = 1e-3, o->eps = 1e-8, o->warmup = 0;
  support_ok(graph_build(&m, (base_hyper){o->lr, 0, o->eps}, j->seq, y->a, &y->g, &st), &st);
  y->t = trainer_create(
      &(trainer_setup){.graph = &y->g, .options = o, .kernels = trainer_kernels(o), .seed = 1, .threads = 2}, y->a,
      &st);
  support_ok(y->t != NULL, &st);
}

static float **params_of(const journey *y) {
  float **params = arena_array(y->a, float *, y->g.param_count);
  for (u32 p = 0; p < y->g.param_count; p++) params[p] = trainer_param(y->t, p);
  return params;
}

void gpt2_journey_run(const gpt2_journey *j) {
  journey y = {.j = j, .a = arena_create("journey")};
  status st = {0};
  support_folder(y.folder, sizeof y.folder);
  const char *bin = arena_format(y.a, "%s/m.bin", y.folder), *hf = arena_format(y.a, "%s/hf", y.folder);
  write_llmc(&y, bin);
  build(&y);
  support_ok(gpt2_read(&y.g, bin, params_of(&y), &st), &st);
  check_loaded(&y);
  u32 *ids = arena_array(y.a, u32, j->batch * j->seq + 1);
  for (u32 i = 0; i <= j->batch * j->seq; i++) ids[i] = (i * 7919 + 13) % j->vocab;
  const float before = param(&y, "h0.attn.wqkv")[5];
  step_result r = trainer_step_on(y.t, ids, ids + 1);
  assert_true(r.finite && fabs(r.loss - log(j->vocab)) < 1); // small random weights know nothing
  assert_true(param(&y, "h0.attn.wqkv")[5] != before);
  support_ok(gpt2_write(&y.g, params_of(&y), hf, &st), &st);
  check_stored(&y, hf);
  journey again = y;
  build(&again);
  support_ok(gpt2_read(&again.g, hf, params_of(&again), &st), &st);
  for (u32 p = 0; p < y.g.param_count; p++) {
    const graph_tensor *t = &y.g.tensors[y.g.params[p]];
    assert_memory_equal(trainer_param(y.t, p), trainer_param(again.t, p), (size_t)t->rows * t->cols * sizeof(float));
  }
  support_remove(y.folder);
  arena_destroy(y.a);
}

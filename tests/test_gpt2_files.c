// GPT-2 weights in the layouts of others: names, shapes and transpositions written out here once more, a round
// trip with equal bytes, and files that do not fit.
#include "tests/gpt2_journey.h"
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "model/compute/gpt2_files.h"
#include "model/compute/safetensors.h"

enum { LAYERS = 2, WIDTH = 12, HEADS = 3, VOCAB = 31, SEQ = 9 };

typedef struct fixture {
  arena *a;
  char folder[256];
  graph g;
  float **params;
} fixture;

static float **empty(fixture *f) {
  float **params = arena_array(f->a, float *, f->g.param_count);
  for (u32 p = 0; p < f->g.param_count; p++) {
    const graph_tensor *t = &f->g.tensors[f->g.params[p]];
    params[p] = arena_array(f->a, float, t->rows * t->cols);
  }
  return params;
}

static graph built(fixture *f, bool tied, u32 seq) {
  model_spec m;
  field_defaults(&model_table, &m);
  m.layers = LAYERS, m.width = WIDTH, m.heads = HEADS, m.vocab = VOCAB, m.tied = tied;
  m.activation = ACT_GELU, m.position = POSITION_LEARNED, m.parameterization = PARAM_SP;
  graph g;
  status st = {0};
  support_ok(graph_build(&m, (base_hyper){0.01, 0, 1e-8}, seq, f->a, &g, &st), &st);
  return g;
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  f->a = arena_create("test");
  support_folder(f->folder, sizeof f->folder);
  f->g = built(f, true, SEQ);
  f->params = empty(f);
  for (u32 p = 0; p < f->g.param_count; p++) {
    const graph_tensor *t = &f->g.tensors[f->g.params[p]];
    for (u32 i = 0; i < t->rows * t->cols; i++) f->params[p][i] = (float)random_normal(1, RANDOM_TEST, p, i);
  }
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  support_remove(f->folder);
  arena_destroy(f->a);
  free(f);
  return 0;
}

static const char *path_of(fixture *f, const char *name) { return arena_format(f->a, "%s/%s", f->folder, name); }

static float value(fixture *f, const char *name, u32 index) { return f->params[graph_find_param(&f->g, name)][index]; }

static void same(fixture *f, float *const *other) {
  for (u32 p = 0; p < f->g.param_count; p++) {
    const graph_tensor *t = &f->g.tensors[f->g.params[p]];
    assert_memory_equal(f->params[p], other[p], t->rows * t->cols * sizeof(float));
  }
}

static void has(const st_file *file, const char *name, u64 rows, u64 cols) {
  const st_tensor *t = st_find(file, name);
  if (!t) fail_msg("no %s", name);
  assert_int_equal(t->dims, cols ? 2 : 1);
  assert_int_equal(t->shape[0], rows);
  if (cols) assert_int_equal(t->shape[1], cols);
}

static void writes_their_names_and_shapes(void **state) {
  fixture *f = *state;
  status st = {0};
  support_ok(gpt2_write(&f->g, f->params, path_of(f, "hf"), &st), &st);
  st_file file;
  support_ok(st_open(path_of(f, "hf/model.safetensors"), f->a, &file, &st), &st);
  assert_int_equal(file.count, 4 + 12 * LAYERS);
  has(&file, "transformer.wte.weight", VOCAB, WIDTH);
  has(&file, "transformer.wpe.weight", SEQ, WIDTH);
  has(&file, "transformer.h.1.ln_1.weight", WIDTH, 0);
  has(&file, "transformer.h.1.attn.c_attn.weight", WIDTH, 3 * WIDTH);
  has(&file, "transformer.h.1.attn.c_attn.bias", 3 * WIDTH, 0);
  has(&file, "transformer.h.0.attn.c_proj.weight", WIDTH, WIDTH);
  has(&file, "transformer.h.0.ln_2.bias", WIDTH, 0);
  has(&file, "transformer.h.0.mlp.c_fc.weight", WIDTH, 4 * WIDTH);
  has(&file, "transformer.h.0.mlp.c_proj.weight", 4 * WIDTH, WIDTH);
  has(&file, "transformer.ln_f.bias", WIDTH, 0);
  // [in][out] there, [out][in] here: input 5 of output 30, and so on.
  const st_tensor *qkv = st_find(&file, "transformer.h.1.attn.c_attn.weight");
  assert_true(st_value(qkv, 5 * 3 * WIDTH + 30) == (double)value(f, "h1.attn.wqkv", 30 * WIDTH + 5));
  const st_tensor *o = st_find(&file, "transformer.h.0.attn.c_proj.weight");
  assert_true(st_value(o, 2 * WIDTH + 7) == (double)value(f, "h0.attn.wo", 7 * WIDTH + 2));
  const st_tensor *down = st_find(&file, "transformer.h.0.mlp.c_proj.weight");
  assert_true(st_value(down, 40 * WIDTH + 3) == (double)value(f, "h0.mlp.w2", 3 * 4 * WIDTH + 40));
  const st_tensor *wte = st_find(&file, "transformer.wte.weight");
  assert_true(st_value(wte, 3 * WIDTH + 1) == (double)value(f, "wte", 3 * WIDTH + 1));
  st_close(&file);
}

static void comes_back_byte_by_byte(void **state) {
  fixture *f = *state;
  status st = {0};
  support_ok(gpt2_write(&f->g, f->params, path_of(f, "hf"), &st), &st);
  float **again = empty(f);
  support_ok(gpt2_read(&f->g, path_of(f, "hf"), again, &st), &st);
  same(f, again);
  support_ok(gpt2_write(&f->g, again, path_of(f, "hf2"), &st), &st);
  char *one = NULL, *two = NULL;
  size_t n = 0, k = 0;
  support_ok(file_read(path_of(f, "hf/model.safetensors"), f->a, &one, &n, &st), &st);
  support_ok(file_read(path_of(f, "hf2/model.safetensors"), f->a, &two, &k, &st), &st);
  assert_int_equal(n, k);
  assert_memory_equal(one, two, n);
  model_spec m;
  u32 positions;
  support_ok(gpt2_read_config(path_of(f, "hf"), f->a, &m, &positions, &st), &st);
  assert_int_equal(positions, SEQ);
  assert_true(m.layers == LAYERS && m.width == WIDTH && m.heads == HEADS && m.vocab == VOCAB && m.tied);
  assert_true(m.activation == ACT_GELU && m.position == POSITION_LEARNED && m.mlp == 4);
}

static void untied_and_shorter(void **state) {
  fixture *f = *state;
  status st = {0};
  graph shorter = built(f, true, SEQ - 4);
  support_ok(gpt2_write(&f->g, f->params, path_of(f, "hf"), &st), &st);
  float **params = empty(f);
  support_ok(gpt2_read(&shorter, path_of(f, "hf/model.safetensors"), params, &st), &st);
  assert_memory_equal(params[graph_find_param(&shorter, "wpe")], f->params[graph_find_param(&f->g, "wpe")],
                      (SEQ - 4) * WIDTH * sizeof(float));
  graph longer = built(f, true, SEQ + 1);
  support_failed(gpt2_read(&longer, path_of(f, "hf"), params, &st), &st, CODE_DATA, "wpe.weight");
  f->g = built(f, false, SEQ);
  status_clear(&st);
  support_failed(gpt2_read(&f->g, path_of(f, "hf"), empty(f), &st), &st, CODE_DATA, "lm_head.weight");
}

static void refuses_what_gpt2_is_not(void **state) {
  fixture *f = *state;
  status st = {0};
  f->g.rules.residual_mult = 0.5;
  support_failed(gpt2_write(&f->g, f->params, path_of(f, "hf"), &st), &st, CODE_CONFIG, "multiply");
  status_clear(&st);
  support_failed(gpt2_read(&f->g, path_of(f, "none"), f->params, &st), &st, CODE_NO_INPUT, "none");
}

// llm.c: all layers of a parameter together, the vocabulary's table padded.
static void reads_llmc(void **state) {
  fixture *f = *state;
  enum { PADDED = 40, POSITIONS = SEQ + 3 };
  static const char *const order[] = {"ln1.g", "ln1.b", "attn.wqkv", "attn.bqkv", "attn.wo", "attn.bo",
                                      "ln2.g", "ln2.b", "mlp.w1", "mlp.b1", "mlp.w2", "mlp.b2"};
  i32 header[256] = {20240326, 3, POSITIONS, VOCAB, LAYERS, HEADS, WIDTH, PADDED};
  FILE *out = fopen(path_of(f, "m.bin"), "wb");
  float zeros[PADDED * WIDTH] = {0};
  fwrite(header, sizeof header, 1, out);
  fwrite(f->params[graph_find_param(&f->g, "wte")], sizeof(float), VOCAB * WIDTH, out);
  fwrite(zeros, sizeof(float), (PADDED - VOCAB) * WIDTH, out);
  fwrite(f->params[graph_find_param(&f->g, "wpe")], sizeof(float), SEQ * WIDTH, out);
  fwrite(zeros, sizeof(float), (POSITIONS - SEQ) * WIDTH, out);
  for (u32 i = 0; i < COUNT_OF(order); i++)
    for (u32 l = 0; l < LAYERS; l++) {
      u32 p = graph_find_param(&f->g, arena_format(f->a, "h%u.%s", l, order[i]));
      const graph_tensor *t = &f->g.tensors[f->g.params[p]];
      fwrite(f->params[p], sizeof(float), t->rows * t->cols, out);
    }
  fwrite(f->params[graph_find_param(&f->g, "lnf.g")], sizeof(float), WIDTH, out);
  fwrite(f->params[graph_find_param(&f->g, "lnf.b")], sizeof(float), WIDTH, out);
  fclose(out);
  status st = {0};
  float **again = empty(f);
  support_ok(gpt2_read(&f->g, path_of(f, "m.bin"), again, &st), &st);
  same(f, again);
  header[1] = 5;
  out = fopen(path_of(f, "m.bin"), "r+b");
  fwrite(header, sizeof header, 1, out);
  fclose(out);
  support_failed(gpt2_read(&f->g, path_of(f, "m.bin"), again, &st), &st, CODE_DATA, "version 5");
}

// Loads, trains a step, goes out and comes back.
static void journeys(void **state) {
  (void)state;
  gpt2_journey_run(&(gpt2_journey){.layers = 3, .width = 24, .heads = 2, .vocab = 37, .padded_vocab = 48, .positions = 20,
                                   .seq = 16, .batch = 3});
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(writes_their_names_and_shapes), TEST(comes_back_byte_by_byte), TEST(untied_and_shorter),
      TEST(refuses_what_gpt2_is_not),      TEST(reads_llmc),
      cmocka_unit_test(journeys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

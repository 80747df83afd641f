// A training run: it learns, does not depend on threads, stops and goes on bit by bit, survives a
// kill while saving, and refuses checkpoints that are not its own.
#include "tests/support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "model/compute/checkpoint.h"
#include "model/compute/generate.h"
#include "model/compute/safetensors.h"

// A small run and what it stands on.
typedef struct fixture {
  char folder[256];
  model_spec model;
  train_options options;
  data_options data_options;
  token_data data;
  graph g;
  arena *a;
} fixture;

static const char pattern[] = "abcdefgh";
enum { TEXT_BYTES = 4000, SEQ = 12 };

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  support_folder(f->folder, sizeof f->folder);
  f->a = arena_create("test");
  field_defaults(&model_table, &f->model);
  field_defaults(&train_table, &f->options);
  field_defaults(&data_table, &f->data_options);
  f->model.layers = 2;
  f->model.width = 32;
  f->model.base_width = 16;
  f->model.base_layers = 1;
  f->model.vocab = 8;
  f->options.batch = 5;
  f->options.seq = SEQ;
  f->options.steps = 40;
  f->options.weight_decay = 0.1;
  f->options.clip = 0.5;
  f->options.eval_sequences = 13;
  f->data_options.vocab = VOCAB_CHARS;
  char *letters = arena_take(f->a, TEXT_BYTES);
  for (u32 i = 0; i < TEXT_BYTES; i++) letters[i] = pattern[i % 8];
  tokens_request request = {.options = &f->data_options, .builtin = letters, .builtin_size = TEXT_BYTES, .seq = SEQ};
  status st = {0};
  support_ok(tokens_open(&request, f->a, &f->data, &st), &st);
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

static const graph *build(fixture *f) {
  graph *g = arena_array(f->a, graph, 1);
  base_hyper base = {f->options.lr, f->options.weight_decay, f->options.eps};
  status st = {0};
  support_ok(graph_build(&f->model, base, SEQ, f->a, g, &st), &st);
  return g;
}

static trainer *create(fixture *f, u64 seed, u32 threads) {
  trainer_setup s = {
      .graph = build(f), .options = &f->options, .kernels = kernels_fast(), .seed = seed, .threads = threads};
  status st = {0};
  trainer *t = trainer_create(&s, f->a, &st);
  support_ok(t != NULL, &st);
  return t;
}

static step_result steps(fixture *f, trainer *t, u32 count) {
  step_result r = {0};
  for (u32 i = 0; i < count; i++) r = trainer_step(t, &f->data);
  return r;
}

static const char *path_of(fixture *f, const char *name) {
  return arena_format(f->a, "%s/%s", f->folder, name);
}

static void save(fixture *f, const trainer *t, const char *name) {
  status st = {0};
  support_ok(trainer_save(t, path_of(f, name), &st), &st);
}

static void load(fixture *f, trainer *t, const char *name) {
  status st = {0};
  support_ok(trainer_load(t, path_of(f, name), &st), &st);
}

// Everything that training goes on from: a saved folder's parameters, m and v.
static u64 state_hash(fixture *f, const trainer *t) {
  save(f, t, "hashed");
  u64 hash = hash_u64(HASH_START, trainer_steps_done(t));
  const char *const files[] = {"hashed/model.safetensors", "hashed/optimizer.safetensors"};
  for (u32 i = 0; i < 2; i++) {
    char *bytes;
    size_t size;
    status st = {0};
    support_ok(file_read(path_of(f, files[i]), f->a, &bytes, &size, &st), &st);
    hash = hash_bytes(hash, bytes, size);
  }
  return hash;
}

static void learns(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 2);
  step_result first = steps(f, t, 1), last = steps(f, t, 39);
  assert_int_equal(first.step, 1);
  assert_int_equal(last.step, 40);
  assert_true(first.finite && last.finite);
  assert_true(fabs(first.loss - log(8)) < 0.3);
  assert_true(last.loss < 0.3);
  assert_true(fabs(first.lr - f->options.lr / 4) < 1e-15);
  double held = trainer_evaluate(t, &f->data);
  assert_true(held < 0.3);
  assert_true(held == trainer_evaluate(t, &f->data));
}

static void same_bytes_for_any_threads(void **state) {
  fixture *f = *state;
  u64 want = 0;
  double held = 0;
  for (u32 threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) { // 1, 2, 3, 8
    trainer *t = create(f, 3, threads);
    steps(f, t, 7);
    u64 hash = state_hash(f, t);
    double loss = trainer_evaluate(t, &f->data);
    if (threads == 1) want = hash, held = loss;
    assert_int_equal(hash, want);
    assert_true(loss == held);
  }
}

// With a rate of zero only the batch makes the loss; every step draws its own, and the same one again.
static void draws_a_batch_per_step(void **state) {
  fixture *f = *state;
  f->options.lr = 0;
  trainer *a = create(f, 1, 1), *b = create(f, 1, 1);
  double before = 0;
  for (u32 i = 0; i < 5; i++) {
    double loss = steps(f, a, 1).loss;
    assert_true(loss != before);
    assert_true(loss == steps(f, b, 1).loss);
    before = loss;
  }
}

static void seeds_differ(void **state) {
  fixture *f = *state;
  trainer *a = create(f, 1, 1), *b = create(f, 2, 1);
  assert_true(trainer_param(a, 0)[0] != trainer_param(b, 0)[0]);
}

// The rules decide the init: standard deviations, gains of one, biases of zero.
static void init_follows_rules(void **state) {
  fixture *f = *state;
  f->model.parameterization = PARAM_SP;
  trainer *t = create(f, 1, 1);
  const graph *g = build(f);
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *tensor = &g->tensors[g->params[p]];
    u64 n = (u64)tensor->rows * tensor->cols;
    double std = graph_param_rule(g, p).init_std, sum = 0;
    for (u64 i = 0; i < n; i++) sum += (double)trainer_param(t, p)[i] * (double)trainer_param(t, p)[i];
    double rms = sqrt(sum / (double)n), want = std > 0 ? std : graph_param_is_gain(g, p) ? 1 : 0;
    if (fabs(rms - want) > 4 * std / sqrt(2 * (double)n)) fail_msg("%s: rms %g, wanted %g", tensor->name, rms, want);
  }
}

// The norm is of the true gradients, and those are what trainer_grad gives, clipped or not.
static void gradients_are_not_clipped(void **state) {
  fixture *f = *state;
  f->options.clip = 1e-3;
  trainer *clipped = create(f, 1, 1);
  step_result r = steps(f, clipped, 1);
  u64 hash = state_hash(f, clipped);
  const graph *g = build(f);
  double sum = 0;
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *t = &g->tensors[g->params[p]];
    for (u64 i = 0; i < (u64)t->rows * t->cols; i++)
      sum += (double)trainer_grad(clipped, p)[i] * (double)trainer_grad(clipped, p)[i];
  }
  assert_true(r.grad_norm > 0.01);
  assert_true(fabs(sqrt(sum) - r.grad_norm) < 1e-12 * r.grad_norm);
  f->options.clip = 0;
  trainer *free_one = create(f, 1, 1);
  assert_true(steps(f, free_one, 1).grad_norm == r.grad_norm);
  assert_int_not_equal(hash, state_hash(f, free_one));
}

static void complete_dp_shortens_moments(void **state) {
  fixture *f = *state;
  f->model.parameterization = PARAM_COMPLETEDP;
  f->model.batch_ratio = 0.5;
  f->options.clip = 0;
  trainer *t = create(f, 1, 1);
  steps(f, t, 1);
  save(f, t, "c");
  st_file file;
  status st = {0};
  support_ok(st_open(path_of(f, "c/optimizer.safetensors"), f->a, &file, &st), &st);
  double g = (double)trainer_grad(t, 0)[0];
  // beta 0.9 becomes 1 - 0.1 / 2, so m is 0.05 g after one step, and v 0.025 g^2.
  assert_true(fabs(st_value(st_find(&file, "m/wte"), 0) - 0.05 * g) < 1e-6 * fabs(g));
  assert_true(fabs(st_value(st_find(&file, "v/wte"), 0) - 0.025 * g * g) < 1e-6 * g * g);
  st_close(&file);
}

static void divergence_is_seen(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 1);
  float before = trainer_param(t, 1)[0];
  trainer_param(t, 0)[0] = NAN;
  trainer_param(t, 0)[32] = NAN;
  step_result r = steps(f, t, 1);
  assert_false(r.finite);
  assert_int_equal(r.step, 1);
  assert_true(trainer_param(t, 1)[0] == before);
}

// ---- checkpoints

static void resumes_bit_by_bit(void **state) {
  fixture *f = *state;
  trainer *whole = create(f, 5, 2);
  steps(f, whole, 9);
  save(f, whole, "at9");
  steps(f, whole, 8);
  u64 want = state_hash(f, whole);
  for (u32 threads = 1; threads <= 3; threads++) {
    trainer *again = create(f, 5, threads);
    load(f, again, "at9");
    assert_int_equal(trainer_steps_done(again), 9);
    steps(f, again, 8);
    assert_int_equal(state_hash(f, again), want);
  }
}

static void says_what_it_is(void **state) {
  fixture *f = *state;
  f->model.alpha = 0.75;
  f->model.activation = ACT_GELU_ERF;
  f->model.init_std = 0.1;
  f->model.tied = true;
  trainer *t = create(f, UINT64_MAX, 1);
  steps(f, t, 2);
  save(f, t, "c");
  checkpoint_info info;
  status st = {0};
  support_ok(checkpoint_read_info(path_of(f, "c/"), f->a, &info, &st), &st);
  assert_int_equal(info.seq, SEQ);
  assert_int_equal(info.step, 2);
  assert_int_equal(info.seed, UINT64_MAX);
  assert_int_equal(field_hash(0, &model_table, &info.model), field_hash(0, &model_table, &f->model));
  trainer *again = create(f, UINT64_MAX, 1);
  load(f, again, "c/");
  st_file file;
  support_ok(st_open(path_of(f, "c/model.safetensors"), f->a, &file, &st), &st);
  assert_int_equal(file.tensors[0].shape[0], 8);
  assert_string_equal(file.tensors[0].name, "wte");
  assert_int_equal(st_find(&file, "lnf.g")->dims, 1);
  st_close(&file);
  support_failed(checkpoint_read_info(path_of(f, "none"), f->a, &info, &st), &st, CODE_NO_INPUT, "config.json");
}

static void refused(fixture *f, trainer *t, const char *name, status_code code, const char *part) {
  u64 before = state_hash(f, t);
  status st = {0};
  support_failed(trainer_load(t, path_of(f, name), &st), &st, code, part);
  assert_int_equal(state_hash(f, t), before);
}

static void refuses_others(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 1);
  steps(f, t, 1);
  save(f, t, "c");
  refused(f, t, "none", CODE_NO_INPUT, "model.safetensors");
  refused(f, create(f, 2, 1), "c", CODE_DATA, "was made with seed 1, this run has seed 2");
  f->model.heads = 8;
  load(f, create(f, 1, 1), "c"); // the same tensors: heads are no shape
  f->model.layers = 1;
  refused(f, create(f, 1, 1), "c", CODE_DATA, "holds 28 tensors, this model wants 16");
  f->model.layers = 2;
  f->model.width = 64;
  refused(f, create(f, 1, 1), "c", CODE_DATA, "\"wte\" is [8, 32], the model wants [8, 64]");
}

static void refuses_damage(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 1);
  steps(f, t, 1);
  save(f, t, "c");
  steps(f, t, 1);
  save(f, t, "d");
  assert_int_equal(rename(path_of(f, "d/optimizer.safetensors"), path_of(f, "c/optimizer.safetensors")), 0);
  refused(f, t, "c", CODE_DATA, "mixes two checkpoints");
  refused(f, t, "d", CODE_NO_INPUT, "optimizer.safetensors");
  save(f, t, "c");
  assert_int_equal(truncate(path_of(f, "c/optimizer.safetensors"), 5000), 0);
  refused(f, t, "c", CODE_DATA, "optimizer.safetensors");
}

static bool exists(fixture *f, const char *name) {
  return access(path_of(f, name), F_OK) == 0;
}

static void replaces_whole_folders(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 1);
  for (u32 i = 0; i < 3; i++) {
    steps(f, t, 1);
    save(f, t, "c");
    assert_false(exists(f, "c.partial"));
    assert_false(exists(f, "c.old"));
  }
  trainer *again = create(f, 1, 1);
  load(f, again, "c");
  assert_int_equal(trainer_steps_done(again), 3);
  // A folder with somebody's file in it stays as it is.
  status st = {0};
  support_ok(file_write(path_of(f, "c/notes.txt"), "x", 1, &st), &st);
  support_failed(trainer_save(t, path_of(f, "c"), &st), &st, CODE_CANT_CREATE, "notes.txt");
  assert_true(exists(f, "c/notes.txt"));
}

// Where names cannot be exchanged a kill may leave FOLDER.old alone, or beside FOLDER.
static void finds_the_old_folder(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 1), *again = create(f, 1, 1);
  steps(f, t, 1);
  save(f, t, "c");
  assert_int_equal(rename(path_of(f, "c"), path_of(f, "c.old")), 0);
  load(f, again, "c");
  assert_int_equal(trainer_steps_done(again), 1);
  steps(f, t, 1);
  save(f, t, "c");
  assert_false(exists(f, "c.old"));
  load(f, again, "c");
  assert_int_equal(trainer_steps_done(again), 2);
}

// A child steps and saves without end and is killed at some moment; whatever it leaves loads, and is
// exactly what the same run has at that step.
static void survives_kills(void **state) {
  fixture *f = *state;
  enum { KILLS = 15, MANY = 4000 };
  f->options.steps = MANY;
  trainer *t = create(f, 9, 1);
  steps(f, t, 1);
  save(f, t, "c");
  for (u32 round = 0; round < KILLS; round++) {
    int saved[2];
    assert_int_equal(pipe(saved), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      status st = {0};
      for (bool first = true;; first = false) {
        trainer_step(t, &f->data);
        if (!trainer_save(t, path_of(f, "c"), &st)) _exit(1);
        if (first && write(saved[1], "", 1) != 1) _exit(1);
      }
    }
    char word; // a busy computer may take any time to the first save; what follows is killed anywhere
    assert_int_equal(read(saved[0], &word, 1), 1);
    close(saved[0]);
    close(saved[1]);
    nanosleep(&(struct timespec){.tv_nsec = 3000000 + (long)round * 2711003}, NULL);
    kill(child, SIGKILL);
    int how = 0;
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how));
    trainer *found = create(f, 9, 1);
    load(f, found, "c");
    u64 done = trainer_steps_done(found);
    assert_true(done >= 1 && done < MANY);
    steps(f, t, (u32)(done - trainer_steps_done(t)));
    assert_int_equal(state_hash(f, found), state_hash(f, t));
  }
  assert_true(trainer_steps_done(t) > 1);
}

// ---- generation

typedef struct heard {
  u32 tokens[64], count, stop_after;
} heard;

static bool hear(u32 token, void *user) {
  heard *h = user;
  h->tokens[h->count++] = token;
  return h->count < h->stop_after;
}

static heard say(trainer *t, generate_options o, const u32 *prompt, u32 count) {
  heard h = {.stop_after = 64};
  generate_run(t, prompt, count, &o, hear, &h);
  return h;
}

static void generates(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 2);
  steps(f, t, 40);
  const u32 prompt[] = {1, 2, 3, 4, 5};
  heard h = say(t, (generate_options){.tokens = 50}, prompt, 5); // far beyond one window
  assert_int_equal(h.count, 50);
  for (u32 i = 0; i < h.count; i++) assert_int_equal(h.tokens[i], (6 + i) % 8);
  heard top = say(t, (generate_options){.tokens = 50, .temperature = 3, .top_k = 1, .seed = 4}, prompt, 5);
  assert_memory_equal(h.tokens, top.tokens, sizeof h.tokens);
  h.stop_after = 3, h.count = 0;
  generate_run(t, prompt, 1, &(generate_options){.tokens = 50}, hear, &h);
  assert_int_equal(h.count, 3);
}

// A running window sees what a prompt of the same last tokens sees. Large weights at the start make
// every token of the window matter.
static void slides_its_window(void **state) {
  fixture *f = *state;
  f->model.init_std = 1;
  f->model.position = POSITION_LEARNED;
  trainer *t = create(f, 1, 1);
  enum { PROMPT = 3, TOKENS = 40 };
  u32 words[PROMPT + TOKENS] = {1, 4, 2}, seen = 0;
  heard run = say(t, (generate_options){.tokens = TOKENS}, words, PROMPT);
  for (u32 i = 0; i < TOKENS; i++) {
    words[PROMPT + i] = say(t, (generate_options){.tokens = 1}, words, PROMPT + i).tokens[0];
    seen |= 1u << words[PROMPT + i];
  }
  assert_memory_equal(run.tokens, words + PROMPT, TOKENS * sizeof *words);
  assert_true((seen & (seen - 1)) != 0); // more than one token
}

static void samples_by_seed(void **state) {
  fixture *f = *state;
  trainer *t = create(f, 1, 1);
  const u32 prompt[] = {1};
  generate_options o = {.tokens = 60, .temperature = 1, .seed = 4};
  heard a = say(t, o, prompt, 1), b = say(t, o, prompt, 1);
  assert_memory_equal(a.tokens, b.tokens, sizeof a.tokens);
  o.seed = 5;
  b = say(t, o, prompt, 1);
  assert_true(memcmp(a.tokens, b.tokens, sizeof a.tokens) != 0);
  // An untrained model says every token now and then.
  u32 seen = 0;
  for (u32 i = 0; i < 60; i++) seen |= 1u << a.tokens[i];
  assert_true(seen == 0xff);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(learns),
      TEST(same_bytes_for_any_threads),
      TEST(draws_a_batch_per_step),
      TEST(seeds_differ),
      TEST(init_follows_rules),
      TEST(gradients_are_not_clipped),
      TEST(complete_dp_shortens_moments),
      TEST(divergence_is_seen),
      TEST(resumes_bit_by_bit),
      TEST(says_what_it_is),
      TEST(refuses_others),
      TEST(refuses_damage),
      TEST(replaces_whole_folders),
      TEST(finds_the_old_folder),
      TEST(survives_kills),
      TEST(generates),
      TEST(slides_its_window),
      TEST(samples_by_seed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

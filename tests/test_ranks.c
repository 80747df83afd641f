// Ranks that share every batch end each step with the bytes of one process: held without MPI, by ranks that are
// threads and talk through pipes.
#include "tests/support.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "model/compute/trainer.h"
#include "runtime/launcher.h"

enum { RANKS_MAX = 8, SEQ = 12, STEPS = 4, TEXT_BYTES = 4000 };

// Who may write to whom: one pipe for every pair.
typedef struct wires {
  int ends[RANKS_MAX][RANKS_MAX][2]; // [from][to]
} wires;

typedef struct rank {
  pthread_t thread;
  wires *w;
  execute_ranks exchange;
  train_options options;
  model_spec model;
  const token_data *data;
  u32 threads;
  u64 hash; // of losses, norms, parameters and the held-out loss
  bool ok;
} rank;

static void put(const rank *r, u32 to, const void *from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = write(r->w->ends[r->exchange.rank][to][1], (const char *)from + done, bytes - done);
    require(n > 0);
    done += (size_t)n;
  }
}

static void get(const rank *r, u32 from, void *to, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = read(r->w->ends[from][r->exchange.rank][0], (char *)to + done, bytes - done);
    require(n > 0);
    done += (size_t)n;
  }
}

static void receive(void *user, float *ret_values, size_t count) {
  const rank *r = user;
  get(r, r->exchange.rank - 1, ret_values, count * sizeof *ret_values);
}

static void send(void *user, const float *values, size_t count) {
  const rank *r = user;
  put(r, r->exchange.rank + 1, values, count * sizeof *values);
}

static void share(void *user, float *values, size_t count) {
  const rank *r = user;
  const u32 last = r->exchange.ranks - 1;
  if (r->exchange.rank != last) get(r, last, values, count * sizeof *values);
  for (u32 to = 0; r->exchange.rank == last && to < last; to++) put(r, to, values, count * sizeof *values);
}

// Whoever is not zero is the one: the order of the sum cannot matter.
static void gather(void *user, double *values, size_t count) {
  const rank *r = user;
  double theirs[64];
  require(count <= COUNT_OF(theirs));
  for (u32 other = 0; other < r->exchange.ranks; other++)
    if (other != r->exchange.rank) put(r, other, values, count * sizeof *values);
  for (u32 other = 0; other < r->exchange.ranks; other++) {
    if (other == r->exchange.rank) continue;
    get(r, other, theirs, count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] += theirs[i];
  }
}

static u64 hash_of(const trainer *t, const graph *g, u64 hash) {
  for (u32 p = 0; p < g->param_count; p++) {
    const graph_tensor *tensor = &g->tensors[g->params[p]];
    const size_t bytes = (size_t)tensor->rows * tensor->cols * sizeof(float);
    hash = hash_bytes(hash, trainer_param((trainer *)(uintptr_t)t, p), bytes);
    hash = hash_bytes(hash, trainer_grad(t, p), bytes);
  }
  return hash;
}

static void *train(void *user) {
  rank *r = user;
  arena *a = arena_create("rank");
  graph g;
  status st = {0};
  const base_hyper base = {r->options.lr, r->options.weight_decay, r->options.eps};
  r->ok = graph_build(&r->model, base, SEQ, a, &g, &st);
  const trainer_setup s = {.graph = &g,
                           .options = &r->options,
                           .kernels = kernels_fast(),
                           .seed = 7,
                           .threads = r->threads,
                           .ranks = r->exchange.ranks > 1 ? &r->exchange : NULL};
  trainer *t = r->ok ? trainer_create(&s, a, &st) : NULL;
  r->ok = t != NULL;
  r->hash = HASH_START;
  for (u32 i = 0; t && i < STEPS; i++) {
    const step_result one = trainer_step(t, r->data);
    r->hash = hash_bytes(hash_bytes(r->hash, &one.loss, sizeof one.loss), &one.grad_norm, sizeof one.grad_norm);
  }
  if (t) {
    const double held = trainer_evaluate(t, r->data);
    r->hash = hash_of(t, &g, hash_bytes(r->hash, &held, sizeof held));
    r->ok = isfinite(held);
  }
  arena_destroy(a);
  return NULL;
}

// All ranks' hash, which must be one.
static u64 trained(u32 ranks, u32 batch, u32 threads, const token_data *data) {
  static wires w;
  rank all[RANKS_MAX] = {0};
  for (u32 i = 0; i < ranks * ranks; i++) assert_int_equal(pipe(w.ends[i / ranks][i % ranks]), 0);
  for (u32 i = 0; i < ranks; i++) {
    rank *r = &all[i];
    *r = (rank){.w = &w, .data = data, .threads = threads};
    r->exchange = (execute_ranks){i, ranks, r, receive, send, share, gather};
    field_defaults(&model_table, &r->model);
    field_defaults(&train_table, &r->options);
    r->model.layers = 2, r->model.width = 32, r->model.vocab = 8;
    r->options.batch = batch, r->options.seq = SEQ, r->options.clip = 0.5, r->options.eval_sequences = 11;
    assert_int_equal(pthread_create(&r->thread, NULL, train, r), 0);
  }
  for (u32 i = 0; i < ranks; i++) pthread_join(all[i].thread, NULL);
  for (u32 i = 0; i < ranks; i++) {
    assert_true(all[i].ok);
    assert_true(all[i].hash == all[0].hash);
  }
  for (u32 i = 0; i < 2 * ranks * ranks; i++) close(w.ends[i / 2 / ranks][i / 2 % ranks][i % 2]);
  return all[0].hash;
}

static arena *memory;
static token_data data;

static int setup(void **state) {
  (void)state;
  static const char pattern[] = "abcdefghbadcfehgaabbccddeeffgghh";
  data_options options;
  status st = {0};
  memory = arena_create("test");
  field_defaults(&data_table, &options);
  options.vocab = VOCAB_CHARS;
  char *letters = arena_take(memory, TEXT_BYTES);
  for (u32 i = 0; i < TEXT_BYTES; i++) letters[i] = pattern[(i * i / 7 + i) % 32];
  const tokens_request request = {.options = &options, .builtin = letters, .builtin_size = TEXT_BYTES, .seq = SEQ};
  support_ok(tokens_open(&request, memory, &data, &st), &st);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tokens_close(&data);
  arena_destroy(memory);
  return 0;
}

static void the_bytes_of_one(void **state) {
  (void)state;
  static const u32 batches[] = {5, 8, 13}; // lanes: 5, 8, and 8 of more than one sequence
  for (u32 b = 0; b < COUNT_OF(batches); b++) {
    const u64 alone = trained(1, batches[b], 2, &data);
    for (u32 ranks = 2; ranks <= 5; ranks++) assert_true(trained(ranks, batches[b], 1 + ranks % 2, &data) == alone);
  }
  assert_true(trained(8, 8, 1, &data) == trained(1, 8, 1, &data));
}

static void refuses_what_ranks_cannot_share(void **state) {
  (void)state;
  arena *a = arena_create("test");
  const execute_ranks three = {.rank = 1, .ranks = 3};
  const struct {
    u32 vocab, batch;
    const char *said;
  } cases[] = {{8, 2, "3 ranks cannot share a batch of 2 sequences"}, {9000, 8, "model.vocab"}};
  for (u32 i = 0; i < COUNT_OF(cases); i++) {
    model_spec m;
    graph g;
    status st = {0};
    field_defaults(&model_table, &m);
    m.layers = 1, m.width = 32, m.vocab = cases[i].vocab;
    support_ok(graph_build(&m, (base_hyper){0.01, 0, 1e-8}, SEQ, a, &g, &st), &st);
    const executor_setup s = {&g, kernels_fast(), cases[i].batch, 1, {.ranks = &three}};
    support_failed(executor_open(&s, a, &st) != NULL, &st, CODE_CONFIG, cases[i].said);
  }
  arena_destroy(a);
}

static void launches_are_forgotten(void **state) {
  (void)state;
  launcher_part p;
  setenv("PMI_RANK", "2", 1);
  assert_false(launcher_find(&p));
  setenv("PMI_SIZE", "3", 1);
  assert_true(launcher_find(&p));
  assert_true(p.index == 2 && p.count == 3);
  launcher_forget();
  assert_false(launcher_find(&p));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_bytes_of_one),
                                     cmocka_unit_test(refuses_what_ranks_cannot_share),
                                     cmocka_unit_test(launches_are_forgotten)};
  return cmocka_run_group_tests(tests, setup, teardown);
}

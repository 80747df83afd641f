// Masked-token prediction: how many tokens are hidden, what shows instead, that it is a function of its draw, and
// that an encoder learns from it what its data determine.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "model/compute/mask.h"
#include "model/compute/trainer.h"
#include "model/graph/graph.h"
#include "tests/support.h"

enum { SEQ = 200, VOCAB = 50 };

typedef struct window {
  u32 original[SEQ], inputs[SEQ], targets[SEQ];
} window;

static window masked(u64 seed, u32 stream, u32 index) {
  window w;
  for (u32 t = 0; t < SEQ; t++) w.original[t] = w.inputs[t] = (t * 7 + index) % (VOCAB - 1), w.targets[t] = 999;
  mask_window((token_window){SEQ, w.inputs, w.targets}, (mask_draw){seed, stream, index, VOCAB});
  return w;
}

static void counts(void **s) {
  (void)s;
  assert_int_equal(mask_count(1), 1);
  assert_int_equal(mask_count(3), 1);
  assert_int_equal(mask_count(10), 2);
  assert_int_equal(mask_count(16), 2); // 2.4: to the nearest, not up
  assert_int_equal(mask_count(512), 77);
  u32 hidden = 0, random = 0, same = 0, place[SEQ] = {0};
  enum { WINDOWS = 1000 };
  for (u32 i = 0; i < WINDOWS; i++) {
    window w = masked(3, 1, i);
    u32 targets = 0;
    for (u32 t = 0; t < SEQ; t++) {
      if (w.targets[t] == TARGET_NONE) {
        assert_int_equal(w.inputs[t], w.original[t]);
        continue;
      }
      targets++, place[t]++;
      assert_int_equal(w.targets[t], w.original[t]);
      if (w.inputs[t] == VOCAB - 1)
        hidden++;
      else if (w.inputs[t] == w.original[t])
        same++;
      else
        random++, assert_true(w.inputs[t] < VOCAB - 1);
    }
    assert_int_equal(targets, mask_count(SEQ));
  }
  double all = WINDOWS * mask_count(SEQ); // 30000: a share's standard deviation is below 0.0024
  assert_true(fabs(hidden / all - 0.8) < 0.01);
  assert_true(fabs(random / all - 0.1 * 48 / 49) < 0.008); // a random token may be the token itself
  assert_true(fabs(same / all - 0.1 * 50 / 49) < 0.008);
  for (u32 t = 0; t < SEQ; t++) assert_true(fabs(place[t] / (double)WINDOWS - 0.15) < 0.057); // five deviations
}

static void draws_decide(void **s) {
  (void)s;
  window a = masked(3, 1, 2), again = masked(3, 1, 2);
  assert_memory_equal(&a, &again, sizeof a);
  window others[] = {masked(4, 1, 2), masked(3, 2, 2), masked(3, 1, 3)};
  for (u32 i = 0; i < COUNT_OF(others); i++) assert_memory_not_equal(a.targets, others[i].targets, sizeof a.targets);
}

typedef struct fixture {
  arena *memory;
  graph graph;
  train_options options;
  token_data data;
  trainer *trainer;
} fixture;

// "abcdabcd...": windows begin anywhere, so a hidden character follows from its neighbours only.
static void open_encoder(fixture *f, u32 threads) {
  static char words[20001];
  for (u32 i = 0; i < sizeof words - 1; i++) words[i] = (char)('a' + i % 4);
  *f = (fixture){.memory = arena_create("test")};
  model_spec m;
  data_options d;
  status st = {0};
  field_defaults(&model_table, &m);
  field_defaults(&train_table, &f->options);
  field_defaults(&data_table, &d);
  d.vocab = VOCAB_CHARS;
  f->options.seq = 33, f->options.batch = 8, f->options.steps = 200, f->options.eval_sequences = 40;
  tokens_request r = {.options = &d, .builtin = words, .builtin_size = sizeof words - 1, .seq = 33, .masks = true};
  support_ok(tokens_open(&r, f->memory, &f->data, &st), &st);
  m.layers = 2, m.width = 64, m.heads = 4, m.vocab = f->data.vocab, m.base_width = 64;
  m.attention = ATTENTION_BIDIRECTIONAL, m.position = POSITION_LEARNED, m.activation = ACT_GELU;
  support_ok(graph_build(&m, (base_hyper){f->options.lr, 0, 1e-8}, 33, f->memory, &f->graph, &st), &st);
  trainer_setup setup = {.graph = &f->graph,
                         .options = &f->options,
                         .kernels = trainer_kernels(&f->options),
                         .seed = 5,
                         .threads = threads};
  f->trainer = trainer_create(&setup, f->memory, &st);
  support_ok(f->trainer != NULL, &st);
}

static void close_encoder(fixture *f) {
  tokens_close(&f->data);
  arena_destroy(f->memory);
}

static void an_encoder_learns(void **s) {
  (void)s;
  double first[2], last[2];
  for (u32 k = 0; k < 2; k++) {
    fixture f;
    open_encoder(&f, 1 + 2 * k);
    u32 found = 0; // characters that occur, and the id that hides them
    for (u32 c = 0; c < 256; c++) found += f.data.id_of[c] != UINT32_MAX;
    assert_int_equal(f.data.vocab, found + 1);
    first[k] = trainer_evaluate(f.trainer, &f.data);
    for (u32 i = 0; i < f.options.steps; i++) trainer_step(f.trainer, &f.data);
    last[k] = trainer_evaluate(f.trainer, &f.data);
    close_encoder(&f);
  }
  assert_true(first[0] == first[1] && last[0] == last[1]); // whatever the threads
  assert_true(fabs(first[0] - log(5)) < 0.4);              // nothing known: about the vocabulary
  if (!(last[0] < 0.3 * first[0])) fail_msg("from %g to %g only", first[0], last[0]);
}

// The id that hides tokens must not be one of the data's.
static void data_leave_the_last_id(void **s) {
  (void)s;
  arena *a = arena_create("test");
  data_options d;
  field_defaults(&data_table, &d);
  d.vocab = VOCAB_CHARS;
  static const char words[] = "abcdabcdabcdabcdabcdabcdabcd";
  tokens_request r = {.options = &d, .builtin = words, .builtin_size = sizeof words - 1, .seq = 2, .vocab = 4};
  token_data data;
  status st = {0};
  support_ok(tokens_open(&r, a, &data, &st), &st);
  tokens_close(&data);
  r.masks = true;
  assert_false(tokens_open(&r, a, &data, &st));
  assert_int_equal(st.code, CODE_DATA);
  assert_string_equal(st.text, "the built-in text: token 3 at position 3 is beyond the vocabulary of 4, whose last id "
                               "stands for hidden tokens; raise model.vocab or use the data it was made for");
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts),
      cmocka_unit_test(draws_decide),
      cmocka_unit_test(an_encoder_learns),
      cmocka_unit_test(data_leave_the_last_id),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// AdamW against its definition in double precision, and the norm, clipping and schedules around it.
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "model/compute/adamw.h"
#include "model/compute/trainer.h"

enum { COUNT = 40000, STEPS = 12 };

// The definition, written from the formula and in the formula's order.
typedef struct definition {
  double p, m, v;
} definition;

static void define(definition *d, double g, const adamw_values *s, bool eps_hat) {
  double t = (double)s->t;
  d->p *= 1 - s->lr * s->weight_decay;
  d->m = s->beta1 * d->m + (1 - s->beta1) * g;
  d->v = s->beta2 * d->v + (1 - s->beta2) * g * g;
  double m_hat = d->m / (1 - pow(s->beta1, t)), v_hat = d->v / (1 - pow(s->beta2, t));
  if (eps_hat) {
    double rate = s->lr * sqrt(1 - pow(s->beta2, t)) / (1 - pow(s->beta1, t));
    d->p -= rate * d->m / (sqrt(d->v) + s->eps);
  } else {
    d->p -= s->lr * m_hat / (sqrt(v_hat) + s->eps);
  }
}

typedef struct arrays {
  float p[COUNT], m[COUNT], v[COUNT], g[COUNT];
} arrays;

static void fill(arrays *a) {
  memset(a, 0, sizeof *a);
  for (u32 i = 0; i < COUNT; i++) a->p[i] = (float)random_normal(1, RANDOM_TEST, 0, i);
}

static void fill_gradient(arrays *a, u64 t) {
  for (u32 i = 0; i < COUNT; i++) a->g[i] = (float)(1e-3 * random_normal(1, RANDOM_TEST, (u32)t, i));
}

static adamw_values values_at(u64 t) {
  return (adamw_values){.lr = 0.01, .weight_decay = 0.3, .eps = 2e-4, .beta1 = 0.9, .beta2 = 0.95, .clip_factor = 1, .t = t};
}

static double square_sum(const float *grad, size_t count, u32 threads) {
  double *sums = calloc(adamw_chunks(count) + 1, sizeof *sums), total = 0;
#pragma omp parallel num_threads((int)threads)
  adamw_square_sums_team(grad, count, sums);
  for (size_t i = 0; i < adamw_chunks(count); i++) total += sums[i];
  free(sums);
  return total;
}

static void update(arrays *a, const adamw_values *s, u32 threads) {
  adamw_update(s, (adamw_array){a->p, a->m, a->v, a->g, COUNT}, threads);
}

// eps is of the gradients' size here, so that where it is added shows.
static void follows_the_definition(void **state) {
  (void)state;
  arrays *a = malloc(sizeof *a);
  definition *want = calloc(COUNT, sizeof *want), *hat = calloc(COUNT, sizeof *hat);
  fill(a);
  for (u32 i = 0; i < COUNT; i++) want[i].p = hat[i].p = (double)a->p[i];
  for (u64 t = 1; t <= STEPS; t++) {
    adamw_values s = values_at(t);
    fill_gradient(a, t);
    update(a, &s, 2);
    for (u32 i = 0; i < COUNT; i++) {
      define(&want[i], (double)a->g[i], &s, false);
      define(&hat[i], (double)a->g[i], &s, true);
    }
  }
  double off = 0, hat_off = 0, moved = 0;
  for (u32 i = 0; i < COUNT; i++) {
    off = fmax(off, fabs((double)a->p[i] - want[i].p));
    hat_off = fmax(hat_off, fabs((double)a->p[i] - hat[i].p));
    moved = fmax(moved, fabs((double)a->p[i] - random_normal(1, RANDOM_TEST, 0, i)));
    assert_true(fabs((double)a->m[i] - want[i].m) < 1e-9);
    assert_true(fabs((double)a->v[i] - want[i].v) < 1e-12);
  }
  assert_true(moved > 0.05);
  assert_true(off < 2e-6);
  assert_true(hat_off > 1e-3); // the other form would be far away
  free(a);
  free(want);
  free(hat);
}

// Decoupled decay is multiplied by the group's rate and nothing else.
static void decay_times_rate(void **state) {
  (void)state;
  arrays *a = malloc(sizeof *a);
  fill(a);
  adamw_values s = values_at(1);
  update(a, &s, 1);
  for (u32 i = 0; i < COUNT; i++) {
    double want = random_normal(1, RANDOM_TEST, 0, i) * (1 - 0.01 * 0.3);
    assert_true(fabs((double)a->p[i] - want) <= 3e-7 * fabs(want));
  }
  free(a);
}

static void clipping(void **state) {
  (void)state;
  assert_true(adamw_clip_factor(0, 100) == 1);
  assert_true(adamw_clip_factor(1, 0.5) == 1);
  assert_true(adamw_clip_factor(1, 4) == 1 / (4 + 1e-6));
  arrays *a = malloc(sizeof *a), *b = malloc(sizeof *b);
  fill(a);
  fill(b);
  fill_gradient(a, 1);
  fill_gradient(b, 1);
  adamw_values s = values_at(1);
  update(b, &s, 1);
  for (u32 i = 0; i < COUNT; i++) a->g[i] *= 8;
  s.clip_factor = 0.125;
  update(a, &s, 1);
  assert_memory_equal(a->p, b->p, sizeof a->p);
  assert_memory_equal(a->v, b->v, sizeof a->v);
  free(a);
  free(b);
}

static void norm(void **state) {
  (void)state;
  enum { LONG = 64 * 16384 + 12345 }; // more than one round of chunks
  float *g = malloc(LONG * sizeof *g);
  long double plain = 0;
  for (u32 i = 0; i < LONG; i++) {
    g[i] = (float)random_normal(2, RANDOM_TEST, 0, i);
    plain += (long double)g[i] * (long double)g[i];
  }
  double one = square_sum(g, LONG, 1);
  assert_true(fabs(one - (double)plain) < 1e-12 * (double)plain);
  for (u32 threads = 2; threads <= 8; threads++) assert_true(square_sum(g, LONG, threads) == one);
  for (u32 n = 0; n < 40; n++) {
    double want = 0;
    for (u32 i = 0; i < n; i++) want += (double)g[i] * (double)g[i];
    assert_true(fabs(square_sum(g, n, 2) - want) <= 1e-14 * want);
  }
  free(g);
}

// The same bytes for any number of threads, and on any computer: a literal says which.
static void same_bytes(void **state) {
  (void)state;
  for (u32 threads = 1; threads <= 8; threads++) {
    arrays *a = malloc(sizeof *a);
    fill(a);
    for (u64 t = 1; t <= STEPS; t++) {
      adamw_values s = values_at(t);
      fill_gradient(a, t);
      update(a, &s, threads);
    }
    u64 hash = hash_bytes(HASH_START, a, offsetof(arrays, g));
    free(a);
    assert_int_equal(hash, 0x1d7fef4f9c7c046f);
  }
}

static train_options options_of(schedule_kind kind, u32 steps, double warmup, double end) {
  train_options o;
  field_defaults(&train_table, &o);
  o.schedule = kind;
  o.steps = steps;
  o.warmup = warmup;
  o.lr_end = end;
  return o;
}

static void near_(double a, double b) { assert_true(fabs(a - b) < 1e-12); }

static void schedules(void **state) {
  (void)state;
  train_options o = options_of(SCHEDULE_LINEAR, 100, 0.1, 0);
  near_(train_schedule(&o, 1), 0.1);
  near_(train_schedule(&o, 10), 1);
  near_(train_schedule(&o, 11), 1);
  near_(train_schedule(&o, 56), 0.5);
  near_(train_schedule(&o, 100), 1.0 / 90);
  near_(train_schedule(&o, 101), 0);
  near_(train_schedule(&o, 1000), 0);
  o = options_of(SCHEDULE_COSINE, 100, 20, 0.1);
  near_(train_schedule(&o, 20), 1);
  near_(train_schedule(&o, 21), 1);
  near_(train_schedule(&o, 61), 0.55);
  near_(train_schedule(&o, 101), 0.1);
  o = options_of(SCHEDULE_CONSTANT, 3, 0, 0);
  for (u64 t = 1; t <= 3; t++) assert_true(train_schedule(&o, t) == 1);
  o = options_of(SCHEDULE_LINEAR, 1, 0.1, 0);
  assert_true(train_schedule(&o, 1) == 1);
  o = options_of(SCHEDULE_LINEAR, 10, 50, 0);
  near_(train_schedule(&o, 10), 0.2);
  o = options_of(SCHEDULE_LINEAR, 200, 0.0025, 0); // half a step rounds to one
  near_(train_schedule(&o, 1), 1);
  near_(train_schedule(&o, 2), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(follows_the_definition), cmocka_unit_test(decay_times_rate),
                                     cmocka_unit_test(clipping),               cmocka_unit_test(norm),
                                     cmocka_unit_test(same_bytes),             cmocka_unit_test(schedules)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

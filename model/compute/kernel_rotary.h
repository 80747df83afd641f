// Rotary positions: pairs of q's and k's features turned by an angle that grows with the token. Angles advance
// by one complex product per token, in double and without a math library, so every level has the same bytes.
#pragma once

#include "model/compute/vector.h"

#define LN_10000 9.210340371976182736

// e^x for -20 <= x <= 0: halved until the series is short, then squared back.
static double exp_series(double x) {
  u32 halvings = 0;
  while (x < -0.5) x *= 0.5, halvings++;
  double sum = 1;
  for (int k = 16; k >= 1; k--) sum = 1 + sum * x / k; // 0.5^17 / 17! < 2^-65
  while (halvings--) sum *= sum;
  return sum;
}

// cos x and sin x for 0 <= x <= 1; the first terms left out are below 2^-69.
static void turn_series(double x, double ret_turn[2]) {
  double x2 = x * x, even = 1, odd = 1;
  for (int k = 20; k >= 2; k -= 2) even = 1 - even * x2 / (k * (k - 1));
  for (int k = 21; k >= 3; k -= 2) odd = 1 - odd * x2 / (k * (k - 1));
  ret_turn[0] = even;
  ret_turn[1] = x * odd;
}

// Turns of the pairs of one head: of one token, and of the token at hand.
typedef struct rotary_work {
  double *step, *at;       // [pairs][2]: cos and sin
  float *cosine, *sine;    // of `at`; the sine signed by direction
  u32 pairs, stride, next; // pair i is features i stride and i stride + next
  float direction;         // -1 turns back
} rotary_work;

static size_t rotary_scratch_floats(const graph *g) { return 5 * (size_t)model_rotary_dims(&g->model); }

static rotary_work rotary_start(const kernel_call *c, float direction) {
  const model_spec *m = &c->graph->model;
  u32 dims = model_rotary_dims(m);
  bool beside = m->rotary_layout == ROTARY_INTERLEAVED;
  double *room = (double *)(void *)c->scratch;
  rotary_work w = {.step = room, .at = room + dims,
                   .cosine = c->scratch + 4 * (size_t)dims, .sine = c->scratch + 4 * (size_t)dims + dims / 2,
                   .pairs = dims / 2, .stride = beside ? 2 : 1, .next = beside ? 1 : dims / 2,
                   .direction = direction};
  double ratio = exp_series(-2 * LN_10000 / dims), angle = 1;
  for (u32 i = 0; i < w.pairs; i++, angle *= ratio) {
    turn_series(angle, w.step + 2 * i);
    w.at[2 * i] = 1, w.at[2 * i + 1] = 0;
  }
  return w;
}

// Rounds the present turns and advances them to the next token.
static void rotary_advance(const rotary_work *w) {
  for (u32 i = 0; i < w->pairs; i++) {
    double *at = w->at + 2 * i, c = at[0], s = at[1], dc = w->step[2 * i], ds = w->step[2 * i + 1];
    w->cosine[i] = (float)c;
    w->sine[i] = w->direction * (float)s;
    at[0] = c * dc - s * ds;
    at[1] = s * dc + c * ds;
  }
}

INLINE void rotary_put(float *to, float value, bool add) { *to = add ? *to + value : value; }

// One head of one token; features beyond the pairs go through.
INLINE void rotary_head(const rotary_work *w, const float *restrict x, u32 dh, float *restrict y, bool add) {
  for (u32 i = 0; i < w->pairs; i++) {
    u32 a = i * w->stride, b = a + w->next;
    rotary_put(&y[a], x[a] * w->cosine[i] - x[b] * w->sine[i], add);
    rotary_put(&y[b], x[b] * w->cosine[i] + x[a] * w->sine[i], add);
  }
  for (u32 i = 2 * w->pairs; i < dh; i++) rotary_put(&y[i], x[i], add);
}

INLINE void rotary_of(const kernel_call *c, float direction) {
  const model_spec *m = &c->graph->model;
  u32 width = m->width, dh = model_head_width(m);
  bool add = c->accumulate & 1;
  rotary_work w = rotary_start(c, direction);
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * 3 * width;
    float *y = c->out[0] + t * 3 * width;
    rotary_advance(&w);
    for (u32 h = 0; h < 2 * m->heads; h++) rotary_head(&w, x + (size_t)h * dh, dh, y + (size_t)h * dh, add); // q, then k
    for (u32 i = 2 * width; i < 3 * width; i++) rotary_put(&y[i], x[i], add);
  }
}

static void rotary(const kernel_call *c) { rotary_of(c, 1); }
static void rotary_grad(const kernel_call *c) { rotary_of(c, -1); }

// AdamW in fp32 with scalars in double. Work is cut into fixed chunks, partial sums fold in order.
#include "model/compute/adamw.h"

#include <math.h>

enum { CHUNK = 16384, LANES = 16 };

// The scalars of adamw_values, folded and rounded once.
typedef struct adamw_scalars {
  float keep, clip, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, v_scale, eps;
} adamw_scalars;

// beta^t by squaring: a C library's pow may differ in its last bit between processors.
static double power(double beta, u64 t) {
  double result = 1;
  for (; t; t >>= 1, beta *= beta)
    if (t & 1) result *= beta;
  return result;
}

static adamw_scalars scalars_of(const adamw_values *s) {
  return (adamw_scalars){
      .keep = (float)(1 - s->lr * s->weight_decay),
      .clip = (float)s->clip_factor,
      .beta1 = (float)s->beta1,
      .one_minus_beta1 = (float)(1 - s->beta1),
      .beta2 = (float)s->beta2,
      .one_minus_beta2 = (float)(1 - s->beta2),
      .rate = (float)(s->lr / (1 - power(s->beta1, s->t))),
      .v_scale = (float)(1 / sqrt(1 - power(s->beta2, s->t))),
      .eps = (float)s->eps,
  };
}

static void update_chunk(const adamw_scalars *s, adamw_array a) {
  float *restrict p = a.param, *restrict m = a.m, *restrict v = a.v;
  const float *restrict grad = a.grad;
  const adamw_scalars c = *s;
  for (size_t i = 0; i < a.count; i++) {
    float g = grad[i] * c.clip;
    float m1 = c.beta1 * m[i] + c.one_minus_beta1 * g;
    float v1 = c.beta2 * v[i] + c.one_minus_beta2 * (g * g);
    m[i] = m1;
    v[i] = v1;
    // eps is added after the bias correction of v, not before (which would be "eps-hat").
    p[i] = p[i] * c.keep - c.rate * m1 / (sqrtf(v1) * c.v_scale + c.eps);
  }
}

void adamw_update_team(const adamw_values *s, const adamw_array *a) {
  require(s->t >= 1);
  adamw_scalars c = scalars_of(s);
  i64 chunks = (i64)((a->count + CHUNK - 1) / CHUNK);
#pragma omp for schedule(dynamic, 1) nowait
  for (i64 k = 0; k < chunks; k++) {
    size_t at = (size_t)k * CHUNK, left = a->count - at;
    update_chunk(&c, (adamw_array){a->param + at, a->m + at, a->v + at, a->grad + at, left < CHUNK ? left : CHUNK});
  }
}

void adamw_update(const adamw_values *s, adamw_array a, u32 threads) {
#pragma omp parallel num_threads((int)threads) if (a.count > CHUNK)
  adamw_update_team(s, &a);
}

// Sixteen sums side by side, so that the order is the same whatever the vector width.
static double square_sum_chunk(const float *g, size_t n) {
  double sum[LANES] = {0};
  size_t whole = n - n % LANES;
  for (size_t i = 0; i < whole; i += LANES)
    for (size_t j = 0; j < LANES; j++) sum[j] += (double)g[i + j] * (double)g[i + j];
  for (size_t i = whole; i < n; i++) sum[i - whole] += (double)g[i] * (double)g[i];
  for (size_t width = LANES / 2; width; width /= 2)
    for (size_t j = 0; j < width; j++) sum[j] += sum[j + width];
  return sum[0];
}

size_t adamw_chunks(size_t count) { return (count + CHUNK - 1) / CHUNK; }

void adamw_square_sums_team(const float *grad, size_t count, double *ret_sums) {
  i64 chunks = (i64)adamw_chunks(count);
#pragma omp for schedule(dynamic, 1) nowait
  for (i64 k = 0; k < chunks; k++) {
    size_t at = (size_t)k * CHUNK, n = count - at;
    ret_sums[k] = square_sum_chunk(grad + at, n < CHUNK ? n : CHUNK);
  }
}

double adamw_clip_factor(double clip, double norm) {
  return clip > 0 ? fmin(1, clip / (norm + 1e-6)) : 1;
}

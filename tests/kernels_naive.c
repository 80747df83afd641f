// The definition of the operations of graph.h: one function per operation, plain loops, sums in double,
// functions from libm. On small integers every sum is exact.
#include "tests/kernels_naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t no_scratch(const graph *g) {
  (void)g;
  return 0;
}

static const u32 *ids(const float *p) {
  return (const u32 *)(const void *)p;
}

// Writes or adds, as the node says for its output `which`.
static void put(const kernel_call *c, u32 which, size_t index, double value) {
  float *to = c->out[which];
  if (!to) return;
  bool add = c->accumulate >> which & 1;
  to[index] = (float)(add ? to[index] + value : value);
}

static void embed(const kernel_call *c) {
  size_t cols = c->out_cols[0];
  for (size_t t = 0; t < c->seq; t++)
    for (size_t i = 0; i < cols; i++) {
      double x = c->in[1][ids(c->in[0])[t] * cols + i];
      if (c->in[2]) x += c->in[2][t * cols + i];
      put(c, 0, t * cols + i, c->node->scale * x);
    }
}

static void layernorm(const kernel_call *c) {
  size_t n = c->in_cols[0];
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    double mean = 0, var = 0;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean);
    double rstd = 1 / sqrt(var / (double)n + c->graph->model.ln_eps);
    for (size_t i = 0; i < n; i++)
      put(c, 0, t * n + i, (x[i] - mean) * rstd * c->in[1][i] + (c->in[2] ? c->in[2][i] : 0));
    put(c, 1, 2 * t, mean);
    put(c, 1, 2 * t + 1, rstd);
  }
}

static void rmsnorm(const kernel_call *c) {
  size_t n = c->in_cols[0];
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    double square = 0;
    for (size_t i = 0; i < n; i++) square += (double)x[i] * x[i] / (double)n;
    double rstd = 1 / sqrt(square + c->graph->model.ln_eps);
    for (size_t i = 0; i < n; i++) put(c, 0, t * n + i, x[i] * rstd * c->in[1][i]);
    put(c, 1, t, rstd);
  }
}

static void linear(const kernel_call *c) {
  size_t in = c->in_cols[0], out = c->out_cols[0];
  for (size_t t = 0; t < c->seq; t++)
    for (size_t j = 0; j < out; j++) {
      double sum = c->in[2] ? c->in[2][j] : 0;
      for (size_t i = 0; i < in; i++) sum += (double)c->in[0][t * in + i] * c->in[1][j * in + i];
      put(c, 0, t * out + j, c->node->scale * sum);
    }
}

// One head of one sequence.
typedef struct head {
  const float *q, *k, *v;
  size_t row, dh, index, heads;
  double scale, slope;
} head;

static head head_of(const kernel_call *c, const float *qkv, u32 index) {
  const model_spec *m = &c->graph->model;
  size_t dh = model_head_width(m);
  double slope = m->position == POSITION_ALIBI ? graph_alibi_slope(index, m->heads) : 0;
  return (head){qkv + index * dh,
                qkv + m->width + index * dh,
                qkv + 2 * m->width + index * dh,
                3 * (size_t)m->width,
                dh,
                index,
                m->heads,
                c->node->scale,
                slope};
}

static double score(const head *h, size_t i, size_t j) {
  double dot = 0;
  for (size_t d = 0; d < h->dh; d++) dot += (double)h->q[i * h->row + d] * h->k[j * h->row + d];
  return h->scale * dot - h->slope * fabs((double)i - (double)j);
}

static bool sees(const kernel_call *c, size_t query, size_t key) {
  return key <= query || c->graph->model.attention == ATTENTION_BIDIRECTIONAL;
}

// Keys are seen from the first on.
static size_t seen_by(const kernel_call *c, size_t query) {
  size_t count = 0;
  while (count < c->seq && sees(c, query, count)) count++;
  return count;
}

static void attention(const kernel_call *c) {
  size_t width = c->graph->model.width;
  for (u32 index = 0; index < c->graph->model.heads; index++) {
    head h = head_of(c, c->in[0], index);
    for (size_t i = 0; i < c->seq; i++) {
      double top = -INFINITY, sum = 0;
      size_t keys = seen_by(c, i);
      for (size_t j = 0; j < keys; j++) top = fmax(top, score(&h, i, j));
      for (size_t j = 0; j < keys; j++) sum += exp(score(&h, i, j) - top);
      double lse = top + log(sum);
      for (size_t d = 0; d < h.dh; d++) {
        double y = 0;
        for (size_t j = 0; j < keys; j++) y += exp(score(&h, i, j) - lse) * h.v[j * h.row + d];
        put(c, 0, i * width + index * h.dh + d, y);
      }
      put(c, 1, i * h.heads + index, lse);
    }
  }
}

static double activate(activation_kind kind, double x) {
  switch (kind) {
  case ACT_GELU:
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case ACT_GELU_ERF:
    return 0.5 * x * (1 + erf(x / sqrt(2)));
  case ACT_RELU2:
    return x > 0 ? x * x : 0;
  case ACT_SILU:
  case ACT_SWIGLU:
    return x / (1 + exp(-x)); // of the gate
  }
  return 0;
}

static double activate_slope(activation_kind kind, double x) {
  switch (kind) {
  case ACT_GELU: {
    double root = sqrt(2 / M_PI), tanh_u = tanh(root * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + tanh_u) + 0.5 * x * (1 - tanh_u * tanh_u) * root * (1 + 3 * 0.044715 * x * x);
  }
  case ACT_GELU_ERF:
    return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
  case ACT_RELU2:
    return x > 0 ? 2 * x : 0;
  case ACT_SILU:
  case ACT_SWIGLU: {
    double s = 1 / (1 + exp(-x));
    return s + x * s * (1 - s);
  }
  }
  return 0;
}

static void activation(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  for (size_t i = 0; i < count; i++) put(c, 0, i, activate(c->graph->model.activation, c->in[0][i]));
}

static void gate(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  for (size_t i = 0; i < count; i++) put(c, 0, i, activate(ACT_SWIGLU, c->in[0][i]) * c->in[1][i]);
}

static void gate_grad(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  for (size_t i = 0; i < count; i++) {
    double dy = c->in[0][i], x = c->in[1][i], up = c->in[2][i];
    put(c, 0, i, dy * up * activate_slope(ACT_SWIGLU, x));
    put(c, 1, i, dy * activate(ACT_SWIGLU, x));
  }
}

// Feature f of a head after turning its pair by `direction` times the token's angle.
static double turned(const model_spec *m, const float *x, u32 f, size_t t, double direction) {
  u32 dims = model_rotary_dims(m), half = dims / 2;
  if (f >= dims) return x[f];
  bool beside = m->rotary_layout == ROTARY_INTERLEAVED;
  u32 pair = beside ? f / 2 : f % half, first = beside ? 2 * pair : pair, second = beside ? first + 1 : pair + half;
  double angle = direction * (double)t * pow(10000, -2.0 * pair / dims);
  return f == first ? x[first] * cos(angle) - x[second] * sin(angle) : x[second] * cos(angle) + x[first] * sin(angle);
}

static void turn(const kernel_call *c, double direction) {
  const model_spec *m = &c->graph->model;
  size_t width = m->width, dh = model_head_width(m);
  for (size_t t = 0; t < c->seq; t++)
    for (size_t i = 0; i < 3 * width; i++) {
      size_t at = t * 3 * width + i;
      const float *x = c->in[0] + at - i % dh; // of the head
      put(c, 0, at, i < 2 * width ? turned(m, x, (u32)(i % dh), t, direction) : c->in[0][at]);
    }
}

static void rotary(const kernel_call *c) {
  turn(c, 1);
}
static void rotary_grad(const kernel_call *c) {
  turn(c, -1);
}

static void residual(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  for (size_t i = 0; i < count; i++) put(c, 0, i, c->in[0][i] + c->node->scale * c->in[1][i]);
}

static double log_sum_exp(const float *x, size_t n) {
  double top = -INFINITY, sum = 0;
  for (size_t i = 0; i < n; i++) top = fmax(top, x[i]);
  for (size_t i = 0; i < n; i++) sum += exp(x[i] - top);
  return top + log(sum);
}

static void loss(const kernel_call *c) {
  size_t n = c->in_cols[0];
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    u32 target = ids(c->in[1])[t];
    put(c, 0, t, target == TARGET_NONE ? 0 : log_sum_exp(x, n) - x[target]);
  }
}

static void loss_grad(const kernel_call *c) {
  size_t n = c->in_cols[0];
  for (size_t t = 0; t < c->seq; t++) {
    const float *x = c->in[0] + t * n;
    double lse = log_sum_exp(x, n);
    for (size_t i = 0; i < n; i++) {
      u32 target = ids(c->in[1])[t];
      double d = target == TARGET_NONE ? 0 : exp(x[i] - lse) - (target == i ? 1 : 0);
      put(c, 0, t * n + i, d * c->node->scale * c->loss_scale);
    }
  }
}

static void linear_grad_x(const kernel_call *c) {
  size_t out = c->in_cols[0], in = c->out_cols[0];
  for (size_t t = 0; t < c->seq; t++)
    for (size_t i = 0; i < in; i++) {
      double sum = 0;
      for (size_t j = 0; j < out; j++) sum += (double)c->in[0][t * out + j] * c->in[1][j * in + i];
      put(c, 0, t * in + i, c->node->scale * sum);
    }
}

static void linear_grad_w(const kernel_call *c) {
  size_t out = c->in_cols[0], in = c->in_cols[1];
  for (size_t j = 0; j < out; j++) {
    double bias = 0;
    for (size_t i = 0; i < in; i++) {
      double sum = 0;
      for (size_t t = 0; t < c->seq; t++) sum += (double)c->in[0][t * out + j] * c->in[1][t * in + i];
      put(c, 0, j * in + i, c->node->scale * sum);
    }
    for (size_t t = 0; t < c->seq; t++) bias += c->in[0][t * out + j];
    put(c, 1, j, c->node->scale * bias);
  }
}

static void layernorm_grad_x(const kernel_call *c, size_t t) {
  size_t n = c->in_cols[1];
  const float *dy = c->in[0] + t * n, *x = c->in[1] + t * n, *g = c->in[2];
  double mean = c->in[3][2 * t], rstd = c->in[3][2 * t + 1], plain = 0, with_x = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)dy[i] * g[i];
    plain += d;
    with_x += d * (x[i] - mean) * rstd;
  }
  plain /= (double)n;
  with_x /= (double)n;
  for (size_t i = 0; i < n; i++)
    put(c, 0, t * n + i, rstd * ((double)dy[i] * g[i] - plain - (x[i] - mean) * rstd * with_x));
}

static void layernorm_grad(const kernel_call *c) {
  size_t n = c->in_cols[1];
  for (size_t t = 0; t < c->seq; t++) layernorm_grad_x(c, t);
  for (size_t i = 0; i < n; i++) {
    double dg = 0, db = 0;
    for (size_t t = 0; t < c->seq; t++) {
      double dy = c->in[0][t * n + i];
      dg += dy * (c->in[1][t * n + i] - (double)c->in[3][2 * t]) * c->in[3][2 * t + 1];
      db += dy;
    }
    put(c, 1, i, dg);
    put(c, 2, i, db);
  }
}

static void rmsnorm_grad(const kernel_call *c) {
  size_t n = c->in_cols[1];
  for (size_t t = 0; t < c->seq; t++) {
    const float *dy = c->in[0] + t * n, *x = c->in[1] + t * n, *g = c->in[2];
    double rstd = c->in[3][t], with_x = 0;
    for (size_t i = 0; i < n; i++) with_x += (double)dy[i] * g[i] * x[i] * rstd / (double)n;
    for (size_t i = 0; i < n; i++) put(c, 0, t * n + i, rstd * ((double)dy[i] * g[i] - x[i] * rstd * with_x));
  }
  for (size_t i = 0; i < n; i++) {
    double dg = 0;
    for (size_t t = 0; t < c->seq; t++) dg += (double)c->in[0][t * n + i] * c->in[1][t * n + i] * c->in[3][t];
    put(c, 1, i, dg);
  }
}

// The gradient of one head: dQ[i] and, over the queries that see it, dK[j] and dV[j].
typedef struct head_grads {
  const kernel_call *c;
  head h;
  const float *dy, *y, *lse; // at the head's first column
} head_grads;

static double probability(const head_grads *g, size_t i, size_t j) {
  return exp(score(&g->h, i, j) - g->lse[i * g->h.heads + g->h.index]);
}

static double score_grad(const head_grads *g, size_t i, size_t j) {
  size_t width = g->h.row / 3;
  double dp = 0, delta = 0;
  for (size_t d = 0; d < g->h.dh; d++) {
    dp += (double)g->dy[i * width + d] * g->h.v[j * g->h.row + d];
    delta += (double)g->dy[i * width + d] * g->y[i * width + d];
  }
  return probability(g, i, j) * (dp - delta);
}

static void attention_grad_token(const head_grads *g, size_t t) {
  const head *h = &g->h;
  size_t width = h->row / 3, at = t * h->row + h->index * h->dh;
  for (size_t d = 0; d < h->dh; d++) {
    double dq = 0, dk = 0, dv = 0;
    for (size_t j = 0; j < seen_by(g->c, t); j++) dq += score_grad(g, t, j) * h->k[j * h->row + d];
    for (size_t i = 0; i < g->c->seq; i++) {
      if (!sees(g->c, i, t)) continue;
      dk += score_grad(g, i, t) * h->q[i * h->row + d];
      dv += probability(g, i, t) * g->dy[i * width + d];
    }
    put(g->c, 0, at + d, h->scale * dq);
    put(g->c, 0, at + width + d, h->scale * dk);
    put(g->c, 0, at + 2 * width + d, dv);
  }
}

static void attention_grad(const kernel_call *c) {
  for (u32 index = 0; index < c->graph->model.heads; index++) {
    head h = head_of(c, c->in[1], index);
    size_t first = index * h.dh;
    head_grads g = {c, h, c->in[0] + first, c->in[2] + first, c->in[3]};
    for (size_t t = 0; t < c->seq; t++) attention_grad_token(&g, t);
  }
}

static void activation_grad(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  for (size_t i = 0; i < count; i++)
    put(c, 0, i, c->in[0][i] * activate_slope(c->graph->model.activation, c->in[1][i]));
}

static void residual_grad(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  for (size_t i = 0; i < count; i++) {
    put(c, 0, i, c->in[0][i]);
    put(c, 1, i, c->node->scale * c->in[0][i]);
  }
}

static void embed_grad(const kernel_call *c) {
  size_t cols = c->in_cols[0];
  for (size_t t = 0; t < c->seq; t++)
    for (size_t i = 0; i < cols; i++) {
      double d = c->node->scale * c->in[0][t * cols + i];
      put(c, 0, ids(c->in[1])[t] * cols + i, d);
      put(c, 1, t * cols + i, d);
    }
}

// ---- linear layers on operands rounded to bfloat16 or fp16, to nearest with ties to even

static float bf16(float x) {
  u32 bits;
  memcpy(&bits, &x, sizeof bits);
  if (isnan(x)) return x;
  if (fabsf(x) < 0x1p-56f) return 0;
  u32 low = bits & 0xffff;
  bits &= 0xffff0000;
  if (low > 0x8000 || (low == 0x8000 && bits & 0x10000)) bits += 0x10000;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float fp16(float x) {
  int exponent;
  if (isnan(x) || isinf(x) || x == 0) return x;
  frexpf(x, &exponent);
  double ulp = ldexp(1, (exponent < -13 ? -13 : exponent) - 11), r = nearbyint(x / ulp) * ulp;
  return fabs(r) > 65504 ? copysignf(INFINITY, x) : (float)r;
}

typedef float rounding(float x);

static float *rounded(const float *from, size_t count, rounding *round, float scale) {
  float *to = malloc(count * sizeof *to);
  for (size_t i = 0; i < count; i++) to[i] = round(from[i] * scale) / scale;
  return to;
}

// The operation with its first two operands rounded; the bias is no operand of the product. In fp16 gradients are
// rounded as those of the sum over at least as many tokens as the mean is over.
static void on_rounded(const kernel_call *c, kernel *run, rounding *round, const size_t counts[2]) {
  kernel_call r = *c;
  float scale = 1;
  while (round == fp16 && run != linear && scale * c->loss_scale <= 1) scale *= 2;
  for (u32 i = 0; i < 2; i++) r.in[i] = rounded(c->in[i], counts[i], round, i == 0 ? scale : 1);
  run(&r);
  for (u32 i = 0; i < 2; i++) free(r.in[i]);
}

// The bias sums what was not rounded.
static void rounded_grad_w(const kernel_call *c, rounding *round) {
  kernel_call w = *c, b = *c;
  w.out[1] = NULL;
  b.out[0] = NULL;
  on_rounded(&w, linear_grad_w, round, (size_t[]){(size_t)c->seq * c->in_cols[0], (size_t)c->seq * c->in_cols[1]});
  linear_grad_w(&b);
}

#define ROUNDED_LINEAR(round)                                                                                          \
  static void linear_##round(const kernel_call *c) {                                                                   \
    on_rounded(c, linear, round, (size_t[]){(size_t)c->seq * c->in_cols[0], (size_t)c->in_cols[0] * c->out_cols[0]});  \
  }                                                                                                                    \
  static void linear_grad_x_##round(const kernel_call *c) {                                                            \
    on_rounded(c, linear_grad_x, round,                                                                                \
               (size_t[]){(size_t)c->seq * c->in_cols[0], (size_t)c->in_cols[0] * c->out_cols[0]});                    \
  }                                                                                                                    \
  static void linear_grad_w_##round(const kernel_call *c) {                                                            \
    rounded_grad_w(c, round);                                                                                          \
  }
ROUNDED_LINEAR(bf16)
ROUNDED_LINEAR(fp16)

#define TABLE(text, suffix)                                                                                            \
  { .name = text, .run = KERNELS_BY_NAME(suffix), .scratch_floats = no_scratch }

const kernel_table *kernels_naive(void) {
  static const kernel_table table = TABLE("naive", );
  return &table;
}

const kernel_table *kernels_naive_bf16(void) {
  static const kernel_table table = TABLE("naive-bf16", _bf16);
  return &table;
}

const kernel_table *kernels_naive_fp16(void) {
  static const kernel_table table = TABLE("naive-fp16", _fp16);
  return &table;
}

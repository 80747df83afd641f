// Operations that treat every value alone: activation, gate, residual and embedding, and their gradients.
#pragma once

#include "model/compute/kernel_norm.h"
#include "model/compute/vecmath.h"

#define GELU_A 0.7978845608f  // sqrt(2 / pi)
#define GELU_B 0.03567740814f // GELU_A * 0.044715

// u = sqrt(2/pi) (x + 0.044715 x^3); (1 + tanh u) / 2 is the logistic function of 2u, from e^-|2u|.
typedef struct logistic {
  vf value, slope; // s and s (1 - s)
} logistic;

INLINE logistic logistic_of(vf v) {
  vf e = vf_exp(-vf_abs(v)), d = 1.0f / (1.0f + e), small = e * d;
  return (logistic){vf_select(v >= 0.0f, d, small), small * d};
}

// An activation and its slope at x; what is not used of them is not computed.
typedef struct curve {
  vf value, slope;
} curve;

INLINE curve gelu(vf x) {
  vf s = x * x, inner = vf_fma(s, vf_set(GELU_B), vf_set(GELU_A));
  logistic l = logistic_of(2.0f * x * inner);
  vf dv = 2.0f * vf_fma(s, vf_set(3.0f * GELU_B), vf_set(GELU_A));
  return (curve){x * l.value, vf_fma(x * l.slope, dv, l.value)};
}

INLINE curve gelu_erf(vf x) {
  vf below = 1.0f + vf_erf(x * 0.7071067812f), density = 0.3989422804f * vf_exp(-0.5f * x * x);
  return (curve){0.5f * x * below, vf_fma(x, density, 0.5f * below)};
}

// max(0, x), but a NaN stays.
INLINE vf relu(vf x) { return vf_max(vf_set(0), x); }

INLINE curve relu2(vf x) { return (curve){relu(x) * relu(x), 2.0f * relu(x)}; }

INLINE curve silu(vf x) {
  logistic l = logistic_of(x);
  return (curve){x * l.value, vf_fma(x, l.slope, l.value)};
}

#define EACH(...)                                                                                  \
  for (size_t i = 0; i < count; i += VW) {                                                         \
    u32 left = count - i < VW ? (u32)(count - i) : VW;                                             \
    __VA_ARGS__                                                                                    \
  }

#define EACH_ACTIVATION(kind, DO)                                                                  \
  switch ((activation_kind)(kind)) {                                                               \
  case ACT_GELU: DO(gelu) break;                                                                   \
  case ACT_GELU_ERF: DO(gelu_erf) break;                                                           \
  case ACT_RELU2: DO(relu2) break;                                                                 \
  case ACT_SILU: DO(silu) break;                                                                   \
  case ACT_SWIGLU: require(false); /* is a gate */                                                 \
  }

static void activation(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  float *x = c->in[0], *y = c->out[0];
#define VALUE(act) EACH(row_put(y + i, 0, left, act(row_part(x + i, 0, left, 0)).value);)
#define BOTH(act) EACH(curve at = act(row_part(x + i, 0, left, 0)); row_put(y + i, 0, left, at.value); row_put(x + i, 0, left, at.slope);)
  if (c->slopes) {
    EACH_ACTIVATION(c->graph->model.activation, BOTH)
  } else {
    EACH_ACTIVATION(c->graph->model.activation, VALUE)
  }
#undef VALUE
#undef BOTH
}

// to (+)= value
INLINE void put_or_add(float *to, u32 left, vf value, bool add) {
  row_put(to, 0, left, add ? row_part(to, 0, left, 0) + value : value);
}

static void activation_grad(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  const float *dy = c->in[0], *x = c->in[1];
  float *dx = c->out[0];
  bool add = c->accumulate & 1;
#define SLOPE(act)                                                                                 \
  EACH(put_or_add(dx + i, left, row_part(dy + i, 0, left, 0) * act(row_part(x + i, 0, left, 0)).slope, add);)
  if (c->slopes) {
    EACH(put_or_add(dx + i, left, row_part(dy + i, 0, left, 0) * row_part(x + i, 0, left, 0), add);)
  } else {
    EACH_ACTIVATION(c->graph->model.activation, SLOPE)
  }
#undef SLOPE
}

// y = silu(gate) up
static void gate(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  const float *x = c->in[0], *up = c->in[1];
  float *y = c->out[0];
  EACH(row_put(y + i, 0, left, silu(row_part(x + i, 0, left, 0)).value * row_part(up + i, 0, left, 0));)
}

// dgate = dy up silu'(gate) ; dup = dy silu(gate)
static void gate_grad(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  const float *dy = c->in[0], *x = c->in[1], *up = c->in[2];
  u32 add = c->accumulate;
  EACH(vf d = row_part(dy + i, 0, left, 0), v = row_part(x + i, 0, left, 0), u = row_part(up + i, 0, left, 0);
       curve at = silu(v); put_or_add(c->out[0] + i, left, d * u * at.slope, add & 1);
       put_or_add(c->out[1] + i, left, d * at.value, add & 2);)
}

// y = x + scale branch
static void residual(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  const float *x = c->in[0], *branch = c->in[1];
  float scale = (float)c->node->scale, *y = c->out[0];
  EACH(row_put(y + i, 0, left, row_part(x + i, 0, left, 0) + scale * row_part(branch + i, 0, left, 0));)
}

// to (+)= factor * from
static inline void scaled(const float *from, float factor, float *to, size_t count, bool add) {
  EACH(put_or_add(to + i, left, factor * row_part(from + i, 0, left, 0), add);)
}

static void residual_grad(const kernel_call *c) {
  size_t count = (size_t)c->seq * c->in_cols[0];
  if (c->out[0]) scaled(c->in[0], 1, c->out[0], count, c->accumulate & 1);
  if (c->out[1]) scaled(c->in[0], (float)c->node->scale, c->out[1], count, c->accumulate >> 1 & 1);
}

// x = scale (wte[token] (+ wpe[t]))
static void embed(const kernel_call *c) {
  const u32 *tokens = (const u32 *)(const void *)c->in[0];
  size_t count = c->out_cols[0];
  float scale = (float)c->node->scale;
  for (size_t t = 0; t < c->seq; t++) {
    require(tokens[t] < c->graph->model.vocab);
    const float *wte = c->in[1] + tokens[t] * count, *wpe = c->in[2] ? c->in[2] + t * count : NULL;
    float *x = c->out[0] + t * count;
    EACH(vf v = row_part(wte + i, 0, left, 0); if (wpe) v += row_part(wpe + i, 0, left, 0);
         row_put(x + i, 0, left, scale * v);)
  }
}

// Token embeddings repeat within a sequence, so they are always added to.
static void embed_grad(const kernel_call *c) {
  const u32 *tokens = (const u32 *)(const void *)c->in[1];
  size_t cols = c->in_cols[0];
  float scale = (float)c->node->scale;
  require(c->accumulate & 1);
  for (size_t t = 0; t < c->seq; t++) {
    require(tokens[t] < c->graph->model.vocab);
    scaled(c->in[0] + t * cols, scale, c->out[0] + tokens[t] * cols, cols, true);
  }
  if (c->out[1]) scaled(c->in[0], scale, c->out[1], c->seq * cols, c->accumulate >> 1 & 1);
}

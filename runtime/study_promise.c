// Promises of the parameterizations: Table 1 of arXiv 2505.01618 (Complete(d)P: 2512.22382) in formulas, apart from
// the rules that models are built with, so that a slip in either shows.
#include "runtime/study_audit.h"

#include <math.h>

typedef struct sizes {
  double n, l, a; // m_N, m_L, alpha
} sizes;

static sizes sizes_of(const model_spec *m) {
  const bool depth = m->parameterization != PARAM_SP && m->parameterization != PARAM_MUP;
  return (sizes){(double)m->width / m->base_width, (double)m->layers / m->base_layers, depth ? m->alpha : NAN};
}

static bool in_block(param_role role) {
  return role == ROLE_PRE_LN || role == ROLE_HIDDEN_W || role == ROLE_HIDDEN_B;
}

static bool is_matrix(param_role role) {
  return role == ROLE_EMBED || role == ROLE_HIDDEN_W || role == ROLE_UNEMBED;
}

// eps of the gradients' scale: 1/m_N everywhere, and m_L^-alpha in the blocks, by the reading stated.
static double eps_of(const model_spec *m, sizes z, param_role role) {
  const double depth = isnan(z.a) ? 1 : pow(z.l, -z.a);
  u32 reading = m->eps_rule;
  if (reading == RULE_AUTO) reading = m->parameterization == PARAM_RELEASED ? RULE_RELEASED : RULE_V4;
  if (m->parameterization == PARAM_SP) return 1;
  if (m->parameterization == PARAM_COMPLETEDP) {
    if (in_block(role)) return depth / z.n;
    return role == ROLE_EMBED ? 1 / z.n : 1;
  }
  if (reading == RULE_RELEASED) return m->parameterization == PARAM_MUP ? 1 : depth / z.n;
  if (in_block(role)) return depth / z.n;
  return reading == RULE_V4 ? 1 / z.n : 1;
}

static double decay_of(const model_spec *m, sizes z, param_role role) {
  if (!is_matrix(role)) return 0;
  if (m->parameterization == PARAM_SP || role == ROLE_EMBED) return 1;
  if (role == ROLE_UNEMBED) return m->parameterization == PARAM_COMPLETEDP ? z.n : 1;
  const bool released = m->decay_rule == DECAY_RELEASED;
  return released && m->parameterization == PARAM_MUP ? 1 : z.n;
}

audit_promise audit_promise_of(const model_spec *m, param_role role) {
  const sizes z = sizes_of(m);
  const bool sp = m->parameterization == PARAM_SP;
  audit_promise p = {.init = is_matrix(role) ? 1 : 0, .rate = 1};
  if (in_block(role) && !isnan(z.a)) p.rate = pow(z.l, z.a - 1);
  if (role == ROLE_HIDDEN_W && !sp) {
    p.init = 1 / sqrt(z.n);
    p.rate /= z.n;
  }
  if (role == ROLE_UNEMBED && m->parameterization == PARAM_COMPLETEDP) p.init = p.rate = 1 / z.n;
  p.eps = eps_of(m, z, role);
  p.decay = decay_of(m, z, role);
  return p;
}

audit_factors audit_factors_of(const model_spec *m) {
  const sizes z = sizes_of(m);
  const double head = model_head_width(m);
  const bool muted = m->parameterization == PARAM_SP || m->parameterization == PARAM_COMPLETEDP;
  audit_factors f = {.residual = isnan(z.a) ? 1 : pow(z.l, -z.a), .logits = m->logit_mult * (muted ? 1 : 1 / z.n)};
  u32 scale = m->attention_scale;
  if (scale == SCALE_AUTO) scale = m->parameterization == PARAM_SP ? SCALE_INV_SQRT_DH : SCALE_INV_DH;
  f.attention = scale == SCALE_INV_SQRT_DH ? 1 / sqrt(head) : scale == SCALE_INV_DH ? 1 / head : 1.0 / m->width;
  return f;
}

// The parameterizations as data: one row per (parameterization, role), each entry the exponents of
// m_N, m_L, alpha and m_B/m_D; one function turns a row into numbers.
#include "model/graph/rules.h"

#include <math.h>

// m_N^n * m_L^(l + la * alpha) * (m_B / m_D)^b, or nothing at all (0) where `zero` is set.
typedef struct power {
  double n, l, la, b;
  bool zero;
} power;

enum { EPS_READINGS = 3, DECAY_READINGS = 2 };

typedef struct rule_row {
  power init; // of the standard deviation: half the exponent of the variance
  power lr;
  power eps[EPS_READINGS];     // v4, table1, released
  power decay[DECAY_READINGS]; // table1, released
} rule_row;

#define ONE  {.n = 0}
#define ZERO {.zero = true} // init: deterministic; decay: none on gains and biases
#define N_1  {.n = -1}
#define N_H  {.n = -0.5}
#define N1   {.n = 1}

// Depth: hidden learning rates keep every layer learning, eps follows the gradients of the branches.
#define LR_L   {.l = -1, .la = 1}
#define LR_NL  {.n = -1, .l = -1, .la = 1}
#define EPS_NL {.n = -1, .la = -1}

// Complete(d)P: the batch and token ratios reach every group (LR and decay up, eps down).
#define D_LR     {.b = 0.5}
#define D_LR_N   {.n = -1, .b = 0.5}
#define D_LR_L   {.l = -1, .la = 1, .b = 0.5}
#define D_LR_NL  {.n = -1, .l = -1, .la = 1, .b = 0.5}
#define D_EPS    {.b = -0.5}
#define D_EPS_N  {.n = -1, .b = -0.5}
#define D_EPS_NL {.n = -1, .la = -1, .b = -0.5}
#define D_WD     {.b = 0.5}
#define D_WD_N   {.n = 1, .b = 0.5}

enum { ROWS_SP, ROWS_MUP, ROWS_DEPTH, ROWS_COMPLETEDP, ROWS_COUNT };

// clang-format off
static const rule_row row_table[ROWS_COUNT][ROLE_COUNT] = {
  //                  init   lr     eps: v4  table1  released    decay: table1  released
  [ROWS_SP] = {
    [ROLE_EMBED]    = {ONE,  ONE,   {ONE,    ONE,    ONE},    {ONE,   ONE}},
    [ROLE_PRE_LN]   = {ZERO, ONE,   {ONE,    ONE,    ONE},    {ZERO,  ZERO}},
    [ROLE_HIDDEN_W] = {ONE,  ONE,   {ONE,    ONE,    ONE},    {ONE,   ONE}},
    [ROLE_HIDDEN_B] = {ZERO, ONE,   {ONE,    ONE,    ONE},    {ZERO,  ZERO}},
    [ROLE_FINAL_LN] = {ZERO, ONE,   {ONE,    ONE,    ONE},    {ZERO,  ZERO}},
    [ROLE_UNEMBED]  = {ONE,  ONE,   {ONE,    ONE,    ONE},    {ONE,   ONE}},
  },
  [ROWS_MUP] = {
    [ROLE_EMBED]    = {ONE,  ONE,   {N_1,    ONE,    ONE},    {ONE,   ONE}},
    [ROLE_PRE_LN]   = {ZERO, ONE,   {N_1,    N_1,    ONE},    {ZERO,  ZERO}},
    [ROLE_HIDDEN_W] = {N_H,  N_1,   {N_1,    N_1,    ONE},    {N1,    ONE}},
    [ROLE_HIDDEN_B] = {ZERO, ONE,   {N_1,    N_1,    ONE},    {ZERO,  ZERO}},
    [ROLE_FINAL_LN] = {ZERO, ONE,   {N_1,    ONE,    ONE},    {ZERO,  ZERO}},
    [ROLE_UNEMBED]  = {ONE,  ONE,   {N_1,    ONE,    ONE},    {ONE,   ONE}},
  },
  [ROWS_DEPTH] = { // the column "alpha in {0.5, 1}"
    [ROLE_EMBED]    = {ONE,  ONE,   {N_1,    ONE,    EPS_NL}, {ONE,   ONE}},
    [ROLE_PRE_LN]   = {ZERO, LR_L,  {EPS_NL, EPS_NL, EPS_NL}, {ZERO,  ZERO}},
    [ROLE_HIDDEN_W] = {N_H,  LR_NL, {EPS_NL, EPS_NL, EPS_NL}, {N1,    N1}},
    [ROLE_HIDDEN_B] = {ZERO, LR_L,  {EPS_NL, EPS_NL, EPS_NL}, {ZERO,  ZERO}},
    [ROLE_FINAL_LN] = {ZERO, ONE,   {N_1,    ONE,    EPS_NL}, {ZERO,  ZERO}},
    [ROLE_UNEMBED]  = {ONE,  ONE,   {N_1,    ONE,    EPS_NL}, {ONE,   ONE}},
  },
  [ROWS_COMPLETEDP] = { // states its own eps and decay, so the readings do not differ
    [ROLE_EMBED]    = {ONE,  D_LR,    {D_EPS_N,  D_EPS_N,  D_EPS_N},  {D_WD,   D_WD}},
    [ROLE_PRE_LN]   = {ZERO, D_LR_L,  {D_EPS_NL, D_EPS_NL, D_EPS_NL}, {ZERO,   ZERO}},
    [ROLE_HIDDEN_W] = {N_H,  D_LR_NL, {D_EPS_NL, D_EPS_NL, D_EPS_NL}, {D_WD_N, D_WD_N}},
    [ROLE_HIDDEN_B] = {ZERO, D_LR_L,  {D_EPS_NL, D_EPS_NL, D_EPS_NL}, {ZERO,   ZERO}},
    [ROLE_FINAL_LN] = {ZERO, D_LR,    {D_EPS,    D_EPS,    D_EPS},    {ZERO,   ZERO}},
    [ROLE_UNEMBED]  = {N_1,  D_LR_N,  {D_EPS,    D_EPS,    D_EPS},    {D_WD_N, D_WD_N}},
  },
};

// What holds for a parameterization as a whole, and what its `auto` means.
typedef struct policy {
  u32 rows;
  eps_rule_kind eps;
  decay_rule_kind decay;
  init_rule_kind init;
  attention_scale_kind attention;
  power residual, logit, horizon;
} policy;

#define L_A {.la = -1}
#define B1  {.b = 1}
static const policy policies[] = {
  //              rows             auto: eps      decay           init         q.k                residual logit horizon
  [PARAM_SP]   = {ROWS_SP,         RULE_V4,       DECAY_TABLE1,   INIT_TABLE1, SCALE_INV_SQRT_DH, ONE, ONE, ONE},
  [PARAM_MUP]  = {ROWS_MUP,        RULE_V4,       DECAY_TABLE1,   INIT_TABLE1, SCALE_INV_DH,      ONE, N_1, ONE},
  [PARAM_COMPLETEP] =
                 {ROWS_DEPTH,      RULE_V4,       DECAY_TABLE1,   INIT_TABLE1, SCALE_INV_DH,      L_A, N_1, ONE},
  [PARAM_COMPLETEDP] =
                 {ROWS_COMPLETEDP, RULE_V4,       DECAY_TABLE1,   INIT_TABLE1, SCALE_INV_DH,      L_A, ONE, B1},
  [PARAM_RELEASED] =
                 {ROWS_DEPTH,      RULE_RELEASED, DECAY_RELEASED, INIT_TABLE1, SCALE_INV_DH,      L_A, N_1, ONE},
};
// clang-format on

static const char *const role_names[ROLE_COUNT] = {
    [ROLE_EMBED] = "emb",         [ROLE_PRE_LN] = "pre_ln",     [ROLE_HIDDEN_W] = "hidden_w",
    [ROLE_HIDDEN_B] = "hidden_b", [ROLE_FINAL_LN] = "final_ln", [ROLE_UNEMBED] = "unemb"};

// The numbers that exponents apply to.
typedef struct ratios {
  double width, depth, alpha, batch;
} ratios;

static double power_of(power p, ratios r) {
  if (p.zero) return 0;
  return pow(r.width, p.n) * pow(r.depth, p.l + p.la * r.alpha) * pow(r.batch, p.b);
}

static double attention_scale(const model_spec *m, u32 kind) {
  double head_width = model_head_width(m);
  switch (kind) {
  case SCALE_INV_SQRT_DH: return 1 / sqrt(head_width);
  case SCALE_INV_DH: return 1 / head_width;
  default: require(kind == SCALE_INV_N); return 1 / (double)m->width;
  }
}

model_rules rules_resolve(const model_spec *m, base_hyper base) {
  require(m->parameterization < COUNT_OF(policies));
  const policy *p = &policies[m->parameterization];
  ratios r = {(double)m->width / m->base_width, (double)m->layers / m->base_layers, m->alpha,
              m->batch_ratio / m->token_ratio};
  u32 eps = m->eps_rule == RULE_AUTO ? p->eps : m->eps_rule;
  u32 decay = m->decay_rule == DECAY_AUTO ? p->decay : m->decay_rule;
  u32 init = m->init_rule == INIT_AUTO ? p->init : m->init_rule;
  u32 scale = m->attention_scale == SCALE_AUTO ? p->attention : m->attention_scale;
  require(eps <= EPS_READINGS && decay <= DECAY_READINGS);

  model_rules out = {
      .m_width = r.width,
      .m_depth = r.depth,
      .residual_mult = power_of(p->residual, r),
      .embed_mult = m->embed_mult,
      .logit_mult = m->logit_mult * power_of(p->logit, r),
      .attention_scale = attention_scale(m, scale),
      .branch_out_init_mult = init == INIT_GPT2 ? 1 / sqrt(2.0 * m->layers) : 1,
      .beta_horizon_mult = power_of(p->horizon, r),
  };
  for (u32 role = 0; role < ROLE_COUNT; role++) {
    const rule_row *row = &row_table[p->rows][role];
    out.roles[role] = (role_rule){
        .init_std = m->init_std * power_of(row->init, r),
        .lr = base.lr * power_of(row->lr, r),
        .eps = base.eps * power_of(row->eps[eps - RULE_V4], r),
        .weight_decay = base.weight_decay * power_of(row->decay[decay - DECAY_TABLE1], r),
    };
  }
  return out;
}

const char *rules_role_name(param_role role) {
  require((u32)role < ROLE_COUNT);
  return role_names[role];
}

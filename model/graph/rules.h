// The parameterizations as one table of rules per parameter group (reference: arXiv 2505.01618,
// Table 1; Complete(d)P, arXiv 2512.22382; the released code where it differs).
#pragma once

#include "model/graph/model_spec.h"

// Groups of parameters that share a rule.
typedef enum param_role {
  ROLE_EMBED,      // wte, wpe, and the one matrix of a tied model
  ROLE_PRE_LN,     // gains and biases of ln1, ln2
  ROLE_HIDDEN_W,   // W_qkv, W_o, W_1, W_2, and W_3 beside a gate
  ROLE_HIDDEN_B,   // their biases
  ROLE_FINAL_LN,   // gain and bias before the unembedding
  ROLE_UNEMBED,    // W_u
  ROLE_COUNT
} param_role;

// The optimizer's base values, tuned once at (base_width, base_layers).
typedef struct base_hyper {
  double lr, weight_decay, eps;
} base_hyper;

// What a group resolves to.
typedef struct role_rule {
  double init_std; // 0 means deterministic (gains 1, biases 0)
  double lr, eps, weight_decay;
} role_rule;

typedef struct model_rules {
  double m_width, m_depth;                       // m_N, m_L
  double residual_mult, embed_mult, logit_mult;  // forward multipliers
  double attention_scale;                        // factor on q.k
  double branch_out_init_mult;                   // extra factor on the init of W_o and W_2 (gpt2 init)
  double beta_horizon_mult;                      // factor on (1 - beta); 1 except completedp's m_B/m_D
  role_rule roles[ROLE_COUNT];
} model_rules;

model_rules rules_resolve(const model_spec *m, base_hyper base);
const char *rules_role_name(param_role role); // "emb", "pre_ln", "hidden_w", ...

// What is trained: the shape of a pre-norm transformer and its parameterization, as stated by the user.
#pragma once

#include "base/field.h"

// In the order of the fields' choices. New kinds go last: their numbers are part of graph_hash.
typedef enum { ACT_GELU, ACT_GELU_ERF, ACT_RELU2, ACT_SILU, ACT_SWIGLU } activation_kind;
typedef enum { POSITION_ALIBI, POSITION_LEARNED, POSITION_NONE, POSITION_ROTARY } position_kind;
typedef enum { ROTARY_HALF, ROTARY_INTERLEAVED } rotary_layout_kind;
typedef enum { NORM_LAYERNORM, NORM_RMSNORM } norm_kind;
typedef enum { BLOCK_SERIAL, BLOCK_PARALLEL } block_kind;
typedef enum { ATTENTION_CAUSAL, ATTENTION_BIDIRECTIONAL } attention_kind;
typedef enum { PARAM_SP, PARAM_MUP, PARAM_COMPLETEP, PARAM_COMPLETEDP, PARAM_RELEASED } parameterization_kind;
typedef enum { SCALE_AUTO, SCALE_INV_SQRT_DH, SCALE_INV_DH, SCALE_INV_N } attention_scale_kind;
typedef enum { RULE_AUTO, RULE_V4, RULE_TABLE1, RULE_RELEASED } eps_rule_kind;
typedef enum { DECAY_AUTO, DECAY_TABLE1, DECAY_RELEASED } decay_rule_kind;
typedef enum { INIT_AUTO, INIT_TABLE1, INIT_GPT2 } init_rule_kind;

#define MODEL_FIELDS(F)                                                                            \
  F(TEXT, preset, "preset", UNIT_NONE, "", 0, 0, NULL,                                             \
    "a named model to start from (weft config models lists them), or the path of a YAML file")    \
  F(U32, layers, "layers", UNIT_NONE, "4", 1, 100000, NULL, "transformer blocks, L")               \
  F(U32, width, "width", UNIT_NONE, "128", 1, 1048576, NULL, "residual width, N (d_model)")        \
  F(U32, heads, "heads", UNIT_NONE, "4", 1, 65536, NULL, "attention heads; must divide the width") \
  F(F64, mlp, "mlp", UNIT_NONE, "4", 0.001, 64, NULL,                                              \
    "hidden width of the MLP as a ratio to the width; the product must be a whole number")        \
  F(U32, vocab, "vocab", UNIT_NONE, "0", 0, 16777216, NULL,                                        \
    "vocabulary; 0 takes it from the data (256 for bytes)")                                       \
  F(ENUM, activation, "activation", UNIT_NONE, "relu2", 0, 0, "gelu|gelu_erf|relu2|silu|swiglu",   \
    "MLP activation: GELU by tanh, GELU by erf, squared ReLU, SiLU, or SwiGLU: silu(gate) times up, " \
    "two projections of the hidden width")                                                        \
  F(ENUM, position, "position", UNIT_NONE, "alibi", 0, 0, "alibi|learned|none|rotary",             \
    "how positions enter: ALiBi slopes on the scores, a learned table, not at all, or by rotating q and k") \
  F(U32, rotary_dims, "rotary_dims", UNIT_NONE, "0", 0, 65536, NULL,                               \
    "rotary only: features of a head that are rotated, an even number; 0 takes the whole head")   \
  F(ENUM, rotary_layout, "rotary_layout", UNIT_NONE, "half", 0, 0, "half|interleaved",             \
    "rotary only: a feature turns with the one half the rotated features away (LLaMA as Hugging Face keeps it), " \
    "or with its neighbour (GPT-J)")                                                              \
  F(ENUM, norm, "norm", UNIT_NONE, "layernorm", 0, 0, "layernorm|rmsnorm",                         \
    "what normalises: LayerNorm, or RMSNorm, which has a gain only")                              \
  F(ENUM, block, "block", UNIT_NONE, "serial", 0, 0, "serial|parallel",                            \
    "serial: the MLP follows attention; parallel: both read one norm of the block's input (GPT-J)") \
  F(ENUM, attention, "attention", UNIT_NONE, "causal", 0, 0, "causal|bidirectional",               \
    "causal predicts the next token; bidirectional sees all tokens and predicts hidden ones, for which " \
    "the last id of the vocabulary stands")                                                       \
  F(BOOL, tied, "tied", UNIT_NONE, "false", 0, 0, NULL,                                            \
    "the unembedding is the token embedding; one matrix with the embedding's rules")              \
  F(BOOL, bias, "bias", UNIT_NONE, "true", 0, 0, NULL, "biases in linear layers and LayerNorms")  \
  F(F64, ln_eps, "ln_eps", UNIT_NONE, "1e-5", 0, 1, NULL, "epsilon inside the norm's root")      \
  F(ENUM, parameterization, "parameterization", UNIT_NONE, "completep", 0, 0,                      \
    "sp|mup|completep|completedp|released",                                                       \
    "how init, LR, eps, decay and multipliers depend on width and depth")                         \
  F(F64, alpha, "alpha", UNIT_NONE, "1", 0.5, 1, NULL,                                             \
    "depth exponent of the residual branches (1 is CompleteP, 0.5 the Depth-muP style)")          \
  F(U32, base_width, "base_width", UNIT_NONE, "64", 1, 1048576, NULL,                              \
    "width at which the base hyperparameters were tuned; m_N = width / base_width")               \
  F(U32, base_layers, "base_layers", UNIT_NONE, "2", 1, 100000, NULL,                              \
    "depth at which the base hyperparameters were tuned; m_L = layers / base_layers")             \
  F(F64, init_std, "init_std", UNIT_NONE, "0.02", 0, 100, NULL, "base standard deviation, sigma") \
  F(ENUM, attention_scale, "attention_scale", UNIT_NONE, "auto", 0, 0,                             \
    "auto|inv_sqrt_dh|inv_dh|inv_n",                                                              \
    "factor on q.k; auto is 1/sqrt(d_head) for sp and 1/d_head otherwise")                        \
  F(ENUM, eps_rule, "eps_rule", UNIT_NONE, "auto", 0, 0, "auto|v4|table1|released",                \
    "AdamW eps outside the blocks: v4 divides by m_N, table1 leaves it, released uses one for "   \
    "all; sp and completedp have one reading only")                                               \
  F(ENUM, decay_rule, "decay_rule", UNIT_NONE, "auto", 0, 0, "auto|table1|released",               \
    "hidden weight decay: table1 multiplies by m_N; released does so only with depth rules on")   \
  F(ENUM, init_rule, "init_rule", UNIT_NONE, "auto", 0, 0, "auto|table1|gpt2",                     \
    "auto is table1; gpt2 divides the init of W_o and W_2 by sqrt(2L), as the released code does for sp") \
  F(F64, embed_mult, "embed_mult", UNIT_NONE, "1", 0, 1e6, NULL, "tunable multiplier of the embedding") \
  F(F64, logit_mult, "logit_mult", UNIT_NONE, "1", 0, 1e6, NULL,                                   \
    "tunable multiplier of the logits, on top of the parameterization's")                         \
  F(F64, batch_ratio, "batch_ratio", UNIT_NONE, "1", 1e-6, 1e6, NULL,                              \
    "completedp only: m_B, batch over base batch")                                                \
  F(F64, token_ratio, "token_ratio", UNIT_NONE, "1", 1e-6, 1e6, NULL,                              \
    "completedp only: m_D, training tokens over base tokens")

typedef struct model_spec { MODEL_FIELDS(FIELD_MEMBER) } model_spec;

extern const field_table model_table; // section "model"

// Relations between fields: heads divide width, mlp * width whole, vocab stated, ALiBi possible ...
// Fails with CODE_CONFIG and one sentence.
bool model_check(const model_spec *m, status *st);

static inline u32 model_head_width(const model_spec *m) { return m->width / m->heads; }
// Features of a head that positions rotate; 0 where they do not.
static inline u32 model_rotary_dims(const model_spec *m) {
  if (m->position != POSITION_ROTARY) return 0;
  return m->rotary_dims ? m->rotary_dims : model_head_width(m);
}
u32 model_hidden_width(const model_spec *m); // mlp * width, a bug unless model_check passed

// The table of model fields, and the relations between them that a single field's bounds cannot hold.
#include "model/graph/model_spec.h"

#include <math.h>

#define ROW(...) FIELD_ROW(model_spec, __VA_ARGS__)
static const field rows[] = {MODEL_FIELDS(ROW)};

const field_table model_table = {"model", "What is trained: shape, parameterization and initialisation.",
                                 rows, COUNT_OF(rows), sizeof(model_spec)};

// A ratio such as 2.6666667 for 8/3 is as near as a decimal gets, so the product may miss by this much.
static const double WHOLE_TOLERANCE = 1e-6;

// The nearest divisor of n strictly below (step -1) or above (step +1) `from`; 0 when there is none.
static u32 nearest_divisor(u32 n, u32 from, int step) {
  if (step < 0) {
    for (u32 d = (from > n ? n + 1 : from); d-- > 1;)
      if (n % d == 0) return d;
    return 0;
  }
  for (u32 d = from + 1; d <= n; d++)
    if (n % d == 0) return d;
  return 0;
}

static bool check_heads(const model_spec *m, status *st) {
  if (m->heads > 0 && m->width % m->heads == 0) return true;
  u32 below = nearest_divisor(m->width, m->heads, -1), above = nearest_divisor(m->width, m->heads, 1);
  if (below && above)
    return status_fail(st, CODE_CONFIG,
                       "model.heads = %u does not divide model.width = %u; choose a divisor such as %u or %u",
                       m->heads, m->width, below, above);
  return status_fail(st, CODE_CONFIG,
                     "model.heads = %u does not divide model.width = %u; choose a divisor such as %u",
                     m->heads, m->width, below ? below : above);
}

static bool check_hidden(const model_spec *m, status *st) {
  double hidden = m->mlp * m->width, whole = round(hidden);
  if (whole >= 1 && fabs(hidden - whole) <= WHOLE_TOLERANCE * hidden) return true;
  double near = whole < 1 ? 1 : whole;
  return status_fail(st, CODE_CONFIG,
                     "model.mlp = %g times model.width = %u is %g, which is no whole number; "
                     "model.mlp = %.9g gives a hidden width of %.0f",
                     m->mlp, m->width, hidden, near / m->width, near);
}

static bool check_rotary(const model_spec *m, status *st) {
  const char *key = m->rotary_dims ? "rotary_dims" : m->rotary_layout != ROTARY_HALF ? "rotary_layout" : NULL;
  if (m->position != POSITION_ROTARY && key)
    return status_fail(st, CODE_CONFIG, "model.%s has no effect here: only model.position = rotary reads it; choose "
                                        "that or leave it at its default", key);
  u32 dims = model_rotary_dims(m), head = model_head_width(m);
  if (dims % 2 == 0 && dims <= head) return true;
  if (head < 2) return status_fail(st, CODE_CONFIG, "model.position = rotary turns pairs, but a head has one feature");
  return status_fail(st, CODE_CONFIG,
                     "model.position = rotary cannot turn %u features of heads of %u: it takes an even number, at most "
                     "the head's; state model.rotary_dims = %u",
                     dims, head, (dims < head ? dims : head) / 2 * 2);
}

static bool check_ratios(const model_spec *m, status *st) {
  if (m->parameterization == PARAM_COMPLETEDP) return true;
  const char *key = m->batch_ratio != 1 ? "batch_ratio" : m->token_ratio != 1 ? "token_ratio" : NULL;
  if (!key) return true;
  return status_fail(st, CODE_CONFIG,
                     "model.%s has no effect here: only model.parameterization = completedp reads it; "
                     "choose that or leave the ratio at 1",
                     key);
}

bool model_check(const model_spec *m, status *st) {
  if (m->layers == 0 || m->width == 0)
    return status_fail(st, CODE_CONFIG, "model.layers and model.width must be at least 1");
  if (m->vocab == 0)
    return status_fail(st, CODE_CONFIG,
                       "model.vocab is not stated and there is no data to take it from; "
                       "set model.vocab (256 for bytes, 50257 for GPT-2 tokens)");
  if (m->base_width == 0 || m->base_layers == 0)
    return status_fail(st, CODE_CONFIG, "model.base_width and model.base_layers must be at least 1");
  if (m->attention == ATTENTION_BIDIRECTIONAL && m->vocab < 2)
    return status_fail(st, CODE_CONFIG, "model.vocab = 1 leaves no token beside the one that stands for hidden ones");
  return check_heads(m, st) && check_hidden(m, st) && check_rotary(m, st) && check_ratios(m, st);
}

u32 model_hidden_width(const model_spec *m) {
  double hidden = m->mlp * m->width, whole = round(hidden);
  require(whole >= 1 && whole < 4294967296.0);
  require(fabs(hidden - whole) <= WHOLE_TOLERANCE * hidden);
  return (u32)whole;
}

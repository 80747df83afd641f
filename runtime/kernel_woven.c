// Operations of the training step by themselves.
#include "runtime/kernel_woven.h"

#include "runtime/weave_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The case under construction; its last node is the kernel's.
typedef struct subject {
  weave_case *c;
  const kernel_woven_request *r;
} subject;

typedef void make(const subject *s);

// ---- tensors

static u32 tensor(const subject *s, const char *name, tensor_kind kind, u32 rows, u32 cols) {
  const u32 t = weave_case_tensor(s->c, kind, rows, cols);
  snprintf(s->c->tensors[t].name, sizeof s->c->tensors[t].name, "%s", name);
  return t;
}

// Whole numbers that 16-bit sums hold: -1 to 1.
static u32 filled(const subject *s, u32 t) {
  float *values = weave_case_fill(s->c, t, s->r->seed, !s->r->random);
  for (size_t i = 0; !s->r->random && s->r->type != DF_F32 && i < weave_case_elements(s->c, t); i++)
    values[i] = (float)((values[i] > 0) - (values[i] < 0));
  return t;
}

static u32 made(const subject *s, const char *name, u32 cols) {
  return tensor(s, name, TENSOR_ACT, 0, cols);
}
static u32 made_gradient(const subject *s, const char *name, u32 cols) {
  return tensor(s, name, TENSOR_ACT_GRAD, 0, cols);
}
static u32 given(const subject *s, const char *name, u32 cols) {
  return filled(s, made(s, name, cols));
}
static u32 given_gradient(const subject *s, const char *name, u32 cols) {
  return filled(s, made_gradient(s, name, cols));
}
static u32 param(const subject *s, const char *name, u32 rows, u32 cols) {
  return filled(s, tensor(s, name, TENSOR_PARAM, rows, cols));
}
static u32 param_gradient(const subject *s, const char *name, u32 rows, u32 cols) {
  return tensor(s, name, TENSOR_PARAM_GRAD, rows, cols);
}
static u32 ids(const subject *s, const char *name, u32 below) {
  const u32 t = tensor(s, name, TENSOR_TOKENS, 0, 1);
  weave_case_ids(s->c, t, s->r->seed, below);
  return t;
}

// ---- the operations

static void linear(const subject *s) {
  const u32 n = s->r->features, m = s->r->outputs, x = given(s, "x", n), w = param(s, "W", m, n),
            bias = param(s, "bias", 1, m);
  weave_case_node(s->c, OP_LINEAR, 1, TENSORS(x, w, bias), TENSORS(made(s, "y", m)));
}

static void grad_x(const subject *s) {
  const u32 n = s->r->features, m = s->r->outputs, dy = given_gradient(s, "dy", m), w = param(s, "W", m, n);
  weave_case_node(s->c, OP_LINEAR_GRAD_X, 1, TENSORS(dy, w), TENSORS(made_gradient(s, "dx", n)));
}

static void grad_w(const subject *s) {
  const u32 n = s->r->features, m = s->r->outputs, dy = given_gradient(s, "dy", m), x = given(s, "x", n);
  const u32 dw = param_gradient(s, "dW", m, n), dbias = param_gradient(s, "dbias", 1, m);
  weave_case_node(s->c, OP_LINEAR_GRAD_W, 1, TENSORS(dy, x), TENSORS(dw, dbias))->accumulate = 3;
}

// Returns x, gain and statistics for the gradient.
static void norm_forward(const subject *s, u32 ret_of[3]) {
  const u32 n = s->r->features, x = given(s, "x", n), g = param(s, "g", 1, n), b = param(s, "b", 1, n);
  const u32 y = made(s, "y", n), stats = made(s, "stats", 2);
  weave_case_node(s->c, OP_LAYERNORM, 1, TENSORS(x, g, b), TENSORS(y, stats));
  memcpy(ret_of, (u32[]){x, g, stats}, 3 * sizeof *ret_of);
}

static void layernorm(const subject *s) {
  norm_forward(s, (u32[3]){0});
}

static void layernorm_grad(const subject *s) {
  u32 of[3];
  norm_forward(s, of);
  const u32 n = s->r->features, dy = given_gradient(s, "dy", n), dx = made_gradient(s, "dx", n);
  const u32 dg = param_gradient(s, "dg", 1, n), db = param_gradient(s, "db", 1, n);
  weave_case_node(s->c, OP_LAYERNORM_GRAD, 1, TENSORS(dy, of[0], of[1], of[2]), TENSORS(dx, dg, db))->accumulate = 6;
}

// Returns qkv, y and lse for the gradient.
static void attention_forward(const subject *s, u32 ret_of[3]) {
  const u32 n = s->r->features, qkv = given(s, "qkv", 3 * n), y = made(s, "y", n), lse = made(s, "lse", s->r->heads);
  if (s->r->pattern && strcmp(s->r->pattern, "alibi") == 0) s->c->g.model.position = POSITION_ALIBI;
  weave_case_node(s->c, OP_ATTENTION, (double)s->r->heads / n, TENSORS(qkv), TENSORS(y, lse)); // 1 / a head's features
  memcpy(ret_of, (u32[]){qkv, y, lse}, 3 * sizeof *ret_of);
}

static void attention(const subject *s) {
  attention_forward(s, (u32[3]){0});
}

static void attention_grad(const subject *s) {
  u32 of[3];
  attention_forward(s, of);
  const u32 n = s->r->features, dy = given_gradient(s, "dy", n), dqkv = made_gradient(s, "dqkv", 3 * n);
  weave_case_twin(s->c, of[0], dqkv);
  weave_case_twin(s->c, of[1], dy);
  weave_case_node(s->c, OP_ATTENTION_GRAD, (double)s->r->heads / n, TENSORS(dy, of[0], of[1], of[2]), TENSORS(dqkv));
}

static void choose_activation(const subject *s) {
  static const struct {
    const char *name;
    activation_kind kind;
  } all[] = {{"relu2", ACT_RELU2}, {"gelu", ACT_GELU}, {"gelu_erf", ACT_GELU_ERF}};
  s->c->g.model.activation = all[0].kind;
  for (u32 i = 0; s->r->pattern && i < COUNT_OF(all); i++)
    if (strcmp(s->r->pattern, all[i].name) == 0) s->c->g.model.activation = all[i].kind;
}

static void activation(const subject *s) {
  const u32 x = given(s, "x", s->r->features);
  choose_activation(s);
  weave_case_node(s->c, OP_ACTIVATION, 1, TENSORS(x), TENSORS(made(s, "y", s->r->features)));
}

static void activation_grad(const subject *s) {
  const u32 dy = given_gradient(s, "dy", s->r->features), x = given(s, "x", s->r->features);
  choose_activation(s);
  weave_case_node(s->c, OP_ACTIVATION_GRAD, 1, TENSORS(dy, x), TENSORS(made_gradient(s, "dx", s->r->features)));
}

static void residual(const subject *s) {
  const u32 x = given(s, "x", s->r->features), branch = given(s, "branch", s->r->features);
  weave_case_node(s->c, OP_RESIDUAL, 0.5, TENSORS(x, branch), TENSORS(made(s, "y", s->r->features)));
}

static void residual_grad(const subject *s) {
  const u32 n = s->r->features, dy = given_gradient(s, "dy", n), dx = made_gradient(s, "dx", n),
            branch = made_gradient(s, "dbranch", n);
  weave_case_node(s->c, OP_RESIDUAL_GRAD, 0.5, TENSORS(dy), TENSORS(dx, branch));
}

// A row of the table per token, so that the wafer is given what the host's operation looks up.
static u32 each_once(const subject *s, const char *name) {
  const u32 t = ids(s, name, 1);
  s->c->g.model.vocab = weave_case_tokens(s->c);
  for (u32 i = 0; i < weave_case_tokens(s->c); i++) s->c->ids[t][i] = i;
  return t;
}

static void embed(const subject *s) {
  const u32 n = s->r->features, tokens = each_once(s, "tokens"), wte = param(s, "wte", weave_case_tokens(s->c), n);
  const u32 x = made(s, "x", n);
  memcpy(s->c->values[x], s->c->values[wte], weave_case_elements(s->c, x) * sizeof(float)); // enters at the edge
  weave_case_node(s->c, OP_EMBED, 1, TENSORS(tokens, wte), TENSORS(x));
}

static void embed_grad(const subject *s) {
  const u32 n = s->r->features, tokens = each_once(s, "tokens");
  const u32 dx = given_gradient(s, "dx", n), dwte = param_gradient(s, "dwte", weave_case_tokens(s->c), n);
  weave_case_node(s->c, OP_EMBED_GRAD, 1, TENSORS(dx, tokens), TENSORS(dwte))->accumulate = 1;
}

static void loss_of(const subject *s, bool gradient) {
  const u32 n = s->r->features, logits = given(s, "logits", n), targets = ids(s, "targets", n);
  if (gradient) {
    weave_case_node(s->c, OP_LOSS_GRAD, 1, TENSORS(logits, targets), TENSORS(made_gradient(s, "dlogits", n)));
    return;
  }
  s->c->g.loss = made(s, "loss", 1);
  s->c->g.targets = targets;
  weave_case_node(s->c, OP_LOSS, 1, TENSORS(logits, targets), TENSORS(s->c->g.loss));
}

static void loss(const subject *s) {
  loss_of(s, false);
}
static void loss_grad(const subject *s) {
  loss_of(s, true);
}

// ---- the table

#define PLAIN "grid features tokens sequences"
typedef struct row {
  kernel_woven_facts facts;
  make *make;
  bool exact; // sums and products only: whole numbers come out as they are (of an activation, its first form)
} row;
static const row rows[] = {
    {{"linear", "y = x W^T + bias, weights streamed", "", PLAIN " outputs"}, linear, true},
    {{"grad_x", "dx = dy W, weights streamed", "", PLAIN " outputs"}, grad_x, true},
    {{"grad_w", "dW = dy^T x and dbias, which leave at the edge", "", PLAIN " outputs"}, grad_w, true},
    {{"layernorm", "LayerNorm; gains and biases streamed", "", PLAIN}, layernorm, false},
    {{"layernorm_grad", "its gradient", "", PLAIN}, layernorm_grad, false},
    {{"attention", "causal attention over q, k, v", "plain|alibi", PLAIN " heads"}, attention, false},
    {{"attention_grad", "its gradient", "plain|alibi", PLAIN " heads"}, attention_grad, false},
    {{"activation", "of each value", "relu2|gelu|gelu_erf", PLAIN}, activation, true},
    {{"activation_grad", "its gradient", "relu2|gelu|gelu_erf", PLAIN}, activation_grad, true},
    {{"residual", "y = x + branch / 2", "", PLAIN}, residual, true},
    {{"residual_grad", "dx = dy, dbranch = dy / 2", "", PLAIN}, residual_grad, true},
    {{"embed", "the embedding's output enters at the edge", "", PLAIN}, embed, true},
    {{"embed_grad", "its gradient leaves at the edge", "", PLAIN}, embed_grad, true},
    {{"loss", "cross-entropy over logits; targets streamed", "", PLAIN}, loss, false},
    {{"loss_grad", "softmax - onehot", "", PLAIN}, loss_grad, false},
};

u32 kernel_woven_count(void) {
  return COUNT_OF(rows);
}
const kernel_woven_facts *kernel_woven_get(u32 index) {
  require(index < COUNT_OF(rows));
  return &rows[index].facts;
}

static const row *find(const char *name) {
  for (u32 i = 0; i < COUNT_OF(rows); i++)
    if (strcmp(rows[i].facts.name, name) == 0) return &rows[i];
  return NULL;
}

const kernel_woven_facts *kernel_woven_find(const char *name) {
  const row *k = find(name);
  return k ? &k->facts : NULL;
}

// ---- building

enum { SIZE = 16, TOKENS = 8, FEW = 4, SIZE_BOUND = 1 << 16, VALUES_MAX = 1 << 26 }; // defaults and bounds

static void default_sizes(kernel_woven_request *r) {
  if (!r->features) r->features = SIZE;
  if (!r->outputs) r->outputs = SIZE;
  if (!r->tokens) r->tokens = TOKENS;
  if (!r->sequences) r->sequences = FEW;
  if (!r->heads) r->heads = r->features % FEW ? 1 : FEW;
}

static bool check(const kernel_woven_request *r, const row *k, status *st) {
  if (r->pattern && !kernel_is_choice(k->facts.patterns, r->pattern))
    return status_fail(st, CODE_USAGE, "kernel %s: there is no pattern \"%.40s\"%s%s", r->name, r->pattern,
                       *k->facts.patterns ? "; there are " : "", k->facts.patterns);
  const u64 most = r->features > r->outputs ? r->features : r->outputs, tokens = (u64)r->tokens * r->sequences;
  if (r->features > SIZE_BOUND || r->outputs > SIZE_BOUND || most * tokens > VALUES_MAX ||
      (u64)r->features * r->outputs > VALUES_MAX)
    return status_fail(st, CODE_CONFIG, "kernel %s: no PE and no wafer holds that much", r->name);
  if (r->features % r->heads)
    return status_fail(st, CODE_USAGE, "kernel %s: %u heads do not divide %u features", r->name, r->heads, r->features);
  return true;
}

static bool build(kernel_woven_request *r, subject *ret_subject, status *st) {
  const row *k = find(r->name);
  require(k != NULL);
  default_sizes(r);
  if (!check(r, k, st)) return false;
  *ret_subject = (subject){weave_case_begin(r->tokens, r->sequences, r->features, r->heads), r};
  k->make(ret_subject);
  return true;
}

// ---- the reference

// What rounding may come to, of a result's largest: a place per term of the longest sum (in 16 bit only those of one
// PE are summed as such), and some for functions and what is rounded between them.
static double limit_of(const kernel_woven_request *r) {
  enum { FUNCTIONS = 16 };
  static const double unit[] = {[DF_F32] = 0x1p-24, [DF_F16] = 0x1p-11, [DF_BF16] = 0x1p-8};
  u32 terms = r->features > r->outputs ? r->features : r->outputs;
  if (r->type != DF_F32) terms = (terms + r->width - 1) / r->width;
  const u32 tokens = r->tokens * r->sequences;
  if (r->type == DF_F32 && tokens > terms) terms = tokens;
  return (FUNCTIONS + terms) * unit[r->type];
}

// Not a number where one is expected is an infinite deviation.
static void compare(const weave_case *c, u32 t, const float *expected, double limit, kernel_outcome *o) {
  const size_t count = t == c->g.loss ? 1 : weave_case_elements(c, t);
  double largest = 0;
  for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(expected[i]));
  for (size_t i = 0; i < count; i++) {
    const double off = fabs((double)c->values[t][i] - expected[i]), d = isnan(off) ? INFINITY : off;
    if (d > 0 && o->equal) {
      o->equal = false;
      snprintf(o->where, sizeof o->where, "%s[%zu][%zu]", c->tensors[t].name, i / c->tensors[t].cols,
               i % c->tensors[t].cols);
    }
    if (d > limit * largest) o->pass = false;
    if (d / fmax(largest, 1e-30) >= o->largest) o->largest = d / fmax(largest, 1e-30);
    o->compared++;
  }
}

// The embedding's gradient leaves as it is and is added to the host's copy; the host gives it to the rows of the table.
static void take_leaving(const weave_case *c, const graph_node *n, float *const *before) {
  const u32 dx = n->in[0], dwte = n->out[0];
  for (size_t i = 0; i < weave_case_elements(c, dx); i++) c->values[dwte][i] = c->values[dx][i] - before[dx][i];
}

static void compare_outputs(const weave_case *c, float **expected, double limit, kernel_outcome *o) {
  const graph_node *n = &c->nodes[c->g.node_count - 1];
  if (n->op == OP_EMBED_GRAD) take_leaving(c, n, expected);
  *o = (kernel_outcome){.checked = true, .equal = true, .pass = true, .relative = true, .tolerance = limit};
  for (u32 k = 0; k < NODE_OUT_MAX; k++) {
    const u32 t = n->out[k];
    if (t == GRAPH_NONE) continue;
    const bool inside = c->tensors[t].kind == TENSOR_ACT || c->tensors[t].kind == TENSOR_ACT_GRAD;
    if (inside && t != c->g.loss && !wafer_holds(&c->w, t)) continue; // the sums of a column's own heads
    for (u32 i = 1; t == c->g.loss && i < weave_case_tokens(c); i++) expected[t][0] += expected[t][i];
    compare(c, t, expected[t], limit, o);
  }
}

bool kernel_woven_run(kernel_woven_request *r, kernel_outcome *ret_outcome, status *st) {
  subject s;
  if (!build(r, &s, st)) return false;
  weave_case *c = s.c;
  float **expected = weave_case_define(c, kernels_fast());
  const bool ok = weave_case_weave(c, r->machine, r->width, r->height, (df_type)r->type, st) && weave_case_run(c, st);
  if (ok) {
    const row *k = find(r->name);
    const bool first_form = !r->pattern || strncmp(k->facts.patterns, r->pattern, strlen(r->pattern)) == 0;
    compare_outputs(c, expected, !r->random && k->exact && first_form ? 0 : limit_of(r), ret_outcome);
    const weave_case_run_facts *own = &c->runs[c->step.phase_count - 1];
    ret_outcome->fabric = own->result;
    ret_outcome->wall_s = own->wall_s;
    ret_outcome->rate = (double)own->result.counts.macs / (double)own->result.cycles / r->width / r->height;
    ret_outcome->rate_unit = "MACs per cycle and PE";
  }
  weave_case_end(c);
  return ok;
}

bool kernel_woven_print(kernel_woven_request *r, text *out, status *st) {
  subject s;
  if (!build(r, &s, st)) return false;
  const bool ok = weave_case_weave(s.c, r->machine, r->width, r->height, (df_type)r->type, st);
  if (ok) dataflow_print(&s.c->step.phases[s.c->step.phase_count - 1].flow, out);
  weave_case_end(s.c);
  return ok;
}

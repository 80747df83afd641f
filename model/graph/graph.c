// Builds the forward half of a step from the model, asks for gradients and updates, and answers
// questions about parameters.
#include "model/graph/builder.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

static u32 act(builder *b, place at, u32 cols) {
  return builder_tensor(b, TENSOR_ACT, at, b->g->seq, cols);
}

static u32 norm(builder *b, u32 x, u32 layer, const char *name, const char *const parts[3]) {
  const model_spec *m = &b->g->model;
  param_role role = layer == GRAPH_NONE ? ROLE_FINAL_LN : ROLE_PRE_LN;
  bool rms = m->norm == NORM_RMSNORM;
  graph_node *n = builder_node(b, rms ? OP_RMSNORM : OP_LAYERNORM, (place){layer, name}, 1);
  builder_in(n, x);
  builder_in(n, builder_param(b, role, (place){layer, parts[0]}, 1, m->width));
  if (m->bias && !rms) builder_in(n, builder_param(b, role, (place){layer, parts[1]}, 1, m->width));
  u32 y = act(b, (place){layer, name}, m->width);
  builder_out(b, n, y, false);
  builder_out(b, n, act(b, (place){layer, parts[2]}, rms ? 1 : 2), false);
  return y;
}

// A linear layer of a block: names of its output, weight and bias, and its output width.
static u32 linear(builder *b, u32 x, u32 layer, const char *const names[3], u32 out_width) {
  graph_node *n = builder_node(b, OP_LINEAR, (place){layer, names[0]}, 1);
  builder_in(n, x);
  builder_in(n, builder_param(b, ROLE_HIDDEN_W, (place){layer, names[1]}, out_width, b->tensors[x].cols));
  if (b->g->model.bias)
    builder_in(n, builder_param(b, ROLE_HIDDEN_B, (place){layer, names[2]}, 1, out_width));
  u32 y = act(b, (place){layer, names[0]}, out_width);
  builder_out(b, n, y, false);
  return y;
}

static u32 rotary(builder *b, u32 qkv, u32 layer) {
  graph_node *n = builder_node(b, OP_ROTARY, (place){layer, "attn.rot"}, 1);
  builder_in(n, qkv);
  u32 y = act(b, (place){layer, "attn.rot"}, b->tensors[qkv].cols);
  builder_out(b, n, y, false);
  return y;
}

static u32 attention(builder *b, u32 qkv, u32 layer) {
  const model_spec *m = &b->g->model;
  if (m->position == POSITION_ROTARY) qkv = rotary(b, qkv, layer);
  graph_node *n = builder_node(b, OP_ATTENTION, (place){layer, "attn.mix"}, b->g->rules.attention_scale);
  builder_in(n, qkv);
  u32 y = act(b, (place){layer, "attn.mix"}, m->width);
  builder_out(b, n, y, false);
  builder_out(b, n, act(b, (place){layer, "attn.lse"}, m->heads), false);
  return y;
}

// `up` is GRAPH_NONE where there is no gate.
static u32 activation(builder *b, u32 x, u32 up, u32 layer) {
  graph_node *n = builder_node(b, up == GRAPH_NONE ? OP_ACTIVATION : OP_GATE, (place){layer, "mlp.act"}, 1);
  builder_in(n, x);
  if (up != GRAPH_NONE) builder_in(n, up);
  u32 y = act(b, (place){layer, "mlp.act"}, b->tensors[x].cols);
  builder_out(b, n, y, false);
  return y;
}

static u32 residual(builder *b, u32 x, u32 branch, place at) {
  graph_node *n = builder_node(b, OP_RESIDUAL, at, b->g->rules.residual_mult);
  builder_in(n, x);
  builder_in(n, branch);
  u32 y = act(b, at, b->g->model.width);
  builder_out(b, n, y, false);
  return y;
}

// The branch of the MLP, from its normalised input. With a gate w1 is the gate's, as in LLaMA's own files.
static u32 mlp(builder *b, u32 y, u32 layer) {
  static const char *const pre_names[] = {"mlp.pre", "mlp.w1", "mlp.b1"};
  static const char *const up_names[] = {"mlp.up", "mlp.w3", "mlp.b3"};
  static const char *const down_names[] = {"mlp_branch", "mlp.w2", "mlp.b2"};
  u32 hidden = model_hidden_width(&b->g->model), up = GRAPH_NONE;
  u32 pre = linear(b, y, layer, pre_names, hidden);
  if (b->g->model.activation == ACT_SWIGLU) up = linear(b, y, layer, up_names, hidden);
  return linear(b, activation(b, pre, up, layer), layer, down_names, b->g->model.width);
}

static u32 block(builder *b, u32 x, u32 layer) {
  static const char *const ln1[] = {"ln1.g", "ln1.b", "ln1.stats"};
  static const char *const qkv_names[] = {"attn.qkv", "attn.wqkv", "attn.bqkv"};
  static const char *const o_names[] = {"attn_branch", "attn.wo", "attn.bo"};
  static const char *const ln2[] = {"ln2.g", "ln2.b", "ln2.stats"};
  u32 width = b->g->model.width;

  u32 normed = norm(b, x, layer, "ln1", ln1);
  u32 y = linear(b, normed, layer, qkv_names, 3 * width);
  y = attention(b, y, layer);
  y = linear(b, y, layer, o_names, width);
  x = residual(b, x, y, (place){layer, "attn_resid"});

  if (b->g->model.block == BLOCK_SERIAL) normed = norm(b, x, layer, "ln2", ln2);
  return residual(b, x, mlp(b, normed, layer), (place){layer, "resid"});
}

static u32 embed(builder *b, u32 *ret_wte) {
  graph *g = b->g;
  place at = {GRAPH_NONE, "emb"};
  graph_node *n = builder_node(b, OP_EMBED, at, g->rules.embed_mult);
  *ret_wte = builder_param(b, ROLE_EMBED, (place){GRAPH_NONE, "wte"}, g->model.vocab, g->model.width);
  builder_in(n, g->tokens);
  builder_in(n, *ret_wte);
  if (g->model.position == POSITION_LEARNED)
    builder_in(n, builder_param(b, ROLE_EMBED, (place){GRAPH_NONE, "wpe"}, g->seq, g->model.width));
  u32 x = act(b, at, g->model.width);
  builder_out(b, n, x, false);
  return x;
}

static void logits_and_loss(builder *b, u32 x, u32 wte) {
  graph *g = b->g;
  u32 vocab = g->model.vocab;
  u32 wu = g->model.tied ? wte
                         : builder_param(b, ROLE_UNEMBED, (place){GRAPH_NONE, "wu"}, vocab, g->model.width);
  graph_node *n = builder_node(b, OP_LINEAR, (place){GRAPH_NONE, "logits"}, g->rules.logit_mult);
  builder_in(n, x);
  builder_in(n, wu);
  g->logits = act(b, (place){GRAPH_NONE, "logits"}, vocab);
  builder_out(b, n, g->logits, false);

  n = builder_node(b, OP_LOSS, (place){GRAPH_NONE, "loss"}, 1);
  builder_in(n, g->logits);
  builder_in(n, g->targets);
  g->loss = act(b, (place){GRAPH_NONE, "loss"}, 1);
  builder_out(b, n, g->loss, false);
}

static void forward(builder *b) {
  static const char *const lnf[] = {"lnf.g", "lnf.b", "lnf.stats"};
  graph *g = b->g;
  g->tokens = builder_tensor(b, TENSOR_TOKENS, (place){GRAPH_NONE, "tokens"}, g->seq, 1);
  g->targets = builder_tensor(b, TENSOR_TOKENS, (place){GRAPH_NONE, "targets"}, g->seq, 1);
  u32 wte = GRAPH_NONE;
  u32 x = embed(b, &wte);
  for (u32 l = 0; l < g->model.layers; l++) x = block(b, x, l);
  x = norm(b, x, GRAPH_NONE, "lnf", lnf);
  logits_and_loss(b, x, wte);
}

bool graph_build(const model_spec *m, base_hyper base, u32 seq, arena *a, graph *ret_graph, status *st) {
  if (!model_check(m, st)) return false;
  if (seq == 0) return status_fail(st, CODE_CONFIG, "a sequence needs at least one token; set train.seq");
  graph g = {.model = *m, .rules = rules_resolve(m, base), .seq = seq};
  builder b;
  if (!builder_init(&b, &g, a, st)) return false;
  forward(&b);
  g.forward_end = g.node_count;
  grad_append(&b);
  g.backward_end = g.node_count;
  grad_append_updates(&b);
  *ret_graph = g;
  return true;
}

static u64 hash_double(u64 hash, double value) {
  u64 bits;
  memcpy(&bits, &value, sizeof bits);
  return hash_u64(hash, bits);
}

u64 graph_hash(const graph *g) {
  u64 h = hash_u64(HASH_START, g->seq);
  h = hash_u64(h, g->model.heads);
  h = hash_u64(h, g->model.activation);
  h = hash_u64(h, g->model.position);
  if (g->model.attention != ATTENTION_CAUSAL) h = hash_u64(h, g->model.attention);
  if (model_rotary_dims(&g->model)) h = hash_u64(h, (u64)model_rotary_dims(&g->model) << 32 | g->model.rotary_layout);
  h = hash_double(h, g->model.ln_eps);
  for (u32 i = 0; i < g->tensor_count; i++) {
    const graph_tensor *t = &g->tensors[i];
    h = hash_text(h, t->name);
    h = hash_u64(h, (u64)t->kind << 32 | (u64)t->role);
    h = hash_u64(h, (u64)t->rows << 32 | t->cols);
    h = hash_u64(h, (u64)t->param << 32 | t->twin);
  }
  for (u32 i = 0; i < g->node_count; i++) {
    const graph_node *n = &g->nodes[i];
    h = hash_text(h, n->name);
    h = hash_u64(h, (u64)n->op << 32 | n->accumulate);
    for (u32 k = 0; k < NODE_IN_MAX; k++) h = hash_u64(h, n->in[k]);
    for (u32 k = 0; k < NODE_OUT_MAX; k++) h = hash_u64(h, n->out[k]);
    h = hash_double(h, n->scale);
  }
  return h;
}

static const graph_tensor *param_tensor(const graph *g, u32 param) {
  require(param < g->param_count);
  return &g->tensors[g->params[param]];
}

role_rule graph_param_rule(const graph *g, u32 param) {
  const graph_tensor *t = param_tensor(g, param);
  role_rule r = g->rules.roles[t->role];
  // The matrices that write to the residual stream.
  if (text_ends(t->name, ".attn.wo") || text_ends(t->name, ".mlp.w2"))
    r.init_std *= g->rules.branch_out_init_mult;
  return r;
}

bool graph_param_is_gain(const graph *g, u32 param) {
  const graph_tensor *t = param_tensor(g, param);
  return (t->role == ROLE_PRE_LN || t->role == ROLE_FINAL_LN) && text_ends(t->name, ".g");
}

u32 graph_find_param(const graph *g, const char *name) {
  for (u32 p = 0; p < g->param_count; p++)
    if (strcmp(param_tensor(g, p)->name, name) == 0) return p;
  return GRAPH_NONE;
}

double graph_alibi_slope(u32 head, u32 heads) {
  require(head < heads);
  u32 whole = 1; // the largest power of two that is not above heads
  while (whole <= heads / 2) whole *= 2;
  if (head < whole) return exp2(-8.0 * (head + 1) / whole);
  // The rest take every second slope of the next power of two.
  return exp2(-8.0 * (2.0 * (head - whole) + 1) / (2.0 * whole));
}

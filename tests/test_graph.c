// The graph of a step: names and order, gradients by rule, counts against the published numbers, model
// checks as users read them, and the model presets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/embed.h"
#include "model/graph/graph_count.h"

static const base_hyper base = {0.004, 0.1, 1e-8};
static arena *memory;

static int setup(void **s) {
  (void)s;
  memory = arena_create("test");
  return 0;
}

static int teardown(void **s) {
  (void)s;
  arena_destroy(memory);
  return 0;
}

static model_spec default_model(void) {
  model_spec m;
  field_defaults(&model_table, &m);
  m.vocab = 64;
  m.width = 32;
  m.heads = 2;
  m.layers = 2;
  return m;
}

static graph built(const model_spec *m, u32 seq) {
  graph g;
  status st = {0};
  if (!graph_build(m, base, seq, memory, &g, &st)) fail_msg("%s", st.text);
  return g;
}

static const char *tensor_name(const graph *g, u32 t) { return t == GRAPH_NONE ? "-" : g->tensors[t].name; }

static u32 find_tensor(const graph *g, const char *name) {
  for (u32 i = 0; i < g->tensor_count; i++)
    if (strcmp(g->tensors[i].name, name) == 0) return i;
  fail_msg("no tensor %s", name);
  return GRAPH_NONE;
}

static u32 find_node(const graph *g, const char *name) {
  for (u32 i = 0; i < g->node_count; i++)
    if (strcmp(g->nodes[i].name, name) == 0) return i;
  fail_msg("no node %s", name);
  return GRAPH_NONE;
}

// "name op in in in -> out out", + where added to, ~scale where not 1.
static void describe(const graph *g, const graph_node *n, text *out) {
  text_format(out, "%s %s", n->name, graph_op_name(n->op));
  for (u32 i = 0; i < NODE_IN_MAX; i++)
    if (n->in[i] != GRAPH_NONE) text_format(out, " %s", tensor_name(g, n->in[i]));
  text_add(out, " ->");
  for (u32 i = 0; i < NODE_OUT_MAX; i++)
    if (n->out[i] != GRAPH_NONE)
      text_format(out, " %s%s", n->accumulate >> i & 1 ? "+" : "", tensor_name(g, n->out[i]));
  if (n->scale != 1) text_format(out, " ~%g", n->scale);
  text_add(out, "\n");
}

static const char whole_step[] =
    "emb embed tokens wte -> emb\n"
    "h0.ln1 layernorm emb h0.ln1.g h0.ln1.b -> h0.ln1 h0.ln1.stats\n"
    "h0.attn.qkv linear h0.ln1 h0.attn.wqkv h0.attn.bqkv -> h0.attn.qkv\n"
    "h0.attn.mix attention h0.attn.qkv -> h0.attn.mix h0.attn.lse ~0.0625\n"
    "h0.attn_branch linear h0.attn.mix h0.attn.wo h0.attn.bo -> h0.attn_branch\n"
    "h0.attn_resid residual emb h0.attn_branch -> h0.attn_resid ~2\n"
    "h0.ln2 layernorm h0.attn_resid h0.ln2.g h0.ln2.b -> h0.ln2 h0.ln2.stats\n"
    "h0.mlp.pre linear h0.ln2 h0.mlp.w1 h0.mlp.b1 -> h0.mlp.pre\n"
    "h0.mlp.act activation h0.mlp.pre -> h0.mlp.act\n"
    "h0.mlp_branch linear h0.mlp.act h0.mlp.w2 h0.mlp.b2 -> h0.mlp_branch\n"
    "h0.resid residual h0.attn_resid h0.mlp_branch -> h0.resid ~2\n"
    "lnf layernorm h0.resid lnf.g lnf.b -> lnf lnf.stats\n"
    "logits linear lnf wu -> logits ~2\n"
    "loss loss logits targets -> loss\n"
    "loss.grad loss_grad logits targets -> d.logits\n"
    "logits.grad_w linear_grad_w d.logits lnf -> +d.wu ~2\n"
    "logits.grad_x linear_grad_x d.logits wu -> d.lnf ~2\n"
    "lnf.grad layernorm_grad d.lnf h0.resid lnf.g lnf.stats -> d.h0.resid +d.lnf.g +d.lnf.b\n"
    "h0.resid.grad residual_grad d.h0.resid -> d.h0.attn_resid d.h0.mlp_branch ~2\n"
    "h0.mlp_branch.grad_w linear_grad_w d.h0.mlp_branch h0.mlp.act -> +d.h0.mlp.w2 +d.h0.mlp.b2\n"
    "h0.mlp_branch.grad_x linear_grad_x d.h0.mlp_branch h0.mlp.w2 -> d.h0.mlp.act\n"
    "h0.mlp.act.grad activation_grad d.h0.mlp.act h0.mlp.pre -> d.h0.mlp.pre\n"
    "h0.mlp.pre.grad_w linear_grad_w d.h0.mlp.pre h0.ln2 -> +d.h0.mlp.w1 +d.h0.mlp.b1\n"
    "h0.mlp.pre.grad_x linear_grad_x d.h0.mlp.pre h0.mlp.w1 -> d.h0.ln2\n"
    "h0.ln2.grad layernorm_grad d.h0.ln2 h0.attn_resid h0.ln2.g h0.ln2.stats -> +d.h0.attn_resid "
    "+d.h0.ln2.g +d.h0.ln2.b\n"
    "h0.attn_resid.grad residual_grad d.h0.attn_resid -> d.emb d.h0.attn_branch ~2\n"
    "h0.attn_branch.grad_w linear_grad_w d.h0.attn_branch h0.attn.mix -> +d.h0.attn.wo +d.h0.attn.bo\n"
    "h0.attn_branch.grad_x linear_grad_x d.h0.attn_branch h0.attn.wo -> d.h0.attn.mix\n"
    "h0.attn.mix.grad attention_grad d.h0.attn.mix h0.attn.qkv h0.attn.mix h0.attn.lse -> d.h0.attn.qkv "
    "~0.0625\n"
    "h0.attn.qkv.grad_w linear_grad_w d.h0.attn.qkv h0.ln1 -> +d.h0.attn.wqkv +d.h0.attn.bqkv\n"
    "h0.attn.qkv.grad_x linear_grad_x d.h0.attn.qkv h0.attn.wqkv -> d.h0.ln1\n"
    "h0.ln1.grad layernorm_grad d.h0.ln1 emb h0.ln1.g h0.ln1.stats -> +d.emb +d.h0.ln1.g +d.h0.ln1.b\n"
    "emb.grad embed_grad d.emb tokens -> +d.wte\n"
    "grad_norm grad_norm -> grad_norm\n"
    "wte.adamw adamw wte d.wte grad_norm -> wte\n"
    "h0.ln1.g.adamw adamw h0.ln1.g d.h0.ln1.g grad_norm -> h0.ln1.g\n"
    "h0.ln1.b.adamw adamw h0.ln1.b d.h0.ln1.b grad_norm -> h0.ln1.b\n"
    "h0.attn.wqkv.adamw adamw h0.attn.wqkv d.h0.attn.wqkv grad_norm -> h0.attn.wqkv\n"
    "h0.attn.bqkv.adamw adamw h0.attn.bqkv d.h0.attn.bqkv grad_norm -> h0.attn.bqkv\n"
    "h0.attn.wo.adamw adamw h0.attn.wo d.h0.attn.wo grad_norm -> h0.attn.wo\n"
    "h0.attn.bo.adamw adamw h0.attn.bo d.h0.attn.bo grad_norm -> h0.attn.bo\n"
    "h0.ln2.g.adamw adamw h0.ln2.g d.h0.ln2.g grad_norm -> h0.ln2.g\n"
    "h0.ln2.b.adamw adamw h0.ln2.b d.h0.ln2.b grad_norm -> h0.ln2.b\n"
    "h0.mlp.w1.adamw adamw h0.mlp.w1 d.h0.mlp.w1 grad_norm -> h0.mlp.w1\n"
    "h0.mlp.b1.adamw adamw h0.mlp.b1 d.h0.mlp.b1 grad_norm -> h0.mlp.b1\n"
    "h0.mlp.w2.adamw adamw h0.mlp.w2 d.h0.mlp.w2 grad_norm -> h0.mlp.w2\n"
    "h0.mlp.b2.adamw adamw h0.mlp.b2 d.h0.mlp.b2 grad_norm -> h0.mlp.b2\n"
    "lnf.g.adamw adamw lnf.g d.lnf.g grad_norm -> lnf.g\n"
    "lnf.b.adamw adamw lnf.b d.lnf.b grad_norm -> lnf.b\n"
    "wu.adamw adamw wu d.wu grad_norm -> wu\n";

static void one_block_is_this(void **s) {
  (void)s;
  model_spec m = default_model();
  m.layers = 1;
  graph g = built(&m, 16);
  text out = {0};
  for (u32 i = 0; i < g.node_count; i++) describe(&g, &g.nodes[i], &out);
  assert_string_equal(text_get(&out), whole_step);
  text_free(&out);
  assert_string_equal(g.nodes[g.forward_end].name, "loss.grad");
  assert_string_equal(g.nodes[g.backward_end].name, "grad_norm");
}

// Blocks of other families, node by node up to the block's end.
static void check_block(const model_spec *m, const char *want) {
  graph g = built(m, 16);
  text out = {0};
  for (u32 i = 0; i < g.node_count; i++)
    if (g.nodes[i].layer == 0 && i < g.backward_end) describe(&g, &g.nodes[i], &out);
  assert_string_equal(text_get(&out), want);
  text_free(&out);
}

static void a_llama_block_is_this(void **s) {
  (void)s;
  model_spec m = default_model();
  m.layers = 1, m.bias = false, m.mlp = 1.5;
  m.norm = NORM_RMSNORM, m.activation = ACT_SWIGLU, m.position = POSITION_ROTARY;
  check_block(&m, "h0.ln1 rmsnorm emb h0.ln1.g -> h0.ln1 h0.ln1.stats\n"
                  "h0.attn.qkv linear h0.ln1 h0.attn.wqkv -> h0.attn.qkv\n"
                  "h0.attn.rot rotary h0.attn.qkv -> h0.attn.rot\n"
                  "h0.attn.mix attention h0.attn.rot -> h0.attn.mix h0.attn.lse ~0.0625\n"
                  "h0.attn_branch linear h0.attn.mix h0.attn.wo -> h0.attn_branch\n"
                  "h0.attn_resid residual emb h0.attn_branch -> h0.attn_resid ~2\n"
                  "h0.ln2 rmsnorm h0.attn_resid h0.ln2.g -> h0.ln2 h0.ln2.stats\n"
                  "h0.mlp.pre linear h0.ln2 h0.mlp.w1 -> h0.mlp.pre\n"
                  "h0.mlp.up linear h0.ln2 h0.mlp.w3 -> h0.mlp.up\n"
                  "h0.mlp.act gate h0.mlp.pre h0.mlp.up -> h0.mlp.act\n"
                  "h0.mlp_branch linear h0.mlp.act h0.mlp.w2 -> h0.mlp_branch\n"
                  "h0.resid residual h0.attn_resid h0.mlp_branch -> h0.resid ~2\n"
                  "h0.resid.grad residual_grad d.h0.resid -> d.h0.attn_resid d.h0.mlp_branch ~2\n"
                  "h0.mlp_branch.grad_w linear_grad_w d.h0.mlp_branch h0.mlp.act -> +d.h0.mlp.w2\n"
                  "h0.mlp_branch.grad_x linear_grad_x d.h0.mlp_branch h0.mlp.w2 -> d.h0.mlp.act\n"
                  "h0.mlp.act.grad gate_grad d.h0.mlp.act h0.mlp.pre h0.mlp.up -> d.h0.mlp.pre d.h0.mlp.up\n"
                  "h0.mlp.up.grad_w linear_grad_w d.h0.mlp.up h0.ln2 -> +d.h0.mlp.w3\n"
                  "h0.mlp.up.grad_x linear_grad_x d.h0.mlp.up h0.mlp.w3 -> d.h0.ln2\n"
                  "h0.mlp.pre.grad_w linear_grad_w d.h0.mlp.pre h0.ln2 -> +d.h0.mlp.w1\n"
                  "h0.mlp.pre.grad_x linear_grad_x d.h0.mlp.pre h0.mlp.w1 -> +d.h0.ln2\n"
                  "h0.ln2.grad rmsnorm_grad d.h0.ln2 h0.attn_resid h0.ln2.g h0.ln2.stats -> +d.h0.attn_resid +d.h0.ln2.g\n"
                  "h0.attn_resid.grad residual_grad d.h0.attn_resid -> d.emb d.h0.attn_branch ~2\n"
                  "h0.attn_branch.grad_w linear_grad_w d.h0.attn_branch h0.attn.mix -> +d.h0.attn.wo\n"
                  "h0.attn_branch.grad_x linear_grad_x d.h0.attn_branch h0.attn.wo -> d.h0.attn.mix\n"
                  "h0.attn.mix.grad attention_grad d.h0.attn.mix h0.attn.rot h0.attn.mix h0.attn.lse -> d.h0.attn.rot "
                  "~0.0625\n"
                  "h0.attn.rot.grad rotary_grad d.h0.attn.rot -> d.h0.attn.qkv\n"
                  "h0.attn.qkv.grad_w linear_grad_w d.h0.attn.qkv h0.ln1 -> +d.h0.attn.wqkv\n"
                  "h0.attn.qkv.grad_x linear_grad_x d.h0.attn.qkv h0.attn.wqkv -> d.h0.ln1\n"
                  "h0.ln1.grad rmsnorm_grad d.h0.ln1 emb h0.ln1.g h0.ln1.stats -> +d.emb +d.h0.ln1.g\n");
}

// One norm, both branches on it, both multiplied.
static void a_parallel_block_is_this(void **s) {
  (void)s;
  model_spec m = default_model();
  m.layers = 1, m.block = BLOCK_PARALLEL;
  graph g = built(&m, 16);
  assert_int_equal(graph_find_param(&g, "h0.ln2.g"), GRAPH_NONE);
  u32 ln1 = find_tensor(&g, "h0.ln1");
  assert_int_equal(g.nodes[find_node(&g, "h0.attn.qkv")].in[0], ln1);
  assert_int_equal(g.nodes[find_node(&g, "h0.mlp.pre")].in[0], ln1);
  const graph_node *attn = &g.nodes[find_node(&g, "h0.attn_resid")], *mlp = &g.nodes[find_node(&g, "h0.resid")];
  assert_int_equal(attn->in[0], find_tensor(&g, "emb"));
  assert_int_equal(mlp->in[0], find_tensor(&g, "h0.attn_resid"));
  assert_true(attn->scale == g.rules.residual_mult && mlp->scale == g.rules.residual_mult);
}

// New parameters follow the rules of their role; a gain starts at 1.
static void families_follow_the_rules(void **s) {
  (void)s;
  model_spec m = default_model();
  m.width = 128, m.layers = 8, m.norm = NORM_RMSNORM, m.activation = ACT_SWIGLU;
  graph g = built(&m, 16);
  u32 w1 = graph_find_param(&g, "h3.mlp.w1"), w3 = graph_find_param(&g, "h3.mlp.w3"), b3 = graph_find_param(&g, "h3.mlp.b3");
  u32 ln = graph_find_param(&g, "h3.ln2.g"), lnf = graph_find_param(&g, "lnf.g");
  role_rule up = graph_param_rule(&g, w3), gate = graph_param_rule(&g, w1), gain = graph_param_rule(&g, ln);
  assert_memory_equal(&up, &gate, sizeof up);
  assert_true(fabs(up.init_std - 0.02 / sqrt(2)) < 1e-12 && fabs(up.lr - 0.002) < 1e-12 && up.weight_decay == 0.2);
  assert_true(graph_param_rule(&g, b3).init_std == 0 && graph_param_rule(&g, b3).weight_decay == 0);
  assert_true(gain.init_std == 0 && gain.weight_decay == 0 && gain.eps == 1e-8 / 2 / 4);
  assert_true(graph_param_rule(&g, lnf).eps == 1e-8 / 2);
  assert_true(graph_param_is_gain(&g, ln) && graph_param_is_gain(&g, lnf) && !graph_param_is_gain(&g, b3));
}

static void tied_and_learned_and_no_bias(void **s) {
  (void)s;
  model_spec m = default_model();
  m.tied = true;
  m.bias = false;
  m.position = POSITION_LEARNED;
  graph g = built(&m, 16);
  assert_int_equal(graph_find_param(&g, "wu"), GRAPH_NONE);
  assert_int_equal(graph_find_param(&g, "h0.attn.bo"), GRAPH_NONE);
  assert_int_equal(graph_find_param(&g, "lnf.b"), GRAPH_NONE);
  assert_int_equal(graph_find_param(&g, "wpe"), 1);
  assert_int_equal(g.param_count, 2 + 2 * 6 + 1);
  u32 wte = g.params[0], dwte = g.tensors[wte].twin;
  assert_int_equal(g.nodes[find_node(&g, "logits")].in[1], wte);
  const graph_node *use = &g.nodes[find_node(&g, "logits.grad_w")];
  const graph_node *lookup = &g.nodes[find_node(&g, "emb.grad")];
  assert_int_equal(use->out[0], dwte);
  assert_int_equal(use->out[1], GRAPH_NONE);
  assert_int_equal(lookup->out[0], dwte);
  assert_int_equal(lookup->out[1], g.tensors[g.params[1]].twin);
  assert_int_equal(use->accumulate, 1);
  assert_int_equal(lookup->accumulate, 3);
  assert_int_equal(g.tensors[g.params[1]].rows, 16);
}

static void shapes_are_right(void **s) {
  (void)s;
  model_spec m = default_model();
  m.mlp = 2.5;
  m.position = POSITION_LEARNED;
  graph g = built(&m, 16);
  static const struct {
    const char *name;
    tensor_kind kind;
    u32 rows, cols, layer;
  } want[] = {
      {"tokens", TENSOR_TOKENS, 16, 1, GRAPH_NONE},  {"wte", TENSOR_PARAM, 64, 32, GRAPH_NONE},
      {"wpe", TENSOR_PARAM, 16, 32, GRAPH_NONE},     {"emb", TENSOR_ACT, 16, 32, GRAPH_NONE},
      {"h1.ln1.stats", TENSOR_ACT, 16, 2, 1},        {"h1.attn.wqkv", TENSOR_PARAM, 96, 32, 1},
      {"h1.attn.bqkv", TENSOR_PARAM, 1, 96, 1},      {"h1.attn.qkv", TENSOR_ACT, 16, 96, 1},
      {"h1.attn.lse", TENSOR_ACT, 16, 2, 1},         {"h1.attn.wo", TENSOR_PARAM, 32, 32, 1},
      {"h1.mlp.w1", TENSOR_PARAM, 80, 32, 1},        {"h1.mlp.w2", TENSOR_PARAM, 32, 80, 1},
      {"h1.mlp.act", TENSOR_ACT, 16, 80, 1},         {"wu", TENSOR_PARAM, 64, 32, GRAPH_NONE},
      {"logits", TENSOR_ACT, 16, 64, GRAPH_NONE},    {"loss", TENSOR_ACT, 16, 1, GRAPH_NONE},
      {"d.h1.mlp.w2", TENSOR_PARAM_GRAD, 32, 80, 1}, {"d.h1.mlp.act", TENSOR_ACT_GRAD, 16, 80, 1},
      {"grad_norm", TENSOR_SCALAR, 1, 1, GRAPH_NONE}};
  for (u32 i = 0; i < COUNT_OF(want); i++) {
    const graph_tensor *t = &g.tensors[find_tensor(&g, want[i].name)];
    if (t->kind != want[i].kind || t->rows != want[i].rows || t->cols != want[i].cols ||
        t->layer != want[i].layer)
      fail_msg("%s is %u x %u, kind %u, layer %u", t->name, t->rows, t->cols, (u32)t->kind, t->layer);
  }
}

// How often forward nodes read a tensor that can have a gradient.
static u32 uses(const graph *g, u32 tensor) {
  u32 count = 0;
  for (u32 i = 0; i < g->forward_end; i++)
    for (u32 k = 0; k < NODE_IN_MAX; k++) count += g->nodes[i].in[k] == tensor;
  return count;
}

static u32 writes(const graph *g, u32 tensor) {
  u32 count = 0;
  for (u32 i = 0; i < g->backward_end; i++)
    for (u32 k = 0; k < NODE_OUT_MAX; k++) count += g->nodes[i].out[k] == tensor;
  return count;
}

// Operands come before their use; an activation is written first and only then added to; a gradient is
// complete (never written again) once it was read.
static void check_order(const graph *g) {
  u32 *seen = arena_array(memory, u32, g->tensor_count); // 0 nothing, 1 written, 2 read
  for (u32 i = 0; i < g->node_count; i++) {
    const graph_node *n = &g->nodes[i];
    for (u32 k = 0; k < NODE_IN_MAX; k++) {
      if (n->in[k] == GRAPH_NONE) continue;
      const graph_tensor *t = &g->tensors[n->in[k]];
      if (t->producer != GRAPH_NONE && !seen[n->in[k]]) fail_msg("%s reads %s too early", n->name, t->name);
      seen[n->in[k]] = 2;
    }
    for (u32 k = 0; k < NODE_OUT_MAX; k++) {
      if (n->out[k] == GRAPH_NONE) continue;
      const graph_tensor *t = &g->tensors[n->out[k]];
      bool adds = n->accumulate >> k & 1, had = seen[n->out[k]] != 0;
      if (t->kind == TENSOR_PARAM) continue;
      if (adds != (t->kind == TENSOR_PARAM_GRAD || had)) fail_msg("%s: accumulate of %s", n->name, t->name);
      if (seen[n->out[k]] == 2) fail_msg("%s adds to %s after it was read", n->name, t->name);
      if (!had) assert_int_equal(t->producer, i);
      seen[n->out[k]] = 1;
    }
  }
}

static void check_gradients(const graph *g) {
  for (u32 i = 0; i < g->tensor_count; i++) {
    const graph_tensor *t = &g->tensors[i];
    if (t->twin == GRAPH_NONE) {
      assert_true(t->kind != TENSOR_PARAM && t->kind != TENSOR_PARAM_GRAD && t->kind != TENSOR_ACT_GRAD);
      continue;
    }
    const graph_tensor *d = &g->tensors[t->twin];
    assert_int_equal(d->twin, i);
    assert_int_equal(d->rows, t->rows);
    assert_int_equal(d->cols, t->cols);
    assert_int_equal(d->param, t->param);
    if (t->kind == TENSOR_PARAM || t->kind == TENSOR_ACT) // as many contributions as uses
      if (writes(g, t->twin) != uses(g, i)) fail_msg("%s: uses and contributions differ", t->name);
  }
  for (u32 i = g->forward_end; i < g->node_count; i++) {
    const graph_node *n = &g->nodes[i];
    assert_int_equal(n->forward == GRAPH_NONE, i >= g->backward_end);
    if (i < g->backward_end) assert_true(n->scale == g->nodes[n->forward].scale);
  }
  assert_int_equal(g->node_count - g->backward_end, g->param_count + 1);
}

static void gradients_follow_uses(void **s) {
  (void)s;
  for (u32 k = 0; k < 512; k++) {
    model_spec m = default_model();
    m.norm = k & 16 ? NORM_RMSNORM : NORM_LAYERNORM;
    m.activation = k & 32 ? ACT_SWIGLU : ACT_RELU2;
    m.block = k & 64 ? BLOCK_PARALLEL : BLOCK_SERIAL;
    m.attention = k & 128 ? ATTENTION_BIDIRECTIONAL : ATTENTION_CAUSAL;
    m.layers = 1 + 2 * (k & 1);
    m.tied = k & 2;
    m.bias = k & 4;
    m.position = k & 256 ? POSITION_ROTARY : k & 8 ? POSITION_LEARNED : POSITION_ALIBI;
    graph g = built(&m, 8);
    check_order(&g);
    check_gradients(&g);
  }
}

static void parameters_as_published(void **s) {
  (void)s;
  static const struct {
    u32 layers;
    u64 params;
  } paper[] = {{2, 27311616},  {4, 28891136},  {8, 32050176},  {16, 38368256},
               {32, 51004416}, {64, 76276736}, {128, 126821376}};
  for (u32 i = 0; i < COUNT_OF(paper); i++) {
    model_spec m = default_model();
    m.width = 256;
    m.heads = 4;
    m.layers = paper[i].layers;
    m.vocab = 50257;
    graph g = built(&m, 2048);
    graph_counts c = graph_count(&g);
    assert_int_equal(c.params, paper[i].params);
    assert_int_equal(c.params_positions, 0);
    assert_int_equal(c.params_non_embed, paper[i].params - 2ull * 50257 * 256);
  }
}

static void flops_as_derived(void **s) {
  (void)s;
  static const u32 shapes[][3] = {{1984, 32, 31}, {832, 179, 13}, {448, 125, 7}, {256, 2, 4}};
  static const double total[] = {1.12e10, 1.28e10, 3.32e9, 9.9e7}; // completep.md, section 4
  for (u32 i = 0; i < COUNT_OF(shapes); i++) {
    model_spec m = default_model();
    m.width = shapes[i][0];
    m.layers = shapes[i][1];
    m.heads = shapes[i][2];
    m.vocab = 50257;
    graph g = built(&m, 2048);
    graph_counts c = graph_count(&g);
    double n = m.width, l = m.layers, t = 2048, v = 50257;
    assert_true(c.flops_explicit == 72 * n * n * l + 12 * n * t * l + 6 * n * v);
    assert_true(c.flops_causal == 72 * n * n * l + 6 * n * (t + 1) * l + 6 * n * v);
    assert_true(c.flops_6p == 6 * (double)c.params);
    assert_true(c.flops_palm == 6 * (double)c.params + 12 * l * n * t);
    assert_true(fabs(c.flops_explicit / total[i] - 1) < 0.006); // three digits are printed there
  }
}

// A second projection of the hidden width counts; attention over all keys is the full square.
static void flops_of_other_families(void **s) {
  (void)s;
  model_spec m = default_model();
  m.width = 64, m.layers = 3, m.mlp = 2.5, m.activation = ACT_SWIGLU, m.attention = ATTENTION_BIDIRECTIONAL;
  m.position = POSITION_ROTARY, m.norm = NORM_RMSNORM;
  graph g = built(&m, 48);
  graph_counts c = graph_count(&g);
  double n = 64, l = 3, t = 48, v = 64;
  assert_true(c.flops_explicit == 6 * l * (4 * n * n + 3 * 2.5 * n * n) + 12 * n * t * l + 6 * n * v);
  assert_true(c.flops_causal == c.flops_explicit);
}

static void positions_are_not_in_6p(void **s) {
  (void)s;
  model_spec m = default_model();
  m.position = POSITION_LEARNED;
  m.tied = true;
  graph g = built(&m, 16);
  graph_counts c = graph_count(&g);
  assert_int_equal(c.params_positions, 16 * 32);
  assert_int_equal(c.params, 64 * 32 + 16 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32);
  assert_true(c.flops_6p == 6 * (double)(c.params - 16 * 32));
}

static void alibi_slopes(void **s) {
  (void)s;
  for (u32 h = 0; h < 4; h++) assert_true(graph_alibi_slope(h, 4) == exp2(-2.0 * (h + 1)));
  assert_true(graph_alibi_slope(0, 1) == exp2(-8));
  assert_true(graph_alibi_slope(7, 8) == exp2(-8));
  // Six heads: the four of 4, then the 1st and 3rd of 8.
  static const double six[] = {-2, -4, -6, -8, -1, -3};
  for (u32 h = 0; h < 6; h++) assert_true(graph_alibi_slope(h, 6) == exp2(six[h]));
  // 31 heads, the paper's largest: the sixteen of 16, then every second of 32.
  assert_true(graph_alibi_slope(15, 31) == exp2(-8));
  assert_true(graph_alibi_slope(16, 31) == exp2(-0.25));
  assert_true(graph_alibi_slope(30, 31) == exp2(-0.25 * 29));
}

static void refused(const model_spec *m, const char *sentence) {
  status st = {0};
  graph g = {.seq = 77};
  assert_false(graph_build(m, base, 8, memory, &g, &st));
  assert_int_equal(st.code, CODE_CONFIG);
  assert_string_equal(st.text, sentence);
  assert_int_equal(g.seq, 77); // untouched
}

static void checks_speak_to_users(void **s) {
  (void)s;
  model_spec m = default_model();
  m.width = 64;
  m.heads = 3;
  refused(&m, "model.heads = 3 does not divide model.width = 64; choose a divisor such as 2 or 4");
  m.heads = 100;
  refused(&m, "model.heads = 100 does not divide model.width = 64; choose a divisor such as 64");
  m = default_model();
  m.mlp = 2.1;
  refused(&m, "model.mlp = 2.1 times model.width = 32 is 67.2, which is no whole number; "
              "model.mlp = 2.09375 gives a hidden width of 67");
  m.mlp = 8.0 / 3;
  m.width = 768;
  status st = {0};
  assert_true(model_check(&m, &st));
  assert_int_equal(model_hidden_width(&m), 2048);
  m.mlp = 2.6666667; // as near as a person types
  assert_true(model_check(&m, &st));
  assert_int_equal(model_hidden_width(&m), 2048);
  m = default_model();
  m.vocab = 0;
  refused(&m, "model.vocab is not stated and there is no data to take it from; "
              "set model.vocab (256 for bytes, 50257 for GPT-2 tokens)");
  m = default_model();
  m.token_ratio = 2;
  refused(&m, "model.token_ratio has no effect here: only model.parameterization = completedp reads it; "
              "choose that or leave the ratio at 1");
  m.parameterization = PARAM_COMPLETEDP;
  assert_true(model_check(&m, &st));
  m = default_model();
  m.rotary_dims = 4;
  refused(&m, "model.rotary_dims has no effect here: only model.position = rotary reads it; choose that or leave it at "
              "its default");
  m.position = POSITION_ROTARY;
  assert_true(model_check(&m, &st));
  m.rotary_dims = 18;
  refused(&m, "model.position = rotary cannot turn 18 features of heads of 16: it takes an even number, at most the "
              "head's; state model.rotary_dims = 16");
  m.width = 30;
  m.rotary_dims = 0;
  refused(&m, "model.position = rotary cannot turn 15 features of heads of 15: it takes an even number, at most the "
              "head's; state model.rotary_dims = 14");
  m.heads = 30;
  refused(&m, "model.position = rotary turns pairs, but a head has one feature");
  m = default_model();
  m.rotary_layout = ROTARY_INTERLEAVED;
  refused(&m, "model.rotary_layout has no effect here: only model.position = rotary reads it; choose that or leave it at "
              "its default");
  m = default_model();
  m.vocab = 1;
  m.attention = ATTENTION_BIDIRECTIONAL;
  refused(&m, "model.vocab = 1 leaves no token beside the one that stands for hidden ones");
  m = default_model();
  graph g;
  assert_false(graph_build(&m, base, 0, memory, &g, &st));
  assert_string_equal(st.text, "a sequence needs at least one token; set train.seq");
}

static void hash_is_the_computation(void **s) {
  (void)s;
  model_spec m = default_model();
  graph g = built(&m, 16), again = built(&m, 16), longer = built(&m, 17);
  assert_int_equal(graph_hash(&g), graph_hash(&again));
  assert_int_not_equal(graph_hash(&g), graph_hash(&longer));
  graph other;
  status st = {0};
  assert_true(graph_build(&m, (base_hyper){1, 2, 3}, 16, memory, &other, &st));
  assert_int_equal(graph_hash(&g), graph_hash(&other)); // the optimizer's values are no part of it
  void *variants[] = {&m.activation, &m.heads,      &m.layers, &m.base_layers,
                      &m.position,   &m.attention, &m.norm,   &m.block};
  for (u32 i = 0; i < COUNT_OF(variants); i++) {
    u32 *value = variants[i], kept = *value;
    *value = kept == 2 && variants[i] != (void *)&m.activation ? 4 : 1;
    graph changed = built(&m, 16);
    if (graph_hash(&changed) == graph_hash(&g)) fail_msg("variant %u has the same hash", i);
    *value = kept;
  }
  assert_int_equal(graph_hash(&g), 0x5c4908325925fe25ull);
  m.position = POSITION_ROTARY;
  graph turned = built(&m, 16);
  m.rotary_dims = 8;
  graph half_turned = built(&m, 16);
  m.rotary_layout = ROTARY_INTERLEAVED;
  graph beside = built(&m, 16);
  assert_int_not_equal(graph_hash(&turned), graph_hash(&half_turned));
  assert_int_not_equal(graph_hash(&beside), graph_hash(&half_turned));
}

static void prints_for_people(void **s) {
  (void)s;
  model_spec m = default_model();
  m.width = 128;
  m.layers = 8;
  graph g = built(&m, 16);
  text out = {0};
  graph_print(&g, &out);
  assert_non_null(strstr(text_get(&out), "graph: 8 layers, width 128, 2 heads of 64, hidden 512, vocabulary 64"));
  assert_non_null(strstr(text_get(&out), "h7.resid"));
  assert_non_null(strstr(text_get(&out), "+d.h7.attn_resid[16x128] +d.h7.ln2.g[1x128]"));
  text_clear(&out);
  graph_print_rules(&g, &out);
  static const char want[] =
      "completep: m_N = 2, m_L = 4, alpha = 1\n"
      "multipliers: residual branches 0.25, embedding 1, logits 0.5, q.k 0.015625\n"
      "parameter      group     shape           init std     lr           eps          decay\n"
      "wte            emb           64 x 128    0.02         0.004        5e-09        0.1\n"
      "h*.ln1.g       pre_ln         1 x 128    = 1          0.004        1.25e-09     0\n"
      "h*.ln1.b       pre_ln         1 x 128    = 0          0.004        1.25e-09     0\n"
      "h*.attn.wqkv   hidden_w     384 x 128    0.0141421    0.002        1.25e-09     0.2\n";
  assert_int_equal(strncmp(text_get(&out), want, sizeof want - 1), 0);
  assert_null(strstr(text_get(&out), "h1."));
  text_free(&out);
}

static model_spec preset_model(const char *name) {
  model_spec m;
  config c;
  status st = {0};
  char path[128];
  snprintf(path, sizeof path, "presets/models/%s.yaml", name);
  config_init(&c, memory);
  config_bind(&c, &model_table, &m);
  const embed_file *f = embed_find(path);
  if (!f) fail_msg("%s is not embedded", path);
  if (!config_read(&c, path, (const char *)f->data, f->size, "model", LEVEL_PRESET, &st)) fail_msg("%s", st.text);
  if (!model_check(&m, &st)) fail_msg("%s: %s", name, st.text);
  return m;
}

// Names say their sizes: millions of parameters with 2048 learned positions (1024 for GPT-2).
static void presets_have_their_sizes(void **s) {
  (void)s;
  static const struct {
    const char *name;
    u32 seq;
    double params, within;
  } want[] = {
      {"gpt2-small", 1024, 124439808, 0},    {"gpt2-medium", 1024, 354823168, 0},
      {"gpt2-large", 1024, 774030080, 0},    {"gpt2-xl", 1024, 1557611200, 0},
      {"gpt3-256m", 2048, 256e6, 0.03},      {"gpt3-590m", 2048, 590e6, 0.03},
      {"gpt3-1.3b", 2048, 1.3e9, 0.03},      {"gpt3-2.7b", 2048, 2.7e9, 0.03},
      {"gpt3-6.7b", 2048, 6.7e9, 0.03},      {"gpt3-13b", 2048, 13e9, 0.03},
      {"gpt3-20b", 2048, 20.5e9, 0.03},      {"gpt3-175b", 2048, 175e9, 0.03},
      {"completep-256x2", 2048, 27311616, 0},
      {"gptj-6b", 2048, 6053381344, 0.001}, // its table has rows of padding
      {"llama-7b", 2048, 6738415616, 0},     // arXiv 2302.13971 prints 6.7B
      {"bert-large", 512, 335141888, 0.004}, // less the pooler and the table of sentences
      {"gpt-1t", 2048, 1008.0e9, 0.001}};    // arXiv 2104.04473
  for (u32 i = 0; i < COUNT_OF(want); i++) {
    model_spec m = preset_model(want[i].name);
    graph g = built(&m, want[i].seq);
    double params = (double)graph_count(&g).params;
    if (fabs(params / want[i].params - 1) > want[i].within) fail_msg("%s has %.0f parameters", want[i].name, params);
  }
  static const struct {
    const char *name;
    double inside; // 12 N^2 L, completep.md section 2.2
  } paper[] = {{"completep-1984x32", 1.51e9},
               {"completep-832x179", 1.49e9},
               {"completep-1664x43", 1.43e9},
               {"completep-448x125", 301e6}};
  for (u32 i = 0; i < COUNT_OF(paper); i++) {
    model_spec m = preset_model(paper[i].name);
    double inside = 12.0 * m.width * m.width * m.layers;
    assert_true(fabs(inside / paper[i].inside - 1) < 0.004);
    assert_int_equal(model_head_width(&m), 64);
    assert_int_equal(m.base_width, 256);
    assert_int_equal(m.parameterization, PARAM_COMPLETEP);
    assert_false(m.tied);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(one_block_is_this, setup, teardown),
      cmocka_unit_test_setup_teardown(a_llama_block_is_this, setup, teardown),
      cmocka_unit_test_setup_teardown(a_parallel_block_is_this, setup, teardown),
      cmocka_unit_test_setup_teardown(families_follow_the_rules, setup, teardown),
      cmocka_unit_test_setup_teardown(tied_and_learned_and_no_bias, setup, teardown),
      cmocka_unit_test_setup_teardown(shapes_are_right, setup, teardown),
      cmocka_unit_test_setup_teardown(gradients_follow_uses, setup, teardown),
      cmocka_unit_test_setup_teardown(parameters_as_published, setup, teardown),
      cmocka_unit_test_setup_teardown(flops_as_derived, setup, teardown),
      cmocka_unit_test_setup_teardown(flops_of_other_families, setup, teardown),
      cmocka_unit_test_setup_teardown(positions_are_not_in_6p, setup, teardown),
      cmocka_unit_test_setup_teardown(alibi_slopes, setup, teardown),
      cmocka_unit_test_setup_teardown(checks_speak_to_users, setup, teardown),
      cmocka_unit_test_setup_teardown(hash_is_the_computation, setup, teardown),
      cmocka_unit_test_setup_teardown(prints_for_people, setup, teardown),
      cmocka_unit_test_setup_teardown(presets_have_their_sizes, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

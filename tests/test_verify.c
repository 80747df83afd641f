// Recorded models replay within their limits, and every deliberate mistake is caught: a mistake is made
// in the graph, in the options or in a kernel, and each file that can show it must fail.
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/compute/safetensors.h"
#include "model/compute/verify.h"

// The recordings, in the order of the columns below.
static const char *const files[] = {"sp_L1_N32", "mup_L2_N64", "completep_L8_N32", "repo_completep_L4_N32_tied",
                                    "completedp_L2_N32"};
enum { FILES = 5 };

static void golden_path(u32 file, char *out, size_t room) {
  if (!support_shared()) skip();
  snprintf(out, room, "%s/golden/%s.safetensors", support_shared(), files[file]);
  if (!file_exists(out)) skip();
}

static verify_options plain(u32 threads) {
  return (verify_options){.kernels = kernels_fast(), .limits = VERIFY_LIMITS_FP32, .threads = threads};
}

static verify_result replay(u32 file, const verify_options *o, arena *a) {
  char path[512];
  golden_path(file, path, sizeof path);
  verify_result r;
  status st = {0};
  support_ok(verify_run(path, o, a, &r, &st), &st);
  return r;
}

static void recordings_pass(void **state) {
  (void)state;
  for (u32 i = 0; i < FILES; i++) {
    arena *a = arena_create("test");
    verify_options o = plain(2);
    verify_result r = replay(i, &o, a);
    if (!r.pass) fail_msg("%s: %s is beyond its limit", files[i], r.worst);
    // What is measured is well inside: a loss of accuracy shows before it fails.
    assert_true(r.loss_max_abs < 1e-6 && r.grad_max_rel < 4e-6 && r.weight_max_abs < 4e-6 && r.act_max_rel < 4e-6);
    assert_true(r.loss_max_abs > 0 && r.grad_max_rel > 0 && r.weight_max_abs > 0 && r.act_max_rel > 0);
    assert_non_null(r.worst);
    arena_destroy(a);
  }
}

// Every recorded tensor but the inputs has its row.
static void nothing_is_left_out(void **state) {
  (void)state;
  for (u32 i = 0; i < FILES; i++) {
    arena *a = arena_create("test");
    char path[512];
    golden_path(i, path, sizeof path);
    st_file f;
    status st = {0};
    support_ok(st_open(path, a, &f, &st), &st);
    verify_options o = plain(1);
    verify_result r = replay(i, &o, a);
    for (u32 t = 0; t < f.count; t++) {
      const char *name = f.tensors[t].name;
      bool input = text_starts(name, "init/") || !strcmp(name, "tokens") || !strcmp(name, "targets"), found = false;
      for (u32 k = 0; k < r.row_count; k++) found = found || !strcmp(name, r.rows[k].name);
      if (input == found) fail_msg("%s: %s", files[i], name);
    }
    st_close(&f);
    arena_destroy(a);
  }
}

// ---- deliberate mistakes

// The built graph is constant to everyone else.
static graph_node *nodes_of(graph *g) { return (graph_node *)(uintptr_t)g->nodes; }

static void scale_nodes(graph *g, graph_op forward, graph_op gradient, double scale) {
  for (u32 i = 0; i < g->node_count; i++)
    if (g->nodes[i].op == forward || g->nodes[i].op == gradient) nodes_of(g)[i].scale = scale;
}

typedef void mistake(graph *g, train_options *o);

static void no_residual_multiplier(graph *g, train_options *o) {
  (void)o;
  scale_nodes(g, OP_RESIDUAL, OP_RESIDUAL_GRAD, 1);
}

static void residual_multiplier_not_in_gradient(graph *g, train_options *o) {
  (void)o;
  scale_nodes(g, OP_COUNT, OP_RESIDUAL_GRAD, 1);
}

static void no_logit_multiplier(graph *g, train_options *o) {
  (void)o;
  for (u32 i = 0; i < g->node_count; i++) {
    u32 forward = i < g->forward_end ? i : g->nodes[i].forward;
    if (forward != GRAPH_NONE && g->nodes[forward].op == OP_LINEAR && g->nodes[forward].out[0] == g->logits)
      nodes_of(g)[i].scale = 1;
  }
}

static void other_attention_scale(graph *g, train_options *o) {
  (void)o;
  double head = model_head_width(&g->model), now = g->rules.attention_scale;
  scale_nodes(g, OP_ATTENTION, OP_ATTENTION_GRAD, now < 1.5 / head ? 1 / sqrt(head) : 1 / head);
}

static void attention_scale_of_width(graph *g, train_options *o) {
  (void)o;
  scale_nodes(g, OP_ATTENTION, OP_ATTENTION_GRAD, 1.0 / g->model.width);
}

static void other_gelu(graph *g, train_options *o) {
  (void)o;
  if (g->model.activation != ACT_RELU2)
    g->model.activation = g->model.activation == ACT_GELU ? ACT_GELU_ERF : ACT_GELU;
}

static void relu2_for_gelu(graph *g, train_options *o) {
  (void)o;
  g->model.activation = g->model.activation == ACT_RELU2 ? ACT_GELU : ACT_RELU2;
}

static void no_alibi(graph *g, train_options *o) {
  (void)o;
  if (g->model.position == POSITION_ALIBI) g->model.position = POSITION_NONE;
}

static void layernorm_eps(graph *g, train_options *o) {
  (void)o;
  g->model.ln_eps = 1e-6;
}

static void no_embedding_gradient(graph *g, train_options *o) {
  (void)o;
  require(g->nodes[g->backward_end - 1].op == OP_EMBED_GRAD);
  g->backward_end--; // the last of them; a tied matrix keeps the unembedding's half
}

static void eps_of_blocks_everywhere(graph *g, train_options *o) {
  (void)o;
  g->rules.roles[ROLE_EMBED].eps = g->rules.roles[ROLE_FINAL_LN].eps = g->rules.roles[ROLE_UNEMBED].eps =
      g->rules.roles[ROLE_HIDDEN_W].eps;
}

static void eps_not_scaled(graph *g, train_options *o) {
  for (u32 r = 0; r < ROLE_COUNT; r++) g->rules.roles[r].eps = o->eps;
}

static void final_norm_eps(graph *g, train_options *o) {
  (void)o;
  g->rules.roles[ROLE_FINAL_LN].eps = g->rules.roles[ROLE_PRE_LN].eps;
}

static void hidden_rate_not_scaled(graph *g, train_options *o) { g->rules.roles[ROLE_HIDDEN_W].lr = o->lr; }

static void bias_rate_of_weights(graph *g, train_options *o) {
  (void)o;
  g->rules.roles[ROLE_HIDDEN_B].lr = g->rules.roles[ROLE_HIDDEN_W].lr;
}

static void embedding_rate_scaled(graph *g, train_options *o) {
  (void)o;
  g->rules.roles[ROLE_EMBED].lr /= g->rules.m_width;
}

// With m_N where there is none, without where there is one.
static void other_unembedding_rate(graph *g, train_options *o) {
  (void)o;
  double scaled = g->rules.roles[ROLE_UNEMBED].lr / g->rules.m_width;
  g->rules.roles[ROLE_UNEMBED].lr = scaled == o->lr / g->rules.m_width ? scaled : o->lr;
}

static void hidden_decay_not_scaled(graph *g, train_options *o) {
  g->rules.roles[ROLE_HIDDEN_W].weight_decay = o->weight_decay;
}

static void decay_on_norms_and_biases(graph *g, train_options *o) {
  static const param_role roles[] = {ROLE_PRE_LN, ROLE_HIDDEN_B, ROLE_FINAL_LN};
  for (u32 i = 0; i < COUNT_OF(roles); i++) g->rules.roles[roles[i]].weight_decay = o->weight_decay;
}

static void decay_without_rate(graph *g, train_options *o) {
  for (u32 r = 0; r < ROLE_COUNT; r++) g->rules.roles[r].weight_decay /= o->lr;
}

static void beta1_wrong(graph *g, train_options *o) {
  (void)g;
  o->beta1 = 0.95;
}

static void beta2_wrong(graph *g, train_options *o) {
  (void)g;
  o->beta2 = 0.999;
}

static void no_clipping(graph *g, train_options *o) {
  (void)g;
  o->clip = 0;
}

static void clip_by_half(graph *g, train_options *o) {
  (void)g;
  o->clip = o->clip / 2;
}

static void rate_falls(graph *g, train_options *o) {
  (void)g;
  o->schedule = SCHEDULE_LINEAR;
}

// Mistakes in kernels: the right kernel with something taken away.
static void run_without(const kernel_call *c, u32 in, u32 out) {
  kernel_call less = *c;
  if (in < NODE_IN_MAX) less.in[in] = NULL;
  if (out < NODE_OUT_MAX) less.out[out] = NULL;
  kernels_fast()->run[c->node->op](&less);
}

static void linear_without_bias(const kernel_call *c) { run_without(c, 2, NODE_OUT_MAX); }
static void linear_without_bias_gradient(const kernel_call *c) { run_without(c, NODE_IN_MAX, 1); }
static void layernorm_without_bias(const kernel_call *c) { run_without(c, 2, NODE_OUT_MAX); }
static void embed_without_positions(const kernel_call *c) { run_without(c, 2, NODE_OUT_MAX); }

static void loss_gradient_per_sequence(const kernel_call *c) {
  kernel_call other = *c;
  other.loss_scale = 1.0 / c->seq;
  kernels_fast()->run[OP_LOSS_GRAD](&other);
}

// The stream's own gradient is dropped where a branch's LayerNorm joins it.
static void layernorm_gradient_overwrites(const kernel_call *c) {
  size_t n = (size_t)c->seq * c->out_cols[0];
  memset(c->out[0], 0, n * sizeof(float));
  kernels_fast()->run[OP_LAYERNORM_GRAD](c);
}

typedef struct mistake_row {
  const char *name;
  mistake *make; // or a kernel:
  graph_op op;
  kernel *run;
  const char *caught; // per file: x must fail, . cannot see it, ? is near its limit
} mistake_row;

#define MAKE(name) {#name, name, OP_COUNT, NULL,
#define KERNEL(op, name) {#name, NULL, op, name,

static const mistake_row mistakes[] = {
    // caught by sp, mup, completep, the released code's, completedp
    MAKE(no_residual_multiplier) "..xxx"},
    MAKE(residual_multiplier_not_in_gradient) "..xxx"},
    MAKE(no_logit_multiplier) ".xxx."},
    MAKE(other_attention_scale) "xxxxx"},
    MAKE(attention_scale_of_width) "xxxxx"},
    MAKE(other_gelu) "x.x?."},
    MAKE(relu2_for_gelu) "xxxxx"},
    MAKE(no_alibi) ".x..x"},
    MAKE(layernorm_eps) "xxxxx"},
    MAKE(no_embedding_gradient) "xxxxx"},
    MAKE(eps_of_blocks_everywhere) "..x.x"},
    MAKE(eps_not_scaled) ".xxxx"},
    MAKE(final_norm_eps) "..x.x"},
    MAKE(hidden_rate_not_scaled) ".xxxx"},
    MAKE(bias_rate_of_weights) ".xxxx"},
    MAKE(embedding_rate_scaled) ".xxxx"},
    MAKE(other_unembedding_rate) ".xx.x"},
    MAKE(hidden_decay_not_scaled) ".xx?x"},
    MAKE(decay_on_norms_and_biases) "xxxxx"},
    MAKE(decay_without_rate) "xxxxx"},
    MAKE(beta1_wrong) "xxxxx"},
    MAKE(beta2_wrong) "xxxxx"},
    MAKE(no_clipping) "..x.."},
    MAKE(clip_by_half) "..xx."},
    MAKE(rate_falls) "xxxxx"},
    KERNEL(OP_LINEAR, linear_without_bias) "xxxxx"},
    KERNEL(OP_LINEAR_GRAD_W, linear_without_bias_gradient) "xxxxx"},
    KERNEL(OP_LAYERNORM, layernorm_without_bias) "xxxxx"},
    KERNEL(OP_EMBED, embed_without_positions) "x.xx."},
    KERNEL(OP_LOSS_GRAD, loss_gradient_per_sequence) "xxxxx"},
    KERNEL(OP_LAYERNORM_GRAD, layernorm_gradient_overwrites) "xxxxx"},
};

static void make_mistake(graph *g, train_options *o, void *user) {
  const mistake_row *row = user;
  row->make(g, o);
}

static verify_result replay_mistaken(u32 file, const mistake_row *row, arena *a) {
  kernel_table kernels = *kernels_fast();
  verify_options o = plain(1);
  if (row->run) {
    kernels.run[row->op] = row->run;
    o.kernels = &kernels;
  } else {
    o.sabotage = make_mistake;
    o.user = (void *)(uintptr_t)row;
  }
  return replay(file, &o, a);
}

static void mistakes_are_caught(void **state) {
  (void)state;
  for (u32 m = 0; m < COUNT_OF(mistakes); m++) {
    const mistake_row *row = &mistakes[m];
    assert_non_null(strchr(row->caught, 'x')); // visible in at least one file
    for (u32 i = 0; i < FILES; i++) {
      arena *a = arena_create("test");
      bool caught = !replay_mistaken(i, row, a).pass;
      arena_destroy(a);
      if (row->caught[i] != '?' && caught != (row->caught[i] == 'x'))
        fail_msg("%s: %s in %s", row->name, caught ? "seen" : "not seen", files[i]);
    }
  }
}

// ---- recordings that are not whole

// What a changed copy of the first recording differs in.
typedef struct change {
  const char *drop, *reshape, *token_beyond; // names of tensors
  const char *config_from, *config_to;       // text replaced in the configuration
  bool no_metadata;
  const char *raise; // this tensor's value at this index, by 1
  u32 raise_at;
} change;

static const char *replaced(const char *words, const char *from, const char *to, arena *a) {
  const char *at = strstr(words, from);
  assert_non_null(at);
  return arena_format(a, "%.*s%s%s", (int)(at - words), words, to, at + strlen(from));
}

// Writes the changed copy, and the configuration as JSON beside it where the metadata is dropped.
static void write_changed(const char *path, const change *c, arena *a) {
  char golden[512];
  golden_path(0, golden, sizeof golden);
  st_file f;
  status st = {0};
  support_ok(st_open(golden, a, &f, &st), &st);
  st_tensor *out = arena_array(a, st_tensor, f.count);
  u32 count = 0;
  for (u32 i = 0; i < f.count; i++) {
    st_tensor t = f.tensors[i];
    if (c->drop && !strcmp(t.name, c->drop)) continue;
    if (c->reshape && !strcmp(t.name, c->reshape)) t.shape[0] *= 2, t.shape[1] /= 2;
    if (c->token_beyond && !strcmp(t.name, c->token_beyond)) {
      i64 *tokens = memcpy(arena_take(a, t.count * sizeof *tokens), t.data, t.count * sizeof *tokens);
      tokens[5] = 64;
      t.data = tokens;
    }
    if (c->raise && !strcmp(t.name, c->raise)) {
      double *values = memcpy(arena_take(a, t.count * sizeof *values), t.data, t.count * sizeof *values);
      values[c->raise_at] += 1;
      t.data = values;
    }
    out[count++] = t;
  }
  const char *metadata = f.metadata;
  if (c->config_from) metadata = replaced(metadata, c->config_from, c->config_to, a);
  support_ok(st_write(path, out, count, c->no_metadata ? NULL : metadata, &st), &st);
  st_close(&f);
}

static bool run_changed(const change *c, arena *a, verify_result *r, status *st) {
  char folder[256];
  support_folder(folder, sizeof folder);
  const char *path = arena_format(a, "%s/x.safetensors", folder);
  write_changed(path, c, a);
  verify_options o = plain(1);
  bool ok = verify_run(path, &o, a, r, st);
  support_remove(folder);
  return ok;
}

static void changed(const change *c, const char *part) {
  arena *a = arena_create("test");
  verify_result r;
  status st = {0};
  support_failed(run_changed(c, a, &r, &st), &st, c->no_metadata ? CODE_NO_INPUT : CODE_DATA, part);
  arena_destroy(a);
}

// One recorded value raised: its row and no other fails, and only the K-bias is left out.
static void every_value_counts(void **state) {
  (void)state;
  enum { N = 32 };
  static const struct {
    const char *name;
    u32 at;
    bool fails;
  } raised[] = {{"grad/h0.attn.bqkv", N - 1, true}, {"grad/h0.attn.bqkv", N, false},
                {"grad/h0.attn.bqkv", 2 * N - 1, false}, {"grad/h0.attn.bqkv", 2 * N, true},
                {"p1/h0.attn.bqkv", 0, true},   {"p1/h0.attn.bqkv", N, false},
                {"p3/h0.attn.bqkv", 3 * N - 1, true}, {"p3/h0.attn.bqkv", N + 5, false},
                {"act/h0.resid", 2 * 16 * N - 1, true}, {"act/logits", 0, true},
                {"grad/wte", 64 * N - 1, true}, {"p3/wu", 64 * N - 1, true},
                {"loss_step", 2, true},         {"loss_batch0", 3, true},
                {"grad_norm", 2, true}};
  for (u32 i = 0; i < COUNT_OF(raised); i++) {
    arena *a = arena_create("test");
    verify_result r;
    status st = {0};
    support_ok(run_changed(&(change){.raise = raised[i].name, .raise_at = raised[i].at}, a, &r, &st), &st);
    if (r.pass == raised[i].fails) fail_msg("%s[%u] %s", raised[i].name, raised[i].at, r.pass ? "passes" : "fails");
    for (u32 k = 0; k < r.row_count; k++)
      assert_true(r.rows[k].pass == (!raised[i].fails || strcmp(r.rows[k].name, raised[i].name) != 0));
    if (raised[i].fails) assert_string_equal(r.worst, raised[i].name);
    arena_destroy(a);
  }
}

static void incomplete_recordings(void **state) {
  (void)state;
  changed(&(change){.drop = "init/h0.mlp.w2"}, "has no \"init/h0.mlp.w2\"");
  changed(&(change){.drop = "grad/wu"}, "has no \"grad/wu\"");
  changed(&(change){.drop = "p1/wpe"}, "has no \"p1/wpe\"");
  changed(&(change){.drop = "p3/wpe"}, "has no \"p3/wpe\"");
  changed(&(change){.drop = "targets"}, "has no \"targets\"");
  changed(&(change){.drop = "loss_step"}, "has no \"loss_step\"");
  changed(&(change){.reshape = "init/wte"}, "\"init/wte\" does not have the shape");
  changed(&(change){.reshape = "act/emb"}, "\"act/emb\" does not have the shape");
  changed(&(change){.token_beyond = "targets"}, "\"targets\" has 64 at position 5, the vocabulary is 64");
  changed(&(change){.no_metadata = true}, "x.json");
}

static void configurations(void **state) {
  (void)state;
  changed(&(change){.config_from = "\\\"seed\\\"", .config_to = "\\\"dropout\\\""}, "\"dropout\", which is not understood");
  changed(&(change){.config_from = "\\\"n_head\\\": 2", .config_to = "\\\"n_head\\\": 3"}, "x.safetensors: ");
  changed(&(change){.config_from = "\\\"n_head\\\": 2, ", .config_to = ""}, "lacks \"n_head\"");
  changed(&(change){.config_from = "gelu_tanh", .config_to = "swish"}, "config.act in the recording");
  changed(&(change){.config_from = "\\\"pos\\\": \\\"learned\\\"", .config_to = "\\\"pos\\\": \\\"alibi\\\""},
          "\"init/wpe\" is no parameter");
  changed(&(change){.config_from = "\\\"steps\\\": 3", .config_to = "\\\"steps\\\": 2"}, "\"tokens\" does not have the shape");
}

// The configuration may stand in the .json beside the file instead.
static void configuration_beside(void **state) {
  (void)state;
  arena *a = arena_create("test");
  char folder[256], golden[512], *bytes;
  size_t size;
  status st = {0};
  support_folder(folder, sizeof folder);
  const char *path = arena_format(a, "%s/x.safetensors", folder);
  write_changed(path, &(change){.no_metadata = true}, a);
  golden_path(0, golden, sizeof golden);
  const char *json = arena_format(a, "%.*sjson", (int)(strlen(golden) - strlen("safetensors")), golden);
  support_ok(file_read(json, a, &bytes, &size, &st), &st);
  support_ok(file_write(arena_format(a, "%s/x.json", folder), bytes, size, &st), &st);
  verify_options o = plain(1);
  verify_result r;
  support_ok(verify_run(path, &o, a, &r, &st), &st);
  assert_true(r.pass);
  support_remove(folder);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(recordings_pass),       cmocka_unit_test(nothing_is_left_out),
                                     cmocka_unit_test(mistakes_are_caught),   cmocka_unit_test(every_value_counts),
                                     cmocka_unit_test(incomplete_recordings),
                                     cmocka_unit_test(configurations),        cmocka_unit_test(configuration_beside)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// The parameterization table against the recorded models' resolved rules and against values worked out
// by hand from the published tables.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "model/graph/graph.h"

// The recorded numbers come from other orders of the same few multiplications: a handful of ulps.
static void near_(double ours, double theirs, const char *what) {
  if (fabs(ours - theirs) > 1e-15 * fabs(theirs)) fail_msg("%s: %.17g, expected %.17g", what, ours, theirs);
}

static void state(model_spec *m, const char *key, const char *value) {
  status st = {0};
  const field *f = field_find(&model_table, key);
  assert_non_null(f);
  if (!field_parse(&model_table, f, m, value, "test", &st)) fail_msg("%s", st.text);
}

static const char *text_of(const json_t *config, const char *key) {
  const char *s = json_string_value(json_object_get(config, key));
  if (!s) fail_msg("no %s in the recorded configuration", key);
  return s;
}

static double number_of(const json_t *object, const char *key) {
  json_t *v = json_object_get(object, key);
  if (!json_is_number(v)) fail_msg("no %s in the recording", key);
  return json_number_value(v);
}

static u32 whole_of(const json_t *config, const char *key) { return (u32)number_of(config, key); }

static const char *renamed(const char *value) {
  static const char *const names[][2] = {{"code", "released"}, {"gelu_tanh", "gelu"}};
  for (u32 i = 0; i < COUNT_OF(names); i++)
    if (strcmp(value, names[i][0]) == 0) return names[i][1];
  return value;
}

static model_spec recorded_model(const json_t *c) {
  static const char *const keys[][2] = {
      {"parameterization", "param"}, {"position", "pos"},           {"activation", "act"},
      {"eps_rule", "eps_rule"},      {"decay_rule", "wd_rule"},     {"init_rule", "sp_init"},
      {"attention_scale", "attn_scale"}};
  model_spec m;
  field_defaults(&model_table, &m);
  for (u32 i = 0; i < COUNT_OF(keys); i++) state(&m, keys[i][0], renamed(text_of(c, keys[i][1])));
  m.layers = whole_of(c, "n_layer");
  m.width = whole_of(c, "n_embd");
  m.heads = whole_of(c, "n_head");
  m.vocab = whole_of(c, "vocab");
  m.mlp = number_of(c, "mlp_ratio");
  m.tied = json_is_true(json_object_get(c, "tied"));
  m.base_width = whole_of(c, "n_base");
  m.base_layers = whole_of(c, "l_base");
  m.alpha = number_of(c, "alpha");
  m.init_std = number_of(c, "sigma_base");
  m.embed_mult = number_of(c, "input_alpha");
  m.logit_mult = number_of(c, "output_alpha");
  return m;
}

static void compare_rules(const json_t *rules, const graph *g) {
  near_(g->rules.m_width, number_of(rules, "m_N"), "m_N");
  near_(g->rules.m_depth, number_of(rules, "m_L"), "m_L");
  near_(g->rules.residual_mult, number_of(rules, "residual_mult"), "residual_mult");
  near_(g->rules.embed_mult, number_of(rules, "input_mult"), "input_mult");
  near_(g->rules.logit_mult, number_of(rules, "logit_mult"), "logit_mult");
  near_(g->rules.attention_scale, number_of(rules, "attn_scale"), "attn_scale");
  json_t *params = json_object_get(rules, "params"), *rule;
  const char *name;
  u32 p = 0;
  assert_int_equal(json_object_size(params), g->param_count);
  json_object_foreach(params, name, rule) { // in the order of the file = the order of creation
    const graph_tensor *t = &g->tensors[g->params[p]];
    assert_string_equal(t->name, name);
    assert_int_equal(graph_find_param(g, name), p);
    assert_string_equal(rules_role_name(t->role), text_of(rule, "role"));
    role_rule r = graph_param_rule(g, p++);
    near_(r.init_std, number_of(rule, "init_std"), name);
    near_(r.lr, number_of(rule, "lr"), name);
    near_(r.eps, number_of(rule, "eps"), name);
    near_(r.weight_decay, number_of(rule, "wd"), name);
  }
}

static void check_recording(const char *name) {
  char path[1024];
  snprintf(path, sizeof path, "%s/golden/%s.json", WEFT_SHARED_DIR, name);
  if (!file_exists(path)) {
    print_message("%s is absent: its rules are not compared\n", path);
    skip();
  }
  json_error_t error;
  json_t *root = json_load_file(path, 0, &error);
  if (!root) fail_msg("%s:%d: %s", path, error.line, error.text);
  json_t *c = json_object_get(root, "config");
  model_spec m = recorded_model(c);
  base_hyper base = {number_of(c, "eta_base"), number_of(c, "wd_base"), number_of(c, "eps_base")};
  arena *a = arena_create("test");
  status st = {0};
  graph g;
  if (!graph_build(&m, base, whole_of(c, "ctx"), a, &g, &st)) fail_msg("%s", st.text);
  compare_rules(json_object_get(root, "rules"), &g);
  arena_destroy(a);
  json_decref(root);
}

static void recorded_sp(void **s) { (void)s, check_recording("sp_L1_N32"); }
static void recorded_mup(void **s) { (void)s, check_recording("mup_L2_N64"); }
static void recorded_completep(void **s) { (void)s, check_recording("completep_L8_N32"); }
static void recorded_released(void **s) { (void)s, check_recording("repo_completep_L4_N32_tied"); }
static void recorded_completedp(void **s) { (void)s, check_recording("completedp_L2_N32"); }

// m_N = 4, m_L = 16, so that widths, depths and their roots are all powers of two and compare exactly.
static model_spec scaled_model(parameterization_kind kind) {
  model_spec m;
  field_defaults(&model_table, &m);
  m.parameterization = kind;
  m.width = 256;
  m.base_width = 64;
  m.layers = 32;
  m.base_layers = 2;
  m.vocab = 256;
  m.init_std = 1;
  return m;
}

static const base_hyper ones = {1, 1, 1};

// One line per role: init, lr, eps, decay.
static void expect_roles(const model_spec *m, const double want[ROLE_COUNT][4]) {
  model_rules r = rules_resolve(m, ones);
  for (u32 i = 0; i < ROLE_COUNT; i++) {
    const char *name = rules_role_name((param_role)i);
    near_(r.roles[i].init_std, want[i][0], name);
    near_(r.roles[i].lr, want[i][1], name);
    near_(r.roles[i].eps, want[i][2], name);
    near_(r.roles[i].weight_decay, want[i][3], name);
  }
}

static void sp_scales_nothing(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_SP);
  expect_roles(&m, (const double[ROLE_COUNT][4]){
                       {1, 1, 1, 1}, {0, 1, 1, 0}, {1, 1, 1, 1}, {0, 1, 1, 0}, {0, 1, 1, 0}, {1, 1, 1, 1}});
  model_rules r = rules_resolve(&m, ones);
  near_(r.residual_mult, 1, "residual");
  near_(r.logit_mult, 1, "logit");
  near_(r.attention_scale, 1.0 / 8, "1/sqrt(64)");
  near_(r.branch_out_init_mult, 1, "Table 1 has no 1/sqrt(2L)");
  m.init_rule = INIT_GPT2;
  near_(rules_resolve(&m, ones).branch_out_init_mult, 1.0 / 8, "1/sqrt(2 * 32)");
}

static void mup_scales_width(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_MUP);
  expect_roles(&m, (const double[ROLE_COUNT][4]){{1, 1, .25, 1},
                                                 {0, 1, .25, 0},
                                                 {.5, .25, .25, 4},
                                                 {0, 1, .25, 0},
                                                 {0, 1, .25, 0},
                                                 {1, 1, .25, 1}});
  model_rules r = rules_resolve(&m, ones);
  near_(r.residual_mult, 1, "residual");
  near_(r.logit_mult, .25, "logit");
  near_(r.attention_scale, 1.0 / 64, "1/64");
  near_(r.branch_out_init_mult, 1, "no gpt2 init");
  m.eps_rule = RULE_TABLE1;
  expect_roles(&m, (const double[ROLE_COUNT][4]){{1, 1, 1, 1},
                                                 {0, 1, .25, 0},
                                                 {.5, .25, .25, 4},
                                                 {0, 1, .25, 0},
                                                 {0, 1, 1, 0},
                                                 {1, 1, 1, 1}});
  m.eps_rule = RULE_RELEASED;
  m.decay_rule = DECAY_RELEASED;
  expect_roles(&m, (const double[ROLE_COUNT][4]){
                       {1, 1, 1, 1}, {0, 1, 1, 0}, {.5, .25, 1, 1}, {0, 1, 1, 0}, {0, 1, 1, 0}, {1, 1, 1, 1}});
}

static void alpha_scales_depth(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_COMPLETEP);
  const double e1 = .25 / 16; // eps / m_N / m_L
  expect_roles(&m, (const double[ROLE_COUNT][4]){{1, 1, .25, 1},
                                                 {0, 1, e1, 0},
                                                 {.5, .25, e1, 4},
                                                 {0, 1, e1, 0},
                                                 {0, 1, .25, 0},
                                                 {1, 1, .25, 1}});
  near_(rules_resolve(&m, ones).residual_mult, 1.0 / 16, "residual");
  m.alpha = 0.5;
  const double e2 = .25 / 4; // m_L^-alpha = 1/4, and LR m_L^(alpha-1) = 1/4
  expect_roles(&m, (const double[ROLE_COUNT][4]){{1, 1, .25, 1},
                                                 {0, .25, e2, 0},
                                                 {.5, .0625, e2, 4},
                                                 {0, .25, e2, 0},
                                                 {0, 1, .25, 0},
                                                 {1, 1, .25, 1}});
  near_(rules_resolve(&m, ones).residual_mult, 1.0 / 4, "residual");
  m.parameterization = PARAM_RELEASED; // one eps for all groups
  expect_roles(&m, (const double[ROLE_COUNT][4]){{1, 1, e2, 1},
                                                 {0, .25, e2, 0},
                                                 {.5, .0625, e2, 4},
                                                 {0, .25, e2, 0},
                                                 {0, 1, e2, 0},
                                                 {1, 1, e2, 1}});
}

static void completedp_adds_ratios(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_COMPLETEDP);
  m.batch_ratio = 4;
  m.token_ratio = 16; // sqrt(m_B / m_D) = 1/2
  const double e = 2 * .25 / 16;
  expect_roles(&m, (const double[ROLE_COUNT][4]){{1, .5, .5, .5},
                                                 {0, .5, e, 0},
                                                 {.5, .125, e, 2},
                                                 {0, .5, e, 0},
                                                 {0, .5, 2, 0},
                                                 {.25, .125, 2, 2}});
  model_rules r = rules_resolve(&m, ones);
  near_(r.beta_horizon_mult, .25, "m_B / m_D");
  near_(r.logit_mult, 1, "no logit multiplier");
  near_(r.residual_mult, 1.0 / 16, "residual");
}

static void base_shape_is_common(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_MUP);
  m.width = m.base_width;
  m.layers = m.base_layers;
  model_rules mup = rules_resolve(&m, ones);
  static const parameterization_kind same[] = {PARAM_COMPLETEP, PARAM_RELEASED};
  for (u32 i = 0; i < COUNT_OF(same); i++)
    for (u32 half = 0; half < 2; half++) {
      m.parameterization = same[i];
      m.alpha = half ? 0.5 : 1;
      model_rules r = rules_resolve(&m, ones);
      assert_memory_equal(&r, &mup, sizeof r);
    }
}

static void stated_multipliers_come_on_top(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_COMPLETEP);
  m.logit_mult = 3;
  m.embed_mult = 5;
  m.attention_scale = SCALE_INV_N;
  model_rules r = rules_resolve(&m, ones);
  near_(r.logit_mult, .75, "logit");
  near_(r.embed_mult, 5, "embed");
  near_(r.attention_scale, 1.0 / 256, "1/N");
  m.attention_scale = SCALE_INV_SQRT_DH;
  near_(rules_resolve(&m, ones).attention_scale, 1.0 / 8, "1/sqrt(dh)");
}

static void gpt2_init_reaches_branch_outputs(void **s) {
  (void)s;
  model_spec m = scaled_model(PARAM_SP);
  m.init_rule = INIT_GPT2;
  arena *a = arena_create("test");
  status st = {0};
  graph g;
  assert_true(graph_build(&m, ones, 8, a, &g, &st));
  for (u32 p = 0; p < g.param_count; p++) {
    const char *name = g.tensors[g.params[p]].name;
    double want = text_ends(name, ".wo") || text_ends(name, ".w2")                             ? 0.125
                  : strstr(name, ".w") || strcmp(name, "wte") == 0 || strcmp(name, "wu") == 0 ? 1
                                                                                               : 0;
    near_(graph_param_rule(&g, p).init_std, want, name);
    assert_int_equal(graph_param_is_gain(&g, p), text_ends(name, ".g"));
  }
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(recorded_sp),
      cmocka_unit_test(recorded_mup),
      cmocka_unit_test(recorded_completep),
      cmocka_unit_test(recorded_released),
      cmocka_unit_test(recorded_completedp),
      cmocka_unit_test(sp_scales_nothing),
      cmocka_unit_test(mup_scales_width),
      cmocka_unit_test(alpha_scales_depth),
      cmocka_unit_test(completedp_adds_ratios),
      cmocka_unit_test(base_shape_is_common),
      cmocka_unit_test(stated_multipliers_come_on_top),
      cmocka_unit_test(gpt2_init_reaches_branch_outputs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

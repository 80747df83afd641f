// Studies: fits and verdicts on numbers whose answer is known, planted mistakes that must be named, and a
// tiny run of every kind to its page and rows.
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/study_coord.h"
#include "runtime/study_fit.h"
#include "runtime/study_lazy.h"
#include "runtime/presets.h"
#include "runtime/study_page.h"
#include "runtime/study_shapes.h"
#include "runtime/study_transfer.h"

// ---- fits

static void lines_and_powers(void **state) {
  (void)state;
  const double x[] = {1, 2, 4, 8}, y[] = {3, 5, 9, 17}, cubes[] = {2, 16, 128, 1024};
  const fit_line f = fit_line_of(x, y, 4);
  assert_true(fabs(f.slope - 2) < 1e-12 && fabs(f.intercept - 1) < 1e-12 && f.residual_sd < 1e-12);
  assert_true(fabs(fit_power(x, cubes, 4) - 3) < 1e-12);
  const double holes[] = {NAN, 5, INFINITY, 17};
  assert_true(fabs(fit_line_of(x, holes, 4).slope - 2) < 1e-12);
  assert_true(isnan(fit_line_of(x, y, 1).slope));
  // A prediction far outside is worth less.
  const double noisy[] = {3, 5.5, 8.5, 17};
  const fit_line n = fit_line_of(x, noisy, 4);
  assert_true(fit_error_at(&n, 20) > 2 * fit_error_at(&n, 4));
}

static void optima(void **state) {
  (void)state;
  const double x[] = {-9, -8, -7, -6, -5};
  double y[5];
  for (u32 i = 0; i < 5; i++) y[i] = 2 + 0.1 * (x[i] + 6.7) * (x[i] + 6.7);
  fit_optimum o = fit_optimum_of(x, y, 5);
  assert_true(fabs(o.x + 6.7) < 1e-9 && fabs(o.y - 2) < 1e-9 && o.lowest == 2 && !o.edge);
  y[4] = INFINITY; // a diverged run beyond the optimum
  assert_true(fabs(fit_optimum_of(x, y, 5).x + 6.7) < 1e-9);
  y[3] = INFINITY; // and one beside it: no parabola
  o = fit_optimum_of(x, y, 5);
  assert_true(o.x == -7 && !o.edge);
  assert_true(fit_optimum_of(x, y, 3).edge);
  double medians[] = {5, NAN, 1, 3};
  assert_true(fit_median(medians, 4) == 3);
  const fit_spread s = fit_spread_of((const double[]){1, 2, 3}, 3);
  assert_true(s.mean == 2 && s.sd == 1 && s.low == 1 && s.high == 3);
}

static void lists(void **state) {
  (void)state;
  arena *a = arena_create("test");
  status st = {0};
  study_list l;
  support_ok(study_list_read("k", "2^-9..2^-7, 0.5", 0, a, &l, &st), &st);
  assert_int_equal(l.count, 4);
  assert_true(l.values[0] == 1.0 / 512 && l.values[2] == 1.0 / 128 && l.values[3] == 0.5);
  support_failed(study_list_read("k", "", 0, a, &l, &st), &st, CODE_CONFIG, "no number");
  status_clear(&st);
  support_failed(study_list_read("k", "4..2", 0, a, &l, &st), &st, CODE_CONFIG, "octaves");
  status_clear(&st);
  study_rule *rules;
  u32 count;
  support_ok(study_rules_read("k", "sp alpha0.5", a, &rules, &count, &st), &st);
  assert_true(count == 2 && rules[1].alpha == 0.5 && rules[1].kind == PARAM_COMPLETEP);
  support_failed(study_rules_read("k", "sq", a, &rules, &count, &st), &st, CODE_CONFIG, "\"sq\"");
  arena_destroy(a);
}

// ---- a study of a test: its folder, its statement, opened

typedef struct bench {
  arena *memory;
  char folder[256];
  run_spec base;
  study s;
  study_request q;
} bench;

typedef struct said {
  const run_assignment *sets;
  u32 count;
} said;

static void bench_open(bench *b, const char *kind, const field_table *table, bool with_data, said sets) {
  status st = {0};
  *b = (bench){.memory = arena_create("test")};
  support_folder(b->folder, sizeof b->folder);
  run_assignment *all = arena_array(b->memory, run_assignment, sets.count + 2);
  memcpy(all, sets.sets, sets.count * sizeof *all);
  all[sets.count] = (run_assignment){"record.db", arena_format(b->memory, "%s/t.db", b->folder), false, "test"};
  all[sets.count + 1] = (run_assignment){"record.out", b->folder, false, "test"};
  b->q = (study_request){.kind = kind, .table = table, .sets = all, .set_count = sets.count + 2, .threads = 2};
  b->q.spec = arena_take(b->memory, table->spec_size);
  support_ok(study_load(&b->q, &b->base, b->memory, &st), &st);
  support_ok(study_open(&b->s, &b->q, &b->base, with_data, b->memory, &st), &st);
}

static void bench_close(bench *b) {
  status st = {0};
  support_ok(study_close(&b->s, &st), &st);
  json_decref(b->s.document);
  support_remove(b->folder);
  arena_destroy(b->memory);
}

// ---- planted mistakes

static graph_node *nodes_of(graph *g) {
  return (graph_node *)(uintptr_t)g->nodes;
}

static void scale_nodes(graph *g, graph_op forward, graph_op gradient, double scale) {
  for (u32 i = 0; i < g->node_count; i++)
    if (g->nodes[i].op == forward || g->nodes[i].op == gradient) nodes_of(g)[i].scale = scale;
}

static void no_residual_factor(graph *g) {
  scale_nodes(g, OP_RESIDUAL, OP_RESIDUAL_GRAD, 1);
}
static void no_logit_factor(graph *g) {
  for (u32 i = 0; i < g->node_count; i++) {
    const u32 forward = i < g->forward_end ? i : g->nodes[i].forward;
    if (forward != GRAPH_NONE && g->nodes[forward].op == OP_LINEAR && g->nodes[forward].out[0] == g->logits)
      nodes_of(g)[i].scale = 1;
  }
}
static void attention_by_root(graph *g) {
  scale_nodes(g, OP_ATTENTION, OP_ATTENTION_GRAD, 1 / sqrt(model_head_width(&g->model)));
}
static void hidden_rate_without_width(graph *g) {
  g->rules.roles[ROLE_HIDDEN_W].lr *= g->rules.m_width;
}
static void hidden_rate_without_depth(graph *g) {
  g->rules.roles[ROLE_HIDDEN_W].lr *= pow(g->rules.m_depth, 1 - g->model.alpha);
}
static void norm_rate_without_depth(graph *g) {
  g->rules.roles[ROLE_PRE_LN].lr *= pow(g->rules.m_depth, 1 - g->model.alpha);
}
static void hidden_eps_unscaled(graph *g) {
  g->rules.roles[ROLE_HIDDEN_W].eps *= g->rules.m_width * g->rules.m_depth;
}
static void head_eps_unscaled(graph *g) {
  g->rules.roles[ROLE_UNEMBED].eps *= g->rules.m_width;
}
static void decay_without_width(graph *g) {
  g->rules.roles[ROLE_HIDDEN_W].weight_decay /= g->rules.m_width;
}
static void bias_decays(graph *g) {
  g->rules.roles[ROLE_HIDDEN_B].weight_decay = g->rules.roles[ROLE_EMBED].weight_decay;
}
static void init_without_width(graph *g) {
  g->rules.roles[ROLE_HIDDEN_W].init_std *= sqrt(g->rules.m_width);
}
static void gpt2_init(graph *g) {
  g->rules.branch_out_init_mult = 1 / sqrt(2.0 * g->model.layers);
}
static void embedding_rate_with_width(graph *g) {
  g->rules.roles[ROLE_EMBED].lr /= g->rules.m_width;
}

static const struct {
  void (*make)(graph *g);
  const char *rule, *name;
  audit_what what;
} mistakes[] = {
    {no_residual_factor, "completep", "h*.attn_branch", AUDIT_FACTOR},
    {no_residual_factor, "completep", "h*.mlp_branch", AUDIT_FACTOR},
    {no_logit_factor, "completep", "logits", AUDIT_FACTOR},
    {attention_by_root, "completep", "h*.attn.mix", AUDIT_FACTOR},
    {hidden_rate_without_width, "completep", "h*.attn.wqkv", AUDIT_RATE},
    {hidden_rate_without_depth, "alpha0.5", "h*.mlp.w2", AUDIT_RATE},
    {norm_rate_without_depth, "alpha0.5", "h*.ln1.g", AUDIT_RATE},
    {hidden_eps_unscaled, "completep", "h*.mlp.w1", AUDIT_EPS},
    {head_eps_unscaled, "mup", "wu", AUDIT_EPS},
    {decay_without_width, "completep", "h*.attn.wo", AUDIT_DECAY},
    {bias_decays, "completep", "h*.mlp.b1", AUDIT_DECAY},
    {init_without_width, "mup", "h*.attn.wqkv", AUDIT_INIT},
    {gpt2_init, "completep", "h*.attn.wo", AUDIT_INIT},
    {embedding_rate_with_width, "completep", "wte", AUDIT_RATE},
};

static void make_mistake(graph *g, void *user) {
  mistakes[(uintptr_t)user].make(g);
}

// Audits two depths and two widths; returns how many are blamed.
static u32 audit_all(bench *b, const char *rule, audit_blame *ret, u32 room) {
  static const u32 sizes[4][2] = {{2, 32}, {6, 32}, {2, 32}, {2, 64}};
  status st = {0};
  audit *audits = arena_array(b->memory, audit, 4);
  study_rule *rules;
  u32 count;
  support_ok(study_rules_read("rule", rule, b->memory, &rules, &count, &st), &st);
  for (u32 i = 0; i < 4; i++) {
    run_spec *w = study_wish(&b->s, b->memory);
    study_rule_apply(rules, &w->model);
    w->model.layers = sizes[i][0];
    support_ok(study_width_apply(sizes[i][1], &w->model, &st), &st);
    support_ok(audit_run(&b->s, w, b->memory, &audits[i], &st), &st);
  }
  const audit_sizes all = {audits, audits + 2, 2, 2};
  return audit_compare(&all, b->memory, ret, room);
}

#define SET(key, value) {key, value, false, "test"}
#define TINY                                                                                                           \
  SET("model.width", "32"), SET("model.heads", "4"), SET("model.base_width", "32"), SET("train.seq", "32"),            \
      SET("train.batch", "2"), SET("model.tied", "false"), SET("model.position", "alibi"),                            \
      SET("model.activation", "relu2")
static const run_assignment tiny[] = {TINY};

static void sound_rules_are_not_blamed(void **state) {
  (void)state;
  static const char *const rules[] = {"sp", "sp-gpt2", "mup", "completep", "alpha0.5", "completedp", "released"};
  bench b;
  bench_open(&b, "coord", &coord_table, true, (said){tiny, COUNT_OF(tiny)});
  for (u32 i = 0; i < COUNT_OF(rules); i++) {
    audit_blame blames[8];
    if (audit_all(&b, rules[i], blames, 8)) fail_msg("%s: %s", rules[i], blames[0].words);
  }
  bench_close(&b);
}

static void planted_mistakes_are_named(void **state) {
  (void)state;
  bench b;
  bench_open(&b, "coord", &coord_table, true, (said){tiny, COUNT_OF(tiny)});
  for (u32 m = 0; m < COUNT_OF(mistakes); m++) {
    audit_blame blames[32] = {0};
    b.s.sabotage = (study_sabotage){make_mistake, (void *)(uintptr_t)m};
    const u32 count = audit_all(&b, mistakes[m].rule, blames, 32);
    bool named = false;
    for (u32 i = 0; i < count; i++) {
      named |= strcmp(blames[i].name, mistakes[m].name) == 0 && blames[i].what == mistakes[m].what;
      if (blames[i].what != mistakes[m].what) fail_msg("mistake %u: %s is blamed too", m, blames[i].words);
    }
    if (!named) fail_msg("mistake %u (%s) is not named; first of %u: %s", m, mistakes[m].name, count, blames[0].words);
  }
  bench_close(&b);
}

// ---- verdicts

static void slopes_are_judged(void **state) {
  (void)state;
  double depths[] = {2, 8, 32};
  const double level[] = {0.2, 0.22, 0.21, 0.2, 0.22, 0.21}, grows[] = {1, 1.1, 4, 4.2, 16, 17};
  const double falls[] = {1, 1, 0.5, 0.5, 0.25, 0.25}, lost[] = {1, 1, 1, NAN, 1, NAN};
  const study_list sizes = {depths, 3};
  assert_true(coord_slope(&sizes, level, 2, 0, 0.2).pass);
  const coord_slopes g = coord_slope(&sizes, grows, 2, 0, 0.2);
  assert_true(!g.pass && g.sure && fabs(g.mean - 1) < 0.02);
  assert_false(coord_slope(&sizes, falls, 2, 0, 0.2).pass);
  assert_true(coord_slope(&sizes, falls, 2, -0.5, 0.2).pass);
  assert_false(coord_slope(&sizes, lost, 2, 0, 0.2).pass);
}

// Losses of a parabola around 2^first; the second size's around `drift` octaves further, seeds to both sides.
static transfer_verdict verdict_of(double first, double drift, double disagreement, transfer_size sizes[2]) {
  static const double octaves[] = {-9, -8, -7, -6, -5};
  static double loss[2][10], mean[2][5], best[2][2];
  double values[5] = {0};
  const transfer_options o = {.seeds = 2};
  transfer_study t = {.o = &o, .values = {values, 5}, .octaves = (double *)(uintptr_t)octaves, .size_count = 2};
  for (u32 z = 0; z < 2; z++) {
    sizes[z] = (transfer_size){.loss = loss[z], .mean = mean[z], .best_seed = best[z]};
    for (u32 i = 0; i < 10; i++) {
      const double at = first + z * (drift + (i % 2 ? disagreement : -disagreement));
      loss[z][i] = 2 + 0.2 * pow(octaves[i / 2] - at, 2);
    }
  }
  transfer_result r = {.sizes = sizes};
  transfer_decide(&t, &r);
  return r.verdict;
}

static transfer_verdict verdict_around(double drift, double disagreement) {
  transfer_size sizes[2];
  const transfer_verdict verdict = verdict_of(-7, drift, disagreement, sizes);
  assert_true(fabs(sizes[1].drift - drift) < 1e-9);
  assert_true(fabs(sizes[1].moved - (2 + 0.2 * (drift * drift + disagreement * disagreement))) < 1e-9);
  return verdict;
}

static void transfers_are_judged(void **state) {
  (void)state;
  transfer_size sizes[2];
  assert_int_equal(verdict_around(0.1, 0.05), TRANSFER_HOLDS);
  assert_int_equal(verdict_around(-1, 0.1), TRANSFER_DRIFTS);
  assert_int_equal(verdict_around(0.6, 0.5), TRANSFER_UNCLEAR);
  // At the edge of the values an optimum may lie beyond: that it stays there says nothing.
  assert_int_equal(verdict_of(-9, -0.2, 0.1, sizes), TRANSFER_UNCLEAR);
  assert_true(sizes[0].best.edge && sizes[1].best.edge);
  assert_int_equal(verdict_of(-5.4, 0.3, 0.1, sizes), TRANSFER_UNCLEAR);
  assert_int_equal(verdict_of(-7, -3, 0.1, sizes), TRANSFER_DRIFTS); // beyond, but far enough
}

// ---- whole studies, tiny

static u64 rows_of(run_db *db, const char *experiment) {
  arena *a = arena_create("test");
  status st = {0};
  const run_row *rows;
  u32 count = 0;
  support_ok(run_db_list(db, &(run_filter){.experiment = experiment}, a, &rows, &count, &st), &st);
  arena_destroy(a);
  return count;
}

static void hold_page(bench *b, const char *kind, const char *drawn) {
  status st = {0};
  char *page;
  size_t size;
  support_ok(study_finish(&b->s, &st), &st);
  support_ok(file_read(arena_format(b->memory, "%s/%s.html", b->folder, kind), b->memory, &page, &size, &st), &st);
  const char *body = strstr(page, "<main>");
  assert_non_null(body);
  assert_true(text_starts(body + 7, "<p class=\"lead\">")); // the verdict comes first
  assert_true(file_exists(arena_format(b->memory, "%s/%s.svg", b->folder, drawn)));
  assert_true(file_exists(arena_format(b->memory, "%s/%s.png", b->folder, drawn)));
}

static void a_coordinate_check(void **state) {
  (void)state;
  const run_assignment sets[] = {TINY, SET("coord.layers", "2 4"), SET("coord.widths", "32 64"),
                                 SET("coord.rules", "mup completep"), SET("coord.seeds", "2"), SET("train.steps", "3")};
  bench b;
  coord_study c;
  status st = {0};
  bench_open(&b, "coord", &coord_table, true, (said){sets, COUNT_OF(sets)});
  support_ok(coord_run(&c, &b.s, b.q.spec, &st), &st);
  support_ok(coord_page(&c, &st), &st);
  hold_page(&b, "coord", "final-depth");
  assert_int_equal(c.time_count, 3); // steps 1, 2, 3
  // Two rules and seeds; the smallest model, which is on both axes, is trained once.
  assert_int_equal(rows_of(b.s.db, b.s.experiment), 2 * 2 * 3 + 1);
  assert_int_equal(b.s.known, 2 * 2);
  assert_true(c.results[0].sound && c.results[1].sound);
  for (u32 m = 0; m < COORD_MODULES; m++) assert_true(isfinite(c.results[1].slopes[0][m].mean));
  bench_close(&b);
}

static void a_transfer_study(void **state) {
  (void)state;
  const run_assignment sets[] = {TINY, SET("transfer.layers", "2 3"), SET("transfer.values", "2^-9..2^-7"),
                                 SET("transfer.rules", "mup completep"), SET("transfer.seeds", "2"),
                                 SET("train.steps", "3"), SET("train.eval_sequences", "2")};
  bench b;
  transfer_study t;
  status st = {0};
  bench_open(&b, "transfer", &transfer_table, true, (said){sets, COUNT_OF(sets)});
  support_ok(transfer_run(&t, &b.s, b.q.spec, &st), &st);
  support_ok(transfer_page(&t, &st), &st);
  hold_page(&b, "transfer", "loss-completep");
  assert_int_equal(rows_of(b.s.db, b.s.experiment), 2 * 2 * 3 * 2 + 1);
  // At the base depth both are the same model.
  for (u32 v = 0; v < 3; v++) assert_true(t.results[0].sizes[0].mean[v] == t.results[1].sizes[0].mean[v]);
  bench_close(&b);
}

// Depths too few and widths too small for the paper's slopes, but not for their order.
static void a_laziness_study(void **state) {
  (void)state;
  const run_assignment sets[] = {SET("lazy.layers", "2 8 32"), SET("lazy.width", "64"), SET("lazy.inputs", "50"),
                                 SET("lazy.batch", "16"), SET("lazy.lr", "2^-5"), SET("lazy.seeds", "3")};
  bench b;
  lazy_study l;
  status st = {0};
  bench_open(&b, "lazy", &lazy_table, false, (said){sets, COUNT_OF(sets)});
  support_ok(lazy_run(&l, &b.s, b.q.spec, &st), &st);
  support_ok(lazy_page(&l, &st), &st);
  hold_page(&b, "lazy", "distance");
  assert_true(l.slopes[0].slope < l.slopes[1].slope - 0.25);
  assert_true(fabs(l.slopes[0].update_slope + 0.5) < 0.02 && fabs(l.slopes[1].update_slope) < 0.02);
  assert_non_null(strstr(b.s.verdict, "not MNIST"));
  bench_close(&b);
}

static shape_point point(double seconds, double loss, double error) {
  return (shape_point){.fits = true, .wafer_s = seconds, .loss = loss, .error = error};
}

static void frontiers_are_judged(void **state) {
  (void)state;
  // Slower and higher by 0.5 +- 0.014: beaten. Higher by 0.02 +- 0.028: not told apart. Faster and higher: stands.
  shape_point p[] = {point(10, 2.0, 0.01), point(11, 2.5, 0.01), point(12, 2.02, 0.02), point(5, 2.4, 0.01), point(1, 0.1, 0.01)};
  p[4].fits = false;
  shapes_stand(p, COUNT_OF(p));
  assert_int_equal(p[0].standing, SHAPE_FRONTIER);
  assert_int_equal(p[1].standing, SHAPE_BEATEN);
  assert_int_equal(p[2].standing, SHAPE_UNSURE);
  assert_int_equal(p[3].standing, SHAPE_FRONTIER);
  assert_int_equal(p[4].standing, SHAPE_BEATEN);
  const shape_size z = shape_of(1e6, 16, 16); // 12 N^2 L with N = 16 L
  assert_true(z.width == 112 && z.layers == 7);
  assert_true(z.params == 12.0 * 112 * 112 * 7);
}

typedef struct stated_frontier {
  const shapes_study *p;
  u32 rows;
} stated_frontier;

// A row of the documented query against the points that the verdict names.
static bool hold_frontier_row(void *user, u32 columns, const char *const *names, const char *const *values) {
  stated_frontier *f = user;
  assert_int_equal(columns, 6);
  assert_string_equal(names[3], "seconds");
  bool found = false;
  for (u32 i = 0; i < f->p->point_count; i++) {
    const shape_point *q = &f->p->points[i];
    char name[64];
    snprintf(name, sizeof name, "machine %ux%u", q->size.width, q->size.layers);
    const double want[] = {q->loss, q->error, q->wafer_s, q->flops_6p, q->flops_explicit};
    bool same = q->standing == SHAPE_FRONTIER && strcmp(values[0], name) == 0;
    for (u32 k = 0; k < COUNT_OF(want); k++) // as text, SQLite gives 15 digits
      same = same && fabs(strtod(values[k + 1], NULL) - want[k]) <= 1e-14 * want[k];
    found |= same;
  }
  assert_true(found);
  f->rows++;
  return true;
}

static char *documented_query(arena *a) {
  char *page, *end;
  size_t size;
  status st = {0};
  support_ok(file_read(WEFT_SOURCE_DIR "/docs/STUDIES.md", a, &page, &size, &st), &st);
  page = strstr(page, "```sql\n");
  assert_non_null(page);
  end = strstr(page + 7, "```");
  assert_non_null(end);
  *end = 0;
  return page + 7;
}

static void a_shapes_study(void **state) {
  (void)state;
  const run_assignment sets[] = {TINY, SET("machine", "mesh16"), SET("shapes.budgets", "20000 40000"),
                                 SET("shapes.train_budgets", "15000 40000"), SET("shapes.ratios", "8 16"),
                                 SET("shapes.machine_batch", "4"), SET("shapes.machine_seq", "32"),
                                 SET("shapes.machine_vocab", "64"), SET("train.steps", "3"), SET("train.eval_sequences", "2")};
  bench b;
  shapes_study p;
  status st = {0};
  bench_open(&b, "shapes", &shapes_table, true, (said){sets, COUNT_OF(sets)});
  support_ok(shapes_run(&p, &b.s, b.q.spec, &st), &st);
  support_ok(shapes_page(&p, &st), &st);
  hold_page(&b, "shapes", "frontier");
  assert_int_equal(p.point_count, 4);
  assert_int_equal(rows_of(b.s.db, b.s.experiment), 2 * 2 * 2 + 4 + 1);
  stated_frontier f = {.p = &p};
  u32 stands = 0;
  for (u32 i = 0; i < p.point_count; i++) {
    const shape_point *q = &p.points[i];
    assert_true(q->fits && q->wafer_s > 0 && q->error > 0);
    assert_true(fabs(q->wafer_s * q->tokens_per_s / (3 * 2 * 32) - 1) < 1e-12); // of the tokens that were trained on
    stands += q->standing == SHAPE_FRONTIER;
  }
  support_ok(run_db_query(b.s.db, documented_query(b.memory), hold_frontier_row, &f, &st), &st);
  assert_true(f.rows == stands && stands > 0);
  bench_close(&b);
}

// A statement of bf16 trains with bf16's kernels: other losses, and those of a trainer that has them.
static void precision_reaches_the_kernels(void **state) {
  (void)state;
  double loss[2];
  for (u32 i = 0; i < 2; i++) {
    const run_assignment sets[] = {TINY, SET("train.precision", i ? "bf16" : "fp32"), SET("train.steps", "3"),
                                   SET("train.eval_sequences", "2"), SET("model.layers", "2")};
    bench b;
    status st = {0};
    bench_open(&b, "transfer", &transfer_table, true, (said){sets, COUNT_OF(sets)});
    support_ok(trial_loss(&b.s, study_wish(&b.s, b.memory), "one", &loss[i], &st), &st);
    graph g;
    const train_options *o = &b.base.train;
    support_ok(graph_build(&b.base.model, (base_hyper){o->lr, o->weight_decay, o->eps}, o->seq, b.memory, &g, &st), &st);
    const trainer_setup setup = {.graph = &g, .options = o, .kernels = i ? kernels_fast_bf16() : kernels_fast(),
                                 .seed = b.base.top.seed, .threads = 1};
    trainer *t = trainer_create(&setup, b.memory, &st);
    support_ok(t != NULL, &st);
    for (u32 step = 0; step < o->steps; step++) trainer_step(t, &b.s.data);
    assert_true(trainer_evaluate(t, &b.s.data) == loss[i]);
    bench_close(&b);
  }
  assert_true(isfinite(loss[0]) && loss[0] != loss[1]);
}

// Every statement that comes with weft, full scale included, reads to the end of its lists and makes its models.
static void presets_state_studies(void **state) {
  (void)state;
  static const struct {
    const char *kind;
    const field_table *table;
  } kinds[] = {{"coord", &coord_table}, {"transfer", &transfer_table}, {"lazy", &lazy_table}, {"shapes", &shapes_table}};
  arena *a = arena_create("test");
  const char *const *names;
  const u32 count = presets_list("studies", a, &names);
  u32 seen = 0;
  for (u32 i = 0; i < count; i++)
    for (u32 k = 0; k < COUNT_OF(kinds); k++) {
      if (!text_starts(names[i], kinds[k].kind)) continue;
      status st = {0};
      run_spec *base = arena_array(a, run_spec, 1);
      const study_request q = {.kind = kinds[k].kind, .path = names[i], .table = kinds[k].table,
                               .spec = arena_take(a, kinds[k].table->spec_size)};
      support_ok(study_load(&q, base, a, &st), &st);
      for (u32 f = 0; f < q.table->count; f++) {
        const field *one = &q.table->fields[f];
        const char *words = (const char *)q.spec + one->offset;
        study_list list;
        study_rule *rules;
        u32 rule_count;
        if (one->type != FIELD_TEXT || !words[0] || strcmp(one->key, "images") == 0 || strcmp(one->key, "labels") == 0) continue;
        const bool ok = strcmp(one->key, "rules") == 0 ? study_rules_read(one->key, words, a, &rules, &rule_count, &st)
                                                       : study_list_read(one->key, words, 0, a, &list, &st);
        support_ok(ok, &st);
      }
      seen++;
    }
  assert_true(seen == count && count >= 8);
  arena_destroy(a);
}

// The same numbers for one thread and for three.
static void laziness_by_any_threads(void **state) {
  (void)state;
  const lazy_options o = {.width = 96, .inputs = 40, .classes = 5, .batch = 20, .base_layers = 2, .lr = 1e-3, .gain = 2};
  lazy_value v[2];
  for (u32 i = 0; i < 2; i++) {
    arena *a = arena_create("test");
    status st = {0};
    const lazy_net *n = lazy_net_create(&o, 1, 6, i ? 3 : 1, a, &st);
    support_ok(n != NULL, &st);
    v[i] = lazy_net_measure(n, 6, 0.5);
    arena_destroy(a);
  }
  assert_memory_equal(&v[0], &v[1], sizeof v[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_and_powers),           cmocka_unit_test(optima),
      cmocka_unit_test(lists),                      cmocka_unit_test(sound_rules_are_not_blamed),
      cmocka_unit_test(planted_mistakes_are_named), cmocka_unit_test(slopes_are_judged),
      cmocka_unit_test(transfers_are_judged),       cmocka_unit_test(a_coordinate_check),
      cmocka_unit_test(a_transfer_study),           cmocka_unit_test(a_laziness_study),
      cmocka_unit_test(laziness_by_any_threads),    cmocka_unit_test(frontiers_are_judged),
      cmocka_unit_test(a_shapes_study),             cmocka_unit_test(precision_reaches_the_kernels),
      cmocka_unit_test(presets_state_studies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// The coordinate check: trains every size for a few steps, fits slopes, audits the rules, decides.
#include "runtime/study_coord.h"

#include "runtime/study_fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COORD_ROW(...) FIELD_ROW(coord_options, __VA_ARGS__)
static const field coord_rows[] = {COORD_FIELDS(COORD_ROW)};
const field_table coord_table = {"coord", "What weft study coord compares.", coord_rows, COUNT_OF(coord_rows),
                                 sizeof(coord_options)};

size_t coord_index(const coord_study *c, u32 axis, u32 size, u32 seed, u32 time) {
  const size_t sizes = c->axes[0].count > c->axes[1].count ? c->axes[0].count : c->axes[1].count;
  return ((((size_t)axis * sizes + size) * c->o->seeds + seed) * c->time_count + time) * COORD_MODULES;
}

// Step 1, its doublings and the last.
static void choose_times(coord_study *c) {
  const u32 steps = c->s->base->train.steps;
  for (u32 t = 1; t < steps && c->time_count + 1 < COORD_TIMES_MAX; t *= 2) c->times[c->time_count++] = t;
  c->times[c->time_count++] = steps;
}

static bool wish_of(const coord_study *c, const study_rule *rule, u32 axis, u32 size, run_spec *w, status *st) {
  study_rule_apply(rule, &w->model);
  const u32 value = (u32)c->axes[axis].values[size];
  if (axis == 1) return study_width_apply(value, &w->model, st);
  w->model.layers = value;
  return true;
}

static double work_of(const run_spec *w) {
  return (double)w->model.layers * w->model.width * (w->model.width + 64.0) + (double)w->model.width * w->model.vocab;
}

static const char *const change_keys[COORD_MODULES] = {"change.embedding", "change.attention", "change.mlp",
                                                       "change.stream",    "change.final",     "change.logits"};
// Of the stream after each block, at the last step; its step is the block, from 1.
static const char block_key[] = "change.block";

static bool record_changes(const coord_study *c, trial *t, u32 time, const double *change, status *st) {
  for (u32 m = 0; m < COORD_MODULES; m++)
    if (!trial_metric(t, change_keys[m], c->times[time], change[m], st)) return false;
  return true;
}

// What a model is measured for; `blocks` NULL: not wanted.
typedef struct coord_changes {
  double *change, *blocks;
} coord_changes;

// The same from the database, where it has all of it.
static bool recall_changes(const coord_study *c, const run_row *row, u32 layers, const coord_changes *to, bool *ret_all,
                           status *st) {
  u64 *steps = arena_array(c->s->memory, u64, c->time_count + layers);
  u64 *blocks = steps + c->time_count;
  for (u32 i = 0; i < c->time_count; i++) steps[i] = c->times[i];
  for (u32 l = 0; l < layers; l++) blocks[l] = l + 1;
  const study_steps times = {steps, c->time_count, COORD_MODULES}, all_blocks = {blocks, layers, 1};
  *ret_all = true;
  for (u32 m = 0; *ret_all && m < COORD_MODULES; m++)
    if (!study_known_values(c->s, row->id, change_keys[m], &times, to->change + m, ret_all, st)) return false;
  return !*ret_all || !to->blocks || study_known_values(c->s, row->id, block_key, &all_blocks, to->blocks, ret_all, st);
}

static bool watch_steps(coord_study *c, trial *t, coord_probe *p, const coord_changes *ret, status *st) {
  u32 time = 0;
  for (u32 step = 1; step <= t->spec.train.steps; step++) {
    if (!trial_step(t, st)) return false;
    if (step != c->times[time]) continue;
    double *to = ret->change + (size_t)time * COORD_MODULES;
    coord_probe_read(p, to, step == t->spec.train.steps ? ret->blocks : NULL);
    if (!record_changes(c, t, time, to, st)) return false;
    time++;
  }
  for (u32 l = 0; ret->blocks && l < t->spec.model.layers; l++)
    if (!trial_metric(t, block_key, l + 1, ret->blocks[l], st)) return false;
  return trial_end(t, st);
}

static bool train_one(coord_study *c, const run_spec *w, const char *label, const coord_changes *ret, status *st) {
  trial t;
  if (!trial_open(&t, c->s, w, st)) return false;
  coord_probe *p = trial_record(&t, label, st) ? coord_probe_open(&t, c->o->probe, t.memory, st) : NULL;
  const bool ok = p && watch_steps(c, &t, p, ret, st);
  trial_close(&t);
  return ok;
}

static bool changes_of(coord_study *c, const run_spec *w, const char *label, const coord_changes *ret, status *st) {
  arena *a = arena_create("a known model");
  const run_row *row;
  bool known = false, ok = study_go_on(st) && study_known(c->s, w, label, a, &row, st);
  if (ok && row) ok = recall_changes(c, row, w->model.layers, ret, &known, st);
  ok = ok && (known || train_one(c, w, label, ret, st));
  study_progress(c->s, work_of(w), label);
  arena_destroy(a);
  return ok;
}

// All seeds of one size, and the audit of its rules.
static bool train_size(coord_study *c, coord_result *r, u32 axis, u32 size, audit *ret_audit, status *st) {
  const bool deepest = axis == 0 && size + 1 == c->axes[0].count;
  arena *a = arena_create("a size of a study");
  run_spec *w = study_wish(c->s, a);
  bool ok = wish_of(c, &r->rule, axis, size, w, st);
  double *blocks = arena_array(a, double, w->model.layers);
  if (ok && deepest) r->blocks = arena_array(c->s->memory, double, w->model.layers);
  const u64 first = w->top.seed;
  for (u32 seed = 0; ok && seed < c->o->seeds; seed++) {
    w->top.seed = first + seed;
    const char *label = arena_format(a, "%s, %u layers, width %u, seed %llu", r->rule.name, w->model.layers,
                                     w->model.width, (unsigned long long)w->top.seed);
    const coord_changes to = {r->change + coord_index(c, axis, size, seed, 0), deepest ? blocks : NULL};
    ok = changes_of(c, w, label, &to, st);
    for (u32 l = 0; ok && deepest && l < w->model.layers; l++) r->blocks[l] += blocks[l] / c->o->seeds;
  }
  w->top.seed = first;
  ok = ok && audit_run(c->s, w, c->s->memory, ret_audit, st);
  arena_destroy(a);
  return ok;
}

coord_slopes coord_slope(const study_list *sizes, const double *change, u32 seeds, double promised_low,
                         double tolerance) {
  double slopes[1000], y[256];
  u32 used = 0;
  for (u32 seed = 0; seed < seeds && seed < COUNT_OF(slopes); seed++) {
    for (u32 i = 0; i < sizes->count; i++) y[i] = change[i * seeds + seed];
    slopes[used++] = fit_power(sizes->values, y, sizes->count);
  }
  const fit_spread s = fit_spread_of(slopes, used);
  const double past = fmax(promised_low - s.mean, s.mean); // how far outside, negative inside
  return (coord_slopes){s.mean, s.sd, s.count, promised_low, past < tolerance && s.count == seeds,
                        fabs(past - tolerance) > fit_error(s)};
}

// Branches of alpha < 1 are given updates of m_L^(alpha-1); what comes through the stream keeps its size.
static double promised_low(const coord_result *r, u32 axis, u32 module) {
  const bool branch = module == COORD_ATTENTION || module == COORD_MLP;
  const bool depth = r->rule.kind != PARAM_SP && r->rule.kind != PARAM_MUP;
  return axis == 0 && branch && depth ? r->rule.alpha - 1 : 0;
}

static void fit_slopes(const coord_study *c, coord_result *r, u32 axis) {
  const study_list *sizes = &c->axes[axis];
  for (u32 m = 0; m < COORD_MODULES; m++) {
    double *last = arena_array(c->s->memory, double, (size_t)sizes->count * c->o->seeds);
    for (u32 i = 0; i < sizes->count; i++)
      for (u32 k = 0; k < c->o->seeds; k++)
        last[i * c->o->seeds + k] = r->change[coord_index(c, axis, i, k, c->time_count - 1) + m];
    r->slopes[axis][m] = coord_slope(sizes, last, c->o->seeds, promised_low(r, axis, m), c->o->tolerance);
  }
}

// ---- what it means

static bool holds(const coord_study *c, const coord_result *r, u32 axis) {
  if (c->axes[axis].count < 2) return true;
  for (u32 m = 0; m < COORD_MODULES; m++)
    if (!r->slopes[axis][m].pass) return false;
  return true;
}

// A parameterization that states no rule for an axis is not expected to hold along it.
static bool states(const study_rule *r, u32 axis) {
  if (r->kind == PARAM_SP) return false;
  return axis == 1 || r->kind != PARAM_MUP;
}

static void say_axis(const coord_study *c, const coord_result *r, u32 axis, text *out) {
  const char *letter = axis == 0 ? "L" : "N";
  if (c->axes[axis].count < 2) return;
  const coord_slopes *f = &r->slopes[axis][COORD_FINAL];
  text_format(out, "%s%s^%.2f \u00b1 %.2f", axis ? " and as " : " as ", letter, f->mean, f->sd);
}

static void say_modules(const coord_study *c, const coord_result *r, text *out) {
  bool said = false;
  for (u32 axis = 0; axis < COORD_AXES; axis++)
    for (u32 m = 0; c->axes[axis].count > 1 && m < COORD_MODULES; m++) {
      const coord_slopes *f = &r->slopes[axis][m];
      if (f->pass || m == COORD_FINAL) continue;
      text_format(out, "%s%s %s^%.2f", said ? ", " : "; also not level: ", coord_module_name(m), axis ? "N" : "L",
                  f->mean);
      said = true;
    }
}

// What a parameterization would need that it does not state.
static const char *missing(const coord_result *r) {
  if (r->depth_holds || states(&r->rule, 0)) return "";
  return "; it keeps its own rules and has none for depth: completep's factor m_L^-1 on the residual branches "
         "(h*.attn_branch, h*.mlp_branch) is what it lacks";
}

static void say_result(const coord_study *c, coord_result *r) {
  text out = {0};
  const bool fine = r->depth_holds && r->width_holds && r->sound;
  text_format(&out, "%s %s: the final residual's change goes", r->rule.name, fine ? "passes" : "fails");
  for (u32 axis = 0; axis < COORD_AXES; axis++) say_axis(c, r, axis, &out);
  if (!fine) say_modules(c, r, &out);
  const coord_slopes *mlp = &r->slopes[0][COORD_MLP];
  if (fine && mlp->mean < -0.2)
    text_format(&out, "; the MLP branches' change falls as L^%.2f: blocks learn less the deeper the model", mlp->mean);
  for (u32 i = 0; i < r->blame_count && i < 2; i++)
    text_format(&out, "%s%s", i ? "; and " : "; the guilty rule: ", r->blames[i].words);
  if (r->sound) text_add(&out, missing(r));
  snprintf(r->words, sizeof r->words, "%s", text_get(&out));
  text_free(&out);
}

static bool run_rule(coord_study *c, coord_result *r, status *st) {
  arena *a = c->s->memory;
  audit *audits[COORD_AXES];
  r->change = arena_array(a, double, coord_index(c, COORD_AXES, 0, 0, 0));
  for (u32 axis = 0; axis < COORD_AXES; axis++) {
    audits[axis] = arena_array(a, audit, c->axes[axis].count);
    for (u32 i = 0; i < c->axes[axis].count; i++)
      if (!train_size(c, r, axis, i, &audits[axis][i], st)) return false;
    fit_slopes(c, r, axis);
  }
  const audit_sizes sizes = {audits[0], audits[1], c->axes[0].count, c->axes[1].count};
  const u32 broken = audit_compare(&sizes, a, r->blames, COUNT_OF(r->blames));
  r->blame_count = broken < COUNT_OF(r->blames) ? broken : COUNT_OF(r->blames);
  r->sound = broken == 0;
  r->depth_holds = holds(c, r, 0);
  r->width_holds = holds(c, r, 1);
  say_result(c, r);
  return true;
}

static void conclude(coord_study *c) {
  text out = {0};
  c->s->pass = true;
  for (u32 i = 0; i < c->rule_count; i++) {
    const coord_result *r = &c->results[i];
    text_format(&out, "%s%s", i ? ". " : "", r->words);
    const bool kept = (r->depth_holds || !states(&r->rule, 0)) && (r->width_holds || !states(&r->rule, 1));
    c->s->pass &= kept && r->sound;
  }
  text_add(&out, ".");
  snprintf(c->s->verdict, sizeof c->s->verdict, "%s", text_get(&out));
  text_free(&out);
}

static void plan_work(coord_study *c) {
  run_spec *w = study_wish(c->s, c->s->memory);
  for (u32 axis = 0; axis < COORD_AXES; axis++)
    for (u32 i = 0; i < c->axes[axis].count; i++) {
      w->model.layers = axis == 0 ? (u32)c->axes[0].values[i] : c->s->base->model.layers;
      w->model.width = axis == 1 ? (u32)c->axes[1].values[i] : c->s->base->model.width;
      c->s->work += c->rule_count * c->o->seeds * work_of(w);
    }
}

bool coord_run(coord_study *c, study *s, const coord_options *o, status *st) {
  *c = (coord_study){.s = s, .o = o};
  const bool read = study_list_read("coord.layers", o->layers, 1, s->memory, &c->axes[0], st) &&
                    study_list_read("coord.widths", o->widths, 1, s->memory, &c->axes[1], st) &&
                    study_rules_read("coord.rules", o->rules, s->memory, &c->rules, &c->rule_count, st);
  if (!read) return false;
  if (!s->base->train.steps) return status_fail(st, CODE_CONFIG, "train.steps: a coordinate check needs a step");
  choose_times(c);
  plan_work(c);
  c->results = arena_array(s->memory, coord_result, c->rule_count);
  for (u32 i = 0; i < c->rule_count; i++) {
    c->results[i].rule = c->rules[i];
    if (!run_rule(c, &c->results[i], st)) return false;
  }
  conclude(c);
  return true;
}

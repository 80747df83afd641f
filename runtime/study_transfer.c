// Losses over values, sizes, seeds and parameterizations, and what they say about transfer.
#include "runtime/study_transfer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TRANSFER_ROW(...) FIELD_ROW(transfer_options, __VA_ARGS__)
static const field transfer_rows[] = {TRANSFER_FIELDS(TRANSFER_ROW)};
const field_table transfer_table = {"transfer", "What weft study transfer searches.", transfer_rows,
                                    COUNT_OF(transfer_rows), sizeof(transfer_options)};

// An optimum that moves less than this is one that stays (completep.md 7b: completep moves by under 0.2 octave
// over a 16 times deeper model, sp and mup by one).
#define DRIFT_LIMIT 0.3
// Loss that nobody would tune again for.
#define COST_LIMIT 0.03

const char *transfer_vary_name(u32 vary) {
  static const char *const names[] = {"train.lr", "model.init_std", "train.weight_decay", "train.eps"};
  require(vary < COUNT_OF(names));
  return names[vary];
}

static void vary(const transfer_study *t, u32 value, run_spec *w) {
  double *const targets[] = {&w->train.lr, &w->model.init_std, &w->train.weight_decay, &w->train.eps};
  *targets[t->o->vary] = t->values.values[value];
}

static double work_of(const transfer_study *t, u32 size) {
  const double n = t->width[size];
  return t->layers[size] * n * (n + 64) + n * t->s->base->model.vocab;
}

// ---- training

static bool train_size(transfer_study *t, transfer_result *r, u32 size, status *st) {
  transfer_size *z = &r->sizes[size];
  bool ok = true;
  for (u32 v = 0; ok && v < t->values.count; v++)
    for (u32 seed = 0; ok && seed < t->o->seeds; seed++) {
      arena *a = arena_create("a value of a study");
      run_spec *w = study_wish(t->s, a);
      study_rule_apply(&r->rule, &w->model);
      w->model.layers = z->layers;
      w->top.seed += seed;
      vary(t, v, w);
      const char *label = arena_format(a, "%s, %u layers, width %u, %s %.4g, seed %llu", r->rule.name, z->layers,
                                       z->width, transfer_vary_name(t->o->vary), t->values.values[v],
                                       (unsigned long long)w->top.seed);
      ok = study_width_apply(z->width, &w->model, st) &&
           trial_loss(t->s, w, label, &z->loss[v * t->o->seeds + seed], st);
      study_progress(t->s, work_of(t, size), label);
      arena_destroy(a);
    }
  return ok;
}

// ---- what the losses say

static void average(const transfer_study *t, transfer_size *z) {
  for (u32 v = 0; v < t->values.count; v++) {
    double sum = 0;
    for (u32 k = 0; k < t->o->seeds; k++) sum += z->loss[v * t->o->seeds + k];
    z->mean[v] = sum / t->o->seeds;
  }
  z->best = fit_optimum_of(t->octaves, z->mean, t->values.count);
  for (u32 k = 0; k < t->o->seeds; k++) {
    double one[256];
    for (u32 v = 0; v < t->values.count; v++) one[v] = z->loss[v * t->o->seeds + k];
    z->best_seed[k] = fit_optimum_of(t->octaves, one, t->values.count).x;
  }
}

static void compare(const transfer_study *t, const transfer_result *r, transfer_size *z) {
  double drift[100], moved[100], cost[100];
  const u32 seeds = t->o->seeds;
  for (u32 k = 0; k < seeds; k++) {
    drift[k] = z->best_seed[k] - r->sizes[0].best_seed[k];
    moved[k] = z->loss[r->chosen * seeds + k];
    double best = INFINITY;
    for (u32 v = 0; v < t->values.count; v++) best = fmin(best, z->loss[v * seeds + k]);
    cost[k] = moved[k] - best;
  }
  z->drift = z->best.x - r->sizes[0].best.x;
  z->drift_sd = fit_spread_of(drift, seeds).sd;
  const fit_spread m = fit_spread_of(moved, seeds), c = fit_spread_of(cost, seeds);
  z->moved = m.count == seeds ? m.mean : INFINITY;
  z->moved_sd = m.sd;
  z->cost = c.count == seeds ? c.mean : INFINITY;
  z->cost_sd = c.sd;
}

// Worst over sizes. Where seeds disagree by more than what is to be told apart, or an optimum may lie beyond the
// values, nothing is said.
static transfer_verdict judge(const transfer_study *t, const transfer_result *r) {
  transfer_verdict verdict = TRANSFER_HOLDS;
  for (u32 i = 1; i < t->size_count; i++) {
    const transfer_size *z = &r->sizes[i];
    const double drift = fabs(z->drift), error = z->drift_sd / sqrt(t->o->seeds);
    const double cost_error = z->cost_sd / sqrt(t->o->seeds);
    const bool far = drift > DRIFT_LIMIT && z->cost > COST_LIMIT;
    if (!far && (z->best.edge || r->sizes[0].best.edge)) verdict = TRANSFER_UNCLEAR; // drift and cost may be larger
    if (!far) continue;
    if (!isfinite(z->cost) || drift - error > DRIFT_LIMIT || z->cost - 2 * cost_error > COST_LIMIT)
      return TRANSFER_DRIFTS;
    verdict = TRANSFER_UNCLEAR;
  }
  return verdict;
}

void transfer_decide(const transfer_study *t, transfer_result *r) {
  for (u32 i = 0; i < t->size_count; i++) average(t, &r->sizes[i]);
  r->chosen = r->sizes[0].best.lowest;
  for (u32 i = 0; i < t->size_count; i++) compare(t, r, &r->sizes[i]);
  r->verdict = judge(t, r);
}

static void say_size(const transfer_study *t, const transfer_result *r, text *out) {
  static const char *const words[] = {"transfers", "drifts", "is unclear"};
  const transfer_size *z = &r->sizes[t->deepest];
  text_format(out, "%s %s: from %u to %u layers the best %s moves %+.2f \u00b1 %.2f octaves%s", r->rule.name,
              words[r->verdict], r->sizes[0].layers, z->layers, transfer_vary_name(t->o->vary), z->drift, z->drift_sd,
              z->best.edge ? " (at the edge of the values)" : "");
  if (isfinite(z->moved))
    text_format(out, ", the value kept gives %.3f \u00b1 %.3f and costs %.3f", z->moved, z->moved_sd, z->cost);
  else
    text_add(out, ", and the value kept diverges");
}

// The best at the kept value, and by how much the others are above it.
static void say_gaps(const transfer_study *t, text *out) {
  const transfer_result *best = NULL;
  for (u32 i = 0; i < t->rule_count; i++) {
    const transfer_result *r = &t->results[i];
    if (!best || r->sizes[t->deepest].moved < best->sizes[t->deepest].moved) best = r;
  }
  if (t->rule_count < 2 || !isfinite(best->sizes[t->deepest].moved)) return;
  const transfer_size *low = &best->sizes[t->deepest];
  text_format(out, " At the kept value and %u layers %s is lowest, by", low->layers, best->rule.name);
  for (u32 i = 0, said = 0; i < t->rule_count; i++) {
    if (&t->results[i] == best) continue;
    const transfer_size *z = &t->results[i].sizes[t->deepest];
    const double error = sqrt((z->moved_sd * z->moved_sd + low->moved_sd * low->moved_sd) / t->o->seeds);
    text_format(out, "%s %.2f \u00b1 %.2f against %s", said++ ? "," : "", z->moved - low->moved, error,
                t->results[i].rule.name);
  }
  text_add(out, ".");
}

void transfer_conclude(transfer_study *t) {
  text out = {0};
  t->s->pass = true;
  for (u32 i = 0; i < t->rule_count; i++) {
    const transfer_result *r = &t->results[i];
    if (i) text_add(&out, ". ");
    say_size(t, r, &out);
    // sp and mup have no depth rule: that they drift is no failure of theirs.
    if (r->rule.kind != PARAM_SP && r->rule.kind != PARAM_MUP) t->s->pass &= r->verdict != TRANSFER_DRIFTS;
  }
  text_add(&out, ".");
  say_gaps(t, &out);
  text_format(&out, " Spreads are standard deviations over %u seeds, of gaps standard errors.", t->o->seeds);
  snprintf(t->s->verdict, sizeof t->s->verdict, "%s", text_get(&out));
  text_free(&out);
}

// ---- the course

static void add_size(transfer_study *t, u32 width, u32 layers) {
  t->width[t->size_count] = width;
  t->layers[t->size_count++] = layers;
}

static bool read_sizes(transfer_study *t, status *st) {
  study_list layers, widths = {0};
  arena *a = t->s->memory;
  const u32 base = t->s->base->model.width;
  if (!study_list_read("transfer.layers", t->o->layers, 1, a, &layers, st)) return false;
  if (t->o->widths[0] && !study_list_read("transfer.widths", t->o->widths, 1, a, &widths, st)) return false;
  t->width = arena_array(a, u32, layers.count + widths.count);
  t->layers = arena_array(a, u32, layers.count + widths.count);
  for (u32 i = 0; i < layers.count; i++) add_size(t, base, (u32)layers.values[i]);
  t->deepest = layers.count - 1;
  for (u32 i = 0; i < widths.count; i++)
    if ((u32)widths.values[i] != base) add_size(t, (u32)widths.values[i], (u32)layers.values[0]);
  return true;
}

static bool read_values(transfer_study *t, status *st) {
  if (!study_list_read("transfer.values", t->o->values, 1e-300, t->s->memory, &t->values, st)) return false;
  t->octaves = arena_array(t->s->memory, double, t->values.count);
  for (u32 v = 0; v < t->values.count; v++) t->octaves[v] = log2(t->values.values[v]);
  return true;
}

static void make_result(transfer_study *t, u32 rule) {
  arena *a = t->s->memory;
  transfer_result *r = &t->results[rule];
  r->rule = t->rules[rule];
  r->sizes = arena_array(a, transfer_size, t->size_count);
  for (u32 i = 0; i < t->size_count; i++)
    r->sizes[i] = (transfer_size){.width = t->width[i],
                                  .layers = t->layers[i],
                                  .loss = arena_array(a, double, t->values.count * t->o->seeds),
                                  .mean = arena_array(a, double, t->values.count),
                                  .best_seed = arena_array(a, double, t->o->seeds)};
}

bool transfer_run(transfer_study *t, study *s, const transfer_options *o, status *st) {
  *t = (transfer_study){.s = s, .o = o};
  if (!read_sizes(t, st) || !read_values(t, st) ||
      !study_rules_read("transfer.rules", o->rules, s->memory, &t->rules, &t->rule_count, st))
    return false;
  t->results = arena_array(s->memory, transfer_result, t->rule_count);
  for (u32 i = 0; i < t->size_count; i++) s->work += work_of(t, i) * t->values.count * o->seeds * t->rule_count;
  for (u32 i = 0; i < t->rule_count; i++) {
    make_result(t, i);
    for (u32 k = 0; k < t->size_count; k++)
      if (!train_size(t, &t->results[i], k, st)) return false;
    transfer_decide(t, &t->results[i]);
  }
  transfer_conclude(t);
  return true;
}

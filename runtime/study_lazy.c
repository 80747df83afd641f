// The laziness study: depths, exponents and seeds, slopes, page.
#include "runtime/study_lazy.h"

#include "runtime/study_fit.h"
#include "runtime/study_page.h"

#include <math.h>
#include <stdio.h>

#define LAZY_ROW(...) FIELD_ROW(lazy_options, __VA_ARGS__)
static const field lazy_rows[] = {LAZY_FIELDS(LAZY_ROW)};
const field_table lazy_table = {"lazy", "What weft study lazy measures.", lazy_rows, COUNT_OF(lazy_rows),
                                sizeof(lazy_options)};

// Theory: slope alpha - 1. The paper's own arrays give -0.46 and -0.05 (completep.md 2.3).
#define SLOPE_LIMIT 0.15

static lazy_value *value_at(const lazy_study *l, u32 alpha, u32 depth, u32 seed) {
  return &l->values[((size_t)alpha * l->layers.count + depth) * l->o->seeds + seed];
}

static double lazy_field(const lazy_value *v, u32 which) {
  return which == 0 ? v->distance : which == 1 ? v->absolute : v->update;
}

static double median_at(const lazy_study *l, u32 alpha, u32 depth, u32 which) {
  double all[1000];
  for (u32 k = 0; k < l->o->seeds; k++) all[k] = lazy_field(value_at(l, alpha, depth, k), which);
  return fit_median(all, l->o->seeds);
}

static double median_slope(const lazy_study *l, u32 alpha, u32 which) {
  double y[256];
  for (u32 d = 0; d < l->layers.count; d++) y[d] = median_at(l, alpha, d, which);
  return fit_power(l->layers.values, y, l->layers.count);
}

static void fit(lazy_study *l, u32 alpha) {
  lazy_slope *s = &l->slopes[alpha];
  double single[1000], y[256];
  for (u32 k = 0; k < l->o->seeds; k++) {
    for (u32 d = 0; d < l->layers.count; d++) y[d] = value_at(l, alpha, d, k)->distance;
    single[k] = fit_power(l->layers.values, y, l->layers.count);
  }
  const fit_spread spread = fit_spread_of(single, l->o->seeds);
  *s = (lazy_slope){.alpha = l->alphas.values[alpha],
                    .slope = median_slope(l, alpha, 0),
                    .low = spread.low,
                    .high = spread.high,
                    .absolute_slope = median_slope(l, alpha, 1),
                    .update_slope = median_slope(l, alpha, 2)};
  s->pass = fabs(s->slope - (s->alpha - 1)) < SLOPE_LIMIT;
}

static void conclude(lazy_study *l) {
  text out = {0};
  l->s->pass = true;
  for (u32 i = 0; i < l->alphas.count; i++) {
    const lazy_slope *s = &l->slopes[i];
    l->s->pass &= s->pass;
    text_format(&out, "%salpha %.2g: what the first block learns beyond its linearization goes as L^%.2f (single seeds "
                      "%.2f to %.2f, theory %.2g)%s",
                i ? "; " : "", s->alpha, s->slope, s->low, s->high, s->alpha - 1,
                s->slope < -0.25 ? ", so it turns lazy with depth" : ", so it keeps learning features");
  }
  text_format(&out, ". Inputs: %s.", l->o->images[0] ? l->o->images : "random numbers of MNIST's shape, not MNIST");
  snprintf(l->s->verdict, sizeof l->s->verdict, "%s", text_get(&out));
  text_free(&out);
}

// ---- the course

enum { LAZY_FIELDS_KEPT = 3 };
static const char *const lazy_keys[LAZY_FIELDS_KEPT] = {"lazy.distance", "lazy.absolute", "lazy.update"};

// A row of the study: one exponent and one seed, at all depths.
typedef struct lazy_row {
  u32 alpha, seed;
  run_spec *wish;
  const char *label;
} lazy_row;

static lazy_row row_of(const lazy_study *l, u32 alpha, u32 seed) {
  arena *a = l->s->memory;
  lazy_row r = {.alpha = alpha, .seed = seed, .wish = study_wish(l->s, a)};
  r.wish->top.seed += seed;
  r.wish->model.alpha = l->alphas.values[alpha];
  r.label = arena_format(a, "alpha %.2g, seed %llu", r.wish->model.alpha, (unsigned long long)r.wish->top.seed);
  return r;
}

static bool record(lazy_study *l, const lazy_row *r, status *st) {
  u64 run;
  if (!study_row_start(l->s, r->label, r->wish, &run, st)) return false;
  for (u32 d = 0; d < l->layers.count; d++)
    for (u32 k = 0; k < LAZY_FIELDS_KEPT; k++) {
      const double value = lazy_field(value_at(l, r->alpha, d, r->seed), k);
      if (!study_metric(l->s, run, lazy_keys[k], (u64)l->layers.values[d], value, st)) return false;
    }
  return run_db_finish(l->s->db, run, RUN_FINISHED, NULL, st);
}

// Values from the database, where it has all of them.
static bool recall(lazy_study *l, const lazy_row *r, bool *ret_known, status *st) {
  arena *a = l->s->memory;
  const run_row *known;
  const u32 depths = l->layers.count;
  *ret_known = false;
  if (!study_known(l->s, r->wish, r->label, a, &known, st)) return false;
  *ret_known = known != NULL;
  double *values = arena_array(a, double, depths);
  for (u32 d = 0; *ret_known && d < depths; d++)
    for (u32 k = 0; *ret_known && k < LAZY_FIELDS_KEPT; k++) {
      const u64 depth = (u64)l->layers.values[d];
      if (!study_known_values(l->s, known->id, lazy_keys[k], &(study_steps){&depth, 1, 1}, values, ret_known, st))
        return false;
      lazy_value *v = value_at(l, r->alpha, d, r->seed);
      double *const fields[LAZY_FIELDS_KEPT] = {&v->distance, &v->absolute, &v->update};
      *fields[k] = values[0];
    }
  return true;
}

static bool measure(lazy_study *l, const lazy_row *r, const lazy_net *n, status *st) {
  for (u32 d = 0; d < l->layers.count; d++) {
    if (!study_go_on(st)) return false;
    *value_at(l, r->alpha, d, r->seed) = lazy_net_measure(n, (u32)l->layers.values[d], l->alphas.values[r->alpha]);
    study_progress(l->s, l->layers.values[d], r->label);
  }
  return record(l, r, st);
}

static bool run_seed(lazy_study *l, u32 seed, u32 layers_max, status *st) {
  arena *a = arena_create("a seed of a study");
  const lazy_net *n = NULL; // made once it is wanted
  double depths = 0;
  for (u32 d = 0; d < l->layers.count; d++) depths += l->layers.values[d];
  bool ok = true;
  for (u32 i = 0; ok && i < l->alphas.count; i++) {
    const lazy_row r = row_of(l, i, seed);
    bool known;
    ok = recall(l, &r, &known, st);
    if (ok && known) study_progress(l->s, depths, r.label);
    if (!ok || known) continue;
    if (!n) n = lazy_net_create(l->o, r.wish->top.seed, layers_max, run_threads(l->s->base), a, st);
    ok = n && measure(l, &r, n, st);
  }
  arena_destroy(a);
  return ok;
}

bool lazy_run(lazy_study *l, study *s, const lazy_options *o, status *st) {
  *l = (lazy_study){.s = s, .o = o};
  if (!study_list_read("lazy.alphas", o->alphas, 0, s->memory, &l->alphas, st) ||
      !study_list_read("lazy.layers", o->layers, 1, s->memory, &l->layers, st))
    return false;
  if (!o->images[0] != !o->labels[0]) return status_fail(st, CODE_CONFIG, "lazy.images and lazy.labels go together");
  l->values = arena_array(s->memory, lazy_value, (size_t)l->alphas.count * l->layers.count * o->seeds);
  l->slopes = arena_array(s->memory, lazy_slope, l->alphas.count);
  double most = 1;
  for (u32 d = 0; d < l->layers.count; d++) {
    most = fmax(most, l->layers.values[d]);
    s->work += l->layers.values[d] * l->alphas.count * o->seeds;
  }
  for (u32 seed = 0; seed < o->seeds; seed++)
    if (!run_seed(l, seed, (u32)most, st)) return false;
  for (u32 i = 0; i < l->alphas.count; i++) fit(l, i);
  conclude(l);
  return true;
}

// ---- the page

static bool chart_add(lazy_study *l, u32 which, const char *const words[3], status *st) {
  arena *a = l->s->memory;
  const u32 depths = l->layers.count, seeds = l->o->seeds;
  chart_series *lines = arena_array(a, chart_series, 2 * l->alphas.count);
  for (u32 i = 0; i < l->alphas.count; i++) {
    double *y = arena_array(a, double, depths), *x = arena_array(a, double, depths * seeds);
    double *all = arena_array(a, double, depths * seeds);
    for (u32 d = 0; d < depths; d++) y[d] = median_at(l, i, d, which);
    for (u32 k = 0; k < depths * seeds; k++) {
      x[k] = l->layers.values[k / seeds];
      all[k] = lazy_field(value_at(l, i, k / seeds, k % seeds), which);
    }
    const picture_ink ink = (picture_ink)(INK_BLUE + i % INK_DATA_COUNT);
    const char *name = arena_format(a, "alpha %.2g, slope %.2f", l->alphas.values[i], median_slope(l, i, which));
    lines[2 * i] = (chart_series){name, l->layers.values, y, depths, SERIES_LINE, ink};
    lines[2 * i + 1] = (chart_series){NULL, x, all, depths * seeds, SERIES_POINTS, ink};
  }
  const chart drawn = {.title = words[1],
                       .x_label = "depth L",
                       .y_label = words[2],
                       .x_scale = SCALE_LOG2,
                       .y_scale = SCALE_LOG10,
                       .series = lines,
                       .count = 2 * l->alphas.count,
                       .w = 900};
  return study_chart(l->s, words[0], &drawn, arena_format(a, "%s; lines are medians over %u seeds, points single seeds.",
                                                          words[1], seeds), st);
}

static void table_add(lazy_study *l) {
  arena *a = l->s->memory;
  html_table(&l->s->page,
             (const char *const[]){"alpha", "slope", "single seeds", "theory", "slope of |h - h_lin| / |h_lin|",
                                   "slope of the update's norm"}, 6);
  json_t *all = json_array();
  for (u32 i = 0; i < l->alphas.count; i++) {
    const lazy_slope *s = &l->slopes[i];
    html_row(&l->s->page,
             (const char *const[]){arena_format(a, "%.2g", s->alpha), arena_format(a, "%.3f", s->slope),
                                   arena_format(a, "%.2f to %.2f", s->low, s->high),
                                   arena_format(a, "%.2g", s->alpha - 1), arena_format(a, "%.2f", s->absolute_slope),
                                   arena_format(a, "%.2f", s->update_slope)}, 6);
    json_array_append_new(all, json_pack("{s:f,s:o,s:o,s:o,s:o,s:o,s:b}", "alpha", s->alpha, "slope",
                                         output_real(s->slope), "slope_low", output_real(s->low), "slope_high",
                                         output_real(s->high), "absolute_slope", output_real(s->absolute_slope),
                                         "update_slope", output_real(s->update_slope), "pass", s->pass));
  }
  html_table_end(&l->s->page);
  json_object_set_new(l->s->document, "alphas", all);
  json_object_set_new(l->s->document, "inputs", json_string(l->o->images[0] ? "images" : "random"));
}

bool lazy_page(lazy_study *l, status *st) {
  for (u32 i = 0; i < l->alphas.count; i++) {
    const char *key = arena_format(l->s->memory, "slope.alpha%.2g", l->slopes[i].alpha);
    if (!study_metric(l->s, l->s->summary, key, 0, l->slopes[i].slope, st)) return false;
  }
  study_page_begin(l->s, "weft study lazy: distance from linearization");
  html_section(&l->s->page, "Slopes",
               "A residual MLP (ReLU branches of two matrices); one Adam step on the first matrix of the first block. The "
               "distance is |h - h_lin| over |h_lin - h_0|: the part of that block's change which is not linear in its "
               "own weights. Slopes are of medians over seeds against depth.");
  table_add(l);
  html_section_end(&l->s->page);
  html_section(&l->s->page, "Curves", NULL);
  const bool ok = chart_add(l, 0, (const char *const[]){"distance", "distance from linearization", "|h - h_lin| / |h_lin - h_0|"}, st) &&
                  chart_add(l, 1, (const char *const[]){"absolute", "the same, of the whole activation", "|h - h_lin| / |h_lin|"}, st) &&
                  chart_add(l, 2, (const char *const[]){"update", "norm of the weight's update", "|update|"}, st);
  html_section_end(&l->s->page);
  study_page_end(l->s);
  return ok;
}

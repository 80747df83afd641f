// The page, the pictures and the JSON of a coordinate check.
#include "runtime/study_coord.h"

#include "runtime/study_page.h"

#include <math.h>

static const char *cell(const coord_study *c, const coord_slopes *f) {
  const char *words = study_spread_words(c->s->memory, f->mean, f->sd, f->count);
  const char *unsure = f->sure ? "" : ", within an error of the limit";
  return words ? arena_format(c->s->memory, "%s %s%s", words, f->pass ? "passes" : "fails", unsure) : NULL;
}

static void slopes_table(coord_study *c, u32 axis) {
  if (c->axes[axis].count < 2) return;
  arena *a = c->s->memory;
  const char **cells = arena_array(a, const char *, c->rule_count + 1);
  cells[0] = arena_format(a, "module, power of %s", axis ? "width" : "depth");
  for (u32 i = 0; i < c->rule_count; i++) cells[i + 1] = c->rules[i].name;
  html_table(&c->s->page, cells, c->rule_count + 1);
  for (u32 m = 0; m < COORD_MODULES; m++) {
    cells[0] = coord_module_name(m);
    for (u32 i = 0; i < c->rule_count; i++) cells[i + 1] = cell(c, &c->results[i].slopes[axis][m]);
    html_row(&c->s->page, cells, c->rule_count + 1);
  }
  html_table_end(&c->s->page);
}

static double mean_change(const coord_study *c, const coord_result *r, u32 axis, u32 size, u32 time, u32 module) {
  double sum = 0;
  for (u32 k = 0; k < c->o->seeds; k++) sum += r->change[coord_index(c, axis, size, k, time) + module];
  return sum / c->o->seeds;
}

// One line per parameterization and the seeds as points around it.
static bool axis_chart(coord_study *c, u32 axis, coord_module module, const char *name, status *st) {
  const study_list *sizes = &c->axes[axis];
  arena *a = c->s->memory;
  if (sizes->count < 2) return true;
  chart_series *lines = arena_array(a, chart_series, 2 * c->rule_count);
  for (u32 i = 0; i < c->rule_count; i++) {
    double *y = arena_array(a, double, sizes->count), *all = arena_array(a, double, sizes->count * c->o->seeds);
    double *x = arena_array(a, double, sizes->count * c->o->seeds);
    for (u32 k = 0; k < sizes->count * c->o->seeds; k++) {
      x[k] = sizes->values[k / c->o->seeds];
      all[k] = c->results[i].change[coord_index(c, axis, k / c->o->seeds, k % c->o->seeds, c->time_count - 1) + module];
    }
    for (u32 k = 0; k < sizes->count; k++) y[k] = mean_change(c, &c->results[i], axis, k, c->time_count - 1, module);
    const picture_ink ink = (picture_ink)(INK_BLUE + i % INK_DATA_COUNT);
    lines[2 * i] = (chart_series){c->rules[i].name, sizes->values, y, sizes->count, SERIES_LINE, ink};
    lines[2 * i + 1] = (chart_series){NULL, x, all, sizes->count * c->o->seeds, SERIES_POINTS, ink};
  }
  const chart drawn = {.title = arena_format(a, "%s: change after %u steps", coord_module_name(module),
                                             c->times[c->time_count - 1]),
                       .x_label = axis ? "width N" : "depth L",
                       .y_label = "mean |change|",
                       .x_scale = SCALE_LOG2,
                       .y_scale = SCALE_LOG10,
                       .series = lines,
                       .count = 2 * c->rule_count,
                       .w = 900};
  return study_chart(c->s, name, &drawn, arena_format(a, "%s; lines are means over seeds, points single seeds.",
                                                      drawn.title), st);
}

static bool blocks_chart(coord_study *c, status *st) {
  arena *a = c->s->memory;
  const u32 layers = (u32)c->axes[0].values[c->axes[0].count - 1];
  if (layers < 2) return true;
  chart_series *lines = arena_array(a, chart_series, c->rule_count);
  double *x = arena_array(a, double, layers);
  for (u32 l = 0; l < layers; l++) x[l] = l + 1;
  for (u32 i = 0; i < c->rule_count; i++)
    lines[i] = (chart_series){c->rules[i].name, x, c->results[i].blocks, layers, SERIES_LINE, INK_NONE};
  const chart drawn = {.title = arena_format(a, "the stream after each of %u blocks", layers),
                       .x_label = "block",
                       .y_label = "mean |change|",
                       .y_scale = SCALE_LOG10,
                       .series = lines,
                       .count = c->rule_count,
                       .w = 900};
  return study_chart(c->s, "blocks", &drawn, "Change of the residual stream after each block of the deepest model.", st);
}

static void audit_part(coord_study *c) {
  arena *a = c->s->memory;
  html_section(&c->s->page, "Are the rules kept?",
               "Every tensor's learning rate, eps, decay and initial spread and every forward factor, as seen in single "
               "optimizer steps at every size, against what the parameterization promises.");
  static const char *const columns[] = {"parameterization", "rule", "where", "depth: seen, promised",
                                        "width: seen, promised", "seen / promised"};
  html_table(&c->s->page, columns, COUNT_OF(columns));
  for (u32 i = 0; i < c->rule_count; i++) {
    const coord_result *r = &c->results[i];
    if (r->sound) html_row(&c->s->page, (const char *const[]){r->rule.name, "all kept", NULL, NULL, NULL, NULL}, 6);
    for (u32 k = 0; k < r->blame_count; k++) {
      const audit_blame *b = &r->blames[k];
      const char *depth = isfinite(b->depth_measured)
                              ? arena_format(a, "L^%.2f, L^%.2f", b->depth_measured, b->depth_promised)
                              : NULL;
      const char *width = isfinite(b->width_measured)
                              ? arena_format(a, "N^%.2f, N^%.2f", b->width_measured, b->width_promised)
                              : NULL;
      html_row(&c->s->page,
               (const char *const[]){r->rule.name, audit_what_name(b->what), b->name, depth, width,
                                     study_number(a, b->ratio, 3)},
               6);
    }
  }
  html_table_end(&c->s->page);
  html_section_end(&c->s->page);
}

static void json_add(coord_study *c) {
  json_t *all = json_array();
  for (u32 i = 0; i < c->rule_count; i++) {
    const coord_result *r = &c->results[i];
    json_t *o = json_object(), *guilty = json_array();
    json_object_set_new(o, "rule", json_string(r->rule.name));
    json_object_set_new(o, "depth_holds", json_boolean(r->depth_holds));
    json_object_set_new(o, "width_holds", json_boolean(r->width_holds));
    json_object_set_new(o, "rules_kept", json_boolean(r->sound));
    for (u32 axis = 0; axis < COORD_AXES; axis++) {
      json_t *slopes = json_object();
      for (u32 m = 0; m < COORD_MODULES; m++)
        json_object_set_new(slopes, coord_module_name(m),
                            json_pack("{s:o,s:o,s:b}", "slope", output_real(r->slopes[axis][m].mean), "sd",
                                      output_real(r->slopes[axis][m].sd), "pass", r->slopes[axis][m].pass));
      json_object_set_new(o, axis ? "width" : "depth", slopes);
    }
    for (u32 k = 0; k < r->blame_count; k++) json_array_append_new(guilty, json_string(r->blames[k].words));
    json_object_set_new(o, "guilty", guilty);
    json_array_append_new(all, o);
  }
  json_object_set_new(c->s->document, "rules", all);
}

static bool record_slopes(coord_study *c, status *st) {
  for (u32 i = 0; i < c->rule_count; i++)
    for (u32 axis = 0; axis < COORD_AXES; axis++)
      for (u32 m = 0; c->axes[axis].count > 1 && m < COORD_MODULES; m++) {
        const char *key = arena_format(c->s->memory, "slope.%s.%s.%s", axis ? "width" : "depth", coord_module_name(m),
                                       c->rules[i].name);
        if (!study_metric(c->s, c->s->summary, key, 0, c->results[i].slopes[axis][m].mean, st)) return false;
      }
  return true;
}

bool coord_page(coord_study *c, status *st) {
  arena *a = c->s->memory;
  json_add(c);
  if (!record_slopes(c, st)) return false;
  study_page_begin(c->s, "weft study coord: the coordinate check");
  html_section(&c->s->page, "Slopes",
               arena_format(a, "Power of depth or width with which mean |h(t) - h(0)| grows after %u steps: mean and "
                               "standard deviation over %u seeds. A module passes within %.2g of what is promised: 0, and "
                               "for branches of alpha < 1 anything from alpha - 1 to 0 along depth.",
                            c->times[c->time_count - 1], c->o->seeds, c->o->tolerance));
  slopes_table(c, 0);
  slopes_table(c, 1);
  html_section_end(&c->s->page);
  html_section(&c->s->page, "Curves", NULL);
  if (!axis_chart(c, 0, COORD_FINAL, "final-depth", st) || !axis_chart(c, 0, COORD_ATTENTION, "attention-depth", st) ||
      !axis_chart(c, 0, COORD_MLP, "mlp-depth", st) || !axis_chart(c, 1, COORD_FINAL, "final-width", st) ||
      !axis_chart(c, 1, COORD_LOGITS, "logits-width", st) || !blocks_chart(c, st))
    return false;
  html_section_end(&c->s->page);
  audit_part(c);
  study_page_end(c->s);
  return true;
}

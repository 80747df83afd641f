// The page, the pictures and the JSON of a shapes study.
#include "runtime/study_shapes.h"

#include "runtime/study_page.h"

#include <math.h>

static const char *shape_name(arena *a, shape_size z) {
  return arena_format(a, "%ux%u", z.width, z.layers);
}

static const char *si(arena *a, double value, const char *unit) {
  char out[64];
  return isfinite(value) ? arena_text(a, text_si(value, unit, out, sizeof out)) : NULL;
}

// ---- losses: what was trained

static void losses_table(shapes_study *p) {
  arena *a = p->s->memory;
  const u32 head = model_head_width(&p->s->base->model);
  html_table(&p->s->page, (const char *const[]){"width over depth", "shape", "parameters", "validation loss"}, 4);
  for (u32 r = 0; r < p->ratios.count; r++)
    for (u32 b = 0; b < p->train_budgets.count; b++) {
      const double *loss = p->loss + ((size_t)r * p->train_budgets.count + b) * p->o->seeds;
      const fit_spread f = fit_spread_of(loss, p->o->seeds);
      const shape_size z = shape_of(p->train_budgets.values[b], p->ratios.values[r], head);
      html_row(&p->s->page,
               (const char *const[]){arena_format(a, "%g", p->ratios.values[r]), shape_name(a, z), si(a, z.params, ""),
                                     f.count ? arena_format(a, "%.3f \u00b1 %.3f", f.mean, f.sd) : "diverged"},
               4);
    }
  html_table_end(&p->s->page);
}

static bool losses_chart(shapes_study *p, status *st) {
  arena *a = p->s->memory;
  const u32 n = p->train_budgets.count * p->o->seeds;
  chart_series *lines = arena_array(a, chart_series, 2 * p->ratios.count);
  for (u32 r = 0; r < p->ratios.count; r++) {
    double *x = arena_array(a, double, n), *fx = arena_array(a, double, p->point_count);
    double *fy = arena_array(a, double, p->point_count);
    u32 count = 0;
    for (u32 i = 0; i < n; i++) x[i] = exp2(p->x[r * n + i]);
    for (u32 i = 0; i < p->point_count; i++) {
      if (p->points[i].ratio < p->ratios.values[r] || p->points[i].ratio > p->ratios.values[r]) continue;
      fx[count] = p->points[i].size.params;
      fy[count++] = p->points[i].loss;
    }
    const picture_ink ink = (picture_ink)(INK_BLUE + r % INK_DATA_COUNT);
    lines[2 * r] = (chart_series){arena_format(a, "N:L = %g, by its line", p->ratios.values[r]), fx, fy, count, SERIES_LINE, ink};
    lines[2 * r + 1] = (chart_series){arena_format(a, "N:L = %g, trained", p->ratios.values[r]), x, p->loss + r * n, n, SERIES_POINTS, ink};
  }
  const chart drawn = {.title = "Validation loss by parameters",
                       .x_label = "parameters without embeddings",
                       .y_label = "nat per token",
                       .x_scale = SCALE_LOG10,
                       .series = lines,
                       .count = 2 * p->ratios.count,
                       .w = 900};
  return study_chart(p->s, "losses", &drawn, "Points were trained; lines are what their fits say of the budgets.", st);
}

// ---- times and the frontier

static const char *const standings[] = {"beaten", "not told apart", "frontier"};

static void points_table(shapes_study *p) {
  arena *a = p->s->memory;
  static const char *const columns[] = {"shape",        "parameters", "tokens/s", "energy per token", "time", "6P FLOP/token",
                                        "explicit FLOP/token", "loss by the line", "standing"};
  html_table(&p->s->page, columns, COUNT_OF(columns));
  for (u32 i = 0; i < p->point_count; i++) {
    const shape_point *q = &p->points[i];
    const char *loss = arena_format(a, "%.3f \u00b1 %.3f%s", q->loss, q->error, q->beyond ? " (extrapolated)" : "");
    const char *cells[COUNT_OF(columns)] = {shape_name(a, q->size), si(a, q->size.params, ""), "does not fit", NULL, NULL, NULL, NULL, loss, NULL};
    if (q->fits) {
      cells[2] = si(a, q->tokens_per_s, "");
      cells[3] = si(a, q->joules_per_token, "J");
      cells[4] = si(a, q->wafer_s, "s");
      cells[5] = si(a, q->flops_6p, "");
      cells[6] = si(a, q->flops_explicit, "");
      cells[8] = standings[q->standing];
    }
    html_row(&p->s->page, cells, COUNT_OF(columns));
  }
  html_table_end(&p->s->page);
}

// One line per budget over its ratios; bars of one error as thin lines.
static bool frontier_chart(shapes_study *p, const char *name, bool flops, status *st) {
  arena *a = p->s->memory;
  const u32 ratios = p->ratios.count;
  chart_series *lines = arena_array(a, chart_series, p->budgets.count * (1 + ratios));
  u32 count = 0;
  for (u32 b = 0; b < p->budgets.count; b++) {
    double *x = arena_array(a, double, ratios), *y = arena_array(a, double, ratios);
    const picture_ink ink = (picture_ink)(INK_BLUE + b % INK_DATA_COUNT);
    for (u32 r = 0; r < ratios; r++) {
      const shape_point *q = &p->points[b * ratios + r];
      x[r] = !q->fits ? NAN : flops ? q->flops_explicit * p->tokens : q->wafer_s;
      y[r] = q->loss;
      double *bx = arena_array(a, double, 2), *by = arena_array(a, double, 2);
      bx[0] = bx[1] = x[r];
      by[0] = q->loss - q->error;
      by[1] = q->loss + q->error;
      lines[count++] = (chart_series){NULL, bx, by, 2, SERIES_THIN, ink};
    }
    const char *words = arena_format(a, "%s parameters", si(a, p->budgets.values[b], ""));
    lines[count++] = (chart_series){words, x, y, ratios, SERIES_LINE_POINTS, ink};
  }
  const chart drawn = {.title = flops ? "Loss by FLOPs of the training" : "Loss by time on the wafer",
                       .x_label = flops ? "explicit FLOPs" : "seconds on the modelled machine",
                       .y_label = "nat per token, by the lines",
                       .x_scale = SCALE_LOG10,
                       .series = lines,
                       .count = count,
                       .w = 900};
  return study_chart(p->s, name, &drawn, "Bars are one standard error of the ratio's line; points go by width over depth.", st);
}

static void json_add(shapes_study *p) {
  json_t *all = json_array();
  for (u32 i = 0; i < p->point_count; i++) {
    const shape_point *q = &p->points[i];
    json_t *o = json_pack("{s:o,s:o,s:i,s:i,s:o,s:o,s:o,s:b,s:b}", "budget", output_real(q->budget), "ratio",
                          output_real(q->ratio), "width", (int)q->size.width, "layers", (int)q->size.layers, "params",
                          output_real(q->size.params), "loss", output_real(q->loss), "loss_error",
                          output_real(q->error), "extrapolated", q->beyond, "fits", q->fits);
    if (q->fits) {
      json_object_set_new(o, "tokens_per_s", output_real(q->tokens_per_s));
      json_object_set_new(o, "joules_per_token", output_real(q->joules_per_token));
      json_object_set_new(o, "wafer_s", output_real(q->wafer_s));
      json_object_set_new(o, "flops_6p", output_real(q->flops_6p));
      json_object_set_new(o, "flops_explicit", output_real(q->flops_explicit));
      json_object_set_new(o, "standing", json_string(standings[q->standing]));
    }
    json_array_append_new(all, o);
  }
  json_object_set_new(p->s->document, "tokens", output_real(p->tokens));
  json_object_set_new(p->s->document, "shapes", all);
}

bool shapes_page(shapes_study *p, status *st) {
  arena *a = p->s->memory;
  json_add(p);
  study_page_begin(p->s, "weft study shapes: which width-to-depth ratio suits the wafer");
  html_section(&p->s->page, "Losses: trained on this host, small",
               arena_format(a, "Every model saw %s tokens, a short training. Spreads are standard deviations over %u seeds. Per "
                               "ratio, a line of loss against log2 parameters; beyond the largest trained model it is an "
                               "extrapolation and its error grows.",
                            si(a, p->tokens, ""), p->o->seeds));
  losses_table(p);
  if (!losses_chart(p, st)) return false;
  html_section_end(&p->s->page);
  html_section(&p->s->page, "Times: full-scale shapes on the modelled machine, and the frontier",
               arena_format(a, "One step of %u sequences of %u tokens, vocabulary %u, simulated; time is for the same %s tokens. A "
                               "shape is beaten where another is no slower and lower by more than two errors. 6P counts six "
                               "per parameter, explicit counts every product, attention's square included.",
                            p->o->machine_batch, p->o->machine_seq, p->o->machine_vocab, si(a, p->tokens, "")));
  points_table(p);
  const bool ok = frontier_chart(p, "frontier", false, st) && frontier_chart(p, "flops", true, st);
  html_section_end(&p->s->page);
  study_page_end(p->s);
  return ok;
}

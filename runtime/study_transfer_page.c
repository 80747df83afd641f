// The page, the pictures and the JSON of a transfer study.
#include "runtime/study_transfer.h"

#include "runtime/study_page.h"

#include <math.h>

static const char *size_name(arena *a, const transfer_size *z) {
  return arena_format(a, "L=%u N=%u", z->layers, z->width);
}

static bool rule_chart(transfer_study *t, u32 rule, status *st) {
  arena *a = t->s->memory;
  const transfer_result *r = &t->results[rule];
  const u32 seeds = t->o->seeds, values = t->values.count;
  chart_series *lines = arena_array(a, chart_series, 2 * t->size_count);
  for (u32 i = 0; i < t->size_count; i++) {
    const transfer_size *z = &r->sizes[i];
    double *x = arena_array(a, double, values * seeds);
    for (u32 k = 0; k < values * seeds; k++) x[k] = t->values.values[k / seeds];
    const picture_ink ink = (picture_ink)(INK_BLUE + i % INK_DATA_COUNT);
    lines[2 * i] = (chart_series){size_name(a, z), t->values.values, z->mean, values, SERIES_LINE, ink};
    lines[2 * i + 1] = (chart_series){NULL, x, z->loss, values * seeds, SERIES_POINTS, ink};
  }
  const chart drawn = {.title = arena_format(a, "%s: validation loss by base %s", r->rule.name,
                                             transfer_vary_name(t->o->vary)),
                       .x_label = transfer_vary_name(t->o->vary),
                       .y_label = "nat per token",
                       .x_scale = SCALE_LOG2,
                       .series = lines,
                       .count = 2 * t->size_count,
                       .w = 900};
  return study_chart(t->s, arena_format(a, "loss-%s", r->rule.name), &drawn,
                     arena_format(a, "%s; lines are means over %u seeds, points single seeds.", drawn.title, seeds), st);
}

static void optima_table(transfer_study *t) {
  arena *a = t->s->memory;
  static const char *const columns[] = {"parameterization", "size", "best value",   "drift, octaves",
                                        "loss at best",     "loss at the kept value", "cost of keeping"};
  html_table(&t->s->page, columns, COUNT_OF(columns));
  for (u32 i = 0; i < t->rule_count; i++)
    for (u32 k = 0; k < t->size_count; k++) {
      const transfer_size *z = &t->results[i].sizes[k];
      const char *cells[COUNT_OF(columns)] = {
          t->results[i].rule.name,
          size_name(a, z),
          isfinite(z->best.x) ? arena_format(a, "2^%.2f%s", z->best.x, z->best.edge ? " or beyond" : "") : NULL,
          isfinite(z->drift) ? arena_format(a, "%+.2f \u00b1 %.2f", z->drift, z->drift_sd) : NULL,
          study_number(a, z->best.y, 4),
          isfinite(z->moved) ? arena_format(a, "%.3f \u00b1 %.3f", z->moved, z->moved_sd) : "diverged",
          isfinite(z->cost) ? arena_format(a, "%.3f \u00b1 %.3f", z->cost, z->cost_sd) : NULL};
      html_row(&t->s->page, cells, COUNT_OF(columns));
    }
  html_table_end(&t->s->page);
}

static void losses_table(transfer_study *t) {
  arena *a = t->s->memory;
  const u32 columns = t->values.count + 2;
  const char **cells = arena_array(a, const char *, columns);
  cells[0] = "parameterization";
  cells[1] = "size";
  for (u32 v = 0; v < t->values.count; v++) cells[v + 2] = arena_format(a, "2^%.3g", t->octaves[v]);
  html_table(&t->s->page, cells, columns);
  for (u32 i = 0; i < t->rule_count; i++)
    for (u32 k = 0; k < t->size_count; k++) {
      const transfer_size *z = &t->results[i].sizes[k];
      cells[0] = t->results[i].rule.name;
      cells[1] = size_name(a, z);
      for (u32 v = 0; v < t->values.count; v++) {
        const fit_spread f = fit_spread_of(z->loss + v * t->o->seeds, t->o->seeds);
        cells[v + 2] = f.count < t->o->seeds ? "diverged" : arena_format(a, "%.3f \u00b1 %.3f", f.mean, f.sd);
      }
      html_row(&t->s->page, cells, columns);
    }
  html_table_end(&t->s->page);
}

static void json_add(transfer_study *t) {
  static const char *const verdicts[] = {"transfers", "drifts", "unclear"};
  json_t *all = json_array();
  for (u32 i = 0; i < t->rule_count; i++) {
    const transfer_result *r = &t->results[i];
    json_t *sizes = json_array();
    for (u32 k = 0; k < t->size_count; k++) {
      const transfer_size *z = &r->sizes[k];
      json_t *losses = json_array();
      for (u32 v = 0; v < t->values.count; v++) json_array_append_new(losses, output_real(z->mean[v]));
      json_array_append_new(
          sizes, json_pack("{s:i,s:i,s:o,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "layers", (int)z->layers, "width",
                           (int)z->width, "optimum_octave", output_real(z->best.x), "optimum_at_edge", z->best.edge,
                           "drift_octaves", output_real(z->drift), "drift_sd", output_real(z->drift_sd), "kept_loss",
                           output_real(z->moved), "kept_loss_sd", output_real(z->moved_sd), "cost",
                           output_real(z->cost), "cost_sd", output_real(z->cost_sd), "losses", losses));
    }
    json_array_append_new(all, json_pack("{s:s,s:s,s:o,s:o}", "rule", r->rule.name, "verdict", verdicts[r->verdict],
                                         "kept_value", output_real(t->values.values[r->chosen]), "sizes", sizes));
  }
  json_object_set_new(t->s->document, "vary", json_string(transfer_vary_name(t->o->vary)));
  json_object_set_new(t->s->document, "rules", all);
}

static bool record(transfer_study *t, status *st) {
  arena *a = t->s->memory;
  for (u32 i = 0; i < t->rule_count; i++)
    for (u32 k = 0; k < t->size_count; k++) {
      const transfer_size *z = &t->results[i].sizes[k];
      const char *where = arena_format(a, "%s.L%u.N%u", t->results[i].rule.name, z->layers, z->width);
      const char *keys[] = {arena_format(a, "drift.%s", where), arena_format(a, "kept_loss.%s", where),
                            arena_format(a, "cost.%s", where)};
      const double values[] = {z->drift, z->moved, z->cost};
      for (u32 v = 0; v < COUNT_OF(values); v++)
        if (isfinite(values[v]) && !study_metric(t->s, t->s->summary, keys[v], 0, values[v], st)) return false;
    }
  return true;
}

bool transfer_page(transfer_study *t, status *st) {
  json_add(t);
  if (!record(t, st)) return false;
  study_page_begin(t->s, "weft study transfer: tune small, train large");
  html_section(&t->s->page, "Where the best value lies",
               "Found by a parabola through the lowest mean loss and its neighbours; the kept value is the best of the "
               "first size. Spreads are standard deviations over seeds, each with its own optimum.");
  optima_table(t);
  html_section_end(&t->s->page);
  html_section(&t->s->page, "Curves", NULL);
  for (u32 i = 0; i < t->rule_count; i++)
    if (!rule_chart(t, i, st)) return false;
  html_section_end(&t->s->page);
  html_section(&t->s->page, "All losses", NULL);
  losses_table(t);
  html_section_end(&t->s->page);
  study_page_end(t->s);
  return true;
}

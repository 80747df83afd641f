// The page that compares two runs.
#include "runtime/report_parts.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct comparison {
  report_page page; // its row is the first run
  run_row rows[2];
  const char *names[2];
} comparison;

static const char *name_of(arena *a, const run_row *r) {
  const char *name = r->facts.name && r->facts.name[0] ? r->facts.name : NULL;
  return name ? arena_format(a, "run %llu, %s", (unsigned long long)r->id, name)
              : arena_format(a, "run %llu", (unsigned long long)r->id);
}

// --- verdict

static void say_verdict(comparison *c) {
  const run_results *a = &c->rows[0].results, *b = &c->rows[1].results;
  const bool val = isfinite(a->val_loss) && isfinite(b->val_loss);
  const double ends[2] = {val ? a->val_loss : a->loss_last, val ? b->val_loss : b->loss_last};
  text out = {0};
  if (isfinite(ends[0]) && isfinite(ends[1]))
    text_format(&out, "%s of run %llu ends at %.4g, that of run %llu at %.4g. ",
                val ? "The validation loss" : "The training loss", (unsigned long long)c->rows[0].id, ends[0],
                (unsigned long long)c->rows[1].id, ends[1]);
  if (a->model_tokens_per_s > 0 && b->model_tokens_per_s > 0)
    text_format(&out, "The modelled step of run %llu has %.3g times the throughput of run %llu's.",
                (unsigned long long)c->rows[1].id, b->model_tokens_per_s / a->model_tokens_per_s,
                (unsigned long long)c->rows[0].id);
  html_words(c->page.out, "p class=\"lead\"", out.size ? text_get(&out) : "The runs have no figure in common yet.");
  text_free(&out);
}

// --- figures

typedef struct figure {
  const char *name;
  double values[2];
  const char *unit; // NULL: a loss, shown with decimals
} figure;

static void figure_row(comparison *c, const figure *f) {
  arena *a = c->page.memory;
  const char *cells[4] = {f->name, NULL, NULL, NULL};
  for (u32 i = 0; i < 2; i++)
    cells[1 + i] = f->unit ? report_si(a, f->values[i], f->unit) : report_real(a, f->values[i], 4);
  if (!cells[1] && !cells[2]) return;
  if (cells[1] && cells[2] && f->values[0] != 0)
    cells[3] = arena_format(a, "%+.1f %%", 100 * (f->values[1] / f->values[0] - 1));
  html_row(c->page.out, cells, 4);
}

static double count_value(i64 count) {
  return count < 0 ? NAN : (double)count;
}

static void figures_add(comparison *c) {
  const run_results *a = &c->rows[0].results, *b = &c->rows[1].results;
  const figure host[] = {{"training loss, last", {a->loss_last, b->loss_last}, NULL},
                         {"validation loss", {a->val_loss, b->val_loss}, NULL},
                         {"steps", {count_value(a->steps), count_value(b->steps)}, ""},
                         {"tokens trained", {count_value(a->tokens), count_value(b->tokens)}, ""},
                         {"host speed", {a->host_tokens_per_s, b->host_tokens_per_s}, "tokens/s"}};
  const figure model[] = {{"modelled throughput", {a->model_tokens_per_s, b->model_tokens_per_s}, "tokens/s"},
                          {"cycles of a step", {a->cycles_per_step, b->cycles_per_step}, ""},
                          {"time of a step", {a->step_s, b->step_s}, "s"},
                          {"utilization of the dense peak", {100 * a->utilization, 100 * b->utilization}, "%"},
                          {"energy of a step", {a->joules_per_step, b->joules_per_step}, "J"},
                          {"time to train", {a->time_to_train_s, b->time_to_train_s}, "s"},
                          {"microbatch", {count_value(a->microbatch), count_value(b->microbatch)}, ""},
                          {"PEs used", {count_value(a->pes_used), count_value(b->pes_used)}, ""},
                          {"wavelets", {count_value(a->wavelets), count_value(b->wavelets)}, ""},
                          {"MACs", {count_value(a->macs), count_value(b->macs)}, ""}};
  const char *const columns[] = {"figure", c->names[0], c->names[1], "change"};
  html_section(c->page.out, "Measured on the host", NULL);
  html_table(c->page.out, columns, 4);
  for (u32 i = 0; i < COUNT_OF(host); i++) figure_row(c, &host[i]);
  html_table_end(c->page.out);
  html_section_end(c->page.out);
  html_section(c->page.out, "Modelled", NULL);
  html_table(c->page.out, columns, 4);
  for (u32 i = 0; i < COUNT_OF(model); i++) figure_row(c, &model[i]);
  html_table_end(c->page.out);
  html_section_end(c->page.out);
}

// --- curves

static bool curves_add(comparison *c, status *st) {
  static const picture_ink inks[2] = {INK_BLUE, INK_RED};
  arena *a = c->page.memory;
  chart_series lines[6];
  chart_scale scale = SCALE_LINEAR;
  u32 n = 0;
  for (u32 i = 0; i < 2; i++) {
    report_series loss, val;
    const bool ok = report_series_read(&c->page, c->rows[i].id, "loss", &loss, st) &&
                    report_series_read(&c->page, c->rows[i].id, "val_loss", &val, st);
    if (!ok) return false;
    if (report_loss_scale(&loss) == SCALE_LOG10) scale = SCALE_LOG10;
    if (loss.finite) {
      const double *smooth = picture_chart_smooth(a, loss.y, loss.count, report_window(&loss));
      lines[n++] = (chart_series){NULL, loss.x, loss.y, loss.count, SERIES_THIN, inks[i]};
      lines[n++] = (chart_series){c->names[i], loss.x, smooth, loss.count, SERIES_LINE, inks[i]};
    }
    if (val.finite)
      lines[n++] = (chart_series){arena_format(a, "validation, run %llu", (unsigned long long)c->rows[i].id),
                                  val.x,
                                  val.y,
                                  val.count,
                                  SERIES_POINTS,
                                  inks[i]};
  }
  if (n == 0) return true;
  picture drawn;
  const chart shown = {.title = "Losses by step",
                       .x_label = "step",
                       .y_label = "nat per token",
                       .y_scale = scale,
                       .series = lines,
                       .count = n,
                       .w = 940,
                       .h = 360};
  picture_chart(&drawn, a, &shown);
  html_section(c->page.out, "Loss", NULL);
  html_picture(c->page.out, &drawn, NULL);
  html_section_end(c->page.out);
  return true;
}

// --- what differs

typedef struct param_list {
  const run_param *rows;
  u32 count;
} param_list;

static const char *value_of(const param_list *p, const char *key) {
  for (u32 i = 0; i < p->count; i++)
    if (strcmp(p->rows[i].key, key) == 0) return p->rows[i].value;
  return NULL;
}

static bool differs(const char *a, const char *b) {
  return !a || !b || strcmp(a, b) != 0;
}

static bool params_add(comparison *c, status *st) {
  param_list lists[2];
  u32 rows = 0;
  for (u32 i = 0; i < 2; i++)
    if (!run_db_params(c->page.db, c->rows[i].id, c->page.memory, &lists[i].rows, &lists[i].count, st)) return false;
  html_section(c->page.out, "Parameters that differ", NULL);
  html_table(c->page.out, (const char *const[]){"key", c->names[0], c->names[1]}, 3);
  for (u32 i = 0; i < 2; i++)
    for (u32 k = 0; k < lists[i].count; k++) {
      const char *key = lists[i].rows[k].key;
      const char *a = value_of(&lists[0], key), *b = value_of(&lists[1], key);
      if (!differs(a, b) || (i == 1 && a)) continue; // the second pass adds what only the second run has
      html_row(c->page.out, (const char *const[]){key, a, b}, 3);
      rows++;
    }
  html_table_end(c->page.out);
  if (rows == 0) html_words(c->page.out, "p", "None: both runs were told the same.");
  html_section_end(c->page.out);
  return true;
}

static void identity_add(comparison *c) {
  const run_facts *f = &c->rows[0].facts, *g = &c->rows[1].facts;
  arena *a = c->page.memory;
  const struct {
    const char *name;
    u64 hashes[2];
  } rows[] = {{"configuration", {f->config_hash, g->config_hash}},
              {"data", {f->data_hash, g->data_hash}},
              {"graph", {f->graph_hash, g->graph_hash}},
              {"machine", {f->machine_hash, g->machine_hash}},
              {"plan", {f->plan_hash, g->plan_hash}},
              {"program", {f->program_hash, g->program_hash}}};
  html_section(c->page.out, "Identity", "Equal hashes are equal things.");
  html_table(c->page.out, (const char *const[]){"hash of the", c->names[0], c->names[1], ""}, 4);
  for (u32 i = 0; i < COUNT_OF(rows); i++) {
    const u64 *h = rows[i].hashes;
    if (h[0] || h[1])
      html_row(c->page.out,
               (const char *const[]){rows[i].name, report_hash(a, h[0]), report_hash(a, h[1]),
                                     h[0] == h[1] ? "equal" : "different"},
               4);
  }
  html_table_end(c->page.out);
  html_section_end(c->page.out);
}

static bool comparison_write(comparison *c, status *st) {
  const char *title = arena_format(c->page.memory, "weft: %s against %s", c->names[1], c->names[0]);
  html_begin(c->page.out, title);
  html_words(c->page.out, "h1", title);
  say_verdict(c);
  if (!curves_add(c, st)) return false;
  figures_add(c);
  if (!params_add(c, st)) return false;
  identity_add(c);
  html_end(c->page.out);
  return true;
}

bool report_compare(const char *path, run_db *db, u64 run, u64 other, status *st) {
  text out = {0};
  comparison c = {.page = {.out = &out, .memory = arena_create("comparison"), .db = db}};
  const bool found =
      run_db_get(db, run, c.page.memory, &c.rows[0], st) && run_db_get(db, other, c.page.memory, &c.rows[1], st);
  for (u32 i = 0; found && i < 2; i++) c.names[i] = name_of(c.page.memory, &c.rows[i]);
  const bool ok = found && comparison_write(&c, st) && file_write(path, out.data, out.size, st);
  text_free(&out);
  arena_destroy(c.page.memory);
  return ok;
}

// The parts of a report that come from the run's row: verdict, key figures, loss, parameters, identity.
#include "runtime/report_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// --- verdict

static void say_losses(const report_page *p, text *out) {
  const run_results *r = &p->row.results;
  const bool diverged = p->row.state == RUN_DIVERGED;
  if (isfinite(r->loss_first) && isfinite(r->loss_last)) {
    text_format(out, "%s %.4g to %.4g", r->loss_last < r->loss_first ? "Loss fell from" : "Loss went from",
                r->loss_first, r->loss_last);
    if (r->steps >= 0) text_format(out, " over %s", report_count(p->memory, r->steps));
    if (r->steps >= 0) text_add(out, r->steps == 1 ? " step" : " steps");
    if (isfinite(r->val_loss)) text_format(out, " (validation %.4g)", r->val_loss);
    text_add(out, diverged ? " and then diverged. " : ". ");
  } else if (diverged) {
    text_add(out, "The loss diverged. ");
  }
  if (p->row.state == RUN_KILLED || p->row.state == RUN_FAILED || p->row.state == RUN_RUNNING)
    text_format(out, "The run %s. ",
                p->row.state == RUN_RUNNING  ? "is still going"
                : p->row.state == RUN_KILLED ? "was killed"
                                             : "failed");
}

static const char *machine_name(const report_page *p) {
  if (p->sim) return p->sim->machine.spec.preset;
  return p->row.facts.machine ? p->row.facts.machine : "the modelled machine";
}

static double known(double first, double second) {
  return isfinite(first) ? first : second;
}

static double modelled_rate(const report_page *p) {
  return known(p->sim ? p->sim->tokens_per_s : NAN, p->row.results.model_tokens_per_s);
}

static const char *bottleneck(const report_page *p) {
  if (p->sim && p->sim->bottleneck[0]) return p->sim->bottleneck;
  return p->row.results.bottleneck && p->row.results.bottleneck[0] ? p->row.results.bottleneck : NULL;
}

void report_verdict(report_page *p) {
  text out = {0};
  say_losses(p, &out);
  const double rate = modelled_rate(p);
  if (isfinite(rate)) {
    text_format(&out, "On %s the modelled step reaches %s", machine_name(p), report_si(p->memory, rate, "tokens/s"));
    const char *why = bottleneck(p); // up to its advice, which the section on the step repeats in full
    if (why) text_format(&out, "; %.*s", (int)strcspn(why, ";"), why);
    text_add(&out, ".");
  }
  html_words(p->out, "p class=\"lead\"", out.size ? text_get(&out) : "Nothing is recorded of this run yet.");
  if (p->row.why && p->row.why[0]) html_words(p->out, "p class=\"warn\"", p->row.why);
  text_free(&out);
}

// --- key figures

static void figures_host(report_page *p) {
  const run_results *r = &p->row.results;
  arena *a = p->memory;
  html_card(p->out, "host", "Measured on this host", "What really ran: the numbers of training.");
  html_figure(p->out, "training loss, first", report_real(a, r->loss_first, 4));
  html_figure(p->out, "training loss, last", report_real(a, r->loss_last, 4));
  html_figure(p->out, "validation loss", report_real(a, r->val_loss, 4));
  html_figure(p->out, "steps", report_count(a, r->steps));
  html_figure(p->out, "tokens trained", report_count(a, r->tokens));
  html_figure(p->out, "time taken", report_time(a, r->wall_s));
  html_figure(p->out, "host speed", report_si(a, r->host_tokens_per_s, "tokens/s"));
  html_figure(p->out, "threads", report_count(a, p->row.facts.threads));
  if (p->sim) html_figure(p->out, "time to simulate a step", report_time(a, p->sim->wall_s));
  html_card_end(p->out);
}

static void figures_model(report_page *p) {
  const run_results *r = &p->row.results;
  const step_sim *s = p->sim;
  arena *a = p->memory;
  const double train_s = s && s->time_to_train_s > 0 ? s->time_to_train_s : r->time_to_train_s;
  const double train_j = s && s->energy_to_train_j > 0 ? s->energy_to_train_j : r->energy_to_train_j;
  html_card(p->out, "model", arena_format(a, "Modelled on %s", machine_name(p)),
            "What the simulation says of the same step on a wafer.");
  html_figure(p->out, "throughput", report_si(a, modelled_rate(p), "tokens/s"));
  html_figure(p->out, "samples per second", report_si(a, s ? s->samples_per_s : r->samples_per_s, ""));
  html_figure(p->out, "time of a step", report_time(a, s ? s->step_s : r->step_s));
  html_figure(p->out, "cycles of a step", report_si(a, s ? s->result.cycles : r->cycles_per_step, ""));
  html_figure(p->out, "utilization of the dense peak", report_share(a, s ? s->utilization : r->utilization));
  html_figure(p->out, "MACs per cycle and PE",
              report_real(a, s ? s->mac_per_cycle_per_pe : r->mac_per_cycle_per_pe, 3));
  html_figure(p->out, "energy of a step", report_si(a, s ? s->joules_per_step : r->joules_per_step, "J"));
  if (train_s > 0) html_figure(p->out, "time to train", report_time(a, train_s));
  if (train_j > 0) html_figure(p->out, "energy to train", report_si(a, train_j, "J"));
  html_figure(p->out, "systems", report_count(a, s ? (i64)s->plan.systems : r->systems));
  html_figure(p->out, "PEs used", report_count(a, s ? (i64)s->result.pes_used : r->pes_used));
  html_figure(p->out, "fullest PE",
              report_bytes(a, s                        ? s->result.sram_peak_bytes
                              : r->sram_peak_bytes < 0 ? NAN
                                                       : (double)r->sram_peak_bytes));
  html_card_end(p->out);
  if (s && s->error_band[0]) html_words(p->out, "p class=\"note\"", s->error_band);
}

void report_figures(report_page *p) {
  text_add(p->out, "<div class=\"cards\">\n");
  if (isfinite(p->row.results.loss_first) || isfinite(p->row.results.host_tokens_per_s)) figures_host(p);
  if (isfinite(modelled_rate(p))) figures_model(p);
  text_add(p->out, "</div>\n");
}

// --- curves

bool report_series_read(report_page *p, u64 run, const char *key, report_series *ret, status *st) {
  const run_point *points = NULL;
  u32 count = 0;
  if (!run_db_series(p->db, run, key, p->memory, &points, &count, st)) return false;
  *ret = (report_series){
      .x = arena_array(p->memory, double, count + 1), .y = arena_array(p->memory, double, count + 1), .count = count};
  for (u32 i = 0; i < count; i++) {
    ret->x[i] = (double)points[i].step;
    ret->y[i] = points[i].value;
    ret->finite += isfinite(points[i].value) ? 1 : 0;
  }
  return true;
}

u32 report_window(const report_series *s) {
  return s->count / 30 > 5 ? s->count / 30 : 5;
}

static void small_chart(report_page *p, const report_series *s, const char *title, const char *label) {
  if (s->finite < 2) return;
  picture drawn;
  const chart_series line = {NULL, s->x, s->y, s->count, SERIES_LINE, INK_BLUE};
  const chart c = {
      .title = title, .x_label = "step", .y_label = label, .series = &line, .count = 1, .w = 470, .h = 220};
  picture_chart(&drawn, p->memory, &c);
  html_picture(p->out, &drawn, NULL);
}

// The loss may span decades; then only a logarithm shows its end.
chart_scale report_loss_scale(const report_series *s) {
  double low = INFINITY, high = -INFINITY;
  for (u32 i = 0; i < s->count; i++) {
    if (!isfinite(s->y[i])) continue;
    low = fmin(low, s->y[i]);
    high = fmax(high, s->y[i]);
  }
  return low > 0 && high > 12 * low ? SCALE_LOG10 : SCALE_LINEAR;
}

static void loss_chart(report_page *p, const report_series *loss, const report_series *val) {
  const u32 window = report_window(loss);
  const bool smooth = loss->count >= 20;
  chart_series lines[3];
  u32 n = 0;
  if (loss->count)
    lines[n++] =
        (chart_series){"training loss", loss->x, loss->y, loss->count, smooth ? SERIES_THIN : SERIES_LINE, INK_BLUE};
  if (smooth)
    lines[n++] = (chart_series){arena_format(p->memory, "smoothed over %u steps", window),
                                loss->x,
                                picture_chart_smooth(p->memory, loss->y, loss->count, window),
                                loss->count,
                                SERIES_LINE,
                                INK_BLUE};
  if (val->finite) lines[n++] = (chart_series){"validation loss", val->x, val->y, val->count, SERIES_POINTS, INK_RED};
  picture drawn;
  const chart c = {.title = "Loss by step",
                   .x_label = "step",
                   .y_label = "nat per token",
                   .y_scale = report_loss_scale(loss),
                   .series = lines,
                   .count = n,
                   .w = 940,
                   .h = 360};
  picture_chart(&drawn, p->memory, &c);
  html_picture(p->out, &drawn,
               loss->finite < loss->count ? "Where the line is broken, the loss was not finite." : NULL);
}

bool report_losses(report_page *p, status *st) {
  report_series loss, val, rate, norm;
  const bool ok =
      report_series_read(p, p->row.id, "loss", &loss, st) && report_series_read(p, p->row.id, "val_loss", &val, st) &&
      report_series_read(p, p->row.id, "lr", &rate, st) && report_series_read(p, p->row.id, "grad_norm", &norm, st);
  if (!ok) return false;
  if (loss.finite + val.finite == 0) return true;
  html_section(p->out, "Loss", NULL);
  loss_chart(p, &loss, &val);
  if (rate.finite > 1 || norm.finite > 1) {
    html_fold(p->out, "Learning rate and gradient norm");
    text_add(p->out, "<div class=\"cards\">\n");
    small_chart(p, &rate, "Learning rate by step", "base learning rate");
    small_chart(p, &norm, "Gradient norm by step", "gradient norm");
    text_add(p->out, "</div>\n");
    html_fold_end(p->out);
  }
  html_section_end(p->out);
  return true;
}

// --- parameters

static const char *source_of(const config *c, const char *key) {
  if (!c || !text_starts(key, "machine.") || !field_find(&machine_table, key + strlen("machine."))) return NULL;
  return config_note(c, key)->source;
}

bool report_parameters(report_page *p, status *st) {
  const run_param *params = NULL;
  u32 count = 0, chosen = 0;
  if (!run_db_params(p->db, p->row.id, p->memory, &params, &count, st)) return false;
  if (count == 0) return true;
  config notes;
  machine_spec spec;
  const bool has_notes = report_machine_notes(p, &notes, &spec);
  for (u32 i = 0; i < count; i++) chosen += params[i].origin && strcmp(params[i].origin, "default") != 0;
  html_section(p->out, "Parameters", "Every parameter, and who stated it.");
  html_fold(p->out, arena_format(p->memory, "%u parameters, %u of them not by default", count, chosen));
  const char *const columns[] = {"key", "value", "stated by", "source of the number"};
  html_table(p->out, columns, 4);
  for (u32 i = 0; i < count; i++)
    html_row(p->out,
             (const char *const[]){params[i].key, params[i].value, params[i].origin,
                                   source_of(has_notes ? &notes : NULL, params[i].key)},
             4);
  html_table_end(p->out);
  html_fold_end(p->out);
  html_section_end(p->out);
  return true;
}

// --- identity

static const char *when(arena *a, i64 ms) {
  char out[64];
  struct tm parts;
  const time_t seconds = (time_t)(ms / 1000);
  if (ms <= 0 || !gmtime_r(&seconds, &parts) || strftime(out, sizeof out, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
    return NULL;
  return arena_text(a, out);
}

const char *report_hash(arena *a, u64 hash) {
  return hash ? arena_format(a, "%016llx", (unsigned long long)hash) : NULL;
}

static bool artifacts_add(report_page *p, status *st) {
  const run_artifact *rows = NULL;
  u32 count = 0;
  if (!run_db_artifacts(p->db, p->row.id, p->memory, &rows, &count, st)) return false;
  for (u32 i = 0; i < count; i++)
    html_fact(p->out, rows[i].kind,
              arena_format(p->memory, "%s (%s)", rows[i].path, report_bytes(p->memory, (double)rows[i].bytes)));
  return true;
}

bool report_identity(report_page *p, status *st) {
  const run_row *r = &p->row;
  const run_facts *f = &r->facts;
  arena *a = p->memory;
  html_section(p->out, "Identity", "Equal hashes are equal things; the configuration and the seed replay the run.");
  html_table(p->out, NULL, 2);
  html_fact(p->out, "run", arena_format(a, "%llu (%s)", (unsigned long long)r->id, r->uid ? r->uid : ""));
  html_fact(p->out, "state", run_state_name(r->state));
  html_fact(p->out, "name", f->name);
  html_fact(p->out, "command", f->command);
  html_fact(p->out, "experiment", f->experiment);
  html_fact(p->out, "seed", arena_format(a, "%llu", (unsigned long long)f->seed));
  html_fact(p->out, "weft", f->weft_version);
  html_fact(p->out, "engine", r->results.engine);
  html_fact(p->out, "host", r->host);
  html_fact(p->out, "started", when(a, f->created_ms));
  html_fact(p->out, "ended", when(a, r->ended_ms));
  html_fact(p->out, "data", f->data);
  html_fact(p->out, "hash of the data", report_hash(a, f->data_hash));
  html_fact(p->out, "hash of the configuration", report_hash(a, f->config_hash));
  html_fact(p->out, "hash of the graph", report_hash(a, f->graph_hash));
  html_fact(p->out, "hash of the machine", report_hash(a, f->machine_hash));
  html_fact(p->out, "hash of the plan", report_hash(a, f->plan_hash));
  html_fact(p->out, "hash of the program", report_hash(a, f->program_hash));
  if (!artifacts_add(p, st)) return false;
  html_table_end(p->out);
  if (f->config && f->config[0]) {
    html_fold(p->out, "The configuration that replays the run");
    html_words(p->out, "pre", f->config);
    html_fold_end(p->out);
  }
  html_section_end(p->out);
  return true;
}

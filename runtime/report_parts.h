// What the parts of a report share, and the parts. A value that is not known is NULL and its line is
// left out.
#pragma once

#include "runtime/report.h"
#include "runtime/picture_chart.h"
#include "runtime/report_html.h"

typedef struct report_page {
  text *out;
  arena *memory;
  run_db *db;
  run_row row;
  const step_sim *sim; // NULL: none
} report_page;

// Numbers as words; NULL where not finite or, for counts, negative.
const char *report_si(arena *a, double value, const char *unit);
const char *report_real(arena *a, double value, int decimals);
const char *report_share(arena *a, double value); // "12.3 %"
const char *report_time(arena *a, double seconds);
const char *report_bytes(arena *a, double bytes);
const char *report_count(arena *a, i64 count);
const char *report_hash(arena *a, u64 hash); // NULL where 0

typedef struct report_series {
  double *x, *y;
  u32 count, finite; // finite: values that are
} report_series;
bool report_series_read(report_page *p, u64 run, const char *key, report_series *ret, status *st);
u32 report_window(const report_series *s); // over which a curve is smoothed
chart_scale report_loss_scale(const report_series *s);

// report_run.c: what the run said and did
void report_verdict(report_page *p);
void report_figures(report_page *p);
bool report_losses(report_page *p, status *st);
bool report_parameters(report_page *p, status *st);
bool report_identity(report_page *p, status *st);

// report_model.c: what the modelled machine did
void report_step(report_page *p);   // cycles and timeline
void report_layout(report_page *p); // wafer, plan decisions, memory
void report_sensitivity(report_page *p);
void report_assumptions(report_page *p);
// The machine's preset with its sources; false (and nothing known) where there is none of the name.
bool report_machine_notes(const report_page *p, config *ret_config, machine_spec *ret_spec);

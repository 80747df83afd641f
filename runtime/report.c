// The order of a report and how it lands on disk.
#include "runtime/report_parts.h"
#include "base/file.h"

#include <math.h>

const char *report_si(arena *a, double value, const char *unit) {
  char out[64];
  return isfinite(value) ? arena_format(a, "%s", text_si(value, unit, out, sizeof out)) : NULL;
}

const char *report_real(arena *a, double value, int decimals) {
  return isfinite(value) ? arena_format(a, "%.*f", decimals, value) : NULL;
}

const char *report_share(arena *a, double value) {
  return isfinite(value) ? arena_format(a, "%.1f %%", 100 * value) : NULL;
}

const char *report_time(arena *a, double seconds) {
  char out[64];
  return isfinite(seconds) ? arena_text(a, text_duration(seconds, out, sizeof out)) : NULL;
}

const char *report_bytes(arena *a, double bytes) {
  char out[64];
  return isfinite(bytes) ? arena_text(a, text_bytes(bytes, out, sizeof out)) : NULL;
}

const char *report_count(arena *a, i64 count) {
  return count < 0 ? NULL : picture_count(a, (u64)count);
}

static bool page_write(report_page *p, status *st) {
  const run_facts *f = &p->row.facts;
  const char *name = f->name && f->name[0] ? f->name : f->command ? f->command : "run";
  const char *title = arena_format(p->memory, "weft run %llu: %s", (unsigned long long)p->row.id, name);
  html_begin(p->out, title);
  html_words(p->out, "h1", title);
  report_verdict(p);
  report_figures(p);
  if (!report_losses(p, st)) return false;
  if (p->sim) {
    report_step(p);
    report_layout(p);
    report_sensitivity(p);
  }
  report_assumptions(p);
  if (!report_parameters(p, st) || !report_identity(p, st)) return false;
  html_end(p->out);
  return true;
}

bool report_write(const char *path, run_db *db, u64 run, const step_sim *sim, status *st) {
  text out = {0};
  report_page page = {.out = &out, .memory = arena_create("report"), .db = db, .sim = sim};
  const bool ok = run_db_get(db, run, page.memory, &page.row, st) && page_write(&page, st) &&
                  file_write(path, out.data, out.size, st);
  text_free(&out);
  arena_destroy(page.memory);
  return ok;
}

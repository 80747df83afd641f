// Pages of studies.
#include "runtime/study_page.h"

#include "base/file.h"

#include <math.h>
#include <sys/stat.h>

void study_page_begin(study *s, const char *title) {
  html_begin(&s->page, title);
  html_words(&s->page, "p class=\"lead\"", s->verdict);
  html_words(&s->page, "h1", title);
}

void study_page_end(study *s) {
  study_page_facts(s);
  html_end(&s->page);
}

static bool keep(study *s, const picture *p, const char *path, status *st) {
  struct stat info;
  if (!picture_save(p, path, st)) return false;
  const u64 bytes = stat(path, &info) == 0 ? (u64)info.st_size : 0;
  return run_db_add_artifact(s->db, s->summary, &(run_artifact){.kind = "picture", .path = path, .bytes = bytes}, st);
}

bool study_chart(study *s, const char *name, const chart *c, const char *caption, status *st) {
  picture *p = arena_array(s->memory, picture, 1);
  picture_chart(p, s->memory, c);
  html_picture(&s->page, p, caption);
  picture *titled = arena_array(s->memory, picture, 1);
  chart with_title = *c;
  with_title.draw_title = true;
  picture_chart(titled, s->memory, &with_title);
  return keep(s, titled, arena_format(s->memory, "%s/%s.svg", s->folder, name), st) &&
         keep(s, titled, arena_format(s->memory, "%s/%s.png", s->folder, name), st);
}

const char *study_spread_words(arena *a, double mean, double sd, u32 count) {
  if (!isfinite(mean)) return NULL;
  if (count < 2) return arena_format(a, "%.2f (one seed)", mean);
  return arena_format(a, "%.2f \u00b1 %.2f", mean, sd);
}

const char *study_number(arena *a, double value, int digits) {
  return isfinite(value) ? arena_format(a, "%.*g", digits, value) : NULL;
}

void study_page_facts(study *s) {
  char wall[64];
  text yaml = {0};
  run_spec_print(s->base, false, &yaml);
  html_section(&s->page, "What was stated", NULL);
  html_table(&s->page, NULL, 2);
  html_fact(&s->page, "experiment in the database", s->experiment);
  html_fact(&s->page, "data", s->has_data ? run_data_name(s->base) : "none: see above");
  html_fact(&s->page, "time on this host", text_duration(clock_seconds() - s->start_s, wall, sizeof wall));
  html_table_end(&s->page);
  html_fold(&s->page, "the whole statement, as YAML that repeats the study");
  html_words(&s->page, "pre", text_get(&yaml));
  html_fold_end(&s->page);
  html_section_end(&s->page);
  text_free(&yaml);
}

// weft validate: published measurements, our numbers for them, and the errors.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/parity.h"
#include "runtime/validation.h"

#include <math.h>

// `measured` and `ours` are those of the worst point; all points are beside them.
static json_t *fabric_json(const fabric_row *r) {
  const fabric_facts *f = r->facts;
  json_t *row =
      json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "id", f->id, "workload", f->workload, "machine", f->machine,
                "unit", f->unit, "class", f->class, "source", f->source, "measured", output_real(f->measured[r->worst]),
                "ours", output_real(r->ours[r->worst]), "error", output_real(r->error));
  json_t *points = json_array();
  for (u32 i = 0; i < f->count; i++)
    json_array_append_new(points, json_pack("{s:f,s:o,s:o}", "at", f->at[i], "measured", output_real(f->measured[i]),
                                            "ours", output_real(r->ours[i])));
  json_object_set_new(row, "points", points);
  json_object_set_new(row, "gate", f->calibrates ? json_null() : output_real(f->gate));
  json_object_set_new(row, "pass", f->calibrates ? json_null() : json_boolean(r->pass));
  json_object_set_new(row, "note", f->note ? json_string(f->note) : json_null());
  return row;
}

static void print_json(const validation *v) {
  json_t *list = json_array();
  for (u32 i = 0; i < v->fabric_count; i++) json_array_append_new(list, fabric_json(&v->fabric[i]));
  for (u32 i = 0; i < v->count; i++) {
    const validation_row *r = &v->rows[i];
    json_t *row =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:f,s:o,s:o,s:s}", "id", r->id, "workload", r->workload, "machine",
                  r->machine, "unit", r->unit, "class", r->class, "variant", r->variant, "measured", r->measured,
                  "ours", output_real(r->ours), "error", output_real(r->error), "source", r->source);
    json_object_set_new(row, "gate", r->gated ? output_real(r->gate) : json_null());
    json_object_set_new(row, "pass", r->gated ? json_boolean(r->pass) : json_null());
    json_object_set_new(row, "axpy_issue_cycles_fitted", output_real(r->fitted));
    json_object_set_new(row, "bound", json_string(r->bound));
    json_object_set_new(row, "breakdown", json_string(r->breakdown));
    json_array_append_new(list, row);
  }
  json_t *document = output_document("validate");
  json_object_set_new(document, "rows", list);
  json_object_set_new(document, "median_abs_error", output_real(validation_fabric_median(v->fabric, v->fabric_count)));
  output_json(document);
}

static void print_table(const validation_row *rows, u32 count) {
  output_format("%-4s %-34s %-38s %9s %9s %8s\n", "row", "workload", "variant", "measured", "ours", "error");
  for (u32 i = 0; i < count; i++) {
    const validation_row *r = &rows[i];
    if (isfinite(r->ours))
      output_format("%-4s %-34s %-38.38s %9.4g %9.4g %+7.1f%%%s\n", r->id, r->workload, r->variant, r->measured,
                    r->ours, 100 * r->error,
                    !r->gated ? ""
                    : r->pass ? "  within its gate"
                              : "  MISS");
    else
      output_format("%-4s %-34s %-38.38s %9.4g %9s %8s\n", r->id, r->workload, r->variant, r->measured, "-", r->bound);
  }
}

static void print_tables(const validation *v) {
  text page = {0};
  if (v->fabric_count) validation_fabric_table(v->fabric, v->fabric_count, &page);
  output_text(text_get(&page));
  text_free(&page);
  if (v->fabric_count && v->count) output_text("\n");
  if (v->count) print_table(v->rows, v->count);
}

static void print_page(const validation *v) {
  text page = {0};
  validation_markdown(v, &page);
  output_text(text_get(&page));
  text_free(&page);
}

static bool judge(const validation *v, status *st) {
  u32 gated = 0, missed = 0;
  for (u32 i = 0; i < v->fabric_count; i++) {
    gated += !v->fabric[i].facts->calibrates;
    missed += !v->fabric[i].facts->calibrates && !v->fabric[i].pass;
  }
  for (u32 i = 0; i < v->count; i++) {
    gated += v->rows[i].gated;
    missed += v->rows[i].gated && !v->rows[i].pass;
  }
  return !missed ||
         status_fail(st, CODE_CHECK, "%u of %u rows miss their gate; docs/VALIDATION.md says what is known about why",
                     missed, gated);
}

static bool run_parity(const command_call *c, status *st) {
  parity p;
  if (!parity_run(false, c->memory, &p, st)) return false;
  text page = {0};
  if (command_flag(c, "markdown"))
    parity_markdown(&p, c->memory, &page);
  else
    parity_table(&p, &page);
  output_text(text_get(&page));
  text_free(&page);
  return true;
}

// One row, or everything.
static bool run(const command_call *c, status *st) {
  if (command_flag(c, "parity")) return run_parity(c, st);
  validation v = {.count = 0};
  const char *only = command_value(c, "row");
  if (!validation_fabric_run(only, c->memory, &v.fabric, &v.fabric_count, st)) return false;
  if (!v.fabric_count || !only)
    if (!validation_run(only, c->memory, &v.rows, &v.count, st)) return false;
  if (!v.fabric_count && !v.count)
    return status_fail(st, CODE_USAGE, "--row: the rows are V1 to V24, not \"%.20s\"", only);
  if (command_flag(c, "markdown")) {
    print_page(&v);
    return true;
  }
  if (command_flag(c, "json"))
    print_json(&v);
  else
    print_tables(&v);
  return judge(&v, st);
}

static const command_option options[] = {
    {"markdown", NULL, "print docs/VALIDATION.md", NULL},
    {"parity", NULL, "both engines on small models, phase by phase (with --markdown: docs/PARITY.md)", NULL},
    {"row", "ID", "only this row: V1 to V24", NULL},
};

const command cmd_validate = {
    .name = "validate",
    .sentence = "published measurements beside what weft models for them",
    .examples = {{"weft validate", "every row that runs: measured, ours, error"},
                 {"weft validate --markdown > docs/VALIDATION.md", "the page in docs"}},
    .details = "V14 and V15 multiply large matrices value by value and take a minute or two; --row leaves them out.\n"
               "Exit code 1 when a row misses its gate: that is a result, not a fault of the program.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_JSON,
    .arguments_max = 0,
    .run = run,
};

// weft validate: published measurements, our numbers for them, and the errors.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/validation.h"

#include <math.h>

static void print_json(const validation_row *rows, u32 count) {
  json_t *list = json_array();
  for (u32 i = 0; i < count; i++) {
    const validation_row *r = &rows[i];
    json_t *row =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:f,s:o,s:o,s:s}", "id", r->id, "workload", r->workload, "machine",
                  r->machine, "unit", r->unit, "class", r->class, "variant", r->variant, "measured", r->measured,
                  "ours", output_real(r->ours), "error", output_real(r->error), "source", r->source);
    json_object_set_new(row, "gate", r->gated ? output_real(r->gate) : json_null());
    json_object_set_new(row, "pass", r->gated ? json_boolean(r->pass) : json_null());
    json_object_set_new(row, "bound", json_string(r->bound));
    json_object_set_new(row, "breakdown", json_string(r->breakdown));
    json_array_append_new(list, row);
  }
  const char *const *lines;
  json_t *missing = json_array();
  for (u32 i = 0, n = validation_missing(&lines); i < n; i++) json_array_append_new(missing, json_string(lines[i]));
  json_t *document = output_document("validate");
  json_object_set_new(document, "rows", list);
  json_object_set_new(document, "not_run", missing);
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
  const char *const *lines;
  for (u32 i = 0, n = validation_missing(&lines); i < n; i++) output_format("not run: %s\n", lines[i]);
}

static bool run(const command_call *c, status *st) {
  const validation_row *rows;
  u32 count;
  if (!validation_run(c->memory, &rows, &count, st)) return false;
  if (command_flag(c, "markdown")) {
    text page = {0};
    validation_markdown(rows, count, &page);
    output_text(text_get(&page));
    text_free(&page);
    return true;
  }
  if (command_flag(c, "json"))
    print_json(rows, count);
  else
    print_table(rows, count);
  u32 gated = 0, missed = 0;
  for (u32 i = 0; i < count; i++) {
    gated += rows[i].gated;
    missed += rows[i].gated && !rows[i].pass;
  }
  return !missed ||
         status_fail(st, CODE_CHECK, "%u of %u rows miss their gate; docs/VALIDATION.md says what is known about why",
                     missed, gated);
}

static const command_option options[] = {
    {"markdown", NULL, "print docs/VALIDATION.md", NULL},
};

const command cmd_validate = {
    .name = "validate",
    .sentence = "published measurements beside what weft models for them",
    .examples = {{"weft validate", "every row that runs: measured, ours, error"},
                 {"weft validate --markdown > docs/VALIDATION.md", "the page in docs"}},
    .details = "Exit code 1 when a row misses its gate: that is a result, not a fault of the program.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_JSON,
    .arguments_max = 0,
    .run = run,
};

// weft report: the page of a run, or of two side by side, made anew from the database.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/report.h"
#include "base/log.h"

#include <string.h>

// The modelled step of a run again, from the configuration in its row. A row whose configuration this
// version does not read any more still has its page, without layout and timeline.
static const step_sim *model_again(const run_row *row, arena *a) {
  if (!row->facts.config) return NULL;
  status unread = {0};
  run_spec *r = arena_array(a, run_spec, 1);
  step_sim *s = arena_array(a, step_sim, 1);
  run_spec_init(r, a);
  const bool ok =
      config_read(&r->config, "the run's row", row->facts.config, strlen(row->facts.config), "", LEVEL_FILE, &unread) &&
      run_spec_presets(r, &unread) && step_sim_run(r, true, a, s, &unread);
  if (!ok) log_say(LOG_WARN, "the modelled step is left out: %s", unread.text);
  return ok ? s : NULL;
}

static bool write_page(const command_call *c, run_db *db, const char **ret_path, status *st) {
  u64 run, other;
  if (!run_db_find(db, command_argument(c, 0), &run, st)) return false;
  const char *stated = command_value(c, "to");
  if (command_argument(c, 1)) {
    if (!run_db_find(db, command_argument(c, 1), &other, st)) return false;
    *ret_path =
        stated ? stated
               : arena_format(c->memory, "report-%llu-%llu.html", (unsigned long long)run, (unsigned long long)other);
    return report_compare(*ret_path, db, run, other, st);
  }
  run_row row;
  if (!run_db_get(db, run, c->memory, &row, st)) return false;
  *ret_path = stated ? stated : arena_format(c->memory, "report-%llu.html", (unsigned long long)run);
  return report_write(*ret_path, db, run, model_again(&row, c->memory), st);
}

static bool run(const command_call *c, status *st) {
  if (c->argument_count == 0)
    return status_fail(st, CODE_USAGE, "weft report RUN [RUN]: which run? an id, \"last\" or a name");
  run_db *db = run_db_open_read(command_db(c), st);
  if (!db) return false;
  const char *path = NULL;
  const bool ok = write_page(c, db, &path, st);
  if (!run_db_close(db, st) || !ok) return false;
  if (command_flag(c, "json")) {
    json_t *document = output_document("report");
    json_object_set_new(document, "report", output_words(path, strlen(path)));
    output_json(document);
  } else {
    output_format("report  %s\n", path);
  }
  return true;
}

static const command_option options[] = {
    {"to", "FILE.html", "where to write (default: report-RUN.html here)", NULL},
};

const command cmd_report = {
    .name = "report",
    .arguments = "RUN [RUN]",
    .sentence = "the page of a run, or of two side by side",
    .examples = {{"weft report last", "the newest run as one self-contained page"},
                 {"weft report 1 2 --to compare.html", "what differs between two runs, and their curves in one chart"}},
    .details = "RUN is an id, \"last\", a name, or the first letters of a uid.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_DB | COMMAND_JSON,
    .arguments_max = 2,
    .run = run,
};

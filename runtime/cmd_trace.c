// weft trace: what is in a trace, without a browser, and the ways out of it.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "traces/trace_walk.h"

#include <string.h>

static json_t *info_json(const char *path, const trace_info *i) {
  json_t *d = output_document("trace");
  json_object_set_new(d, "file", output_words(path, strlen(path)));
  json_object_set_new(d, "packets", json_integer((json_int_t)i->packets));
  json_object_set_new(d, "tracks", json_integer((json_int_t)i->tracks));
  json_object_set_new(d, "slices", json_integer((json_int_t)i->slices));
  json_object_set_new(d, "counters", json_integer((json_int_t)i->counters));
  json_object_set_new(d, "counter_values", json_integer((json_int_t)i->counter_values));
  json_object_set_new(d, "first_ns", json_integer((json_int_t)i->first_ns));
  json_object_set_new(d, "last_ns", json_integer((json_int_t)i->last_ns));
  json_object_set_new(d, "truncated", json_boolean(i->truncated));
  json_object_set_new(d, "budget_cut", json_boolean(i->budget_cut));
  return d;
}

static bool info(const command_call *c, const char *path, status *st) {
  trace_info i;
  if (!trace_inspect(path, &i, st)) return false;
  char length[32];
  if (command_flag(c, "json"))
    output_json(info_json(path, &i));
  else
    output_format("%s: %llu tracks, %llu slices, %llu values of %llu counters over %s%s\n", path,
                  (unsigned long long)i.tracks, (unsigned long long)i.slices, (unsigned long long)i.counter_values,
                  (unsigned long long)i.counters,
                  text_si((double)(i.last_ns - i.first_ns) * 1e-9, "s", length, sizeof length),
                  i.budget_cut ? "; cut at its budget" : "");
  return !i.truncated ||
         status_fail(st, CODE_CHECK, "%s is truncated: it has no summary, or counts that differ from it", path);
}

static bool top(const command_call *c, const char *path, status *st) {
  const trace_total *rows;
  u32 count;
  double limit = 20;
  if (!command_number(c, "limit", (command_range){1, 1e9, true}, &limit, st)) return false;
  if (!trace_totals(path, c->memory, &rows, &count, st)) return false;
  json_t *list = json_array();
  const bool as_json = command_flag(c, "json");
  if (!as_json) output_format("%12s %8s %12s  %s\n", "total", "count", "longest", "track and slice");
  for (u32 i = 0; i < count && i < limit; i++) {
    char total[32], longest[32];
    if (!as_json)
      output_format("%12s %8llu %12s  %s  %s\n", text_si(rows[i].total_ns * 1e-9, "s", total, sizeof total),
                    (unsigned long long)rows[i].count, text_si(rows[i].longest_ns * 1e-9, "s", longest, sizeof longest),
                    rows[i].track, rows[i].name);
    json_array_append_new(
        list, json_pack("{s:o,s:o,s:I,s:f,s:f}", "track", output_words(rows[i].track, strlen(rows[i].track)), "name",
                        output_words(rows[i].name, strlen(rows[i].name)), "count", (json_int_t)rows[i].count,
                        "total_ns", rows[i].total_ns, "longest_ns", rows[i].longest_ns));
  }
  if (!as_json) {
    json_decref(list);
    return true;
  }
  json_t *d = output_document("trace");
  json_object_set_new(d, "totals", list);
  output_json(d);
  return true;
}

// Every event as a line of CSV, for spreadsheets and pandas.
static void say_event(void *user, const trace_event *e) {
  (void)user;
  static const char *const kinds[] = {"begin", "end", "instant", "value"};
  output_format("%s,%llu,%lld,\"", kinds[e->kind], (unsigned long long)e->track, (long long)e->at_ns);
  for (const char *s = e->name; *s; s++) {
    output_bytes(s, 1);
    if (*s == '"') output_bytes(s, 1); // quoted by doubling
  }
  output_format("\",%.17g\n", e->kind == TRACE_EVENT_VALUE ? e->value : 0.0);
}

static bool export_csv(const command_call *c, const char *path, status *st) {
  output_text("kind,track,at_ns,name,value\n");
  trace_info i;
  return trace_walk(path, &(trace_walker){.event = say_event}, c->memory, &i, st);
}

enum { INFO, TOP, EXPORT };
static const char *const words[] = {"info", "top", "export"};

static bool run(const command_call *c, status *st) {
  u32 word;
  if (!command_word(c, words, COUNT_OF(words), &word, st)) return false;
  const char *path = command_argument(c, 1);
  if (!path) return status_fail(st, CODE_USAGE, "weft trace %s FILE.pftrace: which trace?", words[word]);
  return word == INFO ? info(c, path, st) : word == TOP ? top(c, path, st) : export_csv(c, path, st);
}

static const command_option options[] = {
    {"limit", "N", "top: only the first N rows (default 20)", NULL},
};

const command cmd_trace = {
    .name = "trace",
    .arguments = "info FILE | top FILE | export FILE",
    .sentence = "what is in a trace, without a browser",
    .examples = {{"weft trace info weft-runs/1/step.pftrace", "counts, length, and whether the file is whole"},
                 {"weft trace top weft-runs/1/step.pftrace", "where the time goes, by track and slice"}},
    .details =
        "  info    counts and length; exit code 1 when the file is truncated\n  top     total time by track and slice\n"
        "  export  every event as CSV\nPerfetto's page opens the same file.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_JSON,
    .arguments_max = 2,
    .run = run,
};

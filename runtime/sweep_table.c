// Matching points with rows, and showing them.
#include "runtime/sweep_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *point_state_name(point_state s) {
  static const char *const names[POINT_STATES] = {"pending", "failed", "killed", "running", "diverged", "finished"};
  require((u32)s < POINT_STATES);
  return names[s];
}

void sweep_table_init(sweep_table *t, const sweep *s, arena *a) {
  *t = (sweep_table){.sweep = s, .rows = arena_array(a, sweep_row, s->count + 1)};
  t->count[POINT_NONE] = s->count;
}

static point_state state_of(run_state s) {
  static const point_state states[] = {POINT_RUNNING, POINT_FINISHED, POINT_FAILED, POINT_KILLED, POINT_DIVERGED};
  require((u32)s < COUNT_OF(states));
  return states[s];
}

static int by_hash(const void *x, const void *y) {
  const run_row *a = *(const run_row *const *)x, *b = *(const run_row *const *)y;
  if (a->facts.config_hash != b->facts.config_hash) return a->facts.config_hash < b->facts.config_hash ? -1 : 1;
  return a->id > b->id ? -1 : a->id < b->id; // newest first
}

// First row of the hash in the sorted list; count where there is none.
static u32 lower_bound(const run_row *const *sorted, u32 count, u64 hash) {
  u32 low = 0;
  while (count) {
    const u32 half = count / 2;
    if (sorted[low + half]->facts.config_hash < hash) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

bool sweep_table_read(sweep_table *t, run_db *db, const char *db_path, arena *a, status *st) {
  const sweep *s = t->sweep;
  const run_filter filter = {.experiment = s->spec.name};
  const run_row *runs;
  u32 run_count, count = 0;
  if (!run_db_list(db, &filter, a, &runs, &run_count, st)) return false;
  const run_row **sorted = arena_array(a, const run_row *, run_count + 1);
  const char *command = sweep_command_name(s->spec.command);
  for (u32 i = 0; i < run_count; i++) {
    if (runs[i].facts.command && strcmp(runs[i].facts.command, command) == 0) sorted[count++] = &runs[i];
  }
  qsort(sorted, count, sizeof *sorted, by_hash);
  for (u32 i = 0; i < s->count; i++) {
    const u64 hash = s->points[i].hash;
    for (u32 k = lower_bound(sorted, count, hash); k < count && sorted[k]->facts.config_hash == hash; k++) {
      const point_state state = state_of(sorted[k]->state);
      if (state <= t->rows[i].state) continue;
      t->count[t->rows[i].state]--;
      t->count[state]++;
      t->rows[i] = (sweep_row){state, sorted[k], db_path};
    }
  }
  return true;
}

// ---- results

static double result_of(const sweep_table *t, const sweep_row *r) {
  if (r->state != POINT_FINISHED) return NAN;
  return t->sweep->spec.command == SWEEP_TRAIN ? r->run->results.val_loss : -r->run->results.model_tokens_per_s;
}

i64 sweep_table_best(const sweep_table *t) {
  i64 best = -1;
  double lowest = INFINITY;
  for (u32 i = 0; i < t->sweep->count; i++) {
    const double value = result_of(t, &t->rows[i]);
    if (!(value < lowest)) continue;
    lowest = value;
    best = i;
  }
  return best;
}

// ---- printed

static const char *real_word(double value, const char *format, char *out, size_t room) {
  if (!isfinite(value)) return "-";
  if (strcmp(format, "si") == 0) return text_si(value, "", out, room);
  if (strcmp(format, "percent") == 0)
    snprintf(out, room, "%.2f%%", 100 * value);
  else
    snprintf(out, room, "%.4f", value);
  return out;
}

typedef struct column {
  const char *name, *format;
  size_t offset; // in run_results
} column;

static const column train_columns[] = {
    {"loss", "loss", offsetof(run_results, loss_last)},
    {"val_loss", "loss", offsetof(run_results, val_loss)},
    {"host tok/s", "si", offsetof(run_results, host_tokens_per_s)},
    {"modelled tok/s", "si", offsetof(run_results, model_tokens_per_s)},
};
static const column simulate_columns[] = {
    {"modelled tok/s", "si", offsetof(run_results, model_tokens_per_s)},
    {"step s", "si", offsetof(run_results, step_s)},
    {"utilization", "percent", offsetof(run_results, utilization)},
    {"J/step", "si", offsetof(run_results, joules_per_step)},
};
enum { COLUMNS = 4 };

static const column *columns_of(const sweep_table *t) {
  return t->sweep->spec.command == SWEEP_TRAIN ? train_columns : simulate_columns;
}

static double column_value(const column *c, const run_results *r) {
  double value;
  memcpy(&value, (const char *)r + c->offset, sizeof value);
  return value;
}

// Of an axis' column: its key and its words fit, up to a bound.
static int axis_width(const sweep_table *t, u32 axis) {
  size_t width = strlen(sweep_axis_key(t->sweep, axis));
  for (u32 i = 0; i < t->sweep->count; i++) {
    const size_t n = strlen(sweep_axis_value(t->sweep, &t->sweep->points[i], axis));
    if (n > width) width = n;
  }
  return width < 40 ? (int)width : 40;
}

static void print_head(const sweep_table *t, const int *widths) {
  output_format("%5s ", "run");
  for (u32 i = 0; i < sweep_axis_count(t->sweep); i++) {
    output_format(" %-*s", widths[i], sweep_axis_key(t->sweep, i));
  }
  output_format("  %-9s", "state");
  if (t->sweep->spec.command == SWEEP_TRAIN) output_format(" %9s", "steps");
  for (u32 i = 0; i < COLUMNS; i++) output_format(" %14s", columns_of(t)[i].name);
  output_text("\n");
}

static void print_row(const sweep_table *t, u32 at, const int *widths) {
  const sweep_row *r = &t->rows[at];
  char words[64];
  snprintf(words, sizeof words, "%llu", r->run ? (unsigned long long)r->run->id : 0ull);
  output_format("%5s ", r->run ? words : "-");
  for (u32 i = 0; i < sweep_axis_count(t->sweep); i++) {
    output_format(" %-*s", widths[i], sweep_axis_value(t->sweep, &t->sweep->points[at], i));
  }
  output_format("  %-9s", point_state_name(r->state));
  const bool stepped = r->run && r->run->results.steps >= 0;
  snprintf(words, sizeof words, "%lld", stepped ? (long long)r->run->results.steps : 0ll);
  if (t->sweep->spec.command == SWEEP_TRAIN) output_format(" %9s", stepped ? words : "-");
  for (u32 i = 0; i < COLUMNS; i++) {
    const column *c = &columns_of(t)[i];
    output_format(" %14s", r->run ? real_word(column_value(c, &r->run->results), c->format, words, sizeof words) : "-");
  }
  if (r->state == POINT_FAILED && r->run->why) output_format("  %s", r->run->why);
  output_text("\n");
}

static void print_best(const sweep_table *t) {
  const i64 best = sweep_table_best(t);
  if (best < 0) return;
  char words[64];
  const run_row *run = t->rows[best].run;
  output_text("best: ");
  for (u32 i = 0; i < sweep_axis_count(t->sweep); i++) {
    output_format("%s%s=%s", i ? " " : "", sweep_axis_key(t->sweep, i),
                  sweep_axis_value(t->sweep, &t->sweep->points[best], i));
  }
  if (t->sweep->spec.command == SWEEP_TRAIN)
    output_format(", validation loss %.4f", run->results.val_loss);
  else
    output_format(", modelled %s", text_si(run->results.model_tokens_per_s, "tokens/s", words, sizeof words));
  output_format(" (run %llu)\n", (unsigned long long)run->id);
}

void sweep_table_print(const sweep_table *t, u32 rows_max) {
  const u32 count = t->sweep->count;
  int widths[SWEEP_KEYS_MAX];
  for (u32 i = 0; i < sweep_axis_count(t->sweep); i++) widths[i] = axis_width(t, i);
  print_head(t, widths);
  for (u32 i = 0; i < count && i < rows_max; i++) print_row(t, i, widths);
  if (count > rows_max) output_format("... and %u more; weft sweep status shows all\n", count - rows_max);
  output_format("sweep %s: %u points", t->sweep->spec.name, count);
  for (u32 i = POINT_STATES; i-- > 0;) {
    if (t->count[i]) output_format(", %u %s", t->count[i], point_state_name((point_state)i));
  }
  output_text("\n");
  print_best(t);
}

// ---- JSON

static json_t *words_or_null(const char *words) {
  return words ? output_words(words, strlen(words)) : json_null();
}

static json_t *row_json(const sweep_table *t, u32 at) {
  const sweep_point *p = &t->sweep->points[at];
  const sweep_row *r = &t->rows[at];
  char hash[17];
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)p->hash);
  json_t *row = json_pack("{s:I,s:s,s:s}", "point", (json_int_t)p->index, "config_hash", hash, "state",
                          point_state_name(r->state));
  json_t *values = json_object();
  for (u32 i = 0; i < sweep_axis_count(t->sweep); i++) {
    json_object_set_new(values, sweep_axis_key(t->sweep, i), words_or_null(sweep_axis_value(t->sweep, p, i)));
  }
  json_object_set_new(row, "values", values);
  if (!r->run) return row;
  const run_results *x = &r->run->results;
  json_object_set_new(row, "run_id", json_integer((json_int_t)r->run->id));
  json_object_set_new(row, "db", words_or_null(r->db));
  json_object_set_new(row, "steps", x->steps >= 0 ? json_integer(x->steps) : json_null());
  json_object_set_new(row, "loss_first", output_real(x->loss_first));
  json_object_set_new(row, "loss_last", output_real(x->loss_last));
  json_object_set_new(row, "val_loss", output_real(x->val_loss));
  json_object_set_new(row, "host_tokens_per_s", output_real(x->host_tokens_per_s));
  json_object_set_new(row, "model_tokens_per_s", output_real(x->model_tokens_per_s));
  json_object_set_new(row, "step_s", output_real(x->step_s));
  json_object_set_new(row, "joules_per_step", output_real(x->joules_per_step));
  json_object_set_new(row, "utilization", output_real(x->utilization));
  json_object_set_new(row, "why", words_or_null(r->run->why));
  return row;
}

json_t *sweep_table_json(const sweep_table *t) {
  json_t *d = output_document("sweep"), *rows = json_array();
  json_object_set_new(d, "name", words_or_null(t->sweep->spec.name));
  json_object_set_new(d, "command", json_string(sweep_command_name(t->sweep->spec.command)));
  json_object_set_new(d, "points", json_integer(t->sweep->count));
  for (u32 i = 0; i < POINT_STATES; i++) {
    json_object_set_new(d, point_state_name((point_state)i), json_integer(t->count[i]));
  }
  for (u32 i = 0; i < t->sweep->count; i++) json_array_append_new(rows, row_json(t, i));
  json_object_set_new(d, "rows", rows);
  const i64 best = sweep_table_best(t);
  json_object_set_new(d, "best", best < 0 ? json_null() : json_incref(json_array_get(rows, (size_t)best)));
  return d;
}

// weft train: trains, models the step on the machine, records both, and says where everything is.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/ranks.h"
#include "runtime/train_run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- three commands to paste

enum { NEXT_COUNT = 3 };
typedef struct next_commands {
  const char *lines[NEXT_COUNT];
} next_commands;

static next_commands next_of(const train_run *t) {
  arena *a = t->memory;
  const char *db_path = t->spec->record.db;
  const char *weft = output_shell_word(program_invocation_name, a), *folder = output_shell_word(t->folder, a);
  const char *db = strcmp(db_path, "weft.db") == 0 ? "" : arena_format(a, " --db %s", output_shell_word(db_path, a));
  const unsigned long long id = t->id;
  const char *show = arena_format(a, "%s runs show %llu%s", weft, id, db);
  const char *generate = arena_format(a, "%s generate --from %s/checkpoint --tokens 300", weft, folder);
  const char *map = arena_format(a, "%s map %s/run.yaml", weft, folder);
  const char *simulate = arena_format(a, "%s simulate %s/run.yaml", weft, folder);
  if (t->state == RUN_KILLED) {
    return (next_commands){{arena_format(a, "%s train --resume %llu%s", weft, id, db), generate, show}};
  }
  if (t->state == RUN_DIVERGED) {
    return (next_commands){{show, arena_format(a, "%s config rules %s/run.yaml", weft, folder), simulate}};
  }
  return (next_commands){{generate, map, show}};
}

// ---- the end of a run, told

static void print_loss(const train_run *t) {
  if (t->steps_done == 0)
    output_text("no steps");
  else
    output_format("loss %.4f -> %.4f in %llu steps", t->loss_first, t->loss_last, (unsigned long long)t->steps_done);
  if (isfinite(t->val_loss)) output_format(", validation loss %.4f", t->val_loss);
  if (t->state == RUN_DIVERGED) output_text(", diverged");
  if (t->stop != CODE_OK) output_format(", stopped before step %u", t->spec->train.steps);
  output_text("\n");
}

static void print_speeds(const train_run *t) {
  char rate[32], wall[32], cycles[32], energy[32];
  if (isfinite(t->host_tokens_per_s)) {
    output_format("host           %s, %s in all\n", text_si(t->host_tokens_per_s, "tokens/s", rate, sizeof rate),
                  text_duration(t->wall_s, wall, sizeof wall));
  }
  output_format("modelled on %s  %s, %s and %s per step\nbottleneck     %s\n", t->spec->machine.preset,
                text_si(t->sim.tokens_per_s, "tokens/s", rate, sizeof rate),
                text_si(t->sim.result.cycles, "cycles", cycles, sizeof cycles),
                text_si(t->sim.joules_per_step, "J", energy, sizeof energy), t->sim.bottleneck);
}

// Where the host's time went, most first.
static void print_profile(const train_run *t) {
  execute_time rows[EXECUTE_TIMES];
  const u32 count = execute_times(trainer_executor(t->trainer), rows);
  double all = 0;
  for (u32 i = 0; i < count; i++) all += rows[i].seconds;
  output_text("host time by operation, all threads:\n");
  for (u32 i = 0; i < count; i++) {
    output_format("  %-20s %6.1f %%  %10.3f s  %9llu calls\n", rows[i].name, 100 * rows[i].seconds / all,
                  rows[i].seconds, (unsigned long long)rows[i].calls);
  }
}

static json_t *profile_json(const train_run *t) {
  execute_time rows[EXECUTE_TIMES];
  const u32 count = execute_times(trainer_executor(t->trainer), rows);
  json_t *list = json_array();
  for (u32 i = 0; i < count; i++) {
    json_array_append_new(list, json_pack("{s:s, s:f, s:I}", "operation", rows[i].name, "seconds", rows[i].seconds,
                                          "calls", (json_int_t)rows[i].calls));
  }
  return list;
}

static void print_end(const train_run *t, const next_commands *next) {
  output_format("run %llu: ", (unsigned long long)t->id);
  print_loss(t);
  print_speeds(t);
  if (t->report) output_format("report         %s\n", t->report);
  if (t->trace) output_format("trace          %s\n", t->trace);
  if (t->saved) output_format("checkpoint     %s\n", t->checkpoint);
  if (t->profile) print_profile(t);
  output_text("next:\n");
  for (u32 i = 0; i < NEXT_COUNT; i++) output_format("  %s\n", next->lines[i]);
}

static json_t *path_or_null(const char *path) {
  return path ? output_words(path, strlen(path)) : json_null();
}

static void print_json(const train_run *t, const next_commands *next) {
  json_t *d = output_document("train"), *lines = json_array();
  const step_sim *s = &t->sim;
  json_object_set_new(d, "run_id", json_integer((json_int_t)t->id));
  json_object_set_new(d, "state", json_string(run_state_name(t->state)));
  json_object_set_new(d, "steps", json_integer((json_int_t)t->steps_done));
  json_object_set_new(d, "loss_first", output_real(t->loss_first));
  json_object_set_new(d, "loss_last", output_real(t->loss_last));
  json_object_set_new(d, "val_loss", output_real(t->val_loss));
  json_object_set_new(d, "host_tokens_per_s", output_real(t->host_tokens_per_s));
  json_object_set_new(d, "wall_s", output_real(t->wall_s));
  json_object_set_new(d, "machine", path_or_null(t->spec->machine.preset));
  json_object_set_new(d, "model_tokens_per_s", output_real(s->tokens_per_s));
  json_object_set_new(d, "cycles_per_step", output_real(s->result.cycles));
  json_object_set_new(d, "step_s", output_real(s->step_s));
  json_object_set_new(d, "joules_per_step", output_real(s->joules_per_step));
  json_object_set_new(d, "utilization", output_real(s->utilization));
  json_object_set_new(d, "bottleneck", path_or_null(s->bottleneck));
  json_object_set_new(d, "db", path_or_null(t->spec->record.db));
  json_object_set_new(d, "folder", path_or_null(t->folder));
  json_object_set_new(d, "report", path_or_null(t->report));
  json_object_set_new(d, "trace", path_or_null(t->trace));
  json_object_set_new(d, "checkpoint", path_or_null(t->saved ? t->checkpoint : NULL));
  if (t->profile) json_object_set_new(d, "profile", profile_json(t));
  for (u32 i = 0; i < NEXT_COUNT; i++) json_array_append_new(lines, path_or_null(next->lines[i]));
  json_object_set_new(d, "next", lines);
  output_json(d);
}

static bool tell(const command_call *c, const train_run *t, status *st) {
  const next_commands next = next_of(t);
  if (command_flag(c, "json"))
    print_json(t, &next);
  else
    print_end(t, &next);
  const unsigned long long step = t->steps_done, id = t->id;
  if (t->state == RUN_DIVERGED) {
    return status_fail(st, CODE_CHECK, "run %llu diverged at step %llu: the loss is not finite; try a smaller train.lr",
                       id, step);
  }
  if (t->state != RUN_KILLED) return true;
  return status_fail(st, t->stop, "run %llu stopped after step %llu with a checkpoint; %s goes on", id, step,
                     next.lines[0]);
}

// ---- command

static bool open_run(const command_call *c, train_run *t, run_spec *r, status *st) {
  const char *word = command_value(c, "resume"), *path = command_argument(c, 0);
  if (!word) return command_run_spec(c, path, r, st) && train_open(t, r, c->memory, st);
  if (path) {
    return status_fail(st, CODE_USAGE,
                       "--resume %.60s: a resumed run keeps its configuration, so %.100s cannot be read", word, path);
  }
  train_resume request = {.db_path = command_db(c), .word = word};
  return command_sets(c, &request.sets, &request.set_count, st) && command_threads(c, &request.threads, st) &&
         train_reopen(t, &request, r, c->memory, st);
}

// Ranks meet between the parts: what fails in one ends all.
static bool conduct(const command_call *c, train_run *t, run_spec *r, status *st) {
  if (!ranks_begin(st)) return false;
  open_run(c, t, r, st); // a failure is told at the meeting
  if (!ranks_meet(NULL, st)) return false;
  if (!ranks_same(run_spec_hash(r)))
    return status_fail(st, CODE_USAGE,
                       "the ranks of this launch state different runs; weft sweep does many runs at once");
  train_record(t, st);
  return ranks_meet(NULL, st) && train_go(t, st);
}

// The end of a rank that says nothing.
static bool follow(const train_run *t, status *st) {
  if (t->state == RUN_DIVERGED) return status_fail(st, CODE_CHECK, "the run diverged");
  return t->state != RUN_KILLED || status_fail(st, t->stop, "the run was stopped");
}

static bool run(const command_call *c, status *st) {
  train_run *t = arena_array(c->memory, train_run, 1);
  run_spec *r = arena_array(c->memory, run_spec, 1);
  t->profile = command_flag(c, "profile");
  const bool ok = conduct(c, t, r, st);
  train_close(t, st);
  if (!ok || !status_ok(st)) return false;
  return ranks_index() == 0 ? tell(c, t, st) : follow(t, st);
}

static const command_option options[] = {
    {"resume", "RUN", "continue a stopped or killed run from its last checkpoint", NULL},
    {"profile", NULL, "keep the host's time by operation and show it at the end", NULL},
};

const command cmd_train = {
    .name = "train",
    .arguments = "[run.yaml]",
    .sentence = "trains a model and records how it went, on the host and on the modelled machine",
    .examples = {{"weft train", "the built-in default: a minute on two cores"},
                 {"weft train --data shakespeare.txt --set data.vocab=chars --set train.steps=500",
                  "your text, by its characters, for 500 steps"}},
    .details =
        "Without a run file every value has its default; weft config show lists them. The first Ctrl-C finishes\n"
        "the step and writes a checkpoint, the second stops at once.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_RUN | COMMAND_DB | COMMAND_OUT | COMMAND_JSON,
    .arguments_max = 1,
    .run = run,
};

// weft sweep: one run per point of grid, zip and random axes; where it stands; a job script for Slurm.
#include "base/file.h"
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/sweep_lock.h"
#include "runtime/sweep_run.h"
#include "runtime/sweep_shard.h"
#include "runtime/sweep_slurm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TABLE_ROWS = 60 };

static bool open_sweep(const command_call *c, u32 argument, sweep *s, status *st) {
  const char *word = command_argument(c, argument);
  if (!word) return status_fail(st, CODE_USAGE, "weft sweep: which sweep? a YAML file, or the name of a preset");
  if (!command_arguments_max(c, argument + 1, st)) return false;
  return command_sets(c, &s->sets, &s->set_count, st) && sweep_open(s, word, c->memory, st);
}

static json_t *words_json(const char *words) {
  return output_words(words, strlen(words));
}

// ---- run

static void print_run(const command_call *c, const sweep_table *t, const sweep_shard *shard, const sweep_outcome *out) {
  if (!command_flag(c, "json")) {
    if (shard->count > 1)
      output_format("part %u of %u (%s), in %s\n", shard->index, shard->count, shard->found, t->sweep->db);
    if (t->sweep->equal)
      output_format("%u combinations state the same runs as others and were left out\n", t->sweep->equal);
    sweep_table_print(t, TABLE_ROWS);
    return;
  }
  json_t *d = sweep_table_json(t);
  json_object_set_new(d, "db", words_json(t->sweep->db));
  json_object_set_new(d, "shard", json_pack("{s:i,s:i}", "index", (int)shard->index, "count", (int)shard->count));
  json_object_set_new(d, "ran", json_integer(out->ran));
  json_object_set_new(d, "wall_s", output_real(out->wall_s));
  output_json(d);
}

// What the exit code and the last sentence say.
static bool conclude(const sweep_table *t, const sweep_outcome *out, status *st) {
  const sweep *s = t->sweep;
  const u32 done = sweep_table_done(t), failed = t->count[POINT_FAILED];
  if (done == s->count) return true;
  if (done + failed < s->count) {
    return status_fail(st, out->stop != CODE_OK ? out->stop : CODE_REQUEUE,
                       "sweep %s stopped with %u of %u points done; weft sweep %s --resume --db %s goes on",
                       s->spec.name, done, s->count, s->spec.file, s->db);
  }
  return status_fail(st, CODE_CHECK, "%u of the %u points of sweep %s failed; weft sweep status shows why", failed,
                     s->count, s->spec.name);
}

static bool run_locked(const command_call *c, const sweep *s, const sweep_shard *shard, status *st) {
  double jobs = 1;
  sweep_request request = {.resume = command_flag(c, "resume")};
  if (!command_number(c, "j", (command_range){1, 1024, true}, &jobs, st)) return false;
  if (!command_threads(c, &request.threads, st)) return false;
  request.jobs = (u32)jobs;
  run_db *db = run_db_open(s->db, st);
  if (!db) return false;
  sweep_outcome out;
  sweep_table t;
  sweep_table_init(&t, s, c->memory);
  bool ok = sweep_run(s, &request, db, c->memory, &out, st) && sweep_table_read(&t, db, s->db, c->memory, st);
  ok = run_db_close(db, st) && ok;
  if (!ok) return false;
  print_run(c, &t, shard, &out);
  return conclude(&t, &out, st);
}

static bool run_sweep(const command_call *c, status *st) {
  sweep *s = arena_array(c->memory, sweep, 1);
  sweep_shard shard;
  sweep_lock lock;
  if (!sweep_shard_find(command_value(c, "shard"), &shard, c->memory, st) || !open_sweep(c, 0, s, st)) return false;
  s->db = sweep_shard_db(s->db, &shard, c->memory);
  sweep_keep_shard(s, shard.index, shard.count);
  if (!sweep_lock_take(&lock, s->db, st)) return false;
  const bool ok = run_locked(c, s, &shard, st);
  sweep_lock_release(&lock);
  return ok;
}

// ---- status

static bool read_one(sweep_table *t, const char *path, arena *a, status *st) {
  run_db *db = run_db_open_read(path, st);
  if (!db) return false;
  const bool ok = sweep_table_read(t, db, path, a, st);
  return run_db_close(db, st) && ok;
}

static bool any_from(const sweep_table *t, const char *const *paths, u32 count) {
  for (u32 i = 0; i < t->sweep->count; i++) {
    for (u32 k = 0; k < count; k++) {
      if (t->rows[i].run && t->rows[i].db == paths[k]) return true;
    }
  }
  return false;
}

static bool show_status(const command_call *c, status *st) {
  sweep *s = arena_array(c->memory, sweep, 1);
  sweep_table t;
  const char **ranks;
  if (!open_sweep(c, 1, s, st)) return false;
  sweep_table_init(&t, s, c->memory);
  const u32 count = sweep_shard_list(s->db, c->memory, &ranks);
  const bool whole = file_exists(s->db);
  if (whole && !read_one(&t, s->db, c->memory, st)) return false;
  for (u32 i = 0; i < count; i++) {
    if (!read_one(&t, ranks[i], c->memory, st)) return false;
  }
  if (command_flag(c, "json")) {
    json_t *d = sweep_table_json(&t), *files = json_array();
    if (whole) json_array_append_new(files, words_json(s->db));
    for (u32 i = 0; i < count; i++) json_array_append_new(files, words_json(ranks[i]));
    json_object_set_new(d, "databases", files);
    output_json(d);
    return true;
  }
  sweep_table_print(&t, s->count);
  if (!any_from(&t, ranks, count)) return true;
  output_text("in the databases of ranks; gather them with\n  weft db merge");
  for (u32 i = 0; i < count; i++) output_format(" %s", output_shell_word(ranks[i], c->memory));
  output_format(" --db %s\n", output_shell_word(s->db, c->memory));
  return true;
}

// ---- slurm

// What was said beside the script's own options, for the sweep to hear again.
static const char *other_options(const command_call *c) {
  static const char *const own[] = {"tasks", "time", "script", "resume", "shard", "j", "db", "json"};
  text words = {0};
  for (u32 i = 0; i < c->given_count; i++) {
    const command_given *g = &c->given[i];
    bool mine = false;
    for (u32 k = 0; k < COUNT_OF(own); k++) mine |= strcmp(g->option->name, own[k]) == 0;
    if (mine) continue;
    text_format(&words, " --%s", g->option->name);
    if (g->value) text_format(&words, " %s", output_shell_word(g->value, c->memory));
  }
  const char *out = arena_text(c->memory, text_get(&words));
  text_free(&words);
  return out;
}

static const char *program_path(arena *a) {
  const char *name = program_invocation_name;
  char *full = strchr(name, '/') ? realpath(name, NULL) : NULL;
  const char *out = arena_text(a, full ? full : name);
  free(full);
  return out;
}

// A file that may be submitted at once, or stdout.
static bool put_script(const command_call *c, const char *name, const text *script, status *st) {
  const char *path = command_value(c, "script");
  if (!path) {
    output_text(text_get(script));
    return true;
  }
  if (!file_write(path, text_get(script), script->size, st)) return false;
  if (!command_flag(c, "json")) {
    output_format("%s: sbatch %s submits sweep %s\n", path, output_shell_word(path, c->memory), name);
    return true;
  }
  json_t *d = output_document("sweep");
  json_object_set_new(d, "script", words_json(path));
  output_json(d);
  return true;
}

static bool write_slurm(const command_call *c, status *st) {
  sweep *s = arena_array(c->memory, sweep, 1);
  double tasks = 4, jobs = 1;
  u32 threads = 0;
  if (!open_sweep(c, 1, s, st) || !command_threads(c, &threads, st)) return false;
  if (!command_number(c, "tasks", (command_range){1, 10000, true}, &tasks, st)) return false;
  if (!command_number(c, "j", (command_range){1, 1024, true}, &jobs, st)) return false;
  char folder[4096];
  if (!getcwd(folder, sizeof folder)) {
    return status_fail(st, CODE_IO, "the current folder has no name: %s", strerror(errno));
  }
  slurm_job job = {
      .name = s->spec.name,
      .sweep = s->spec.file,
      .db = s->db,
      .program = program_path(c->memory),
      .folder = folder,
      .options = other_options(c),
      .time = command_value(c, "time") ? command_value(c, "time") : "04:00:00",
      .tasks = (u32)tasks < s->count ? (u32)tasks : s->count,
      .jobs = (u32)jobs,
  };
  job.cpus = job.jobs * (threads ? threads : 1);
  text script = {0};
  sweep_slurm_write(&job, c->memory, &script);
  const bool ok = put_script(c, s->spec.name, &script, st);
  text_free(&script);
  return ok;
}

// ---- command

static bool run(const command_call *c, status *st) {
  const char *word = command_argument(c, 0);
  if (word && strcmp(word, "status") == 0) return show_status(c, st);
  if (word && strcmp(word, "slurm") == 0) return write_slurm(c, st);
  return run_sweep(c, st);
}

static const command_option options[] = {
    {"j", "N", "runs at the same time (default 1); the cores are divided among them", NULL},
    {"resume", NULL, "run what is missing: points done stay, interrupted ones go on", NULL},
    {"shard", "I/N", "only every N-th point, from I = 0..N-1, in a database of its own", NULL},
    {"tasks", "N", "slurm: parts of the array (default 4)", NULL},
    {"time", "HH:MM:SS", "slurm: of each task (default 04:00:00)", NULL},
    {"script", "FILE", "slurm: where the script goes (default: stdout)", NULL},
};

const command cmd_sweep = {
    .name = "sweep",
    .arguments = "SWEEP | status SWEEP | slurm SWEEP",
    .sentence = "many runs: grid, zip and random axes over any key",
    .examples = {{"weft sweep lr-depth -j 2", "a ready sweep, two runs at a time; --resume goes on after any stop"},
                 {"weft sweep my.yaml --shard 0/4", "a quarter of yours; mpirun and srun are noticed by themselves"}},
    .details =
        "SWEEP is a YAML file or a preset:\n"
        "  command: train                    or simulate\n"
        "  base: run.yaml                    or its sections right here\n"
        "  grid: {train.lr: [2^-8, 2^-7]}    every value with every other\n"
        "  zip: {model.width: [64, 128], model.heads: [1, 2]}\n"
        "  random: {count: 20, seed: 1, train.lr: {min: 1e-4, max: 1e-1, log: true}}\n"
        "A point is known by the hash of its configuration. SIGTERM and SIGUSR1 let every run save and exit 75,\n"
        "Ctrl-C exits 130; 1 says that points failed.\n"
        "  status  the table so far, also over the databases of ranks\n"
        "  slurm   a job script: an array of shards, requeued where time runs out",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_RUN | COMMAND_DB | COMMAND_OUT | COMMAND_JSON,
    .arguments_max = 2,
    .run = run,
};

// What all studies share: their statement (a YAML with the sections of a run and one of the study's own),
// trained models with their rows in the run database, and where results go.
//
// Invariants
// 1. Every trained model is a row of the study's experiment; the summary row (command "study") comes last
//    and carries what the page says.
// 2. Numbers are functions of statement and data alone, threads excepted from both. So a model that the
//    database holds is not trained again: a study that was stopped goes on with what is missing, and a model
//    that it asks for twice is trained once.
#pragma once

#include "model/compute/trainer.h"
#include "runtime/output.h"
#include "runtime/progress.h"
#include "runtime/report_html.h"
#include "runtime/run_data.h"
#include "runtime/run_db.h"

// A deliberate mistake, for tests that show that a study notices: called on every graph that is built.
typedef struct study_sabotage {
  void (*make)(graph *g, void *user); // NULL in production
  void *user;
} study_sabotage;

#ifndef WEFT_VERSION
#define WEFT_VERSION "0.0.0"
#endif

typedef struct study {
  arena *memory;
  const char *kind;       // "coord"
  const char *experiment; // in the database
  const char *folder;     // of page and pictures
  run_spec *base;         // what is stated
  const field_table *own; // the study's section, and its values
  const void *own_spec;
  token_data data;
  bool has_data;
  run_db *db;
  u64 summary;           // row
  const char *statement; // hash of what is stated: a tag of all rows
  u32 known;             // models that were not trained again
  bool skipped;          // the last one was such: it is no work
  study_sabotage sabotage;
  progress progress;
  double work, work_done; // in the units of the caller
  text page;
  json_t *document;
  double start_s;
  // what came out
  bool pass;
  char verdict[1400];
} study;

// What states a study; `table` and `spec` are its own section.
typedef struct study_request {
  const char *kind, *path; // path: a file, the name of a preset in presets/studies, or NULL for `kind`
  const field_table *table;
  void *spec;
  const run_assignment *sets;
  u32 set_count, threads;
} study_request;
bool study_load(const study_request *q, run_spec *ret_base, arena *a, status *st);

// Opens the data (where wanted), the database and the folder, and starts the summary row, or takes up that of a start
// that was stopped (with record.name stated: of any). Close in any case; study_close ends the row by what `st` says.
bool study_open(study *s, const study_request *q, run_spec *base, bool with_data, arena *a, status *st);
bool study_close(study *s, status *st);
// Writes what was printed into the page as STUDY.html and the summary row.
bool study_finish(study *s, status *st);

// Counts work as done, or as none where study_known had it; shows how far it is.
void study_progress(study *s, double work, const char *what);
// CODE_OK, or why to end before the next model; fails with the sentence.
bool study_go_on(status *st);

// ---- what the database holds already (study_known.c)

const char *study_summary_name(const study *s);
// Makes the experiment and summary of an earlier start, if it can be taken up, those of this one.
bool study_known_start(study *s, status *st);
// The finished or diverged row of this configuration and label, or NULL; rows of it that came to no end are removed.
bool study_known(study *s, const run_spec *spec, const char *label, arena *a, const run_row **ret_row, status *st);
// Values of a row at ascending steps, `stride` apart; ret_all: none is missing.
typedef struct study_steps {
  const u64 *steps;
  u32 count, stride;
} study_steps;
bool study_known_values(study *s, u64 run, const char *key, const study_steps *at, double *ret_values, bool *ret_all,
                        status *st);

// ---- numbers and words

// "2 8 32", "2^-9, 2^-8" or "2^-9..2^-5" (octaves): at least one number within the bounds.
typedef struct study_list {
  double *values;
  u32 count;
} study_list;
bool study_list_read(const char *key, const char *words, double min, arena *a, study_list *ret, status *st);

// A parameterization by a word: "sp", "mup", "completep", "completedp", "released", "alpha0.5", and "sp-gpt2"
// (sp with GPT-2's 1/sqrt(2L) on W_o and W_2).
typedef struct study_rule {
  const char *name;
  u32 kind;
  double alpha;
  bool gpt2;
} study_rule;
bool study_rules_read(const char *key, const char *words, arena *a, study_rule **ret, u32 *ret_count, status *st);
void study_rule_apply(const study_rule *r, model_spec *m);
// Width with heads as wide as the base's. Fails where they do not divide it.
bool study_width_apply(u32 width, model_spec *m, status *st);

// ---- a trained model

typedef struct trial {
  study *of;
  arena *memory;
  run_spec spec;
  graph graph;
  trainer *trainer;
  u64 run; // row
  double loss_first, loss_last, val_loss, start_s;
  bool finite;
} trial;

// `model` and `train` are the base's with what varies; the trial's memory is its own.
bool trial_open(trial *t, study *s, const run_spec *wish, status *st);
void trial_close(trial *t);
// A copy of the base to be varied; lives in `a`, sections bound to itself.
run_spec *study_wish(const study *s, arena *a);
// Trains to the last step, evaluates and ends the row; or takes the loss from the database. Not finite: diverged.
bool trial_loss(study *s, const run_spec *wish, const char *label, double *ret_val_loss, status *st);
// A row of the experiment, and its end. `label` names it for people.
bool trial_record(trial *t, const char *label, status *st);
bool trial_step(trial *t, status *st); // one step, its loss recorded; not finite: `finite` is false
bool trial_metric(trial *t, const char *key, u64 step, double value, status *st);
bool trial_end(trial *t, status *st);

// A row without a trainer (lazy, shapes on the machine).
bool study_row_start(study *s, const char *label, const run_spec *spec, u64 *ret_run, status *st);
bool study_metric(study *s, u64 run, const char *key, u64 step, double value, status *st);

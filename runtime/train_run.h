// A training run from its configuration to its results: everything is checked before the first file is
// made, and a run that was stopped or killed goes on as if it had never been.
//
// Invariants
// 1. train_open creates nothing. train_record makes the folder and the row; after it every end of the
//    run is written to the row.
// 2. A checkpoint of step n stands only after the metrics of all steps to n are in the database, so a
//    resumed run repeats steps and never misses one.
// 3. Metrics and checkpoints are functions of configuration and data alone: no time, path, thread count or
//    number of ranks enters them.
// 4. Of several ranks (ranks.h) the first alone has the row, the files and the progress: `db` is NULL in the others.
#pragma once

#include "model/compute/trainer.h"
#include "runtime/fabric_step.h"
#include "runtime/run_data.h"
#include "runtime/run_db.h"
#include "runtime/step_sim.h"

typedef struct train_run {
  run_spec *spec;
  arena *memory;
  token_data data;
  step_sim sim;
  trainer *trainer;
  fabric_step *fabric; // whose wavelets give the gradients; NULL: the host computes them
  run_db *db;
  u64 id;           // of the row; 0 before train_record
  u64 resumed_step; // steps that the checkpoint held
  bool resumed;
  bool profile; // set before it is opened: the trainer keeps time by operation
  const char *folder, *checkpoint; // of the run
  const char *trace, *report;      // NULL where none is wanted
  const char *note;                // weft.json
  bool saved;                      // the checkpoint stands
  // what came out
  run_state state;
  status_code stop; // CODE_OK, or why it ended before the last step
  double loss_first, loss_last, val_loss, host_tokens_per_s, wall_s;
  u64 steps_done;
} train_run;

// Checks the configuration, opens the data, models one step and makes the trainer. Ranks meet after this, after
// train_record, and within train_go.
bool train_open(train_run *t, run_spec *spec, arena *a, status *st);
// What `train --resume` was told.
typedef struct train_resume {
  const char *db_path, *word; // the run by what people type: an id, "last", a name
  const run_assignment *sets; // must be what the run was started with; record.db may differ
  u32 set_count, threads;
} train_resume;
// Opens a stopped run again, from its last checkpoint or the beginning; ret_spec becomes the run's. Every rank reads
// database and checkpoint.
bool train_reopen(train_run *t, const train_resume *request, run_spec *ret_spec, arena *a, status *st);
// Makes the run's folder and row (or takes the row up again).
bool train_record(train_run *t, status *st);
// Trains, evaluates, saves; ends the row whatever happens. False only where the world failed: a run that
// was stopped or diverged is done and says so in `state` and `stop`.
bool train_go(train_run *t, status *st);
void train_close(train_run *t, status *st);

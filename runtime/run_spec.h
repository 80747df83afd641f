// Everything a run states: machine, model, data, training, plan, engine, record; from presets, a YAML
// file, --set and flags.
#pragma once

#include "base/config.h"
#include "mapper/plan.h"
#include "model/compute/train_options.h"

#define TOP_FIELDS(F)                                                                                                  \
  F(U64, seed, "seed", UNIT_NONE, "1", 0, 1.8e19, NULL, "of everything random in the run")                             \
  F(U32, systems, "systems", UNIT_NONE, "1", 1, 1024, NULL, "wafers that share the batch, data parallel")
typedef struct top_options {
  TOP_FIELDS(FIELD_MEMBER)
} top_options;

#define RECORD_FIELDS(F)                                                                                               \
  F(TEXT, db, "db", UNIT_NONE, "weft.db", 0, 0, NULL, "run database")                                                  \
  F(TEXT, out, "out", UNIT_NONE, "", 0, 0, NULL,                                                                       \
    "folder for checkpoint, trace and report; empty: weft-runs/RUN beside the database")                               \
  F(TEXT, name, "name", UNIT_NONE, "", 0, 0, NULL, "a name for the run, for people")                                   \
  F(TEXT, experiment, "experiment", UNIT_NONE, "", 0, 0, NULL, "the group of runs it belongs to: a sweep, a study")    \
  F(BOOL, trace, "trace", UNIT_NONE, "true", 0, 0, NULL, "write a trace of the modelled step")                         \
  F(BOOL, report, "report", UNIT_NONE, "true", 0, 0, NULL, "write the HTML report")
typedef struct record_options {
  RECORD_FIELDS(FIELD_MEMBER)
} record_options;

typedef struct run_spec {
  top_options top;
  machine_spec machine;
  model_spec model;
  data_options data;
  train_options train;
  plan_options plan;
  engine_options engine;
  record_options record;
  config config; // bound to the specs above, with the origin of every value
  u32 threads;   // host threads; 0: all. Never changes a result, so it is not part of the identity
} run_spec;

// One `--set a.b=v`, or a flag that stands for a key, in the order given.
typedef struct run_assignment {
  const char *key, *value;
  bool is_flag;
  const char *where; // "--set" or "--seed"
} run_assignment;

// Defaults < preset files named by machine / model < run file < --set < flags. path NULL: no file.
// The machine's numbers always come from a preset (default cs3).
bool run_spec_load(run_spec *r, const char *path, const run_assignment *sets, u32 set_count, arena *a, status *st);
// Its parts, for those who state a run in another way: binds the sections to their defaults, and reads
// the presets that machine and model name by then.
void run_spec_init(run_spec *r, arena *a);
bool run_spec_presets(run_spec *r, status *st);
// The identity of a run: every section but record and threads.
u64 run_spec_hash(const run_spec *r);
// All values as YAML that replays the run; without the record section it tells nothing of this place.
void run_spec_print(const run_spec *r, bool with_record, text *out);

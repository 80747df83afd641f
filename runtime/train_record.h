// What training writes into the run database, apart from the metrics of each step.
#pragma once

#include "runtime/train_run.h"

// Facts known before the first step.
run_facts train_facts(const train_run *t, arena *a);
// Values with their origins, phases of the modelled step, modelled figures.
bool train_record_model(train_run *t, status *st);
// How many ranks share the run, as a tag; none where one process trains.
bool train_record_ranks(train_run *t, status *st);
// Results so far, modelled figures included.
bool train_record_results(train_run *t, status *st);
// A file or folder of the run, by its absolute path.
bool train_record_artifact(train_run *t, const char *kind, const char *path, status *st);

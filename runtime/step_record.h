// What a run of any command writes into the run database about its configuration and its modelled step.
#pragma once

#include "runtime/run_db.h"
#include "runtime/step_sim.h"

// The facts that configuration and modelled step tell; command and data are the caller's to add.
run_facts step_facts(const run_spec *r, const step_sim *s, arena *a);
// The modelled figures; losses and steps stay unknown.
run_results step_results(const run_spec *r, const step_sim *s);
// Values with their origins.
bool step_record_params(run_db *db, u64 run, const run_spec *r, arena *a, status *st);
// And the maps, of a step on the fabric.
bool step_record_phases(run_db *db, u64 run, const step_sim *s, arena *a, status *st);

// A whole run of `weft simulate`, finished, in r->record.db.
bool step_record(const run_spec *r, const step_sim *s, arena *a, u64 *ret_run, status *st);

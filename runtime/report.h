// One self-contained HTML page about a run: what came out, how fast the modelled machine would have
// been and why, and everything that was stated. No scripts, nothing fetched; light and dark.
#pragma once

#include "runtime/run_db.h"
#include "runtime/step_sim.h"

// The page of run `run` in `db`. `sim` is the modelled step that belongs to it, or NULL: the page then
// shows the modelled figures of the run's row without layout and timeline. Written atomically; the same
// row and step give the same bytes.
bool report_write(const char *path, run_db *db, u64 run, const step_sim *sim, status *st);

// Two runs side by side: how they ended, their curves in one chart, and the parameters that differ.
bool report_compare(const char *path, run_db *db, u64 run, u64 other, status *st);

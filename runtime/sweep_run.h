// The processes of a sweep: one run of the program per point, so many at a time.
//
// Invariants
// 1. Every run writes straight into the one database of this rank. Its row is the only record of a point's
//    state: there is nothing else to lose, to merge or to disagree with, whenever anything is killed.
// 2. A run ends when this process dies, however it dies (a parent's death signal); only one sweep at a time
//    writes a database (sweep_lock.h). So what a resumed sweep reads as stopped is stopped.
// 3. A point that ended badly has a row that says why, also where its run died before making one.
#pragma once

#include "runtime/sweep_table.h"

typedef struct sweep_request {
  u32 jobs, threads; // threads of each run; 0: the cores divided
  bool resume;
} sweep_request;

typedef struct sweep_outcome {
  status_code stop; // CODE_OK, or why it ended early
  u32 ran, failed, interrupted;
  double wall_s;
} sweep_outcome;

// False only where the world failed; runs that failed are counted and have their rows.
bool sweep_run(const sweep *s, const sweep_request *request, run_db *db, arena *a, sweep_outcome *ret, status *st);

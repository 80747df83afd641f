// The processes of one launch (mpirun, srun) that train one run together. ranks_mpi.c is the only file that knows
// MPI, and is in the program only where it was configured with -DWEFT_MPI=ON; otherwise ranks_alone.c is, and every
// process is the only one.
//
// Invariant: all ranks call ranks_meet and ranks_same equally often. A rank that fails goes on to the next meeting,
// where all learn of it and end.
#pragma once

#include "base/arena.h"
#include "model/compute/execute.h"

// Joins the launch, where there is one of several processes.
bool ranks_begin(status *st);
// Leaves it; nothing below may be asked afterwards.
void ranks_end(void);
u32 ranks_index(void); // 0: this process speaks and writes for all
u32 ranks_count(void);

// Fails in all ranks where one has failed, with the sentence of the first such. `stop` (or NULL) becomes the largest.
bool ranks_meet(status_code *stop, status *st);
bool ranks_same(u64 value); // whether all ranks have this value
// For a trainer; NULL where there is one process.
const execute_ranks *ranks_exchange(arena *a);

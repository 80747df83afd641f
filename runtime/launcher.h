// What MPI launchers and Slurm leave in the environment: which process of how many this one is.
#pragma once

#include "base/types.h"

typedef struct launcher_part {
  u32 index, count;
  const char *found; // the variable that says so
} launcher_part;

// False where this process was not launched as one of several by mpirun, srun or the like; a batch script is none.
bool launcher_find(launcher_part *ret);
// A whole number that is not absurd; false where the word is none, or NULL.
bool launcher_number(const char *word, u32 *ret);
// Programs started from here on are of no launch.
void launcher_forget(void);

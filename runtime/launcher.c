// Environment variables of launchers.
#include "runtime/launcher.h"

#include <stdlib.h>
#include <string.h>

enum { PROCESSES_MAX = 100000 };

// Slurm's pair is that of a step (srun): a batch script itself has rank 0 of many, and is one process.
static const char *const pairs[][2] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"PMI_RANK", "PMI_SIZE"},
    {"MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};

bool launcher_number(const char *word, u32 *ret) {
  char *end;
  if (!word || word[0] < '0' || word[0] > '9') return false;
  const unsigned long value = strtoul(word, &end, 10);
  *ret = (u32)value;
  return *end == 0 && value <= PROCESSES_MAX;
}

bool launcher_find(launcher_part *ret) {
  for (u32 i = 0; i < COUNT_OF(pairs); i++) {
    u32 index, count;
    if (!launcher_number(getenv(pairs[i][0]), &index) || !launcher_number(getenv(pairs[i][1]), &count)) continue;
    if (index >= count) continue;
    *ret = (launcher_part){index, count, pairs[i][0]};
    return true;
  }
  return false;
}

void launcher_forget(void) {
  for (u32 i = 0; i < COUNT_OF(pairs); i++) {
    unsetenv(pairs[i][0]);
    unsetenv(pairs[i][1]);
  }
}

// The job script that runs a sweep as a Slurm array, one shard a task, requeued where time runs out.
#pragma once

#include "base/arena.h"
#include "base/text.h"

typedef struct slurm_job {
  const char *name, *sweep, *db; // the sweep's name and file, its database
  const char *program, *folder;  // what to call, and where from
  const char *options;           // more words for the sweep, quoted
  const char *time;              // hh:mm:ss
  u32 tasks, cpus, jobs;
} slurm_job;

void sweep_slurm_write(const slurm_job *j, arena *a, text *out);

// Which part of a sweep this process has: stated, or found in what MPI launchers and Slurm leave in the
// environment; and the database of each rank.
#pragma once

#include "base/arena.h"

typedef struct sweep_shard {
  u32 index, count;  // count 1: all of it
  const char *found; // "--shard", "OMPI_COMM_WORLD_RANK" ...; NULL: neither
} sweep_shard;

// `word`: "I/N" with I from 0 to N-1, or NULL: the environment decides.
bool sweep_shard_find(const char *word, sweep_shard *ret, arena *a, status *st);
// "lr.db" of rank 1 of 4 is "lr.1of4.db"; with count 1 the path stays.
const char *sweep_shard_db(const char *path, const sweep_shard *shard, arena *a);
// Databases of ranks that lie beside `path`, sorted, in the arena.
u32 sweep_shard_list(const char *path, arena *a, const char ***ret_paths);

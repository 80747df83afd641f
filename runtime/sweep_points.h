// The points of a sweep: what each states, and the hash by which its run is known in any database.
#pragma once

#include "runtime/sweep_spec.h"

typedef struct sweep_point {
  u32 index;          // among all combinations
  u64 hash;           // run_spec_hash, the vocabulary filled in: config_hash of its row
  u64 data_hash;      // of the training data; 0 where it was not opened
  double steps, cost; // cost: multiply-adds of the training, about; 1 for a simulation
} sweep_point;

typedef struct sweep {
  sweep_spec spec;
  const run_assignment *sets; // of the command line: above the base, below the axes
  u32 set_count;
  sweep_point *points;
  u32 count, equal;        // equal: combinations left out because another states the same run
  const char *db, *folder; // folder: where the runs' folders lie
} sweep;

// Works out all points; nothing is made. A point that no configuration allows fails the whole sweep here.
bool sweep_open(sweep *s, const char *word, arena *a, status *st);
// Only the points of rank `index` of `count`, taken in turn.
void sweep_keep_shard(sweep *s, u32 index, u32 count);

// The word that an axis states for a point, and how the axes are listed.
u32 sweep_axis_count(const sweep *s);
const char *sweep_axis_key(const sweep *s, u32 axis);
const char *sweep_axis_value(const sweep *s, const sweep_point *p, u32 axis);

// The configuration of a point as its run will have it, but for the record section.
bool sweep_point_spec(const sweep *s, const sweep_point *p, run_spec *ret_spec, arena *a, status *st);
// All that the run is told with --set, in order.
bool sweep_point_sets(const sweep *s, const sweep_point *p, arena *a, const run_assignment **ret_sets, u32 *ret_count,
                      status *st);
// Makes a folder for a new run of the point. NULL and a sentence where that fails.
const char *sweep_point_folder(const sweep *s, const sweep_point *p, arena *a, status *st);
// "lr=0.01 layers=4"
const char *sweep_point_name(const sweep *s, const sweep_point *p, arena *a);

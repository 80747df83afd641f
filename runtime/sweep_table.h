// What came out of a sweep: the row of each point, found by its hash in one database or several, and the
// table made of them.
#pragma once

#include "runtime/output.h"
#include "runtime/run_db.h"
#include "runtime/sweep_points.h"

typedef enum { POINT_NONE, POINT_FAILED, POINT_KILLED, POINT_RUNNING, POINT_DIVERGED, POINT_FINISHED } point_state;
enum { POINT_STATES = POINT_FINISHED + 1 };
const char *point_state_name(point_state s); // "pending" for POINT_NONE

typedef struct sweep_row {
  point_state state;
  const run_row *run; // NULL for POINT_NONE
  const char *db;
} sweep_row;

typedef struct sweep_table {
  const sweep *sweep;
  sweep_row *rows; // one per point
  u32 count[POINT_STATES];
} sweep_table;

void sweep_table_init(sweep_table *t, const sweep *s, arena *a);
// Takes over the rows of this database that say more than what is known.
bool sweep_table_read(sweep_table *t, run_db *db, const char *db_path, arena *a, status *st);
static inline u32 sweep_table_done(const sweep_table *t) {
  return t->count[POINT_FINISHED] + t->count[POINT_DIVERGED];
}

// The point with the lowest validation loss, or the most modelled tokens per second; -1: none is finished.
i64 sweep_table_best(const sweep_table *t);
void sweep_table_print(const sweep_table *t, u32 rows_max);
json_t *sweep_table_json(const sweep_table *t);

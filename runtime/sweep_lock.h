// One sweep at a time on a database: two would start the same points.
#pragma once

#include "base/status.h"

typedef struct sweep_lock {
  int file; // -1: not held
  char path[1100];
} sweep_lock;

// Fails where another process has it. A kill lets go of it.
bool sweep_lock_take(sweep_lock *l, const char *db_path, status *st);
void sweep_lock_release(sweep_lock *l);

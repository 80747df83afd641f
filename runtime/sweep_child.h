// One run of a sweep as a process of its own: this program again, with the point's settings.
#pragma once

#include "runtime/sweep_points.h"

#include <sys/types.h>

typedef struct sweep_child {
  pid_t pid;         // 0: none
  int said;          // a nameless file that takes its stdout and stderr
  char folder[1024]; // made for it; "": none
} sweep_child;

typedef struct sweep_task {
  const sweep_point *point;
  u64 run; // the row to continue; 0: a new run
  u32 threads;
} sweep_task;

bool sweep_child_start(const sweep *s, const sweep_task *task, sweep_child *ret, arena *a, status *st);
void sweep_child_stop(const sweep_child *c); // asks it to finish its step and save
// False while it runs. ret_code: its exit code, or 128 + the signal that ended it.
bool sweep_child_ended(const sweep_child *c, int *ret_code);
// The sentence it ended with, and the end of the process's file.
const char *sweep_child_finish(sweep_child *c, int code, arena *a);

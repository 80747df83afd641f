// What is looked at beside a kernel's result: the log of a window of PEs and cycles, and the memory of one PE.
#pragma once

#include "sim/fabric/fabric.h"

#include <jansson.h>

typedef struct kernel_view {
  // asked for
  bool watched, memory, json;
  fabric_watch watch;
  u32 x, y;          // whose memory
  const char *trace; // file for the log beside the page; NULL: none
  // after the run: lines for people, or documents where `json`
  text page;
  json_t *log_json, *memory_json; // NULL where not asked for
} kernel_view;

// Whether window and PE are there in the program. CODE_USAGE.
bool kernel_view_check(const kernel_view *v, const dataflow *d, status *st);
// After a run, also one that stalled. Fails where the trace cannot be written.
bool kernel_view_take(kernel_view *v, const fabric *f, const dataflow *d, status *st);
void kernel_view_free(kernel_view *v);

// kernel_trace.c: the log as a trace, one track for each thing that a PE does. A cycle is drawn as a microsecond.
bool kernel_trace_write(const char *path, const fabric *f, const dataflow *d, const fabric_watch *w, status *st);

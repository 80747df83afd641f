// How far a whole sweep is, on stderr, with the time left: one line that rewrites itself on a terminal, a
// plain line every 30 seconds elsewhere.
#pragma once

#include "base/types.h"

typedef struct sweep_progress {
  // stated by the caller
  const char *name;
  u32 points;      // in all
  double work_all; // of this session, in any unit
  // kept by sweep_progress_*
  bool terminal, shown;
  double start_s, line_s, look_s;
} sweep_progress;

typedef struct sweep_counts {
  u32 done, running, failed;
  double work_done; // of this session
} sweep_counts;

void sweep_progress_start(sweep_progress *p);
// Whether it is time to look how far the running ones are, which costs a query.
bool sweep_progress_due(sweep_progress *p);
void sweep_progress_show(sweep_progress *p, const sweep_counts *c);
void sweep_progress_end(sweep_progress *p);

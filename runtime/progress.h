// How far a run is, on stderr: one line that rewrites itself on a terminal, at most ten times a second;
// a plain line every 30 seconds elsewhere.
#pragma once

#include "base/types.h"

typedef struct progress {
  // stated by the caller
  u64 first, steps;          // steps done before this session, and in all
  double tokens;             // per step
  double model_tokens_per_s; // of the modelled machine
  const char *machine;       // its name
  // kept by progress_*
  bool terminal, color, shown;
  double start_s, paused_s, pause_start_s, last_s;
} progress;

void progress_start(progress *p);
void progress_step(progress *p, u64 step, double loss);
// Around work that is no training step (evaluation, checkpoints): not counted in the speed.
void progress_pause(progress *p);
void progress_continue(progress *p);
// Host tokens per second of the steps so far.
double progress_rate(const progress *p, u64 step);
// Of work that is no single run: what is being done, the share done in [0, 1], and how long the rest takes.
void progress_share(progress *p, double share, const char *what);
void progress_end(progress *p); // leaves the cursor on a fresh line

// The status line of a sweep.
#include "runtime/sweep_progress.h"

#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TERMINAL_LINE_S 0.1
#define TERMINAL_LOOK_S 2.0
#define PLAIN_S 30.0

void sweep_progress_start(sweep_progress *p) {
  const char *kind = getenv("TERM");
  p->terminal = isatty(STDERR_FILENO) == 1 && kind && strcmp(kind, "dumb") != 0;
  p->start_s = p->line_s = p->look_s = clock_seconds();
}

bool sweep_progress_due(sweep_progress *p) {
  const double now = clock_seconds();
  if (now - p->look_s < (p->terminal ? TERMINAL_LOOK_S : PLAIN_S)) return false;
  p->look_s = now;
  return true;
}

void sweep_progress_show(sweep_progress *p, const sweep_counts *c) {
  const double now = clock_seconds(), rate = c->work_done / (now - p->start_s + 1e-9);
  if (now - p->line_s < (p->terminal ? TERMINAL_LINE_S : PLAIN_S)) return;
  p->line_s = now;
  char left[32] = "?", failed[32] = "";
  if (c->work_done > 0) text_duration((p->work_all - c->work_done) / rate, left, sizeof left);
  if (c->failed) snprintf(failed, sizeof failed, ", %u failed", c->failed);
  fprintf(stderr, "%ssweep %s  %u/%u done, %u running%s  %s left%s", p->terminal ? "\r" : "", p->name, c->done,
          p->points, c->running, failed, left, p->terminal ? "\033[K" : "\n");
  fflush(stderr);
  p->shown = true;
}

void sweep_progress_end(sweep_progress *p) {
  if (p->terminal && p->shown) fputs("\r\033[K", stderr);
  p->shown = false;
}

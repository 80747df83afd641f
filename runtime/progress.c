// The status line of a run.
#include "runtime/progress.h"

#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TERMINAL_PERIOD_S 0.1
#define PLAIN_PERIOD_S 30.0

void progress_start(progress *p) {
  const char *kind = getenv("TERM"), *no_color = getenv("NO_COLOR");
  p->terminal = isatty(STDERR_FILENO) == 1 && kind && strcmp(kind, "dumb") != 0;
  p->color = p->terminal && !(no_color && no_color[0]);
  p->start_s = clock_seconds();
  p->paused_s = 0;
  p->last_s = p->terminal ? 0 : p->start_s;
}

void progress_pause(progress *p) {
  p->pause_start_s = clock_seconds();
}

void progress_continue(progress *p) {
  p->paused_s += clock_seconds() - p->pause_start_s;
}

double progress_rate(const progress *p, u64 step) {
  const double seconds = clock_seconds() - p->start_s - p->paused_s;
  return seconds > 0 ? p->tokens * (double)(step - p->first) / seconds : 0;
}

void progress_step(progress *p, u64 step, double loss) {
  const double now = clock_seconds();
  if (now - p->last_s < (p->terminal ? TERMINAL_PERIOD_S : PLAIN_PERIOD_S)) return;
  p->last_s = now;
  const double rate = progress_rate(p, step);
  char host[32], model[32], left[32];
  text_si(rate, "tokens/s", host, sizeof host);
  text_si(p->model_tokens_per_s, "tokens/s", model, sizeof model);
  text_duration(rate > 0 ? p->tokens * (double)(p->steps - step) / rate : 0, left, sizeof left);
  fprintf(stderr, "%sstep %llu/%llu  %sloss %.4f%s  host %s  modelled on %s %s  %s left%s", p->terminal ? "\r" : "",
          (unsigned long long)step, (unsigned long long)p->steps, p->color ? "\033[1m" : "", loss,
          p->color ? "\033[0m" : "", host, p->machine, model, left, p->terminal ? "\033[K" : "\n");
  fflush(stderr);
  p->shown = true;
}

void progress_share(progress *p, double share, const char *what) {
  const double now = clock_seconds();
  if (now - p->last_s < (p->terminal ? TERMINAL_PERIOD_S : PLAIN_PERIOD_S)) return;
  p->last_s = now;
  char left[32] = "?";
  if (share > 0) text_duration((now - p->start_s) * (1 - share) / share, left, sizeof left);
  fprintf(stderr, "%s%3.0f %%  %s  %s left%s", p->terminal ? "\r" : "", 100 * share, what, left,
          p->terminal ? "\033[K" : "\n");
  fflush(stderr);
  p->shown = true;
}

void progress_end(progress *p) {
  if (p->terminal && p->shown) fputs("\r\033[K", stderr);
  p->shown = false;
}

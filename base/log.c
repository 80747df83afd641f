// Formats a line and hands it to whoever listens.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LOG_LINE_MAX = 4096 };

static log_sink *current_sink;

void log_set_sink(log_sink *sink) {
  current_sink = sink;
}

void log_say(log_level level, const char *format, ...) {
  log_sink *sink = current_sink;
  if (!sink) return;
  char line[LOG_LINE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  sink(level, line);
}

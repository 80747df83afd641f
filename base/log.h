// Words to the person at the terminal. Lower floors say, runtime/main.c decides where it goes.
#pragma once

#include "base/types.h"

typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN } log_level;
typedef void log_sink(log_level level, const char *line);
void log_set_sink(log_sink *sink); // NULL: silence (the default)
void log_say(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

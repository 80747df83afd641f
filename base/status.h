// What the world did to us: a code and one sentence (what, where, what to do). First failure kept.
#pragma once

#include "base/types.h"

// Exit codes of the program; they follow sysexits where it has one.
typedef enum status_code {
  CODE_OK = 0,
  CODE_CHECK = 1,        // done, but a check failed or the loss diverged
  CODE_USAGE = 2,        // the command line is wrong
  CODE_DATA = 65,        // a data file is malformed
  CODE_NO_INPUT = 66,    // an input file is missing or unreadable
  CODE_BUG = 70,         // a bug in weft
  CODE_CANT_CREATE = 73, // an output cannot be created
  CODE_IO = 74,          // reading or writing failed half-way
  CODE_REQUEUE = 75,     // stopped early with a checkpoint, safe to requeue
  CODE_CONFIG = 78,      // the configuration is wrong or cannot fit
  CODE_INTERRUPTED = 130 // interrupted from the keyboard
} status_code;

enum { STATUS_TEXT_MAX = 1024 };

// Zero-initialise before use: `status st = {0};`
typedef struct status {
  status_code code;
  char text[STATUS_TEXT_MAX];
} status;

// Records a failure and returns false, so that `return status_fail(...)` reads well. A status that
// already holds a failure keeps it.
bool status_fail(status *st, status_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline bool status_ok(const status *st) { return st->code == CODE_OK; }

// Forgets a failure (for callers that handled it).
void status_clear(status *st);

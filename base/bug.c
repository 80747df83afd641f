// Where a failed require ends: the handler of runtime/main.c, or a plain abort.
#include "base/types.h"

#include <stdio.h>
#include <stdlib.h>

static bug_handler *current_handler;

void bug_set_handler(bug_handler *handler) {
  current_handler = handler;
}

_Noreturn void bug_fail(const char *file, int line, const char *what) {
  bug_handler *handler = current_handler;
  current_handler = NULL; // a bug inside the handler must not come back here
  if (handler) handler(file, line, what);
  fprintf(stderr, "%s:%d: bug: %s\n", file, line, what);
  abort();
}

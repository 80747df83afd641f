// One failure and its sentence; the first one is kept because later ones are usually its
// consequences.
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

bool status_fail(status *st, status_code code, const char *format, ...) {
  require(code != CODE_OK);
  if (st->code != CODE_OK) return false;
  st->code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(st->text, sizeof st->text, format, args);
  va_end(args);
  return false;
}

void status_clear(status *st) {
  st->code = CODE_OK;
  st->text[0] = 0;
}

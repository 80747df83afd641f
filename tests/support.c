// Helpers of the tests.
#include "tests/support.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

const char *support_shared(void) {
  const char *dir = getenv("WEFT_SHARED_DIR");
#ifdef WEFT_SHARED_DIR
  if (!dir) dir = WEFT_SHARED_DIR;
#endif
  return dir;
}

void support_folder(char *out, size_t room) {
  const char *base = getenv("TMPDIR");
  int n = snprintf(out, room, "%s/weft-test-XXXXXX", base ? base : "/tmp");
  assert_true(n > 0 && (size_t)n < room);
  assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info, (void)kind, (void)at;
  return remove(path);
}

void support_remove(const char *folder) { nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

void support_ok(bool ok, const status *st) {
  if (!ok) fail_msg("%s", st->text);
  assert_true(status_ok(st));
}

void support_failed(bool ok, const status *st, status_code code, const char *part) {
  if (ok) fail_msg("succeeded, expected: %s", part);
  if (st->code != code || !strstr(st->text, part))
    fail_msg("code %d \"%s\", expected %d and \"%s\"", (int)st->code, st->text, (int)code, part);
}

// An advisory lock on a file beside the database, gone with the process that holds it.
#include "runtime/sweep_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// The holder removes the file before it lets go: whoever waited for the old file must look again.
static bool is_current(const sweep_lock *l) {
  struct stat held, named;
  return fstat(l->file, &held) == 0 && stat(l->path, &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

bool sweep_lock_take(sweep_lock *l, const char *db_path, status *st) {
  snprintf(l->path, sizeof l->path, "%.1000s.sweep", db_path);
  for (;;) {
    l->file = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (l->file < 0) {
      return status_fail(st, CODE_CANT_CREATE, "%s: cannot be created: %s", l->path, strerror(errno));
    }
    const int code = flock(l->file, LOCK_EX | LOCK_NB);
    const bool busy = code != 0 && errno == EWOULDBLOCK;
    if (busy || (code == 0 && is_current(l))) {
      if (!busy) return true;
      close(l->file);
      l->file = -1;
      return status_fail(st, CODE_CANT_CREATE,
                         "%s: another sweep is writing this database; wait for it, or name "
                         "another file with --db",
                         db_path);
    }
    if (code != 0) return true; // this file system has no locks: the owner of each run still guards it
    close(l->file);
  }
}

void sweep_lock_release(sweep_lock *l) {
  if (l->file < 0) return;
  unlink(l->path);
  close(l->file);
  l->file = -1;
}

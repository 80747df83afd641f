// Whole-file reads, writes that land complete or not at all, folders and clocks.
#include "base/file.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int open_input(const char *path, int how, status *st) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | how);
  if (fd < 0) status_fail(st, CODE_NO_INPUT, "%s: cannot be read: %s", path, strerror(errno));
  return fd;
}

// What is read whole is configurations, notes and pages; a device without an end is none of them.
enum { READ_MAX_BYTES = 256 << 20 };

// Reads until the end rather than trusting a size, so that pipes work too.
static bool read_all(int fd, const char *path, text *out, status *st) {
  for (;;) {
    char part[65536];
    const ssize_t n = read(fd, part, sizeof part);
    if (n == 0) return true;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return status_fail(st, CODE_IO, "%s: reading failed: %s", path, strerror(errno));
    text_add_bytes(out, part, (size_t)n);
    if (out->size > READ_MAX_BYTES)
      return status_fail(st, CODE_DATA, "%s: is larger than the %d MiB that are read at once", path,
                         READ_MAX_BYTES >> 20);
  }
}

bool file_read(const char *path, arena *a, char **ret_data, size_t *ret_size, status *st) {
  const int fd = open_input(path, 0, st);
  if (fd < 0) return false;
  text all = {0};
  bool ok = read_all(fd, path, &all, st);
  close(fd);
  char *data = ok ? arena_take_big(a, all.size + 1, path, st) : NULL;
  if (data) {
    if (all.size) memcpy(data, all.data, all.size);
    *ret_data = data;
    *ret_size = all.size;
  }
  text_free(&all);
  return data != NULL;
}

bool file_map(const char *path, const void **ret_data, size_t *ret_size, status *st) {
  const int fd = open_input(path, O_NONBLOCK, st); // a named pipe is refused, not waited for
  if (fd < 0) return false;
  struct stat info;
  bool ok = true;
  const void *data = NULL;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ok = status_fail(st, CODE_NO_INPUT, "%s: is not a regular file", path);
  } else if (info.st_size > 0) {
    void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
      ok = status_fail(st, CODE_IO, "%s: cannot be mapped: %s", path, strerror(errno));
    } else {
      data = map;
    }
  }
  close(fd);
  if (!ok) return false;
  *ret_data = data;
  *ret_size = (size_t)info.st_size;
  return true;
}

void file_unmap(const void *data, size_t size) {
  if (data && size) munmap((void *)(uintptr_t)data, size);
}

bool file_begin(file_writer *w, const char *path, status *st) {
  w->stream = NULL;
  if (strlen(path) >= sizeof w->path) {
    return status_fail(st, CODE_CANT_CREATE, "%.60s...: the path is too long to write to", path);
  }
  snprintf(w->path, sizeof w->path, "%s", path);
  snprintf(w->partial, sizeof w->partial, "%s.partial", path);
  w->stream = fopen(w->partial, "wbe");
  if (w->stream) return true;
  return status_fail(st, CODE_CANT_CREATE, "%s: cannot be created: %s", path, strerror(errno));
}

void file_abandon(file_writer *w) {
  if (!w->stream) return;
  fclose(w->stream);
  w->stream = NULL;
  unlink(w->partial);
}

static bool write_failed(file_writer *w, status *st) {
  const int why = errno;
  file_abandon(w);
  return status_fail(st, CODE_IO, "%s: writing failed: %s", w->path, strerror(why));
}

bool file_put(file_writer *w, const void *bytes, size_t n, status *st) {
  if (!w->stream) return status_fail(st, CODE_IO, "%s: writing failed earlier", w->path);
  if (n && fwrite(bytes, 1, n, w->stream) != n) return write_failed(w, st);
  return true;
}

// The new name survives a power cut only once its folder is on disk too. Best effort: some file
// systems refuse to sync folders, and the file itself is already safe.
static void sync_folder(const char *path) {
  char folder[1024];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder ? 1 : 0] = 0;
  const int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

bool file_commit(file_writer *w, status *st) {
  if (!w->stream) return status_fail(st, CODE_IO, "%s: writing failed earlier", w->path);
  FILE *stream = w->stream;
  if (fflush(stream) != 0 || fsync(fileno(stream)) != 0) return write_failed(w, st);
  w->stream = NULL;
  if (fclose(stream) != 0 || rename(w->partial, w->path) != 0) {
    const int why = errno;
    unlink(w->partial);
    return status_fail(st, CODE_CANT_CREATE, "%s: cannot be put in place: %s", w->path, strerror(why));
  }
  sync_folder(w->path);
  return true;
}

bool file_write(const char *path, const void *bytes, size_t n, status *st) {
  file_writer w;
  return file_begin(&w, path, st) && file_put(&w, bytes, n, st) && file_commit(&w, st);
}

bool file_make_dirs(const char *path, status *st) {
  char part[1024];
  const size_t n = strlen(path);
  if (n >= sizeof part) {
    return status_fail(st, CODE_CANT_CREATE, "%.60s...: the path is too long for a folder", path);
  }
  for (size_t i = 1; i <= n; i++) {
    if (path[i] && path[i] != '/') continue;
    memcpy(part, path, i);
    part[i] = 0;
    if (mkdir(part, 0777) == 0) continue;
    const int why = errno == EEXIST ? ENOTDIR : errno;
    struct stat info;
    if (stat(part, &info) == 0 && S_ISDIR(info.st_mode)) continue;
    return status_fail(st, CODE_CANT_CREATE, "%s: the folder cannot be created: %s", part, strerror(why));
  }
  return true;
}

bool file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

double clock_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

i64 clock_unix_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (i64)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

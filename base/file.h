// Files: whole reads, and writes that land complete or not at all (beside, fsync, rename).
#pragma once

#include "base/arena.h"

// Reads a whole file; the bytes are followed by a zero that `ret_size` does not count.
// CODE_NO_INPUT when it cannot be opened, CODE_IO when reading fails.
bool file_read(const char *path, arena *a, char **ret_data, size_t *ret_size, status *st);

// Maps a file read-only; unmap with file_unmap. An empty file maps to a NULL pointer and size 0.
bool file_map(const char *path, const void **ret_data, size_t *ret_size, status *st);
void file_unmap(const void *data, size_t size);

// A file being written beside its final place, as `path.partial`.
typedef struct file_writer {
  void *stream; // FILE *
  char path[1024];
  char partial[1040];
} file_writer;
bool file_begin(file_writer *w, const char *path, status *st);
bool file_put(file_writer *w, const void *bytes, size_t n, status *st);
// Flushes, syncs and renames. On any failure the partial file is removed and `path` is untouched.
bool file_commit(file_writer *w, status *st);
void file_abandon(file_writer *w); // removes the partial file

bool file_write(const char *path, const void *bytes, size_t n, status *st); // begin + put + commit
bool file_make_dirs(const char *path, status *st); // mkdir -p
bool file_exists(const char *path);

double clock_seconds(void); // monotonic
i64 clock_unix_ms(void);    // since 1970, for the database

// The program run as a child in a folder, with what it wrote and what it left in a database.
#pragma once

#include "base/types.h"
#include "tests/support.h"

#include <sys/types.h>

typedef struct child {
  int code;        // exit code, or 128 + the signal that ended it
  char *out, *err; // all of stdout and stderr
} child;

// Arguments end with NULL. Free with child_free.
child child_run(const char *folder, const char *const *arguments);
// A line as a shell reads it.
child child_shell(const char *folder, const char *line);
void child_free(child *c);

// In the background, saying nothing.
pid_t child_start(const char *folder, const char *const *arguments);
int child_wait(pid_t pid);   // as child.code
bool child_alive(pid_t pid); // has not ended yet

#define CHILD_ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
// The integer that a query of FOLDER/NAME gives; -1 where there is none yet. A database that is being written is waited
// for.
i64 child_number(const char *folder, const char *db_name, const char *sql);
// Expects this code; the message shows what the program said.
void child_expect(const child *c, int code);

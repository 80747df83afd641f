// Children of the tests.
#include "tests/child.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 64 };

static char *read_back(FILE *f) {
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  char *words = calloc(1, (size_t)size + 1);
  assert_non_null(words);
  assert_int_equal(fread(words, 1, (size_t)size, f), size);
  fclose(f);
  return words;
}

// The child's side: never returns.
static void become(const char *folder, const char *const *words, int out, int err) {
  char *argv[ARGUMENTS_MAX] = {0};
  for (u32 i = 0; words[i]; i++) {
    if (i + 1 == ARGUMENTS_MAX) _exit(99);
    argv[i] = strdup(words[i]);
  }
  int input = open("/dev/null", O_RDONLY);
  if (chdir(folder) != 0 || dup2(input, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(99);
  execvp(argv[0], argv);
  _exit(99);
}

static int code_of(int state) {
  return WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
}

static child run_words(const char *folder, const char *const *words) {
  FILE *out = tmpfile(), *err = tmpfile();
  assert_non_null(out);
  assert_non_null(err);
  pid_t pid = fork();
  if (pid == 0) become(folder, words, fileno(out), fileno(err));
  child c = {.code = child_wait(pid)};
  c.out = read_back(out);
  c.err = read_back(err);
  return c;
}

// The program's name before the arguments.
static void with_program(const char *const *arguments, const char **ret_words) {
  u32 n = 0;
  ret_words[n++] = WEFT_PROGRAM;
  for (u32 i = 0; arguments[i]; i++) {
    assert_true(n + 1 < ARGUMENTS_MAX);
    ret_words[n++] = arguments[i];
  }
  ret_words[n] = NULL;
}

child child_run(const char *folder, const char *const *arguments) {
  const char *words[ARGUMENTS_MAX];
  with_program(arguments, words);
  return run_words(folder, words);
}

child child_shell(const char *folder, const char *line) {
  return run_words(folder, (const char *const[]){"/bin/sh", "-c", line, NULL});
}

void child_free(child *c) {
  free(c->out);
  free(c->err);
  *c = (child){0};
}

pid_t child_start(const char *folder, const char *const *arguments) {
  const char *words[ARGUMENTS_MAX];
  with_program(arguments, words);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    int nowhere = open("/dev/null", O_WRONLY);
    become(folder, words, nowhere, nowhere);
  }
  return pid;
}

int child_wait(pid_t pid) {
  int state = 0;
  assert_int_equal(waitpid(pid, &state, 0), pid);
  return code_of(state);
}

bool child_alive(pid_t pid) {
  siginfo_t info = {0};
  assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
  return info.si_pid == 0;
}

void child_expect(const child *c, int code) {
  if (c->code != code) fail_msg("exit code %d, expected %d\n%s\n%s", c->code, code, c->err, c->out);
}

i64 child_number(const char *folder, const char *db_name, const char *sql) {
  char path[512];
  sqlite3 *db = NULL;
  sqlite3_stmt *s = NULL;
  i64 value = -1;
  snprintf(path, sizeof path, "%s/%s", folder, db_name);
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
      value = sqlite3_column_int64(s, 0);
  }
  sqlite3_finalize(s);
  sqlite3_close(db);
  return value;
}

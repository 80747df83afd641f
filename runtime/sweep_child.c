// Starting, asking and reaping the runs of a sweep.
#include "runtime/sweep_child.h"

#include "runtime/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- the command line

typedef struct argument_list {
  const char **words;
  u32 count;
} argument_list;

static void add(argument_list *l, const char *word) {
  l->words[l->count++] = word;
}

// `folder`: of a new training run, "" for others.
static bool command_line(const sweep *s, const sweep_task *task, const char *folder, arena *a, argument_list *l,
                         status *st) {
  const run_assignment *sets = NULL;
  u32 set_count = 0;
  if (!task->run && !sweep_point_sets(s, task->point, a, &sets, &set_count, st)) return false;
  l->words = arena_array(a, const char *, 2 * (size_t)set_count + 16);
  add(l, program_invocation_name);
  add(l, sweep_command_name(s->spec.command));
  if (task->run) {
    add(l, "--resume");
    add(l, arena_format(a, "%llu", (unsigned long long)task->run));
  } else if (s->spec.base_path) {
    add(l, s->spec.base_path);
  }
  for (u32 i = 0; i < set_count; i++) {
    add(l, "--set");
    add(l, arena_format(a, "%s=%s", sets[i].key, sets[i].value));
  }
  add(l, "--db");
  add(l, s->db);
  add(l, "--threads");
  add(l, arena_format(a, "%u", task->threads));
  if (folder[0]) {
    add(l, "--out");
    add(l, folder);
  }
  return true;
}

// ---- the process

// The child's side. It is to stop, with a checkpoint, when the sweep dies: also where nobody can tell it.
static _Noreturn void become(const argument_list *l, int said, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  launcher_forget(); // a run of a sweep is one process, whatever launched the sweep
  if (getppid() != parent) _exit(CODE_REQUEUE);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(said, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0)
    _exit(CODE_IO);
  char *argv[l->count + 1]; // execv wants pointers to what may change; it changes nothing
  memcpy(argv, l->words, l->count * sizeof *argv);
  argv[l->count] = NULL;
  execv("/proc/self/exe", argv);
  _exit(CODE_IO);
}

static bool make_folder(const sweep *s, const sweep_task *task, sweep_child *c, arena *a, status *st) {
  if (s->spec.command != SWEEP_TRAIN || task->run) return true;
  const char *folder = sweep_point_folder(s, task->point, a, st);
  if (!folder) return false;
  snprintf(c->folder, sizeof c->folder, "%s", folder);
  return true;
}

// What was made for a run that could not be started.
static bool give_up(sweep_child *c) {
  if (c->said >= 0) close(c->said);
  if (c->folder[0]) rmdir(c->folder);
  *c = (sweep_child){0};
  return false;
}

bool sweep_child_start(const sweep *s, const sweep_task *task, sweep_child *ret, arena *a, status *st) {
  argument_list l = {0};
  *ret = (sweep_child){.said = -1};
  if (!make_folder(s, task, ret, a, st) || !command_line(s, task, ret->folder, a, &l, st)) return give_up(ret);
  const pid_t parent = getpid();
  ret->said = memfd_create("weft run", MFD_CLOEXEC);
  ret->pid = ret->said < 0 ? -1 : fork();
  if (ret->pid == 0) become(&l, ret->said, parent);
  if (ret->pid > 0) return true;
  status_fail(st, CODE_IO, "a run cannot be started: %s; try fewer with -j", strerror(errno));
  return give_up(ret);
}

void sweep_child_stop(const sweep_child *c) {
  if (c->pid > 0) kill(c->pid, SIGTERM);
}

bool sweep_child_ended(const sweep_child *c, int *ret_code) {
  int state = 0;
  pid_t pid;
  while ((pid = waitpid(c->pid, &state, WNOHANG)) < 0 && errno == EINTR) continue;
  require(pid >= 0);
  if (pid == 0) return false;
  *ret_code = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
  return true;
}

const char *sweep_child_finish(sweep_child *c, int code, arena *a) {
  static const char mark[] = "weft: ";
  char words[4096];
  const off_t size = lseek(c->said, 0, SEEK_END);
  const off_t from = size > (off_t)sizeof words - 1 ? size - (off_t)sizeof words + 1 : 0;
  const ssize_t n = size > 0 ? pread(c->said, words, sizeof words - 1, from) : 0;
  words[n > 0 ? n : 0] = 0;
  close(c->said);
  if (c->folder[0]) rmdir(c->folder); // only where the run left nothing in it
  *c = (sweep_child){0};
  // The last line that the program itself said.
  const char *last = NULL;
  for (const char *p = words; (p = strstr(p, mark)) != NULL; p++) {
    const char *said = p + strlen(mark);
    if ((p == words || p[-1] == '\n') && !text_starts(said, "warning: ")) last = said;
  }
  if (last) return arena_format(a, "%.*s", (int)strcspn(last, "\n"), last);
  if (code > 128) return arena_format(a, "the process was ended by signal %d", code - 128);
  return arena_format(a, "the process ended with code %d", code);
}

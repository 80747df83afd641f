// The program: finds the command, runs it, and turns what came of it into one sentence and an exit code.
#include "base/log.h"
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef WEFT_VERSION
#define WEFT_VERSION "0.0.0"
#endif

static _Noreturn void end_with_bug(const char *file, int line, const char *what) {
  fprintf(stderr, "weft: a bug in weft at %s:%d: %s; please report it with the command that led here\n", file, line,
          what);
  _exit(CODE_BUG); // no cleaning up in a state that should not exist
}

static void on_bug(const char *file, int line, const char *what) {
  end_with_bug(file, line, what);
}

// One line on stderr. Names in it may hold anything, so bytes that would move the cursor become '?'.
static void tell(const char *before, const char *kind, const char *words) {
  text line = {0};
  text_add(&line, words);
  for (size_t i = 0; i < line.size; i++) {
    const u8 byte = (u8)line.data[i];
    if (byte < ' ' || byte == 0x7f) line.data[i] = '?';
  }
  fprintf(stderr, "%sweft: %s%s\n", before, kind, text_get(&line));
  text_free(&line);
}

// A status line may stand where the cursor is: log lines take its place.
static void say(log_level level, const char *words) {
  if ((level == LOG_DEBUG && !getenv("WEFT_DEBUG")) || ranks_index() > 0) return;
  const char *clear = isatty(STDERR_FILENO) ? "\r\033[K" : "";
  tell(clear, level == LOG_WARN ? "warning: " : "", words);
}

static bool run_command(const char *name, u32 count, char *const *words, arena *a, status *st) {
  const command *c = commands_find(name, st);
  if (!c) return false;
  command_call call;
  if (!command_parse(c, count, words, a, &call, st)) return false;
  if (!call.help) return c->run(&call, st);
  text page = {0};
  command_help(c, &page);
  output_text(text_get(&page));
  text_free(&page);
  return true;
}

static void print_overview(void) {
  text page = {0};
  commands_help(&page);
  output_text(text_get(&page));
  text_free(&page);
}

static bool dispatch(int argc, char **argv, arena *a, status *st) {
  const char *first = argc > 1 ? argv[1] : "--help";
  if (strcmp(first, "--version") == 0) {
    output_text("weft " WEFT_VERSION "\n");
    return true;
  }
  char *help[] = {"--help"};
  const bool asks = strcmp(first, "help") == 0;
  if (asks && argc > 2) return run_command(argv[2], 1, help, a, st);
  if (asks || strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) {
    print_overview();
    return true;
  }
  return run_command(first, (u32)argc - 2, argv + 2, a, st);
}

int main(int argc, char **argv) {
  bug_set_handler(on_bug);
  log_set_sink(say);
  arena *a = arena_create("command");
  status st = {0};
  dispatch(argc, argv, a, &st);
  output_finish(&st);
  arena_destroy(a);
  if (!status_ok(&st) && ranks_index() == 0) tell("", "", st.text);
  ranks_end();
  return (int)st.code;
}

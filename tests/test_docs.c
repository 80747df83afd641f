// Pages of docs that are made by commands are what the commands print today, and the README's commands
// exist.
#include "tests/child.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

__attribute__((noinline)) static char *page(arena *a, const char *path) {
  char full[1024];
  snprintf(full, sizeof full, "%s/%s", WEFT_SOURCE_DIR, path);
  char *data = NULL;
  size_t size = 0;
  status st = {0};
  if (!file_read(full, a, &data, &size, &st)) fail_msg("%s", st.text);
  return data;
}

static void expect_page(const char *path, const char *const *arguments) {
  arena *a = arena_create("test");
  child c = child_run(".", arguments);
  child_expect(&c, 0);
  if (strcmp(c.out, page(a, path)) != 0) fail_msg("%s is not what its command prints; write it anew", path);
  child_free(&c);
  arena_destroy(a);
}

static void config_page(void **s) {
  (void)s;
  expect_page("docs/CONFIG.md", CHILD_ARGS("config", "markdown"));
}

static void machine_page(void **s) {
  (void)s;
  expect_page("docs/MACHINE.md", CHILD_ARGS("machine", "markdown"));
}

// Every "weft COMMAND" of the README answers to --help.
static void readme_commands(void **s) {
  (void)s;
  arena *a = arena_create("test");
  char *words = page(a, "README.md");
  u32 found = 0;
  for (char *line = strtok(words, "\n"); line; line = strtok(NULL, "\n")) {
    char command[32];
    if (sscanf(line, "weft %31[a-z]", command) != 1 || strncmp(line, "weft trains ", 12) == 0) continue;
    child c = child_run(".", CHILD_ARGS(command, "--help"));
    child_expect(&c, 0);
    child_free(&c);
    found++;
  }
  assert_true(found >= 8);
  arena_destroy(a);
}

// Every file that the README links to is there.
static void readme_links(void **s) {
  (void)s;
  arena *a = arena_create("test");
  u32 found = 0;
  for (char *at = strstr(page(a, "README.md"), "]("); at; at = strstr(at + 2, "](")) {
    char path[256], full[1024];
    if (sscanf(at, "](%255[^)]", path) != 1 || strstr(path, "://")) continue;
    snprintf(full, sizeof full, "%s/%s", WEFT_SOURCE_DIR, path);
    if (!file_exists(full)) fail_msg("README.md links to %s, which is not there", path);
    found++;
  }
  assert_true(found >= 5);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(config_page),
      cmocka_unit_test(machine_page),
      cmocka_unit_test(readme_commands),
      cmocka_unit_test(readme_links),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

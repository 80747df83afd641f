// The house rules, held by scanning the sources: which floor may include which, sizes, calls that
// only the top floor makes, no mutable globals. Every checker is first shown to catch a planted
// fault.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/text.h"

// A source file: as it is, and with comments, literals and preprocessor lines blanked (same
// offsets).
typedef struct source {
  const char *path; // from the repository root
  const char *raw;
  char *code;
} source;

// ---- reading sources

// Blanks p[0..n) but for line ends.
static void blank(char *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (p[i] != '\n') p[i] = ' ';
  }
}

static size_t comment_length(const char *p) {
  const char *end = p[1] == '/' ? strchr(p, '\n') : strstr(p + 2, "*/");
  if (!end) return strlen(p);
  return (size_t)(end - p) + (p[1] == '/' ? 0 : 2);
}

static size_t literal_length(const char *p) {
  size_t n = 1;
  while (p[n] && p[n] != p[0] && p[n] != '\n') n += p[n] == '\\' && p[n + 1] ? 2 : 1;
  return p[n] ? n + 1 : n;
}

static size_t directive_length(const char *p) {
  size_t n = 0;
  while (p[n] && (p[n] != '\n' || (n && p[n - 1] == '\\'))) n++;
  return n;
}

static char *stripped(arena *a, const char *raw) {
  char *code = arena_text(a, raw);
  bool line_start = true;
  for (char *p = code; *p;) {
    size_t n = 0;
    if (p[0] == '/' && (p[1] == '/' || p[1] == '*'))
      n = comment_length(p);
    else if (line_start && *p == '#')
      n = directive_length(p);
    else if (*p == '"' || *p == '\'')
      n = literal_length(p);
    if (*p == '\n')
      line_start = true;
    else if (!isspace((u8)*p))
      line_start = false;
    blank(p, n);
    p += n ? n : 1;
  }
  return code;
}

static source plant(arena *a, const char *path, const char *raw) {
  return (source){path, raw, stripped(a, raw)};
}

static int line_of(const source *s, const char *at) {
  int line = 1;
  for (const char *p = s->code; p < at; p++) line += *p == '\n';
  return line;
}

static void complain(const source *s, const char *at, text *out, const char *what) {
  text_format(out, "%s:%d: %s\n", s->path, line_of(s, at), what);
}

// ---- (a) the floors

static const struct {
  const char *from;       // files under this
  const char *allowed[6]; // may include what starts so
} floors[] = {
    {"base/", {"base/"}},
    {"model/graph/", {"model/graph/", "base/"}},
    {"sim/isa/", {"sim/isa/", "base/"}},
    {"traces/", {"traces/", "base/"}},
    {"model/compute/", {"model/compute/", "model/graph/", "base/"}},
    {"sim/engine.", {"sim/engine.h", "sim/isa/", "base/"}},
    {"mapper/", {"mapper/", "model/graph/", "sim/isa/", "sim/engine.h", "base/"}},
    {"sim/fabric/", {"sim/fabric/", "sim/isa/", "sim/engine.h", "base/"}},
    {"sim/flow/", {"sim/flow/", "sim/isa/", "sim/engine.h", "base/"}},
    {"runtime/", {""}},
};

static bool may_include(const char *path, const char *header) {
  for (u32 i = 0; i < COUNT_OF(floors); i++) {
    if (!text_starts(path, floors[i].from)) continue;
    for (u32 k = 0; k < COUNT_OF(floors[i].allowed) && floors[i].allowed[k]; k++) {
      if (text_starts(header, floors[i].allowed[k])) return true;
    }
    return false;
  }
  return false; // of no floor
}

static void check_floors(const source *s, text *out) {
  for (const char *line = s->raw; line && *line; line = strchr(line, '\n')) {
    while (isspace((u8)*line)) line++;
    const char *p = line;
    if (*p != '#') continue;
    for (p++; *p == ' ' || *p == '\t';) p++;
    if (!text_starts(p, "include")) continue;
    for (p += 7; *p == ' ' || *p == '\t';) p++;
    if (*p != '"') continue;
    char header[256], what[400];
    snprintf(header, sizeof header, "%.*s", (int)strcspn(p + 1, "\"\n"), p + 1);
    if (may_include(s->path, header) && !strstr(header, "..")) continue;
    snprintf(what, sizeof what, "may not include \"%s\"", header);
    complain(s, s->code + (p - s->raw), out, what);
  }
}

// ---- (b) sizes

enum { LINES_MAX = 700, PARAMETERS_MAX = 6 };

static void check_lines(const source *s, text *out) {
  u32 lines = 0;
  for (const char *p = s->raw; *p; p++) lines += *p == '\n';
  if (lines > LINES_MAX)
    text_format(out, "%s: %u lines, more than %d\n", s->path, lines, LINES_MAX);
}

static const char *basename_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static void check_names(const source *all, u32 count, text *out) {
  for (u32 i = 0; i < count; i++) {
    for (u32 k = 0; k < i; k++) {
      if (strcmp(basename_of(all[i].path), basename_of(all[k].path)) != 0) continue;
      text_format(out, "%s and %s have one name\n", all[k].path, all[i].path);
    }
  }
}

static bool is_word(char c) {
  return isalnum((u8)c) || c == '_';
}

// The ')' that closes the '(' at p, or NULL.
static const char *closing(const char *p) {
  int depth = 0;
  for (; *p; p++) {
    depth += (*p == '(') - (*p == ')');
    if (depth == 0) return p;
  }
  return NULL;
}

static bool is_status(const char *from, const char *to) {
  while (from < to && isspace((u8)*from)) from++;
  return text_starts(from, "status *");
}

// Parameters between the parentheses. A status is not counted: it is where failure goes, and every
// function that can fail has one.
static u32 count_parameters(const char *open, const char *close) {
  u32 count = 0;
  int depth = 0;
  const char *from = open + 1;
  for (const char *p = open + 1; p <= close; p++) {
    const bool ends = p == close || (*p == ',' && depth == 0);
    depth += (*p == '(' || *p == '[') - (*p == ')' || *p == ']');
    if (!ends) continue;
    count += !is_status(from, p);
    from = p + 1;
  }
  return count;
}

static bool all_capitals(const char *from, const char *to) {
  for (; from < to; from++) {
    if (islower((u8)*from)) return false;
  }
  return true;
}

// Functions declared or defined at the top level: "name(...)" outside any braces.
static void check_parameters(const source *s, text *out) {
  int depth = 0;
  for (const char *p = s->code; *p; p++) {
    depth += (*p == '{') - (*p == '}');
    if (*p != '(' || depth != 0) continue;
    const char *close = closing(p), *name = p;
    if (!close) return;
    while (name > s->code && is_word(name[-1])) name--;
    const u32 count = count_parameters(p, close);
    if (name < p && !all_capitals(name, p) && count > PARAMETERS_MAX) {
      char what[200];
      snprintf(what, sizeof what, "%.*s takes %u arguments", (int)(p - name), name, count);
      complain(s, p, out, what);
    }
    p = close;
  }
}

// ---- (c) calls

typedef struct ban {
  const char *word;
  bool call;    // only where a '(' follows
  bool top_may; // allowed in runtime/ and where a bug ends
  const char *instead;
} ban;

static const ban bans[] = {
    {"exit", true, true, "return a status"},
    {"abort", true, true, "use require"},
    {"printf", true, true, "use log_say"},
    {"vprintf", true, true, "use log_say"},
    {"puts", true, true, "use log_say"},
    {"putchar", true, true, "use log_say"},
    {"perror", true, true, "return a status"},
    {"stderr", false, true, "use log_say"},
    {"stdout", false, true, "use a text"},
    {"system", true, true, "call what it would run"},
    {"popen", true, true, "call what it would run"},
    {"strcpy", true, false, "use snprintf"},
    {"strcat", true, false, "use a text"},
    {"sprintf", true, false, "use snprintf"},
    {"vsprintf", true, false, "use vsnprintf"},
    {"gets", true, false, "use file_read"},
    {"atoi", true, false, "use strtol and check"},
    {"atof", true, false, "use strtod and check"},
    {"rand", true, false, "use base/random.h"},
    {"srand", true, false, "use base/random.h"},
    {"assert", true, false, "use require: it holds in every build"},
};

static void check_calls(const source *s, text *out) {
  const bool top = text_starts(s->path, "runtime/") || strcmp(s->path, "base/bug.c") == 0;
  for (u32 i = 0; i < COUNT_OF(bans); i++) {
    if (bans[i].top_may && top) continue;
    const size_t n = strlen(bans[i].word);
    for (const char *p = s->code; (p = strstr(p, bans[i].word)) != NULL; p += n) {
      if (is_word(p[n]) || (p > s->code && (is_word(p[-1]) || p[-1] == '.'))) continue;
      if (bans[i].call && p[n + strspn(p + n, " \n")] != '(') continue;
      char what[160];
      snprintf(what, sizeof what, "%s: %s", bans[i].word, bans[i].instead);
      complain(s, p, out, what);
    }
  }
}

// ---- (d) mutable globals

static const struct {
  const char *path, *word, *reason;
} globals[] = {
    {"base/bug.c", "current_handler", "a bug can happen where no argument reaches"},
    {"base/log.c", "current_sink", "who listens is a property of the process"},
    {"runtime/", "sig_atomic_t", "a signal handler can reach nothing else"},
};

static bool global_allowed(const source *s, const char *declaration) {
  for (u32 i = 0; i < COUNT_OF(globals); i++) {
    if (text_starts(s->path, globals[i].path) && strstr(declaration, globals[i].word)) return true;
  }
  return false;
}

static bool has_word(const char *s, const char *word) {
  const size_t n = strlen(word);
  for (const char *p = s; (p = strstr(p, word)) != NULL; p += n) {
    if (!is_word(p[n]) && (p == s || !is_word(p[-1]))) return true;
  }
  return false;
}

// Whether a declaration (its text before any '=' or '{') declares a variable that may change.
static bool is_mutable(const char *declaration) {
  static const char *const others[] = {"const", "typedef", "extern", "enum"};
  for (u32 i = 0; i < COUNT_OF(others); i++) {
    if (has_word(declaration, others[i])) return false;
  }
  u32 words = 0;
  for (const char *p = declaration; *p; p++) words += is_word(*p) && !is_word(p[1]);
  const bool tag = has_word(declaration, "struct") || has_word(declaration, "union");
  const char *open = strchr(declaration, '(');
  return words >= (tag ? 3u : 2u) && (!open || open[1] == '*'); // "(*": a pointer to a function
}

// What is behind the '}' that closes the '{' at p.
static const char *behind_braces(const char *p) {
  int depth = 0;
  while (*p) {
    depth += (*p == '{') - (*p == '}');
    p++;
    if (depth == 0) break;
  }
  return p;
}

// Looks at the declaration at p, as far as the first ';', '=' or '{'; returns that length.
static size_t check_declaration(const source *s, const char *p, text *out) {
  char head[512];
  const size_t n = strcspn(p, ";={");
  snprintf(head, sizeof head, "%.*s", (int)n, p);
  // "lower_node lower_norm;" in a header declares a function by its type; a variable defined there
  // would be defined by every includer, and not link.
  if (text_ends(s->path, ".h") && p[n] == ';' && !has_word(head, "static")) return n;
  if (is_mutable(head) && !global_allowed(s, head)) {
    complain(s, p, out, "a variable that is neither constant nor an argument");
  }
  return n;
}

// Declarations at the top level, and those that begin with "static" inside functions.
static void check_globals(const source *s, text *out) {
  for (const char *p = s->code; *p;) {
    while (isspace((u8)*p)) p++;
    const size_t n = check_declaration(s, p, out);
    const bool function = memchr(p, '(', n) != NULL;
    for (p += n; *p && *p != ';';) {
      if (*p != '{') {
        p++;
        continue;
      }
      const char *body = p;
      p = behind_braces(p);
      for (const char *q = body + 1; q < p; q++) {
        if (text_starts(q, "static ") && !is_word(q[-1])) check_declaration(s, q, out);
      }
      if (function) break;
    }
    if (*p == ';') p++;
  }
}

// ---- how a file opens

static void check_opening(const source *s, text *out) {
  if (!text_starts(s->raw, "// ")) text_format(out, "%s: does not open with what it is\n", s->path);
}

// ---- the tree

enum { SOURCES_MAX = 2000 };

typedef struct tree {
  arena *memory;
  source *all;
  u32 count;
} tree;

static void tree_add(tree *t, const char *path) {
  status st = {0};
  char *raw = NULL;
  size_t size = 0;
  const char *full = arena_format(t->memory, "%s/%s", WEFT_SOURCE_DIR, path);
  if (!file_read(full, t->memory, &raw, &size, &st)) fail_msg("%s", st.text);
  assert_true(t->count < SOURCES_MAX);
  t->all[t->count++] = plant(t->memory, arena_text(t->memory, path), raw);
}

static void tree_scan(tree *t, const char *folder) {
  DIR *dir = opendir(arena_format(t->memory, "%s/%s", WEFT_SOURCE_DIR, folder));
  if (!dir) return;
  for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    const char *path = arena_format(t->memory, "%s/%s", folder, e->d_name);
    if (text_ends(path, ".c") || text_ends(path, ".h"))
      tree_add(t, path);
    else if (!strchr(e->d_name, '.'))
      tree_scan(t, path);
  }
  closedir(dir);
}

static tree tree_open(const char *const *folders) {
  tree t = {.memory = arena_create("tidy")};
  t.all = arena_array(t.memory, source, SOURCES_MAX);
  for (; *folders; folders++) tree_scan(&t, *folders);
  assert_true(t.count > 20); // it did find the sources
  return t;
}

typedef void checker(const source *s, text *out);

static const char *const code_folders[] = {"base",   "model",   "sim", "mapper",
                                           "traces", "runtime", NULL};
static const char *const all_folders[] = {"base",    "model", "sim",   "mapper", "traces",
                                          "runtime", "tests", "bench", NULL};

static void hold(const char *const *folders, checker *check) {
  tree t = tree_open(folders);
  text out = {0};
  for (u32 i = 0; i < t.count; i++) check(&t.all[i], &out);
  if (out.size) fail_msg("\n%s", text_get(&out));
  text_free(&out);
  arena_destroy(t.memory);
}

// Whether the checker complains about this code, at line 2 where it does.
static bool catches(checker *check, const char *path, const char *raw) {
  arena *a = arena_create("tidy");
  const source s = plant(a, path, raw);
  text out = {0};
  check(&s, &out);
  const bool caught = out.size > 0;
  if (caught) {
    char place[128];
    snprintf(place, sizeof place, "%s:2:", path);
    if (!text_starts(text_get(&out), place)) fail_msg("wrong place: %s", text_get(&out));
  }
  text_free(&out);
  arena_destroy(a);
  return caught;
}

// ---- tests

static void floors_hold(void **state) {
  (void)state;
  static const struct {
    const char *path, *header;
    bool allowed;
  } cases[] = {
      {"base/arena.c", "base/text.h", true},
      {"base/arena.c", "model/graph/graph.h", false},
      {"base/arena.c", "text.h", false},
      {"base/arena.c", "base/../runtime/run.h", false},
      {"model/graph/graph.c", "base/arena.h", true},
      {"model/graph/graph.c", "model/compute/x.h", false},
      {"model/compute/k.c", "model/graph/g.h", true},
      {"model/compute/k.c", "sim/isa/machine.h", false},
      {"sim/isa/program.c", "sim/engine.h", false},
      {"sim/engine.h", "sim/isa/program.h", true},
      {"sim/engine.h", "sim/flow/flow.h", false},
      {"sim/flow/flow.c", "sim/engine.h", true},
      {"sim/flow/flow.c", "sim/fabric/f.h", false},
      {"sim/fabric/f.c", "sim/flow/flow.h", false},
      {"sim/fabric/f.c", "model/graph/g.h", false},
      {"mapper/plan.c", "sim/engine.h", true},
      {"mapper/plan.c", "sim/flow/flow.h", false},
      {"mapper/plan.c", "model/compute/k.h", false},
      {"traces/trace.c", "sim/isa/machine.h", false},
      {"runtime/run.c", "sim/fabric/f.h", true},
      {"elsewhere/x.c", "base/types.h", false},
  };
  for (u32 i = 0; i < COUNT_OF(cases); i++) {
    char raw[200];
    snprintf(raw, sizeof raw, "// x\n#include \"%s\"\n", cases[i].header);
    if (catches(check_floors, cases[i].path, raw) == cases[i].allowed) {
      fail_msg("%s with %s", cases[i].path, cases[i].header);
    }
  }
  assert_true(catches(check_floors, "base/x.c", "\n  #  include  \"sim/engine.h\""));
  assert_false(catches(check_floors, "base/x.c", "\n#include <stdio.h>\n"));
  hold(code_folders, check_floors);
}

static void files_are_short(void **state) {
  (void)state;
  arena *a = arena_create("tidy");
  text out = {0}, many = {0};
  for (u32 i = 0; i < LINES_MAX; i++) text_add(&many, "x\n");
  source s = plant(a, "base/x.c", text_get(&many));
  check_lines(&s, &out);
  assert_int_equal(out.size, 0);
  text_add(&many, "x\n");
  s = plant(a, "base/x.c", text_get(&many));
  check_lines(&s, &out);
  assert_string_equal(text_get(&out), "base/x.c: 701 lines, more than 700\n");
  text_free(&out);
  text_free(&many);
  arena_destroy(a);
  hold(all_folders, check_lines);
}

static void names_are_unique(void **state) {
  (void)state;
  text out = {0};
  const source planted[] = {
      {"base/x.c", "", NULL}, {"base/x.h", "", NULL}, {"sim/isa/x.c", "", NULL}};
  check_names(planted, 2, &out);
  assert_int_equal(out.size, 0);
  check_names(planted, 3, &out);
  assert_string_equal(text_get(&out), "base/x.c and sim/isa/x.c have one name\n");
  text_clear(&out);
  tree t = tree_open(all_folders);
  check_names(t.all, t.count, &out);
  if (out.size) fail_msg("\n%s", text_get(&out));
  text_free(&out);
  arena_destroy(t.memory);
}

static void arguments_are_few(void **state) {
  (void)state;
  const char *path = "base/x.c";
  assert_false(
      catches(check_parameters, path, "\nint f(int a, int b, int c, int d, int e, int g);"));
  assert_true(catches(check_parameters, path,
                      "\nint f(int a, int b, int c, int d, int e, int g, int h) {}"));
  assert_false(catches(check_parameters, path,
                       "\nint f(int a, int b, int c, int d, int e, int g, status *st);"));
  assert_true(catches(check_parameters, path,
                      "\nint f(int a, int b, int c, int d, int e, int g, int h, status *st);"));
  assert_false(
      catches(check_parameters, path, "\nint f(int (*g)(int, int, int, int, int, int), int b);"));
  assert_false(catches(check_parameters, path, "\nvoid f(void) { g(1, 2, 3, 4, 5, 6, 7, 8); }"));
  assert_false(catches(check_parameters, path,
                       "\n#define F(a, b, c, d, e, f, g, h) a\nROW(1, 2, 3, 4, 5, 6, 7)"));
  hold(all_folders, check_parameters);
}

static void calls_are_allowed(void **state) {
  (void)state;
  assert_true(catches(check_calls, "mapper/x.c", "\n  printf(\"x\");"));
  assert_true(catches(check_calls, "mapper/x.c", "\n  fprintf(stderr, \"x\");"));
  assert_true(catches(check_calls, "mapper/x.c", "\n  exit (1);"));
  assert_true(catches(check_calls, "mapper/x.c", "\n  assert(x);"));
  assert_true(catches(check_calls, "runtime/x.c", "\n  assert(x);"));
  assert_true(catches(check_calls, "runtime/x.c", "\n  strcpy(a, b);"));
  assert_false(catches(check_calls, "runtime/x.c", "\n  printf(\"x\"); exit(1);"));
  assert_false(catches(check_calls, "base/bug.c", "\n  abort();"));
  assert_false(catches(check_calls, "mapper/x.c", "\n  snprintf(a, 1, \"exit(1)\"); // abort()\n"));
  assert_false(catches(check_calls, "mapper/x.c",
                       "\n  _Static_assert(1, \"\"); int rand_x, exit_code = lexit(1);"));
  assert_false(catches(check_calls, "mapper/x.c", "\n#define X printf(\n"));
  hold(code_folders, check_calls);
}

static void globals_are_constant(void **state) {
  (void)state;
  static const char *const bad[] = {
      "\nstatic int count;",
      "\nint count = 3;",
      "\nstatic u32 table[3] = {1, 2, 3};",
      "\nstatic char *name;",
      "\nstruct thing one;",
      "\nvoid f(void) { static int calls; }",
      "\nstatic thing t = {.f = f(1)};",
      "\nvoid f(void) { if (x) { static u8 buffer[9]; } }",
      "\nvoid f(int x) { g(x); } static long after;",
      "\nstatic void (*hook)(int);",
  };
  static const char *const good[] = {
      "\nstatic const int count = 3;",
      "\nstatic const char *const names[] = {\"a\"};",
      "\nint f(int a);",
      "\nstatic int f(int a) { int b = a; return b; }",
      "\nstruct thing { int a; };",
      "\nstruct thing;",
      "\ntypedef struct thing { int a; } thing;",
      "\nenum { A = 1, B };",
      "\nextern int shared_elsewhere;",
      "\nvoid f(void) { static const int a = 1; int b; b = a; }",
      "\nvoid f(void) { for (int i = 0; i < 3; i++) { int k; k = i; } }\nint g(void) { return 1; }",
      "\ntypedef int f(int);",
      "\nstatic inline int f(int a) { return a; }",
  };
  for (u32 i = 0; i < COUNT_OF(bad); i++) {
    if (!catches(check_globals, "mapper/x.c", bad[i])) fail_msg("not caught: %s", bad[i]);
  }
  for (u32 i = 0; i < COUNT_OF(good); i++) {
    if (catches(check_globals, "mapper/x.c", good[i])) fail_msg("wrongly caught: %s", good[i]);
  }
  assert_false(catches(check_globals, "mapper/x.h", "\nlower_node lower_norm;"));
  assert_true(catches(check_globals, "mapper/x.h", "\nstatic int counter;"));
  assert_true(catches(check_globals, "mapper/x.c", "\nstatic volatile sig_atomic_t stop;"));
  assert_false(catches(check_globals, "runtime/x.c", "\nstatic volatile sig_atomic_t stop;"));
  hold(code_folders, check_globals);
}

static void files_say_what_they_are(void **state) {
  (void)state;
  text out = {0};
  check_opening(&(source){"base/x.c", "// A file.\n", NULL}, &out);
  assert_int_equal(out.size, 0);
  check_opening(&(source){"base/x.c", "#include <stdio.h>\n", NULL}, &out);
  assert_string_equal(text_get(&out), "base/x.c: does not open with what it is\n");
  text_free(&out);
  hold(all_folders, check_opening);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(floors_hold),
      cmocka_unit_test(files_are_short),
      cmocka_unit_test(names_are_unique),
      cmocka_unit_test(arguments_are_few),
      cmocka_unit_test(calls_are_allowed),
      cmocka_unit_test(globals_are_constant),
      cmocka_unit_test(files_say_what_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

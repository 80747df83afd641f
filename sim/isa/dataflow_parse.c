// Reading the text form. The first walk through the lines makes classes, vectors and tasks, so that the
// second, which reads the rest, may use a name before the line that declares it.
#include "sim/isa/dataflow_build.h"
#include "sim/isa/dataflow_text.h"

#include <stdio.h>
#include <string.h>

static const char *const type_words[] = DF_TYPE_WORDS;
static const char *const kind_words[] = DF_KIND_WORDS;
static const char *const trigger_words[] = DF_TRIGGER_WORDS;
static const char *const port_words[] = DF_PORT_WORDS;

enum { LINE_MAX_BYTES = 512, WORDS_MAX = 32 };

typedef struct parser {
  const char *name;
  u32 line;
  char buffer[LINE_MAX_BYTES];
  const char *words[WORDS_MAX]; // of this line; NULL: already read
  u32 count, at;                // `at` is the next one that is read in order
  df_builder *b;                // NULL before the program line
  bool in_class, in_task, declaring;
  u32 width, height;
  status *st;
  arena *memory;
} parser;

#define BAD(p, format, ...) status_fail((p)->st, CODE_CONFIG, "%s:%u: " format, (p)->name, (p)->line, __VA_ARGS__)

// Fails with `unknown WHAT "WORD", did you mean "..."?`.
static bool bad_near(parser *p, const char *what, const char *word, const char *near) {
  if (near) return BAD(p, "unknown %s \"%s\", did you mean \"%s\"?", what, word, near);
  return BAD(p, "unknown %s \"%s\"", what, word);
}

static bool bad_word(parser *p, const char *what, const char *word, const char *const *known, u32 count) {
  return bad_near(p, what, word, text_nearest(word, known, count));
}

// ---- words

static bool split(parser *p, const char *line, size_t size) {
  const char *comment = memchr(line, '#', size);
  if (comment) size = (size_t)(comment - line);
  if (size >= LINE_MAX_BYTES) return BAD(p, "a line of more than %d bytes", LINE_MAX_BYTES - 1);
  memcpy(p->buffer, line, size);
  p->buffer[size] = 0;
  if (strlen(p->buffer) != size) return BAD(p, "a zero byte in the %s", "line");
  p->count = p->at = 0;
  char *rest = NULL;
  for (char *w = strtok_r(p->buffer, " \t\r", &rest); w; w = strtok_r(NULL, " \t\r", &rest)) {
    if (p->count == WORDS_MAX) return BAD(p, "more than %d words", WORDS_MAX);
    p->words[p->count++] = w;
  }
  return true;
}

// The next word in order, or NULL and a sentence.
static const char *take(parser *p, const char *what) {
  if (p->at < p->count && p->words[p->at]) {
    const char *word = p->words[p->at];
    p->words[p->at++] = NULL;
    return word;
  }
  BAD(p, "%s is missing at the end", what);
  return NULL;
}

static bool take_name(parser *p, const char *what, const char **ret) {
  *ret = take(p, what);
  if (!*ret) return false;
  return df_name_ok(*ret) ||
         BAD(p, "\"%s\" is no name: letters, digits, _ . and -, a letter first, at most %d", *ret, DF_NAME_MAX - 1);
}

static bool choose(parser *p, const char *what, const char *const *words, u32 count, u32 *ret) {
  const char *word = take(p, what);
  if (!word) return false;
  for (u32 i = 0; i < count; i++)
    if (!strcmp(word, words[i])) {
      *ret = i;
      return true;
    }
  return bad_word(p, what, word, words, count);
}

// The value of `key=`, taken off the line; NULL where there is none.
static const char *option(parser *p, const char *key) {
  const size_t n = strlen(key);
  for (u32 i = p->at; i < p->count; i++)
    if (p->words[i] && !strncmp(p->words[i], key, n) && p->words[i][n] == '=') {
      const char *value = p->words[i] + n + 1;
      p->words[i] = NULL;
      return value;
    }
  return NULL;
}

static bool flag(parser *p, const char *word) {
  for (u32 i = p->at; i < p->count; i++)
    if (p->words[i] && !strcmp(p->words[i], word)) {
      p->words[i] = NULL;
      return true;
    }
  return false;
}

// Everything on the line was understood; `known` are the options that it may have.
static bool all_read(parser *p, const char *const *known, u32 count) {
  for (u32 i = p->at; i < p->count; i++) {
    if (!p->words[i]) continue;
    char key[DF_NAME_MAX];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(p->words[i], "="), p->words[i]);
    for (u32 k = 0; k < count; k++)
      if (!strcmp(key, known[k])) return BAD(p, "\"%s\" is stated twice, or has no value", key);
    return bad_word(p, "word", key, known, count);
  }
  return true;
}
#define ALL_READ(p, ...)                                                                                               \
  all_read((p), (const char *const[]){__VA_ARGS__}, COUNT_OF(((const char *const[]){__VA_ARGS__})))

// ---- values

// Digits at *at, moved behind them; false where there are none or the number passes 2^63.
static bool digits(const char **at, u64 *ret) {
  const char *c = *at;
  u64 n = 0;
  for (; *c >= '0' && *c <= '9'; c++) {
    if (n > (UINT64_MAX >> 1) / 10 - 1) return false;
    n = n * 10 + (u64)(*c - '0');
  }
  const bool some = c != *at;
  *at = c;
  *ret = n;
  return some;
}

static bool number(parser *p, const char *key, const char *word, u64 max, u64 *ret) {
  const char *at = word;
  if (!word) return BAD(p, "%s= is missing", key);
  if (digits(&at, ret) && !*at && *ret <= max) return true;
  return BAD(p, "%s \"%s\" is no number from 0 to %llu", key, word, (unsigned long long)max);
}

static bool number32(parser *p, const char *key, const char *word, u32 max, u32 *ret) {
  u64 n = 0;
  if (!number(p, key, word, max, &n)) return false;
  *ret = (u32)n;
  return true;
}

// Two numbers with a separator between them: "3,4" or "8x2".
static bool pair(parser *p, const char *word, char between, u32 *ret_a, u32 *ret_b) {
  if (!word) return false;
  const char *at = word;
  u64 a = 0, b = 0;
  if (digits(&at, &a) && *at++ == between && digits(&at, &b) && !*at && a <= UINT32_MAX && b <= UINT32_MAX) {
    *ret_a = (u32)a;
    *ret_b = (u32)b;
    return true;
  }
  return BAD(p, "\"%s\" is not of the form 1%c2", word, between);
}

// One term of an affine value, "8", "-2x" or "+y", added to where it belongs.
static bool term(const char **at, bool first, i64 sums[3]) {
  const bool minus = **at == '-';
  if (**at == '-' || **at == '+')
    (*at)++;
  else if (!first)
    return false;
  u64 n = 1;
  const bool counted = digits(at, &n);
  if (!counted) n = 1;
  if (n > (u64)1 << 31) return false;
  const u32 which = **at == 'x' ? 1 : **at == 'y' ? 2 : 0;
  if (which) (*at)++;
  if (!which && !counted) return false;
  sums[which] += minus ? -(i64)n : (i64)n;
  return sums[which] >= INT32_MIN && sums[which] <= INT32_MAX;
}

static bool affine(parser *p, const char *key, const char *word, df_affine *ret) {
  if (!word) return BAD(p, "%s= is missing", key);
  i64 sums[3] = {0};
  const char *at = word;
  bool ok = *at;
  for (bool first = true; ok && *at; first = false) ok = term(&at, first, sums);
  if (!ok) return BAD(p, "%s \"%s\" is no number of 32 bits nor a sum like 8+2x-3y", key, word);
  *ret = (df_affine){(i32)sums[0], (i32)sums[1], (i32)sums[2]};
  return true;
}

static bool constant(parser *p, const char *key, const char *word, i32 *ret) {
  df_affine v = {0};
  if (!affine(p, key, word, &v)) return false;
  *ret = v.base;
  return (!v.dx && !v.dy) || BAD(p, "%s \"%s\" may not depend on x and y", key, word);
}

static bool rectangle(parser *p, df_rect *ret) {
  *ret = (df_rect){.step_x = 1, .step_y = 1};
  if (!pair(p, take(p, "the corner X,Y"), ',', &ret->x, &ret->y)) return false;
  if (!pair(p, take(p, "the size WxH"), 'x', &ret->w, &ret->h)) return false;
  const char *step = option(p, "step");
  return !step || pair(p, step, 'x', &ret->step_x, &ret->step_y);
}

// "west+ramp" between `word` and `end`.
static bool ports(parser *p, const char *word, const char *end, u32 *ret) {
  *ret = 0;
  if (end - word == 4 && !strncmp(word, "none", 4)) return true;
  for (const char *next; word < end; word = next + (next < end)) {
    next = memchr(word, '+', (size_t)(end - word));
    if (!next) next = end;
    char one[DF_NAME_MAX];
    snprintf(one, sizeof one, "%.*s", (int)(next - word), word);
    u32 i = 0;
    while (i < COUNT_OF(port_words) && strcmp(one, port_words[i])) i++;
    if (i == COUNT_OF(port_words)) return bad_word(p, "port", one, port_words, i);
    *ret |= 1u << i;
  }
  return *ret || BAD(p, "a side of a route without %s", "ports");
}

// ---- names of what was declared

typedef const char *name_at(const df_builder *b, u32 index);

static bool bad_name(parser *p, const char *what, const char *name, name_at *names) {
  u32 count = 0;
  while (names(p->b, count)) count++;
  const arena_mark mark = arena_save(p->memory);
  const char **known = arena_array(p->memory, const char *, count + 1);
  for (u32 i = 0; i < count; i++) known[i] = names(p->b, i);
  bad_word(p, what, name, known, count);
  arena_rewind(p->memory, mark);
  return false;
}

static bool vector_named(parser *p, const char *name, u16 *ret) {
  const u32 found = df_build_find_vector(p->b, name);
  *ret = (u16)found;
  return found != UINT32_MAX || bad_name(p, "vector", name, df_build_vector_name);
}

static bool task_named(parser *p, const char *name, u16 *ret) {
  const u32 found = df_build_find_task(p->b, name);
  *ret = (u16)found;
  return found != UINT32_MAX || bad_name(p, "task", name, df_build_task_name);
}

// ---- classes, vectors, tasks

static bool parse_program(parser *p) {
  const char *name;
  if (p->b) return !p->declaring || BAD(p, "a second %s line", "program");
  if (!take_name(p, "the program's name", &name)) return false;
  if (!pair(p, take(p, "the grid WxH"), 'x', &p->width, &p->height)) return false;
  p->b = df_build_begin(p->memory, name, p->width, p->height);
  return ALL_READ(p, "");
}

static bool parse_class(parser *p) {
  const char *name;
  u32 data = 0;
  if (!take_name(p, "the class's name", &name)) return false;
  if (p->declaring && df_build_find_class(p->b, name) != UINT32_MAX) return BAD(p, "class %s is there twice", name);
  if (!number32(p, "data", option(p, "data"), INT32_MAX, &data)) return false;
  df_build_class(p->b, name);
  df_build_data_bytes(p->b, data);
  p->in_class = true;
  p->in_task = false;
  return ALL_READ(p, "data");
}

static bool parse_register(parser *p, const char *word, u16 *ret) {
  *ret = (u16)(word[0] == 'r' ? word[1] - '0' : 0);
  return (word[0] == 'r' && word[1] >= '0' && word[1] < '0' + DF_REGISTERS && !word[2]) ||
         BAD(p, "\"%s\" is no register, they are r0 to r%d", word, DF_REGISTERS - 1);
}

// "longer=r3": the register's value is added to the length.
static bool parse_longer(parser *p, u32 vector) {
  const char *stated = option(p, "longer");
  u16 reg = 0;
  if (!stated) return true;
  if (!parse_register(p, stated, &reg)) return false;
  df_build_longer_by(p->b, vector, reg);
  return true;
}

// "r3=8": the register's value times 8 is added to the address.
static bool parse_moves(parser *p, u32 vector) {
  u32 moves = 0;
  for (u32 i = p->at; i < p->count; i++) {
    const char *w = p->words[i];
    if (!w || w[0] != 'r' || w[1] < '0' || w[1] >= '0' + DF_REGISTERS || w[2] != '=') continue;
    i32 scale = 0;
    if (moves++ == 2) return BAD(p, "a third register moves the %s", "vector");
    if (!constant(p, "the register's scale", w + 3, &scale)) return false;
    df_build_moved_by(p->b, vector, (u32)(w[1] - '0'), scale);
    p->words[i] = NULL;
  }
  return true;
}

static bool parse_memory_vector(parser *p, const char *name, df_type type) {
  df_affine address = {0}, length = {0}, wrap = {0};
  i32 stride = 0, outer = 0;
  if (!affine(p, "address", option(p, "address"), &address)) return false;
  if (!affine(p, "length", option(p, "length"), &length)) return false;
  const u32 vector = df_build_view(p->b, name, type, address, length);
  const char *stated = option(p, "stride");
  if (stated && !constant(p, "stride", stated, &stride)) return false;
  if (stated) df_build_stride(p->b, vector, stride);
  stated = option(p, "wrap");
  if (stated && !affine(p, "wrap", stated, &wrap)) return false;
  if (stated && !constant(p, "outer", option(p, "outer"), &outer)) return false;
  if (stated) df_build_rows(p->b, vector, wrap, outer);
  return parse_longer(p, vector) && parse_moves(p, vector) &&
         ALL_READ(p, "address", "length", "longer", "stride", "wrap", "outer", "r0", "r1", "r2", "r3", "r4", "r5", "r6",
                  "r7");
}

static bool parse_vector(parser *p) {
  const char *name;
  u32 type = 0, kind = 0, color = 0, queue = 0;
  df_affine length = {0};
  if (!p->declaring) return true;
  if (!p->in_class) return BAD(p, "a vector outside a %s", "class");
  if (!take_name(p, "the vector's name", &name)) return false;
  if (df_build_find_vector(p->b, name) != UINT32_MAX) return BAD(p, "vector %s is there twice in its class", name);
  if (!choose(p, "type", type_words, COUNT_OF(type_words), &type)) return false;
  if (!choose(p, "kind of vector", kind_words, COUNT_OF(kind_words), &kind)) return false;
  if (df_build_vector_name(p->b, UINT16_MAX - 2)) return BAD(p, "a class has at most %d vectors", UINT16_MAX - 1);
  if (kind == VECTOR_MEMORY) return parse_memory_vector(p, name, (df_type)type);
  if (!number32(p, "color", option(p, "color"), UINT8_MAX, &color)) return false;
  if (!number32(p, "queue", option(p, "queue"), UINT8_MAX, &queue)) return false;
  if (!affine(p, "length", option(p, "length"), &length)) return false;
  const u32 vector = kind == VECTOR_FABRIC_IN ? df_build_in(p->b, name, (df_type)type, length, color, queue)
                                              : df_build_out(p->b, name, (df_type)type, length, color, queue);
  return parse_longer(p, vector) && ALL_READ(p, "color", "queue", "length", "longer");
}

static bool parse_task(parser *p) {
  const char *name;
  u32 trigger = 0, color = 0, queue = 0;
  if (!p->in_class) return BAD(p, "a task outside a %s", "class");
  if (!take_name(p, "the task's name", &name)) return false;
  p->in_task = true;
  if (p->declaring && df_build_find_task(p->b, name) != UINT32_MAX)
    return BAD(p, "task %s is there twice in its class", name);
  if (p->declaring && df_build_task_name(p->b, UINT16_MAX - 2))
    return BAD(p, "a class has at most %d tasks", UINT16_MAX - 1);
  df_build_task(p->b, name);
  if (!p->declaring) return true;
  if (!choose(p, "trigger", trigger_words, COUNT_OF(trigger_words), &trigger)) return false;
  if (trigger != TRIGGER_LOCAL) {
    if (!number32(p, "color", option(p, "color"), UINT8_MAX, &color)) return false;
    if (!number32(p, "queue", option(p, "queue"), UINT8_MAX, &queue)) return false;
    df_build_started_by(p->b, (df_trigger)trigger, color, queue);
  }
  if (flag(p, "active")) df_build_start_active(p->b);
  if (flag(p, "blocked")) df_build_start_blocked(p->b);
  return ALL_READ(p, "color", "queue", "active", "blocked");
}

// ---- instructions

static bool parse_operand(parser *p, char what, u16 *ret, df_affine *ret_value) {
  u32 n = 0;
  const char *word;
  switch (what) {
  case 'V':
  case 'S':
    return (word = take(p, "a vector")) && vector_named(p, word, ret);
  case 'T':
    return (word = take(p, "a task")) && task_named(p, word, ret);
  case 'R':
    return (word = take(p, "a register")) && parse_register(p, word, ret);
  case 'N':
    return (word = take(p, "a value")) && affine(p, "the value", word, ret_value);
  default:
    if (!(word = take(p, what == 'C' ? "a color" : "a count"))) return false;
    if (!number32(p, what == 'C' ? "color" : "count", word, UINT16_MAX, &n)) return false;
    *ret = (u16)n;
    return true;
  }
}

static bool parse_instruction(parser *p, u32 code) {
  df_instruction i = {.opcode = (u16)code};
  u32 thread = 0;
  if (p->declaring) return p->in_task || BAD(p, "an instruction outside a %s", "task");
  for (const char *o = instruction_operands(code); *o; o += 2) {
    u16 *to = o[1] == 't' ? &i.to : o[1] == 'a' ? &i.a : &i.b;
    if (!parse_operand(p, o[0], to, &i.value)) return false;
  }
  const char *stated = option(p, "thread");
  if (stated && !number32(p, "thread", stated, UINT8_MAX, &thread)) return false;
  i.thread = (u8)thread;
  if ((stated = option(p, "activate")))
    i.done = DONE_ACTIVATE;
  else if ((stated = option(p, "unblock")))
    i.done = DONE_UNBLOCK;
  if (stated && !task_named(p, stated, &i.done_task)) return false;
  df_build_op(p->b, i);
  return ALL_READ(p, "thread", "activate", "unblock");
}

// ---- the grid

static bool parse_region(parser *p) {
  df_rect r = {0};
  if (p->declaring) return true;
  if (!rectangle(p, &r)) return false;
  const char *class = option(p, "class");
  if (!class) return BAD(p, "%s= is missing", "class");
  if (df_build_find_class(p->b, class) == UINT32_MAX) return bad_name(p, "class", class, df_build_class_name);
  df_build_region(p->b, r, class);
  return ALL_READ(p, "step", "class");
}

static bool parse_route(parser *p) {
  df_rect r = {0};
  u32 color = 0, rx = 0, tx = 0, positions = 0;
  if (p->declaring) return true;
  if (!rectangle(p, &r) || !number32(p, "color", option(p, "color"), UINT8_MAX, &color)) return false;
  const bool ring = flag(p, "ring");
  for (u32 i = p->at; i < p->count; i++) {
    const char *arrow = p->words[i] ? strstr(p->words[i], "->") : NULL;
    if (!arrow) continue;
    if (positions == DF_POSITIONS_MAX) return BAD(p, "a router has %d positions", DF_POSITIONS_MAX);
    if (!ports(p, p->words[i], arrow, &rx) || !ports(p, arrow + 2, arrow + strlen(arrow), &tx)) return false;
    if (positions++)
      df_build_position(p->b, rx, tx);
    else
      df_build_route(p->b, r, color, rx, tx);
    p->words[i] = NULL;
  }
  if (!ALL_READ(p, "step", "color", "ring")) return false;
  if (!positions) return BAD(p, "a route without a position, such as %s", "west->east+ramp");
  if (ring) df_build_ring(p->b);
  return true;
}

static bool parse_port(parser *p) {
  static const char *const ways[] = {"in", "out"};
  const char *name;
  df_port port = {0};
  u32 out = 0, way = 0, color = 0;
  if (p->declaring) return true;
  if (!take_name(p, "the port's name", &name) || !choose(p, "direction", ways, 2, &out)) return false;
  if (!pair(p, take(p, "the PE X,Y"), ',', &port.x, &port.y)) return false;
  if (!choose(p, "port", port_words, COUNT_OF(port_words), &way)) return false;
  if (!number32(p, "color", option(p, "color"), UINT8_MAX, &color)) return false;
  if (!number(p, "wavelets", option(p, "wavelets"), (u64)1 << 56, &port.wavelets)) return false;
  port.out = out;
  port.port = (u8)(1u << way);
  port.color = (u8)color;
  df_build_port(p->b, name, port);
  return ALL_READ(p, "color", "wavelets");
}

static bool parse_symbol(parser *p) {
  const char *name;
  u32 type = 0, address = 0, count = 0;
  df_rect r = {0};
  if (p->declaring) return true;
  if (!take_name(p, "the symbol's name", &name)) return false;
  if (!choose(p, "type", type_words, COUNT_OF(type_words), &type) || !rectangle(p, &r)) return false;
  if (!number32(p, "address", option(p, "address"), UINT32_MAX, &address)) return false;
  if (!number32(p, "count", option(p, "count"), UINT32_MAX, &count)) return false;
  df_build_symbol(p->b, name, r, (df_type)type, address, count);
  return ALL_READ(p, "step", "address", "count");
}

// ---- lines

typedef struct keyword {
  const char *word;
  bool (*parse)(parser *p);
} keyword;
static const keyword keywords[] = {{"program", parse_program}, {"class", parse_class},   {"vector", parse_vector},
                                   {"task", parse_task},       {"region", parse_region}, {"route", parse_route},
                                   {"port", parse_port},       {"symbol", parse_symbol}};

// Instructions are written in capitals: "mov" is near to MOV.
static bool bad_keyword(parser *p, const char *word, const char *const *known, u32 count) {
  char capitals[DF_NAME_MAX];
  snprintf(capitals, sizeof capitals, "%s", word);
  for (char *c = capitals; *c; c++)
    if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
  const char *near = text_nearest(word, known, count);
  if (!near) near = text_nearest(capitals, known, count);
  return bad_near(p, "word", word, near);
}

static bool parse_line(parser *p) {
  const char *word = take(p, "a word");
  if (!p->b && strcmp(word, "program"))
    return BAD(p, "a program starts with \"program NAME WxH\", not with \"%s\"", word);
  for (u32 i = 0; i < COUNT_OF(keywords); i++)
    if (!strcmp(word, keywords[i].word)) return keywords[i].parse(p);
  const char *known[COUNT_OF(keywords) + DF_OPCODE_COUNT];
  u32 count = 0;
  for (; count < COUNT_OF(keywords); count++) known[count] = keywords[count].word;
  for (u32 i = 0; i < DF_OPCODE_COUNT; i++) {
    if (!strcmp(word, instruction_get(i)->name)) return parse_instruction(p, i);
    known[count++] = instruction_get(i)->name;
  }
  return bad_keyword(p, word, known, count);
}

static bool parse_lines(parser *p, const char *words, size_t size) {
  p->line = 0;
  for (const char *at = words, *end = words + size; at < end;) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    if (!stop) stop = end;
    p->line++;
    if (!split(p, at, (size_t)(stop - at))) return false;
    if (p->count && !parse_line(p)) return false;
    at = stop + 1;
  }
  return p->b || BAD(p, "no %s line", "program");
}

bool dataflow_parse(const char *name, const char *words, size_t size, arena *a, dataflow *ret_dataflow, status *st) {
  const arena_mark mark = arena_save(a);
  parser p = {.name = name, .memory = a, .st = st, .declaring = true};
  bool ok = parse_lines(&p, words, size);
  p.declaring = p.in_class = p.in_task = false;
  ok = ok && parse_lines(&p, words, size);
  if (ok)
    df_build_finish(p.b, ret_dataflow);
  else
    arena_rewind(a, mark);
  return ok;
}

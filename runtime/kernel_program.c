// A program of the user's own, in text form: run with inputs from files, and memory or streams shown after.
#include "runtime/kernel_program.h"

#include "base/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool kernel_program_read(const char *path, arena *a, dataflow *ret_program, status *st) {
  char *words;
  size_t size;
  return file_read(path, a, &words, &size, st) && dataflow_parse(path, words, size, a, ret_program, st);
}

static u32 find_symbol(const dataflow *d, const char *name, size_t n) {
  for (u32 i = 0; i < d->symbol_count; i++)
    if (strlen(d->symbols[i].name) == n && !strncmp(d->symbols[i].name, name, n)) return i;
  return UINT32_MAX;
}

static u32 find_port(const dataflow *d, const char *name, size_t n, bool out) {
  for (u32 i = 0; i < d->port_count; i++)
    if (strlen(d->ports[i].name) == n && !strncmp(d->ports[i].name, name, n) && d->ports[i].out == out) return i;
  return UINT32_MAX;
}

static bool unknown(const dataflow *d, const char *name, bool out, status *st) {
  text known = {0};
  for (u32 i = 0; i < d->symbol_count; i++) text_format(&known, " %s", d->symbols[i].name);
  for (u32 i = 0; i < d->port_count; i++)
    if (d->ports[i].out == out) text_format(&known, " %s", d->ports[i].name);
  status_fail(st, CODE_USAGE, "program %s has no symbol or %s port \"%.60s\"; it has%s", d->name,
              out ? "output" : "input", name, known.size ? text_get(&known) : " none");
  text_free(&known);
  return false;
}

// The numbers of a file; `whole`: words of 32 bits, which may be written as 0x...
typedef struct numbers {
  double *values;
  u64 count;
} numbers;

static bool read_numbers(const char *path, bool whole, arena *a, numbers *ret, status *st) {
  char *words;
  size_t size;
  if (!file_read(path, a, &words, &size, st)) return false;
  double *values = arena_take_big(a, (size / 2 + 1) * sizeof *values, "the numbers of an input", st);
  if (!values) return false;
  u64 count = 0;
  for (char *p = words;;) {
    while (isspace((unsigned char)*p) || *p == ',') p++;
    if (!*p) break;
    char *end;
    values[count++] = whole ? (double)strtoull(p, &end, 0) : strtod(p, &end);
    if (end == p || (*end && !isspace((unsigned char)*end) && *end != ','))
      return status_fail(st, CODE_DATA, "%s: number %llu, \"%.20s\", is not a %snumber", path,
                         (unsigned long long)count, p, whole ? "whole " : "");
    p = end;
  }
  *ret = (numbers){values, count};
  return true;
}

// As many numbers as one PE holds: the same for all; or as many as all hold, row by row.
static bool write_symbol(const dataflow *d, fabric *f, u32 symbol, const char *path, arena *a, status *st) {
  const df_symbol *s = &d->symbols[symbol];
  numbers n;
  if (!read_numbers(path, false, a, &n, st)) return false;
  u64 all = (u64)s->rect.w * s->rect.h * s->count;
  if (n.count != s->count && n.count != all)
    return status_fail(st, CODE_DATA, "%s has %llu numbers; %s takes %u (the same for every PE) or %llu", path,
                       (unsigned long long)n.count, s->name, s->count, (unsigned long long)all);
  float *values = arena_array(a, float, s->count);
  void *bytes = arena_take(a, (size_t)s->count * 4);
  for (u32 row = 0; row < s->rect.h; row++)
    for (u32 column = 0; column < s->rect.w; column++) {
      u64 first = n.count == all ? ((u64)row * s->rect.w + column) * s->count : 0;
      for (u32 i = 0; i < s->count; i++) values[i] = (float)n.values[first + i];
      kernel_encode(s->type, values, s->count, bytes);
      fabric_write(f, kernel_x(s, column), kernel_y(s, row), s->address, bytes, s->count * df_type_bytes(s->type));
    }
  return true;
}

// path NULL: zeros.
static bool feed_port(const dataflow *d, fabric *f, u32 port, const char *path, arena *a, status *st) {
  const df_port *p = &d->ports[port];
  u32 *words = arena_take_big(a, (size_t)(p->wavelets + 1) * sizeof *words, "the words of an input port", st);
  if (!words) return false;
  numbers n = {NULL, 0};
  if (path && !read_numbers(path, true, a, &n, st)) return false;
  if (path && n.count != p->wavelets)
    return status_fail(st, CODE_DATA, "%s has %llu words; port %s takes %llu", path, (unsigned long long)n.count,
                       p->name, (unsigned long long)p->wavelets);
  for (u64 i = 0; i < n.count; i++) words[i] = (u32)(u64)n.values[i];
  fabric_feed(f, port, words);
  return true;
}

// Ports that no file is given for get zeros.
static bool give_inputs(const program_request *r, const dataflow *d, fabric *f, arena *a, status *st) {
  const char **port_paths = arena_array(a, const char *, d->port_count + 1);
  for (u32 i = 0; i < r->input_count; i++) {
    const char *equals = strchr(r->inputs[i], '=');
    if (!equals) return status_fail(st, CODE_USAGE, "--input: \"%.60s\" is not of the form SYMBOL=FILE", r->inputs[i]);
    size_t n = (size_t)(equals - r->inputs[i]);
    u32 symbol = find_symbol(d, r->inputs[i], n), port = find_port(d, r->inputs[i], n, false);
    if (symbol != UINT32_MAX) {
      if (!write_symbol(d, f, symbol, equals + 1, a, st)) return false;
    } else if (port != UINT32_MAX) {
      port_paths[port] = equals + 1;
    } else {
      return unknown(d, arena_format(a, "%.*s", (int)n, r->inputs[i]), false, st);
    }
  }
  for (u32 i = 0; i < d->port_count; i++)
    if (!d->ports[i].out && !feed_port(d, f, i, port_paths[i], a, st)) return false;
  return true;
}

static program_dump dump_symbol(const dataflow *d, const fabric *f, u32 symbol, arena *a) {
  const df_symbol *s = &d->symbols[symbol];
  float *values = arena_array(a, float, (size_t)s->rect.w * s->rect.h * s->count + 1), *at = values;
  void *bytes = arena_take(a, (size_t)s->count * 4 + 1);
  for (u32 row = 0; row < s->rect.h; row++)
    for (u32 column = 0; column < s->rect.w; column++, at += s->count) {
      fabric_read(f, kernel_x(s, column), kernel_y(s, row), s->address, bytes, s->count * df_type_bytes(s->type));
      kernel_decode(s->type, bytes, s->count, at);
    }
  return (program_dump){s->name, s->type, s->rect.w, s->rect.h, s->count, values, NULL};
}

static program_dump dump_port(const dataflow *d, const fabric *f, u32 port, arena *a) {
  u32 *words = arena_array(a, u32, d->ports[port].wavelets + 1);
  u64 count = fabric_drain(f, port, words);
  return (program_dump){d->ports[port].name, DF_I32, 1, 1, count, NULL, words};
}

static bool check_dumps(const program_request *r, const dataflow *d, status *st) {
  for (u32 i = 0; i < r->dump_count; i++) {
    size_t n = strlen(r->dumps[i]);
    if (find_symbol(d, r->dumps[i], n) == UINT32_MAX && find_port(d, r->dumps[i], n, true) == UINT32_MAX)
      return unknown(d, r->dumps[i], true, st);
  }
  return true;
}

static const program_dump *take_dumps(const program_request *r, const dataflow *d, const fabric *f, arena *a) {
  program_dump *dumps = arena_array(a, program_dump, r->dump_count + 1);
  for (u32 i = 0; i < r->dump_count; i++) {
    size_t n = strlen(r->dumps[i]);
    u32 symbol = find_symbol(d, r->dumps[i], n);
    dumps[i] =
        symbol != UINT32_MAX ? dump_symbol(d, f, symbol, a) : dump_port(d, f, find_port(d, r->dumps[i], n, true), a);
  }
  return dumps;
}

bool kernel_program_run(const program_request *r, const machine *m, const kernel_how *how, arena *a,
                        program_outcome *ret_outcome, status *st) {
  program_outcome o = {.dumps = NULL};
  if (!kernel_program_read(r->path, a, &o.program, st)) return false;
  arena *own = arena_create("fabric"); // open seals it
  fabric *f = kernel_open(&o.program, m, how, own, st);
  bool ok = f && check_dumps(r, &o.program, st) && give_inputs(r, &o.program, f, a, st);
  ok = ok && kernel_execute(f, &o.program, how, &o.run, st);
  if (ok) o.dumps = take_dumps(r, &o.program, f, a);
  if (ok) *ret_outcome = o;
  arena_destroy(own);
  return ok;
}

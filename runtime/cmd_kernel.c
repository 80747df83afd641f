// weft kernel: one small program on the fabric, every wavelet and every value, against a plain reference.
#include "runtime/commands.h"
#include "runtime/kernel_program.h"
#include "runtime/kernel_run.h"
#include "runtime/kernel_woven.h"
#include "runtime/output.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what is asked for

static bool read_grid(const command_call *c, u32 *ret_width, u32 *ret_height, status *st) {
  const char *word = command_value(c, "grid");
  if (!word) return true;
  char *end = NULL, *last = NULL;
  unsigned long w = strtoul(word, &end, 10), h = *end == 'x' ? strtoul(end + 1, &last, 10) : 0;
  if (!last || *last || w < 1 || h < 1 || w > 100000 || h > 100000)
    return status_fail(st, CODE_USAGE, "--grid: \"%.40s\" is not of the form WxH, such as 8x8", word);
  *ret_width = (u32)w;
  *ret_height = (u32)h;
  return true;
}

static bool read_count(const command_call *c, const char *name, u32 *count, status *st) {
  double value = *count;
  if (!command_number(c, name, (command_range){1, 1e6, true}, &value, st)) return false;
  *count = (u32)value;
  return true;
}

static bool read_type(const command_call *c, u32 *type, status *st) {
  const char *word = command_value(c, "dtype");
  return !word || kernel_type_parse(word, type) ||
         status_fail(st, CODE_USAGE, "--dtype: \"%.20s\" is none of f32, f16, bf16", word);
}

// An option that the kernel does not look at would be silently ignored.
static bool check_options(const command_call *c, const char *name, const char *looked_at, status *st) {
  static const char *const sized[] = {"grid",    "words",  "tile",      "repeat", "features",
                                      "outputs", "tokens", "sequences", "heads"};
  for (u32 i = 0; i < COUNT_OF(sized); i++)
    if (command_value(c, sized[i]) && !strstr(looked_at, sized[i]))
      return status_fail(st, CODE_USAGE, "kernel %s does not look at --%s; it looks at %s", name, sized[i], looked_at);
  static const char *const of_program[] = {"input", "dump"};
  for (u32 i = 0; i < COUNT_OF(of_program); i++)
    if (command_value(c, of_program[i])) return status_fail(st, CODE_USAGE, "--%s goes with --program", of_program[i]);
  return true;
}

static bool read_request(const command_call *c, const run_spec *spec, kernel_request *r, status *st) {
  const kernel_facts *k = kernel_find(command_argument(c, 0));
  if (!check_options(c, k->name, k->options, st)) return false;
  *r = (kernel_request){.name = k->name,
                        .pattern = command_value(c, "pattern"),
                        .width = k->width,
                        .height = k->height,
                        .words = k->words,
                        .tile = k->tile,
                        .repeat = k->repeat,
                        .random = command_flag(c, "seed"),
                        .seed = spec->top.seed};
  return read_type(c, &r->type, st) && read_grid(c, &r->width, &r->height, st) &&
         read_count(c, "words", &r->words, st) && read_count(c, "tile", &r->tile, st) &&
         read_count(c, "repeat", &r->repeat, st);
}

static bool read_woven(const command_call *c, const run_spec *spec, kernel_woven_request *r, status *st) {
  const kernel_woven_facts *k = kernel_woven_find(command_argument(c, 0));
  if (!check_options(c, k->name, k->options, st)) return false;
  *r = (kernel_woven_request){.name = k->name,
                              .pattern = command_value(c, "pattern"),
                              .width = 4,
                              .height = 4,
                              .random = command_flag(c, "seed"),
                              .seed = spec->top.seed};
  bool ok = read_type(c, &r->type, st) && read_grid(c, &r->width, &r->height, st);
#define READ(size) ok = ok && read_count(c, #size, &r->size, st);
  KERNEL_WOVEN_SIZES(READ)
#undef READ
  return ok;
}

// ---- what is looked at

enum { LOG_ENTRIES = 1 << 20 };

// "3:8": from the first to before the last.
static bool read_range(const char **at, u64 *ret_from, u64 *ret_until) {
  char *colon, *end;
  if (!isdigit((unsigned char)**at)) return false;
  *ret_from = strtoull(*at, &colon, 10);
  if (*colon != ':' || !isdigit((unsigned char)colon[1])) return false;
  *ret_until = strtoull(colon + 1, &end, 10);
  *at = end;
  return *ret_from < *ret_until;
}

static bool read_watch(const char *pes, const char *window, fabric_watch *w, status *st) {
  u64 x[2], y[2];
  const char *at = pes;
  bool ok = read_range(&at, &x[0], &x[1]) && *at++ == ',' && read_range(&at, &y[0], &y[1]) && !*at;
  if (!ok || x[1] > 100000 || y[1] > 100000)
    return status_fail(
        st, CODE_USAGE,
        "--trace-pes: \"%.60s\" is not of the form x0:x1,y0:y1 with x0 < x1 and y0 < y1, such as 0:4,0:1 "
        "for four PEs",
        pes);
  *w = (fabric_watch){(u32)x[0], (u32)y[0], (u32)(x[1] - x[0]), (u32)(y[1] - y[0]), 0, UINT64_MAX, LOG_ENTRIES};
  at = window;
  if (window && (!read_range(&at, &w->from, &w->until) || *at))
    return status_fail(
        st, CODE_USAGE,
        "--trace-window: \"%.60s\" is not of the form a:b with a < b, such as 100:200 for a hundred cycles", window);
  return true;
}

static bool read_pe(const char *word, kernel_view *v, status *st) {
  char *comma = NULL, *end = NULL;
  bool ok = isdigit((unsigned char)*word);
  unsigned long x = ok ? strtoul(word, &comma, 10) : 0;
  ok = ok && *comma == ',' && isdigit((unsigned char)comma[1]);
  unsigned long y = ok ? strtoul(comma + 1, &end, 10) : 0;
  if (!ok || *end || x > 100000 || y > 100000)
    return status_fail(st, CODE_USAGE, "--pe: \"%.40s\" is not of the form x,y, such as 3,0", word);
  v->memory = true;
  v->x = (u32)x;
  v->y = (u32)y;
  return true;
}

static bool read_view(const command_call *c, kernel_view *ret, status *st) {
  const char *pes = command_value(c, "trace-pes"), *pe = command_value(c, "pe");
  *ret = (kernel_view){.watched = pes != NULL, .json = command_flag(c, "json"), .trace = command_value(c, "trace")};
  static const char *const of_pes[] = {"trace-window", "trace"};
  for (u32 i = 0; i < COUNT_OF(of_pes); i++)
    if (!pes && command_value(c, of_pes[i]))
      return status_fail(st, CODE_USAGE, "--%s goes with --trace-pes", of_pes[i]);
  if ((pes || pe) && command_flag(c, "print"))
    return status_fail(st, CODE_USAGE, "--print runs nothing that --%s could show", pes ? "trace-pes" : "pe");
  return (!pes || read_watch(pes, command_value(c, "trace-window"), &ret->watch, st)) && (!pe || read_pe(pe, ret, st));
}

// ---- what is shown

static json_t *fabric_json(const run_spec *spec, const fabric_result *f, double wall_s) {
  const sim_counts *n = &f->counts;
  json_t *d = output_document("kernel");
  json_object_set_new(d, "machine", json_string(spec->machine.preset));
  json_object_set_new(d, "cycles", json_integer((json_int_t)f->cycles));
  json_object_set_new(d, "counts",
                      json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "wavelets", (json_int_t)n->wavelets, "hops",
                                (json_int_t)n->hops, "macs", (json_int_t)n->macs, "sram_read_bytes",
                                (json_int_t)n->sram_read_bytes, "sram_write_bytes", (json_int_t)n->sram_write_bytes,
                                "tasks", (json_int_t)n->tasks));
  json_object_set_new(d, "wall_s", output_real(wall_s));
  return d;
}

static void print_counts(const fabric_result *f, double wall_s) {
  const sim_counts *n = &f->counts;
  char a[32], b[32];
  output_format("  cycles      %llu\n", (unsigned long long)f->cycles);
  output_format("  counts      %llu wavelets, %llu hops, %llu MACs, %llu tasks; SRAM %s read, %s written\n",
                (unsigned long long)n->wavelets, (unsigned long long)n->hops, (unsigned long long)n->macs,
                (unsigned long long)n->tasks, text_bytes((double)n->sram_read_bytes, a, sizeof a),
                text_bytes((double)n->sram_write_bytes, b, sizeof b));
  output_format("  simulated   in %s on this host", text_si(wall_s, "s", a, sizeof a));
  if (wall_s > 0 && n->hops) output_format(", %s", text_si((double)n->hops / wall_s, "hops/s", a, sizeof a));
  output_text("\n");
}

static void show_view(const kernel_view *v) {
  output_text(text_get(&v->page));
}

static void add_view(json_t *d, const kernel_view *v) {
  if (v->log_json) json_object_set(d, "log", v->log_json);
  if (v->memory_json) json_object_set(d, "memory", v->memory_json);
}

static void print_outcome(const kernel_outcome *o) {
  print_counts(&o->fabric, o->wall_s);
  output_format("  rate        %.4g %s\n", o->rate, o->rate_unit);
  if (o->equal)
    output_format("  reference   equal in all %llu values\n", (unsigned long long)o->compared);
  else
    output_format("  reference   largest deviation %.3g%s, of %llu values, %s %.3g; the first is %s\n", o->largest,
                  o->relative ? " of the largest value" : "", (unsigned long long)o->compared,
                  o->pass ? "within the rounding bound" : "MORE than rounding explains,", o->tolerance, o->where);
}

static void add_outcome(json_t *d, const kernel_outcome *o) {
  json_object_set_new(d, "rate", output_real(o->rate));
  json_object_set_new(d, "rate_unit", json_string(o->rate_unit));
  json_object_set_new(d, "equal", json_boolean(o->equal));
  json_object_set_new(d, "largest_deviation", output_real(o->largest));
  json_object_set_new(d, "tolerance", output_real(o->tolerance));
  json_object_set_new(d, "deviation_is_relative", json_boolean(o->relative));
  json_object_set_new(d, "pass", json_boolean(o->pass));
}

static bool judge(const char *name, const kernel_outcome *o, status *st) {
  return o->pass || status_fail(st, CODE_CHECK, "kernel %s: %s differs from the reference, by %.3g at most", name,
                                o->where, o->largest);
}

static void print_text(text *page) {
  output_text(text_get(page));
  text_free(page);
}

// ---- kernels of the library

static void print_library(const run_spec *spec, const kernel_request *r, const kernel_outcome *o) {
  const char *options = kernel_find(r->name)->options;
  output_format("%s%s%s on %ux%u PEs of %s, %s", r->name, r->pattern ? " " : "", r->pattern ? r->pattern : "", r->width,
                r->height, spec->machine.preset, kernel_type_name(r->type));
  if (strstr(options, "words")) output_format(", %u elements", r->words);
  if (strstr(options, "tile")) output_format(", tile %u", r->tile);
  output_text("\n");
  print_outcome(o);
}

static void print_library_json(const run_spec *spec, const kernel_request *r, const kernel_outcome *o,
                               const kernel_view *v) {
  json_t *d = fabric_json(spec, &o->fabric, o->wall_s);
  json_object_set_new(d, "kernel", json_string(r->name));
  if (r->pattern) json_object_set_new(d, "pattern", json_string(r->pattern));
  json_object_set_new(d, "grid", json_pack("[I,I]", (json_int_t)r->width, (json_int_t)r->height));
  json_object_set_new(d, "dtype", json_string(kernel_type_name(r->type)));
  json_object_set_new(d, "words", json_integer(r->words));
  json_object_set_new(d, "tile", json_integer(r->tile));
  add_outcome(d, o);
  add_view(d, v);
  output_json(d);
}

static bool run_library(const command_call *c, const run_spec *spec, const machine *m, kernel_view *v, status *st) {
  kernel_request r;
  if (!read_request(c, spec, &r, st)) return false;
  r.machine = m;
  if (command_flag(c, "print")) {
    kernel_case k;
    text page = {0};
    if (!kernel_build(&r, c->memory, &k, st)) return false;
    dataflow_print(&k.program, &page);
    print_text(&page);
    return true;
  }
  kernel_outcome o;
  const bool ran = kernel_run(&r, m, &(kernel_how){.view = v}, &o, st);
  if (ran && v->json)
    print_library_json(spec, &r, &o, v);
  else if (ran)
    print_library(spec, &r, &o);
  show_view(v);
  return ran && judge(r.name, &o, st);
}

// ---- operations of the training step

static void print_woven(const run_spec *spec, const kernel_woven_request *r, const kernel_outcome *o) {
  const char *options = kernel_woven_find(r->name)->options;
  output_format("%s%s%s on %ux%u PEs of %s, %s, %u features", r->name, r->pattern ? " " : "",
                r->pattern ? r->pattern : "", r->width, r->height, spec->machine.preset, kernel_type_name(r->type),
                r->features);
  if (strstr(options, "outputs")) output_format(" and %u outputs", r->outputs);
  if (strstr(options, "heads")) output_format(" in %u heads", r->heads);
  output_format(", %u x %u tokens\n", r->sequences, r->tokens);
  print_outcome(o);
}

static void print_woven_json(const run_spec *spec, const kernel_woven_request *r, const kernel_outcome *o) {
  const char *options = kernel_woven_find(r->name)->options;
  json_t *d = fabric_json(spec, &o->fabric, o->wall_s);
  json_object_set_new(d, "kernel", json_string(r->name));
  if (r->pattern) json_object_set_new(d, "pattern", json_string(r->pattern));
  json_object_set_new(d, "grid", json_pack("[I,I]", (json_int_t)r->width, (json_int_t)r->height));
  json_object_set_new(d, "dtype", json_string(kernel_type_name(r->type)));
#define SHOW(size)                                                                                                     \
  if (strstr(options, #size)) json_object_set_new(d, #size, json_integer(r->size));
  KERNEL_WOVEN_SIZES(SHOW)
#undef SHOW
  add_outcome(d, o);
  output_json(d);
}

static bool run_woven(const command_call *c, const run_spec *spec, const machine *m, const kernel_view *v, status *st) {
  kernel_woven_request r;
  if (v->watched || v->memory)
    return status_fail(st, CODE_USAGE, "--trace-pes and --pe look at kernels of the library and programs, not at %s",
                       command_argument(c, 0));
  if (!read_woven(c, spec, &r, st)) return false;
  r.machine = m;
  if (command_flag(c, "print")) {
    text page = {0};
    const bool ok = kernel_woven_print(&r, &page, st);
    print_text(&page);
    return ok;
  }
  kernel_outcome o;
  if (!kernel_woven_run(&r, &o, st)) return false;
  if (command_flag(c, "json"))
    print_woven_json(spec, &r, &o);
  else
    print_woven(spec, &r, &o);
  return judge(r.name, &o, st);
}

// ---- programs of the user's own

static void print_dump(const program_dump *d) {
  for (u32 row = 0; row < d->rows; row++)
    for (u32 column = 0; column < d->columns; column++) {
      output_format("%s", d->name);
      if (d->values) output_format(" %u,%u:", column, row);
      for (u64 i = 0; i < d->count; i++)
        if (d->values)
          output_format(" %.9g", d->values[((u64)row * d->columns + column) * d->count + i]);
        else
          output_format(" 0x%08x", d->words[i]);
      output_text("\n");
    }
}

static json_t *dump_json(const program_dump *d) {
  json_t *list = json_array();
  for (u64 i = 0; i < d->count * d->rows * d->columns; i++)
    json_array_append_new(list, d->values ? output_real(d->values[i]) : json_integer(d->words[i]));
  json_t *o = json_object();
  json_object_set_new(o, "grid", json_pack("[I,I]", (json_int_t)d->columns, (json_int_t)d->rows));
  json_object_set_new(o, "values", list);
  return o;
}

// The values of an option that may be repeated.
static u32 collect(const command_call *c, const char *name, const char ***ret_values) {
  u32 count = 0;
  *ret_values = arena_array(c->memory, const char *, c->given_count + 1);
  for (u32 i = 0; i < c->given_count; i++)
    if (strcmp(c->given[i].option->name, name) == 0) (*ret_values)[count++] = c->given[i].value;
  return count;
}

static bool run_program(const command_call *c, const run_spec *spec, const machine *m, kernel_view *v, status *st) {
  const char **inputs, **dumps;
  program_request r = {.path = command_value(c, "program")};
  r.input_count = collect(c, "input", &inputs);
  r.dump_count = collect(c, "dump", &dumps);
  r.inputs = inputs;
  r.dumps = dumps;
  if (command_argument(c, 0)) return status_fail(st, CODE_USAGE, "a kernel's name or --program FILE, not both");
  program_outcome o;
  if (!kernel_program_run(&r, m, &(kernel_how){.view = v}, c->memory, &o, st)) {
    show_view(v);
    return false;
  }
  if (!v->json) {
    output_format("%s, %ux%u PEs of %s\n", o.program.name, o.program.width, o.program.height, spec->machine.preset);
    print_counts(&o.run.fabric, o.run.wall_s);
    for (u32 i = 0; i < r.dump_count; i++) print_dump(&o.dumps[i]);
    show_view(v);
    return true;
  }
  json_t *d = fabric_json(spec, &o.run.fabric, o.run.wall_s), *values = json_object();
  json_object_set_new(d, "program", json_string(o.program.name));
  for (u32 i = 0; i < r.dump_count; i++) json_object_set_new(values, o.dumps[i].name, dump_json(&o.dumps[i]));
  json_object_set_new(d, "dumps", values);
  add_view(d, v);
  output_json(d);
  return true;
}

// ---- the command

static void list_kernel(const char *name, const char *sentence, const char *patterns, const char *looked_at) {
  output_format("%-15s %-67s %-27s %s\n", name, sentence, patterns, looked_at);
}

static void list_kernels(void) {
  list_kernel("kernel", "does", "--pattern", "looks at");
  for (u32 i = 0; i < kernel_count(); i++) {
    const kernel_facts *k = kernel_get(i);
    list_kernel(k->name, k->sentence, k->patterns, k->options);
  }
  output_text("operations of a training step, as the fabric runs them (engine.name=fabric):\n");
  for (u32 i = 0; i < kernel_woven_count(); i++) {
    const kernel_woven_facts *k = kernel_woven_get(i);
    list_kernel(k->name, k->sentence, k->patterns, k->options);
  }
}

static bool refuse_name(const command_call *c, const char *name, status *st) {
  const u32 library = kernel_count(), count = library + kernel_woven_count();
  const char **names = arena_array(c->memory, const char *, count);
  for (u32 i = 0; i < count; i++) names[i] = i < library ? kernel_get(i)->name : kernel_woven_get(i - library)->name;
  kernel_fail_name(name, names, count, st);
  return false;
}

static bool run(const command_call *c, status *st) {
  const char *name = command_argument(c, 0);
  if (!name && !command_flag(c, "program")) {
    list_kernels();
    return true;
  }
  if (name && strcmp(name, "manual") == 0) {
    text page = {0};
    dataflow_manual(&page);
    print_text(&page);
    return true;
  }
  const bool own = command_flag(c, "program"), woven = !own && kernel_woven_find(name);
  if (!own && !woven && !kernel_find(name)) return refuse_name(c, name, st);
  run_spec *spec = arena_array(c->memory, run_spec, 1);
  machine *m = arena_array(c->memory, machine, 1);
  kernel_view v;
  if (!read_view(c, &v, st) || !command_run_spec(c, NULL, spec, st) || !machine_build(&spec->machine, m, st))
    return false;
  const bool ok = own     ? run_program(c, spec, m, &v, st)
                  : woven ? run_woven(c, spec, m, &v, st)
                          : run_library(c, spec, m, &v, st);
  kernel_view_free(&v);
  return ok;
}

static const command_option options[] = {
    {"grid", "WxH", "PEs along x and y", NULL},
    {"tile", "N", "rows and columns of a tile", NULL},
    {"words", "N", "elements of a message or vector", NULL},
    {"features", "N", "of an operation's tokens", NULL},
    {"outputs", "N", "features on the other side of a linear layer", NULL},
    {"tokens", "N", "of a sequence", NULL},
    {"sequences", "N", "at once", NULL},
    {"heads", "N", "of attention", NULL},
    {"dtype", "TYPE", "f32 (default), f16 or bf16", NULL},
    {"pattern", "NAME", "the form of the kernel, where it has several", NULL},
    {"repeat", "N", "how often the instruction or product runs", NULL},
    {"seed", "N", "random data; otherwise small integers, which every order of sums adds exactly", "seed"},
    {"machine", "NAME", "the machine: a preset or a YAML file", "machine"},
    {"set", "KEY=VALUE", "state a key of the machine; may be repeated", NULL},
    {"print", NULL, "print the program in text form instead of running it", NULL},
    {"program", "FILE", "run a program in text form", NULL},
    {"input", "SYMBOL=FILE", "numbers for a symbol or input port of the program; may be repeated", NULL},
    {"dump", "SYMBOL", "print a symbol or output port afterwards; may be repeated", NULL},
    {"trace-pes", "X0:X1,Y0:Y1", "log what these PEs and their routers do, up to before X1 and Y1", NULL},
    {"trace-window", "A:B", "in cycles A to before B only", NULL},
    {"trace", "FILE", "the log as a Perfetto trace as well", NULL},
    {"pe", "X,Y", "print the memory of a PE afterwards", NULL},
};

const command cmd_kernel = {
    .name = "kernel",
    .arguments = "[NAME | manual]",
    .sentence = "one small program on the fabric, value by value, against a reference",
    .examples = {{"weft kernel summa --grid 8x8 --tile 16 --machine cs2",
                  "a product of matrices: cycles, counts, result"},
                 {"weft kernel --program chain.weft --input words=numbers.txt --dump total", "a program of one's own"},
                 {"weft kernel p2p --grid 4x1 --trace-pes 0:4,0:1 --trace-window 0:60 --pe 3,0",
                  "every task, instruction and wavelet of four PEs, and what the last one holds"}},
    .details = "Without a name: the kernels. Operations of a training step look at sizes of their own, as in\n"
               "  weft kernel attention --grid 6x4 --features 24 --heads 3 --tokens 12 --dtype bf16 --seed 1\n"
               "manual: the instructions and the text form of programs (docs/PROGRAM.md).\n"
               "Exit code 1 when a result differs from the reference by more than rounding explains.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_JSON,
    .arguments_max = 1,
    .run = run,
};

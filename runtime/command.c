// Command lines: options against a command's table, help pages, and what options state about a run.
#include "runtime/command.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shared_option {
  u32 groups;
  command_option option;
} shared_option;

static const shared_option shared[] = {
    {COMMAND_RUN, {"set", "KEY=VALUE", "state any key of the configuration; may be repeated", NULL}},
    {COMMAND_RUN, {"machine", "NAME", "the machine: a preset or a YAML file", "machine"}},
    {COMMAND_RUN, {"model", "NAME", "the model: a preset or a YAML file", "model"}},
    {COMMAND_RUN, {"data", "FILE", "the training data (data.path)", "data.path"}},
    {COMMAND_RUN, {"engine", "NAME", "the engine that runs the modelled step (engine.name)", "engine.name"}},
    {COMMAND_RUN, {"seed", "N", "of everything random", "seed"}},
    {COMMAND_RUN | COMMAND_THREADS, {"threads", "N", "host threads; they change no result (default: all cores)", NULL}},
    {COMMAND_DB, {"db", "FILE", "the run database (default: weft.db)", "record.db"}},
    {COMMAND_OUT, {"out", "DIR", "folder for checkpoint, trace and report", "record.out"}},
    {COMMAND_JSON, {"json", NULL, "print one JSON document on stdout", NULL}},
};
static const command_option help_option = {"help", NULL, "show this", NULL};

// ---- parsing

enum { OPTIONS_MAX = 48 };

static const char *arguments_of(const command *c) {
  return c->arguments ? c->arguments : "";
}

typedef struct option_list {
  const command_option *rows[OPTIONS_MAX];
  u32 count;
} option_list;

static option_list options_of(const command *c) {
  option_list list = {.count = 0};
  for (u32 i = 0; i < c->option_count; i++) list.rows[list.count++] = &c->options[i];
  for (u32 i = 0; i < COUNT_OF(shared); i++) {
    if (shared[i].groups & c->groups) list.rows[list.count++] = &shared[i].option;
  }
  list.rows[list.count++] = &help_option;
  require(list.count <= OPTIONS_MAX);
  return list;
}

static const command_option *option_find(const command *c, const option_list *list, const char *name, status *st) {
  const char *names[OPTIONS_MAX];
  for (u32 i = 0; i < list->count; i++) {
    names[i] = list->rows[i]->name;
    if (strcmp(names[i], name) == 0) return list->rows[i];
  }
  const char *near = text_nearest(name, names, list->count);
  status_fail(st, CODE_USAGE, "weft %s has no option --%.60s%s%s%s; weft %s --help lists them", c->name, name,
              near ? ", did you mean --" : "", near ? near : "", near ? "?" : "", c->name);
  return NULL;
}

typedef struct line {
  u32 count, at;
  char *const *words;
} line;

// words[at] is an option; takes it and its value.
static bool parse_option(const command *c, const option_list *list, line *l, arena *a, command_given *ret, status *st) {
  const char *word = l->words[l->at++] + 2;
  const char *equals = strchr(word, '=');
  const char *name = equals ? arena_format(a, "%.*s", (int)(equals - word), word) : word;
  const command_option *o = option_find(c, list, name, st);
  if (!o) return false;
  *ret = (command_given){o, equals ? equals + 1 : NULL};
  if (!o->value) {
    return !equals || status_fail(st, CODE_USAGE, "--%s takes no value, but \"%.60s\" was given", o->name, equals + 1);
  }
  if (equals) return true;
  if (l->at == l->count) {
    return status_fail(st, CODE_USAGE, "--%s needs a value: --%s %s", o->name, o->name, o->value);
  }
  ret->value = l->words[l->at++];
  return true;
}

// words[at] is "-j4" or "-j 4"; takes it and its value.
static bool parse_letter(const command *c, const option_list *list, line *l, command_given *ret, status *st) {
  const char *word = l->words[l->at++];
  const command_option *o = NULL;
  for (u32 i = 0; i < list->count; i++) {
    if (list->rows[i]->name[0] == word[1] && !list->rows[i]->name[1]) o = list->rows[i];
  }
  if (!o) {
    return status_fail(st, CODE_USAGE,
                       "options begin with two dashes, but \"%.60s\" has one; weft %s --help lists them", word, c->name);
  }
  require(o->value); // flags of one letter would need bundling
  const char *attached = word + 2 + (word[2] == '=');
  *ret = (command_given){o, attached};
  if (attached[0]) return true;
  if (l->at == l->count) return status_fail(st, CODE_USAGE, "-%s needs a value: -%s %s", o->name, o->name, o->value);
  ret->value = l->words[l->at++];
  return true;
}

bool command_parse(const command *c, u32 count, char *const *words, arena *a, command_call *ret_call, status *st) {
  command_given *given = arena_array(a, command_given, count + 1);
  const char **arguments = arena_array(a, const char *, count + 1);
  *ret_call = (command_call){.command = c, .memory = a, .arguments = arguments, .given = given};
  const option_list list = options_of(c);
  line l = {count, 0, words};
  bool options_end = false;
  while (l.at < l.count) {
    const char *word = l.words[l.at];
    if (!options_end && strcmp(word, "--") == 0) {
      options_end = true;
      l.at++;
    } else if (!options_end && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
      ret_call->help = true;
      l.at++;
    } else if (!options_end && text_starts(word, "--")) {
      if (!parse_option(c, &list, &l, a, &given[ret_call->given_count], st)) return false;
      ret_call->given_count++;
    } else if (!options_end && word[0] == '-' && word[1]) {
      if (!parse_letter(c, &list, &l, &given[ret_call->given_count], st)) return false;
      ret_call->given_count++;
    } else {
      arguments[ret_call->argument_count++] = word;
      l.at++;
    }
  }
  return ret_call->help || command_arguments_max(ret_call, c->arguments_max, st);
}

// ---- asking

static const command_given *given_last(const command_call *c, const char *name) {
  for (u32 i = c->given_count; i-- > 0;) {
    if (strcmp(c->given[i].option->name, name) == 0) return &c->given[i];
  }
  return NULL;
}

bool command_flag(const command_call *c, const char *name) {
  return given_last(c, name) != NULL;
}

const char *command_value(const command_call *c, const char *name) {
  const command_given *g = given_last(c, name);
  return g ? g->value : NULL;
}

const char *command_argument(const command_call *c, u32 index) {
  return index < c->argument_count ? c->arguments[index] : NULL;
}

bool command_arguments_max(const command_call *c, u32 max, status *st) {
  if (c->argument_count <= max) return true;
  return status_fail(st, CODE_USAGE, "weft %s: \"%.60s\" is one argument too many; usage: weft %s %s", c->command->name,
                     c->arguments[max], c->command->name, arguments_of(c->command));
}

bool command_number(const command_call *c, const char *name, command_range range, double *ret_value, status *st) {
  const char *word = command_value(c, name);
  if (!word) return true;
  char *end = NULL;
  const double value = strtod(word, &end);
  const bool number = end != word && *end == 0 && isfinite(value) && (!range.whole || floor(value) == value);
  if (!number) {
    return status_fail(st, CODE_USAGE, "--%s: \"%.60s\" is not a %snumber", name, word, range.whole ? "whole " : "");
  }
  if (value < range.min || value > range.max) {
    return status_fail(st, CODE_USAGE, "--%s: %.60s is not between %.10g and %.10g", name, word, range.min, range.max);
  }
  *ret_value = value;
  return true;
}

bool command_word(const command_call *c, const char *const *words, u32 count, u32 *ret_index, status *st) {
  *ret_index = 0;
  const char *word = command_argument(c, 0);
  if (!word) return true;
  for (u32 i = 0; i < count; i++) {
    if (strcmp(words[i], word) != 0) continue;
    *ret_index = i;
    return true;
  }
  const char *near = text_nearest(word, words, count);
  return status_fail(st, CODE_USAGE, "weft %s does not know \"%.60s\"%s%s%s; usage: weft %s %s", c->command->name, word,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", c->command->name,
                     arguments_of(c->command));
}

bool command_threads(const command_call *c, u32 *ret_threads, status *st) {
  double threads = 0;
  if (!command_number(c, "threads", (command_range){1, 1024, true}, &threads, st)) return false;
  *ret_threads = (u32)threads;
  return true;
}

const char *command_db(const command_call *c) {
  const char *path = command_value(c, "db");
  return path ? path : "weft.db";
}

static bool sets_add(const command_call *c, const command_given *g, run_assignment *ret, status *st) {
  if (g->option->key) {
    *ret = (run_assignment){g->option->key, g->value, true, arena_format(c->memory, "--%s", g->option->name)};
    return true;
  }
  const char *equals = strchr(g->value, '=');
  if (!equals || equals == g->value) {
    return status_fail(st, CODE_USAGE, "--set: \"%.200s\" is not of the form key=value", g->value);
  }
  const char *key = arena_format(c->memory, "%.*s", (int)(equals - g->value), g->value);
  *ret = (run_assignment){key, equals + 1, false, "--set"};
  return true;
}

bool command_sets(const command_call *c, const run_assignment **ret_sets, u32 *ret_count, status *st) {
  run_assignment *sets = arena_array(c->memory, run_assignment, c->given_count + 1);
  u32 count = 0;
  for (u32 i = 0; i < c->given_count; i++) {
    const command_given *g = &c->given[i];
    if (!g->option->key && strcmp(g->option->name, "set") != 0) continue;
    if (!sets_add(c, g, &sets[count++], st)) return false;
  }
  *ret_sets = sets;
  *ret_count = count;
  return true;
}

bool command_run_spec(const command_call *c, const char *path, run_spec *ret_spec, status *st) {
  const run_assignment *sets;
  u32 count;
  return command_sets(c, &sets, &count, st) && run_spec_load(ret_spec, path, sets, count, c->memory, st) &&
         command_threads(c, &ret_spec->threads, st);
}

// ---- help

static void help_option_line(const command_option *o, text *out) {
  char left[64];
  snprintf(left, sizeof left, "%s%s%s%s", o->name[1] ? "--" : "-", o->name, o->value ? " " : "", o->value ? o->value : "");
  text_format(out, "  %-22s %s\n", left, o->sentence);
}

void command_help(const command *c, text *out) {
  for (u32 i = 0; i < COUNT_OF(c->examples) && c->examples[i][0]; i++) {
    text_format(out, "  %s\n      %s\n", c->examples[i][0], c->examples[i][1]);
  }
  text_format(out, "\nweft %s%s%s: %s\n", c->name, arguments_of(c)[0] ? " " : "", arguments_of(c), c->sentence);
  if (c->details) text_format(out, "%s\n", c->details);
  text_add(out, "\nOptions:\n");
  const option_list list = options_of(c);
  for (u32 i = 0; i < list.count; i++) help_option_line(list.rows[i], out);
}

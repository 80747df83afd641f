// A command of the program as a row: its name, examples and options, and the function that does it;
// and a command line, parsed and checked against that row.
#pragma once

#include "runtime/run_spec.h"

typedef struct command_option {
  const char *name;  // without the dashes; a name of one letter has one dash: "j" is -j 4 or -j4
  const char *value; // what follows it, for the help page: "FILE"; NULL: a flag, nothing follows
  const char *sentence;
  const char *key; // the configuration key that it states; NULL: the command looks at it itself
} command_option;

// Options that several commands share.
enum {
  COMMAND_RUN = 1,     // what states a run: --set, --seed, --machine, --model, --data, --engine, --threads
  COMMAND_DB = 2,      // --db
  COMMAND_OUT = 4,     // --out
  COMMAND_THREADS = 8, // --threads alone
  COMMAND_JSON = 16    // --json
};

typedef struct command_given {
  const command_option *option;
  const char *value; // NULL for a flag
} command_given;

typedef struct command_call {
  const struct command *command;
  arena *memory;
  const char **arguments; // whatever is no option
  u32 argument_count;
  const command_given *given; // in the order stated
  u32 given_count;
  bool help;
} command_call;

typedef bool command_function(const command_call *c, status *st);

typedef struct command {
  const char *name;
  const char *arguments; // for the help page: "[run.yaml]"; NULL: none
  const char *sentence;
  const char *examples[3][2];    // a command line and what it does; NULL behind the last
  const char *details;           // more for the help page, or NULL
  const command_option *options; // its own; NULL where there are none
  u32 option_count;
  u32 groups; // COMMAND_RUN | ...
  u32 arguments_max;
  command_function *run;
} command;

// Fails with CODE_USAGE and one sentence. `words` are the arguments after the command's name.
bool command_parse(const command *c, u32 count, char *const *words, arena *a, command_call *ret_call, status *st);
void command_help(const command *c, text *out);

bool command_flag(const command_call *c, const char *name);
const char *command_value(const command_call *c, const char *name); // the last one stated, or NULL
// Argument `index`, or NULL.
const char *command_argument(const command_call *c, u32 index);
// The value of an option as a number of [min, max]; ret_value stays where it is not stated.
typedef struct command_range {
  double min, max;
  bool whole;
} command_range;
bool command_number(const command_call *c, const char *name, command_range range, double *ret_value, status *st);
// Which of `words` argument 0 is; argument 0 missing: index 0 (the first word is the default).
bool command_word(const command_call *c, const char *const *words, u32 count, u32 *ret_index, status *st);
// Fails where more than `max` arguments were given.
bool command_arguments_max(const command_call *c, u32 max, status *st);

// What --set and the options that have keys state, in order.
bool command_sets(const command_call *c, const run_assignment **ret_sets, u32 *ret_count, status *st);
// The run that the command line states: `path` (NULL: none), --set and the options that have keys.
bool command_run_spec(const command_call *c, const char *path, run_spec *ret_spec, status *st);
bool command_threads(const command_call *c, u32 *ret_threads, status *st); // 0: not stated
const char *command_db(const command_call *c);                             // --db, or "weft.db"

// commands.c
const command *commands_find(const char *name, status *st); // NULL and a sentence where there is none
void commands_help(text *out);

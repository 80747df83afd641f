// A sweep as a file states it: what every run has in common, and axes over any key.
//
//   name: lr-depth              # the experiment in the database; default: the file's name
//   command: train              # or simulate
//   base: run.yaml              # a run file beside this one, or its sections right here
//   grid:                       # every value with every other
//     train.lr: [2^-9, 2^-8, 2^-7]
//   zip:                        # lists of one length, taken row by row; or a list of such mappings
//     model.width: [64, 128]
//     model.heads: [1, 2]
//   random:                     # `count` draws, the same for all that they are combined with
//     count: 20
//     seed: 1
//     train.lr: {min: 1e-4, max: 1e-1, log: true}
//     train.schedule: [linear, cosine]
#pragma once

#include "runtime/run_spec.h"

enum { SWEEP_KEYS_MAX = 64, SWEEP_POINTS_MAX = 100000 };

typedef enum { SWEEP_TRAIN, SWEEP_SIMULATE } sweep_command;
const char *sweep_command_name(sweep_command c);

// Keys that change together, row by row: a grid key alone, a zip, all random keys.
typedef struct sweep_factor {
  u32 key_count, rows;
  const char **keys, **where; // per key
  const char **values;        // [row][key]
} sweep_factor;

typedef struct sweep_spec {
  const char *file, *name; // file: as it was named, for messages
  bool embedded;           // a preset that the program carries
  sweep_command command;
  const char *base_path; // NULL: none
  run_assignment *base;  // what the base states right here
  u32 base_count;
  sweep_factor factors[SWEEP_KEYS_MAX]; // a point is one row of each; the last changes fastest
  u32 factor_count, key_count;
  u32 product; // points before equal ones are taken out
} sweep_spec;

// `word`: a path, or the name of a preset (presets/sweeps). Every key and value is checked against its field.
bool sweep_spec_load(sweep_spec *s, const char *word, arena *a, status *st);
// The same from text; a base file is looked for beside `file`.
bool sweep_spec_read(sweep_spec *s, const char *file, const char *yaml, size_t size, arena *a, status *st);

// A program of the user's own, in text form: run with inputs from files, and memory or streams shown after.
#pragma once

#include "runtime/kernel_run.h"

typedef struct program_request {
  const char *path;
  const char *const *inputs; // "SYMBOL=FILE" or "PORT=FILE": numbers, blanks between them
  const char *const *dumps;  // names of symbols or output ports
  u32 input_count, dump_count;
} program_request;

typedef struct program_dump {
  const char *name;
  u32 type;            // df_type; words of a port are DF_I32
  u32 columns, rows;   // PEs; a port: 1 x 1
  u64 count;           // of each PE
  const float *values; // NULL for a port
  const u32 *words;
} program_dump;

typedef struct program_outcome {
  dataflow program;
  kernel_outcome run; // nothing to compare with
  const program_dump *dumps;
} program_outcome;

bool kernel_program_read(const char *path, arena *a, dataflow *ret_program, status *st);
bool kernel_program_run(const program_request *r, const machine *m, const kernel_how *how, arena *a,
                        program_outcome *ret_outcome, status *st);

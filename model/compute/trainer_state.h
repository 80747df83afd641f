// What a trainer holds; shared by trainer.c and checkpoint.c only.
#pragma once

#include "model/compute/trainer.h"

struct trainer {
  trainer_setup setup;
  executor *exec;
  u64 steps_done;
  float **param, **grad, **m, **v; // per parameter, into one block each
  u64 *count;                      // values of each parameter
  u32 *inputs, *targets;           // [batch][seq]
  double *square_sums;             // of the gradients' chunks, parameter after parameter
};

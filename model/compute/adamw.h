// AdamW on one parameter, and the global gradient norm: plain loops over arrays, in chunks whose
// size depends on nothing, so that any number of threads gives the same bytes.
#pragma once

#include "base/types.h"

// Values of one update, as PyTorch's AdamW names them; t counts from 1.
typedef struct adamw_values {
  double lr, weight_decay, eps, beta1, beta2;
  double clip_factor; // multiplies the gradient
  u64 t;
} adamw_values;

// One parameter and its state; `count` values each.
typedef struct adamw_array {
  float *param, *m, *v;
  const float *grad;
  size_t count;
} adamw_array;

// p *= 1 - lr wd; m, v; p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
void adamw_update(const adamw_values *s, adamw_array a, u32 threads);

// The same for all threads of a parallel region to call, without a barrier at its end.
void adamw_update_team(const adamw_values *s, const adamw_array *a);

// Sums of squares in double, one per chunk: their total in order does not depend on the threads. Called
// by all threads of a region, without a barrier at its end.
size_t adamw_chunks(size_t count);
void adamw_square_sums_team(const float *grad, size_t count, double *ret_sums);

// torch's clip_grad_norm_: min(1, clip / (norm + 1e-6)), 1 where clip is 0.
double adamw_clip_factor(double clip, double norm);

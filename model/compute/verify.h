// Replays a recorded model (init, tokens, gradients, weights after 1 and 3 steps, losses) and measures
// the largest deviation per tensor.
#pragma once

#include "model/compute/trainer.h"

typedef struct verify_row {
  const char *name;        // "grad/h0.attn.wqkv"
  double max_abs, max_rel; // max_rel: of the tensor's largest recorded magnitude
  double of_limit;         // deviation over its limit: above 1 fails
  bool pass;
} verify_row;

typedef struct verify_result {
  double loss_max_abs, grad_max_rel, weight_max_abs, act_max_rel;
  const char *worst; // name of the tensor that is furthest beyond (or nearest to) its limit
  bool pass;
  u32 row_count;
  const verify_row *rows;
} verify_result;

typedef struct verify_limits { double loss_abs, grad_rel, weight_abs; } verify_limits;
#define VERIFY_LIMITS_FP32 ((verify_limits){5e-6, 1e-5, 1e-5})

// A deliberate mistake, for tests that show the check can fail: called on the built graph's copy
// and options before the replay. NULL in production.
typedef struct verify_options {
  const kernel_table *kernels;
  verify_limits limits;
  u32 threads;
  void (*sabotage)(graph *g, train_options *o, void *user);
  // Who computes instead of the executor; NULL: the executor. Called once the graph is built.
  const trainer_source *(*open_source)(void *user, const graph *g, u32 batch, arena *a, status *st);
  void *user;
} verify_options;

// Reads FILE.safetensors (configuration in its metadata, else in FILE.json beside it). Rows [N, 2N) of
// attn.bqkv are skipped: the K-bias gradient is exactly zero and only round-off reaches it.
bool verify_run(const char *path, const verify_options *o, arena *a, verify_result *ret_result, status *st);

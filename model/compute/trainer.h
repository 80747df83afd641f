// A training run of one model on one token stream: parameters, AdamW state, steps, evaluation and
// checkpoints that resume bit-exactly.
#pragma once

#include "model/compute/execute.h"
#include "model/compute/tokens.h"

typedef struct trainer trainer;

// Who computes losses and gradients instead of the executor; what it is, compute does not know. Losses are means over the
// batch, gradients those of the mean loss, overwritten. NaN where it failed: its owner knows why.
typedef struct trainer_source {
  double (*forward)(void *user, const execute_batch *b);
  double (*gradients)(void *user, const execute_batch *b, float *const *grads);
  // An activation of the latest forward, which was of one sequence: [seq][cols].
  void (*read)(void *user, u32 tensor, float *ret_values);
  void *user;
} trainer_source;

typedef struct trainer_setup {
  const graph *graph; // built with the base hyperparameters of `options`
  const train_options *options;
  const kernel_table *kernels;
  u64 seed;
  u32 threads;
  const trainer_source *source; // NULL: the executor
  const execute_ranks *ranks; // that share every batch, or NULL: each ends every step with the same parameters
} trainer_setup;

typedef struct step_result {
  u64 step;  // 1 after the first step
  double loss, lr, grad_norm; // loss of the batch before the update; norm before clipping
  bool finite; // of loss and norm; otherwise the step counts but changes no parameter
} step_result;

// The fast kernels for the stated precision.
const kernel_table *trainer_kernels(const train_options *o);

// Parameters initialised by the rules from (seed, RANDOM_INIT). Everything is taken from `a`.
trainer *trainer_create(const trainer_setup *s, arena *a, status *st);

// Schedule factor in [0, 1] for step t = 1..steps (multiplies every group's rate): t / warmup up to 1,
// then falling from 1 at the first step after warmup to lr_end one step after the last.
double train_schedule(const train_options *o, u64 t);

// One optimizer step on `options->batch` sequences drawn from data by (seed, step, index).
step_result trainer_step(trainer *t, const token_data *data);
// The same on given tokens [batch][seq] (verify replays recorded batches); options->batch sequences.
step_result trainer_step_on(trainer *t, const u32 *inputs, const u32 *targets);
// Mean held-out loss over options->eval_sequences windows.
double trainer_evaluate(trainer *t, const token_data *data);

float *trainer_param(trainer *t, u32 param);          // values, writable (verify loads recorded ones)
const float *trainer_grad(const trainer *t, u32 param); // gradients of the last step, before clipping
// Mean loss of a batch, forward only; then an activation of it, where it was of one sequence.
double trainer_forward(trainer *t, const execute_batch *b);
void trainer_read(trainer *t, u32 tensor, float *ret_values);
u64 trainer_steps_done(const trainer *t);
executor *trainer_executor(trainer *t);

// A checkpoint is a folder: model.safetensors (+ config.json: the model section) and
// optimizer.safetensors (m, v, step, seed). Written beside and renamed as one folder: a kill at any
// moment leaves the previous checkpoint or the new one, never a mixture. A folder that holds files of
// anybody else is not replaced: CODE_CANT_CREATE. checkpoint.h reads config.json back.
bool trainer_save(const trainer *t, const char *folder, status *st);
// Shapes, names and seed must fit; otherwise CODE_DATA with what differs.
bool trainer_load(trainer *t, const char *folder, status *st);

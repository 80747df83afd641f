// Text from a trained model: samples one token at a time from the last `seq` tokens.
#pragma once

#include "model/compute/trainer.h"

typedef struct generate_options {
  u32 tokens;         // how many to produce
  double temperature; // 0 takes the most likely token
  u32 top_k;          // 0: all
  u64 seed;
} generate_options;

// prompt: token ids (at least one). Calls `emit` for each new token; emit returns false to stop.
typedef bool generate_emit(u32 token, void *user);
// The model's attention is causal.
void generate_run(trainer *t, const u32 *prompt, u32 prompt_count, const generate_options *o,
                  generate_emit *emit, void *user);

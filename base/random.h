// Random numbers as a function of (seed, purpose, index): Philox 4x32-10 (Salmon et al., SC'11).
// Nothing is stateful, so a run replays from its row and no order of calls matters.
#pragma once

#include "base/types.h"

typedef enum random_purpose {
  RANDOM_INIT = 1,   // parameter initialisation; stream = parameter index
  RANDOM_BATCH = 2,  // which window a training sequence starts at; stream = step
  RANDOM_EVAL = 3,   // held-out windows
  RANDOM_SAMPLE = 4, // text generation
  RANDOM_TEST = 5,
  RANDOM_SWEEP = 6, // points of a sweep; stream = hash of the key
  RANDOM_MASK = 7   // tokens hidden from an encoder; stream = step
} random_purpose;

// One 128-bit block for (seed, purpose, stream, index).
void random_block(u64 seed, random_purpose purpose, u32 stream, u64 index, u32 ret_words[4]);
// Uniform in [0, n), n > 0, without modulo bias worth naming (64-bit multiply-shift).
u64 random_below(u64 seed, random_purpose purpose, u32 stream, u64 index, u64 n);
// Uniform in [0, 1) with 53 bits.
double random_unit(u64 seed, random_purpose purpose, u32 stream, u64 index);
// Standard normal (Box-Muller on one block).
double random_normal(u64 seed, random_purpose purpose, u32 stream, u64 index);

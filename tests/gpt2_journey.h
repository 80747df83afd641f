// A GPT-2-shaped model of random weights on its way: a .bin of llm.c, a trainer, one step, Hugging Face's folder,
// and back, with every name, shape and transposition checked against the table of this test alone.
#pragma once

#include "base/types.h"

typedef struct gpt2_journey {
  u32 layers, width, heads, vocab, padded_vocab, positions;
  u32 seq, batch; // of the step
} gpt2_journey;

void gpt2_journey_run(const gpt2_journey *j);

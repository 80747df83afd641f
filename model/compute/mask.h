// Masked-token prediction, what a bidirectional model trains on: it would see the next token. Of each sequence
// 15% of the tokens are targets, a fixed number at places drawn by (seed, stream, index); of those 80% show the
// vocabulary's last id, 10% a random token, 10% themselves (BERT, arXiv 1810.04805, section 3.1).
#pragma once

#include "model/compute/tokens.h"

// Which sequence of which step is hidden from; the vocabulary whose last id stands for hidden tokens.
typedef struct mask_draw {
  u64 seed;
  u32 stream, index, vocab;
} mask_draw;

u32 mask_count(u32 seq); // targets of a sequence, at least 1
// Turns a window as tokens_batch made it into a masked one: inputs with tokens hidden, targets those tokens and
// TARGET_NONE elsewhere.
void mask_window(token_window w, mask_draw d);

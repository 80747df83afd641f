// Training data: a stream of token ids split into a training part and a held-out part.
#pragma once

#include "base/arena.h"
#include "model/compute/train_options.h"

typedef struct token_data {
  const u16 *train, *held; // token ids
  u64 train_count, held_count;
  u32 vocab;            // ids are below this; for .bin files the stated model.vocab
  u8 char_of[256];      // text: byte for each id
  u32 id_of[256];       // text: id of each byte, UINT32_MAX where it does not occur
  bool is_text;
  u64 hash;             // identity of the data: bytes of the file(s), the split and the vocabulary
  const void *maps[2];  // file mappings to give back
  size_t map_sizes[2];
} token_data;

// Opens data.path (or, where empty, the text in builtin[0..builtin_size)). `vocab` is the model's stated
// vocabulary or 0; every token is checked against it: a token beyond it, a truncated or mis-sized .bin
// or too little data for one sequence of seq + 1 tokens in either part is CODE_DATA with file, offset
// and what to do; a missing file CODE_NO_INPUT.
typedef struct tokens_request {
  const data_options *options;
  const void *builtin; // the text used when options->path is empty
  size_t builtin_size;
  u32 vocab; // the model's stated vocabulary, 0 to take it from the data (text only)
  bool masks; // the vocabulary's last id stands for hidden tokens: data do not have it
  u32 seq;
} tokens_request;
bool tokens_open(const tokens_request *r, arena *a, token_data *ret_data, status *st);
void tokens_close(token_data *d);

// Fills inputs[seq] and targets[seq] of training sequence `index` of `step`: a window at a random
// offset that is a function of (seed, step, index).
typedef struct token_window {
  u32 seq;
  u32 *inputs, *targets; // seq values each
} token_window;
void tokens_batch(const token_data *d, u64 seed, u64 step, u32 index, token_window w);
// Held-out window `index` of `count`, evenly spaced and the same for every run.
void tokens_held(const token_data *d, u32 index, u32 count, token_window w);

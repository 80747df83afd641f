// The data that a run trains on, opened as its configuration says, and the vocabulary that the model
// takes from it.
#pragma once

#include "model/compute/tokens.h"
#include "runtime/run_spec.h"

// Opens data.path or the built-in text. Close with tokens_close.
bool run_data_open(const run_spec *r, arena *a, token_data *ret_data, status *st);
// Where the model states no vocabulary, that of the data; the value's origin is then "data".
void run_data_fill_vocab(run_spec *r, const token_data *data);
// run_data_fill_vocab for those who need no data beyond it; opens nothing when it is stated.
bool run_data_vocab(run_spec *r, arena *a, status *st);
// What the data is, in a few words: "tinyshakespeare.txt", "the built-in text".
const char *run_data_name(const run_spec *r);
// The host threads to use: r->threads, or all cores.
u32 run_threads(const run_spec *r);

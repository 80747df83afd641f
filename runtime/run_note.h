// weft.json in a checkpoint: the whole configuration, and how bytes of text become tokens. With it a
// checkpoint can be used without the database, the data or the run file that it came from.
#pragma once

#include "runtime/run_data.h"

// The same configuration and data give the same bytes; nothing of this place or time is in it.
char *run_note_make(const run_spec *r, const token_data *data, arena *a);

typedef struct run_vocab {
  bool is_text;
  u32 count; // text: ids below this stand for a byte
  u8 byte_of[256];
  u32 id_of[256]; // UINT32_MAX: the byte has no token
} run_vocab;

// Reads the note of a checkpoint into a bound spec (run_spec_init is done here). CODE_NO_INPUT where there
// is none, CODE_DATA where it is damaged.
bool run_note_read(const char *folder, arena *a, run_spec *ret_spec, run_vocab *ret_vocab, status *st);

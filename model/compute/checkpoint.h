// What a checkpoint folder says about itself, for those who open one before they have a trainer.
#pragma once

#include "model/compute/trainer.h"

typedef struct checkpoint_info {
  model_spec model;
  u32 seq; // tokens per sequence it was trained on
  u64 step, seed;
} checkpoint_info;

// Reads config.json. CODE_NO_INPUT when there is no checkpoint, CODE_DATA when it is damaged.
bool checkpoint_read_info(const char *folder, arena *a, checkpoint_info *ret_info, status *st);

// trainer_save with one more file in the same rename: `note`, a text of the caller's, as weft.json.
bool checkpoint_save(const trainer *t, const char *folder, const char *note, status *st);
// That text. CODE_NO_INPUT when there is no checkpoint or no note in it.
bool checkpoint_read_note(const char *folder, arena *a, char **ret_note, status *st);
// Whether there is anything that trainer_load would look at.
bool checkpoint_exists(const char *folder);

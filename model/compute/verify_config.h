// The configuration of a recorded model, in the recorder's words, as a model and training options.
#pragma once

#include "model/compute/safetensors.h"
#include "model/compute/train_options.h"
#include "model/graph/model_spec.h"

typedef struct recorded_config {
  model_spec model;
  train_options train; // constant schedule, no warmup
} recorded_config;

// From the metadata of the open file, else from the .json beside `path`. A key that is not understood
// is CODE_DATA, as it might change the model.
bool verify_config_read(const char *path, const st_file *f, arena *a, recorded_config *ret_config, status *st);

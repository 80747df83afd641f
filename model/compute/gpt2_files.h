// GPT-2-shaped weights as others keep them: Hugging Face's folder (model.safetensors with its names and its
// transposed Conv1D matrices, config.json), and llm.c's .bin (magic 20240326, version 3, fp32).
#pragma once

#include "model/graph/graph.h"

// Reads weights into params[p] of a graph of the same shape. `path` is a folder, a .safetensors (names with or
// without "transformer.") or a .bin. A longer table of positions gives its first rows. CODE_NO_INPUT or CODE_DATA
// with the tensor that does not fit, and then some parameters may have been read.
bool gpt2_read(const graph *g, const char *path, float *const *params, status *st);
// Shape of a Hugging Face folder from its config.json: a model section with parameterization sp.
bool gpt2_read_config(const char *folder, arena *a, model_spec *ret_model, u32 *ret_positions, status *st);
// Writes FOLDER/model.safetensors and config.json. CODE_CONFIG where GPT-2 has no place for what the model
// does: ALiBi, other activations than GELU, multipliers, another scale of the scores.
bool gpt2_write(const graph *g, float *const *params, const char *folder, status *st);

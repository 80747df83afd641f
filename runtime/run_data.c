// Opening training data for a run.
#include "runtime/run_data.h"

#include "base/embed.h"

#include <omp.h>
#include <string.h>

static const char builtin_name[] = "corpus.txt";

bool run_data_open(const run_spec *r, arena *a, token_data *ret_data, status *st) {
  const embed_file *f = embed_find(builtin_name);
  const tokens_request request = {
      .options = &r->data,
      .builtin = f ? f->data : NULL,
      .builtin_size = f ? f->size : 0,
      .vocab = r->model.vocab,
      .seq = r->train.seq,
      .masks = r->model.attention == ATTENTION_BIDIRECTIONAL,
  };
  return tokens_open(&request, a, ret_data, st);
}

void run_data_fill_vocab(run_spec *r, const token_data *data) {
  if (r->model.vocab) return;
  r->model.vocab = data->vocab;
  for (u32 i = 0; i < r->config.count; i++) {
    config_section *s = &r->config.sections[i];
    if (s->table != &model_table) continue;
    field_note *note = &s->notes[field_find(&model_table, "vocab") - model_table.fields];
    *note = (field_note){.level = note->level, .origin = "data"};
  }
}

bool run_data_vocab(run_spec *r, arena *a, status *st) {
  if (r->model.vocab) return true;
  run_spec shortest = *r; // nothing is trained, so the data need not hold a sequence
  shortest.train.seq = 1;
  token_data data;
  if (!run_data_open(&shortest, a, &data, st)) return false;
  run_data_fill_vocab(r, &data);
  tokens_close(&data);
  return true;
}

const char *run_data_name(const run_spec *r) {
  return r->data.path[0] ? r->data.path : "the built-in text";
}

u32 run_threads(const run_spec *r) {
  return r->threads ? r->threads : (u32)omp_get_max_threads();
}

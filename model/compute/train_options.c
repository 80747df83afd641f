// The tables of the sections `train` and `data`, and the learning rate schedule they state.
#include "model/compute/trainer.h"

#include <math.h>

#define TRAIN_ROW(...) FIELD_ROW(train_options, __VA_ARGS__)
static const field train_rows[] = {TRAIN_FIELDS(TRAIN_ROW)};
const field_table train_table = {"train", "How training runs: steps, batch, optimizer and schedule.",
                                 train_rows, COUNT_OF(train_rows), sizeof(train_options)};

#define DATA_ROW(...) FIELD_ROW(data_options, __VA_ARGS__)
static const field data_rows[] = {DATA_FIELDS(DATA_ROW)};
const field_table data_table = {"data", "What is trained on, and what is held out.", data_rows,
                                COUNT_OF(data_rows), sizeof(data_options)};

enum { EVAL_TOKENS = 65536 }; // with 12k tokens the loss of a small model reads up to 0.02 off the whole held-out part's

u32 train_eval_sequences(const train_options *o) {
  if (o->eval_sequences) return o->eval_sequences;
  if (o->numbers == NUMBERS_FABRIC) return o->batch; // tens of tokens a second there
  return o->seq < EVAL_TOKENS ? EVAL_TOKENS / o->seq : 1;
}

static double warmup_steps(const train_options *o) {
  return o->warmup < 1 ? floor(o->warmup * o->steps + 0.5) : floor(o->warmup + 0.5);
}

// The first step after warmup has the full rate, and the rate would reach lr_end one step after the
// last, so that no step is spent at a rate of zero.
double train_schedule(const train_options *o, u64 t) {
  double warmup = warmup_steps(o), step = (double)t;
  if (step <= warmup) return step / warmup;
  if (o->schedule == SCHEDULE_CONSTANT) return 1;
  double falling = o->steps - warmup;
  double done = falling > 0 ? fmin((step - 1 - warmup) / falling, 1) : 1;
  double left = o->schedule == SCHEDULE_LINEAR ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
  return o->lr_end + (1 - o->lr_end) * left;
}

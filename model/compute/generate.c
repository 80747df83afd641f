// Sampling from a trained model: a running window of the last tokens, one forward pass per new token.
#include "model/compute/trainer_state.h"

#include "base/random.h"
#include "model/compute/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// A candidate for the next token.
typedef struct candidate {
  float logit;
  u32 token;
} candidate;

typedef struct sampler {
  u32 vocab;
  const generate_options *options;
  candidate *candidates; // [vocab]
} sampler;

static int by_logit(const void *x, const void *y) {
  const candidate *a = x, *b = y;
  if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
  return (a->token > b->token) - (a->token < b->token);
}

static u32 most_likely(const float *logits, u32 vocab) {
  u32 best = 0;
  for (u32 v = 1; v < vocab; v++)
    if (logits[v] > logits[best]) best = v;
  return best;
}

// Keeps the candidates that may be drawn, most likely first where top_k cuts; returns how many.
static u32 keep_candidates(const sampler *s, const float *logits) {
  for (u32 v = 0; v < s->vocab; v++) s->candidates[v] = (candidate){logits[v], v};
  u32 k = s->options->top_k;
  if (k == 0 || k >= s->vocab) return s->vocab;
  qsort(s->candidates, s->vocab, sizeof *s->candidates, by_logit);
  return k;
}

static u32 draw(const sampler *s, const float *logits, u64 index) {
  u32 best = most_likely(logits, s->vocab);
  if (s->options->temperature <= 0) return best;
  u32 count = keep_candidates(s, logits);
  double top = (double)logits[best], total = 0;
  for (u32 i = 0; i < count; i++) total += exp(((double)s->candidates[i].logit - top) / s->options->temperature);
  double left = total * random_unit(s->options->seed, RANDOM_SAMPLE, 0, index);
  for (u32 i = 0; i < count; i++) {
    left -= exp(((double)s->candidates[i].logit - top) / s->options->temperature);
    if (left < 0) return s->candidates[i].token;
  }
  return best; // only round-off, or logits that are not numbers, lead here
}

void generate_run(trainer *t, const u32 *prompt, u32 prompt_count, const generate_options *o, generate_emit *emit,
                  void *user) {
  const graph *g = t->setup.graph;
  require(prompt_count > 0 && g->model.attention == ATTENTION_CAUSAL);
  u32 seq = g->seq, vocab = g->tensors[g->logits].cols;
  arena *a = arena_create("generate");
  sampler s = {vocab, o, arena_array(a, candidate, vocab)};
  float *logits = arena_array(a, float, (u64)seq * vocab);
  u32 *window = arena_array(a, u32, seq), *targets = arena_array(a, u32, seq);
  u32 count = prompt_count < seq ? prompt_count : seq;
  memcpy(window, prompt + (prompt_count - count), count * sizeof *window);
  // What pads the window on the right is never seen from the left of it: attention is causal.
  execute_batch b = {1, window, targets, t->param};
  for (u32 i = 0; i < o->tokens; i++) {
    execute_forward(t->exec, &b);
    execute_read(t->exec, g->logits, logits);
    u32 next = draw(&s, logits + (u64)(count - 1) * vocab, i);
    if (!emit(next, user)) break;
    if (count == seq) memmove(window, window + 1, (--count) * sizeof *window);
    window[count++] = next;
  }
  arena_destroy(a);
}

// What a search tried, told to people: the fastest plans, and what each decision would cost decided otherwise.
#include "mapper/plan.h"

#include <stdio.h>

static const char *limit_of(const plan_trial *t, double *ret_share) {
  u32 worst = 0;
  for (u32 i = 1; i < RESOURCE_COUNT; i++)
    if (t->by_resource[i] > t->by_resource[worst]) worst = i;
  *ret_share = 100 * t->by_resource[worst] / t->cycles;
  return engine_resource_name(worst);
}

static void print_trial(const plan_trial *t, double best, text *out) {
  double share;
  const char *limit = limit_of(t, &share);
  char kept[48] = "all";
  if (t->policy != POLICY_RESIDENT)
    snprintf(kept, sizeof kept, "%s/%u/%u", plan_kept_name(t->kept), t->kept_blocks, t->ahead);
  text_format(out, "%11.5g %+6.1f%%  %4u x %-5u %4u  %-9s %-15s %-10s %-11s %5.1f K  %s %.0f%%\n", t->cycles,
              100 * (t->cycles / best - 1), t->microbatches, t->microbatch, t->replicas, plan_policy_name(t->policy),
              kept, t->transposed ? "transposed" : "plain", t->interleaved ? "interleaved" : "in order",
              t->total_bytes / 1024.0, limit, share);
}

// Index of the fastest trial that is later than `after` in the order of (cycles, index); UINT32_MAX: none.
static u32 next_best(const plan_trials *t, u32 after) {
  u32 best = UINT32_MAX;
  for (u32 i = 0; i < t->count; i++) {
    const plan_trial *a = &t->list[i];
    if (after != UINT32_MAX) {
      const plan_trial *b = &t->list[after];
      if (a->cycles < b->cycles || (a->cycles <= b->cycles && i <= after)) continue;
    }
    if (best == UINT32_MAX || a->cycles < t->list[best].cycles) best = i;
  }
  return best;
}

typedef u32 decision_value(const plan_trial *t);
static u32 value_activations(const plan_trial *t) {
  return t->policy == POLICY_RESIDENT ? 0 : 10 * t->policy + t->kept;
}
static u32 value_grid(const plan_trial *t) {
  return t->transposed;
}
static u32 value_tokens(const plan_trial *t) {
  return t->interleaved;
}
static u32 value_replicas(const plan_trial *t) {
  return t->replicas;
}
static u32 value_microbatches(const plan_trial *t) {
  return t->microbatches;
}

// The best trial with each other value of a decision, in the order of their times.
static void print_decision(const plan_trials *t, const char *name, decision_value *value, text *out) {
  enum { SHOWN = 6 };
  u32 seen[SHOWN + 1], count = 0, at = next_best(t, UINT32_MAX);
  double best = t->list[at].cycles;
  seen[count++] = value(&t->list[at]);
  text_format(out, "otherwise in %s\n", name);
  for (at = next_best(t, at); at != UINT32_MAX && count <= SHOWN; at = next_best(t, at)) {
    bool known = false;
    for (u32 i = 0; i < count; i++) known |= seen[i] == value(&t->list[at]);
    if (known) continue;
    seen[count++] = value(&t->list[at]);
    print_trial(&t->list[at], best, out);
  }
  if (count == 1) text_add(out, "  nothing else fits or differs\n");
}

void plan_trials_print(const plan_trials *t, u32 best, text *out) {
  if (!t->count) return;
  text_format(out, "%u plans were costed. The fastest, with what bounds most of the step:\n", t->count);
  text_format(out, "%11s %7s  %-12s %4s  %-9s %-15s %-10s %-11s %7s  %s\n", "cycles", "slower", " microbatch", "repl",
              "backward", "kept/in/ahead", "grid", "tokens", "SRAM", "bound by");
  u32 at = next_best(t, UINT32_MAX);
  double fastest = t->list[at].cycles;
  for (u32 i = 0; i < best && at != UINT32_MAX; i++, at = next_best(t, at)) print_trial(&t->list[at], fastest, out);
  text_add(out, "\nWhy the others lost: the best plan that decides one thing otherwise.\n");
  print_decision(t, "what backward finds", value_activations, out);
  print_decision(t, "the grid", value_grid, out);
  print_decision(t, "the order of tokens", value_tokens, out);
  print_decision(t, "replicas", value_replicas, out);
  print_decision(t, "the number of microbatches", value_microbatches, out);
}

// weft study transfer: does the best value of a hyperparameter, found on the smallest model, stay the best on
// deeper and wider ones, and what does keeping it cost?
#pragma once

#include "runtime/study_fit.h"
#include "runtime/study.h"

typedef enum { VARY_LR, VARY_INIT_STD, VARY_WEIGHT_DECAY, VARY_EPS } transfer_vary;

#define TRANSFER_FIELDS(F)                                                                                             \
  F(TEXT, rules, "rules", UNIT_NONE, "sp mup completep", 0, 0, NULL,                                                   \
    "parameterizations: sp, sp-gpt2, mup, completep, completedp, released, alpha0.5")                                  \
  F(ENUM, vary, "vary", UNIT_NONE, "lr", 0, 0, "lr|init_std|weight_decay|eps", "the base value that is searched")      \
  F(TEXT, values, "values", UNIT_NONE, "2^-11..2^-5", 0, 0, NULL, "its values; a..b goes by octaves")                   \
  F(TEXT, layers, "layers", UNIT_NONE, "2 8 32", 0, 0, NULL, "depths, at model.width; tuned on the first")             \
  F(TEXT, widths, "widths", UNIT_NONE, "", 0, 0, NULL, "widths, at the first depth; empty: model.width alone")         \
  F(U32, seeds, "seeds", UNIT_NONE, "2", 1, 100, NULL, "seeds, from the run's on")
typedef struct transfer_options {
  TRANSFER_FIELDS(FIELD_MEMBER)
} transfer_options;
extern const field_table transfer_table; // section "transfer"

// Losses [value][seed] of one size and what they say; x in octaves (log2 of the value).
typedef struct transfer_size {
  u32 width, layers;
  double *loss; // not finite: diverged
  double *mean; // over seeds, per value; not finite where any seed diverged
  fit_optimum best;
  double *best_seed; // per seed: where its parabola is lowest
  double drift, drift_sd;   // octaves from the first size's optimum, seed by seed
  double moved, moved_sd;   // loss at the first size's best value
  double cost, cost_sd;     // and what it is above the best value of this size
} transfer_size;

typedef enum { TRANSFER_HOLDS, TRANSFER_DRIFTS, TRANSFER_UNCLEAR } transfer_verdict;
typedef struct transfer_result {
  study_rule rule;
  transfer_size *sizes;
  u32 chosen; // value of the first size's lowest mean loss
  transfer_verdict verdict;
} transfer_result;

typedef struct transfer_study {
  study *s;
  const transfer_options *o;
  study_list values;
  double *octaves; // log2 of the values
  u32 *width, *layers;
  u32 size_count, deepest;
  study_rule *rules;
  u32 rule_count;
  transfer_result *results;
} transfer_study;

bool transfer_run(transfer_study *t, study *s, const transfer_options *o, status *st);
bool transfer_page(transfer_study *t, status *st); // study_transfer_page.c
const char *transfer_vary_name(u32 vary);
// Everything that follows from the losses of a result's sizes.
void transfer_decide(const transfer_study *t, transfer_result *r);
void transfer_conclude(transfer_study *t);

// weft study shapes: which ratio of width to depth reaches a loss soonest on the machine? Two things that stay
// apart: losses come from models small enough to train here, times from full-scale shapes on the modelled
// machine. They meet only through a line of loss against log2 parameters per ratio, with its error.
#pragma once

#include "model/graph/graph_count.h"
#include "runtime/step_sim.h"
#include "runtime/study.h"
#include "runtime/study_fit.h"

#define SHAPES_FIELDS(F)                                                                                               \
  F(TEXT, budgets, "budgets", UNIT_NONE, "1M 10M", 0, 0, NULL, "parameters without embeddings, for the machine")       \
  F(TEXT, train_budgets, "train_budgets", UNIT_NONE, "0.1M 0.2M 0.4M", 0, 0, NULL,                                     \
    "parameters without embeddings of the models that are trained; two or more")                                      \
  F(TEXT, ratios, "ratios", UNIT_NONE, "4 16 64", 0, 0, NULL, "width over depth")                                      \
  F(U32, seeds, "seeds", UNIT_NONE, "2", 1, 100, NULL, "seeds, from the run's on")                                     \
  F(U32, machine_batch, "machine_batch", UNIT_NONE, "128", 1, 16777216, NULL, "sequences of the modelled step")        \
  F(U32, machine_seq, "machine_seq", UNIT_NONE, "2048", 1, 1048576, NULL, "tokens of its sequences")                   \
  F(U32, machine_vocab, "machine_vocab", UNIT_NONE, "50257", 2, 16777216, NULL, "its vocabulary")
typedef struct shapes_options {
  SHAPES_FIELDS(FIELD_MEMBER)
} shapes_options;
extern const field_table shapes_table; // section "shapes"

typedef struct shape_size {
  u32 width, layers;
  double params; // 12 N^2 L
} shape_size;
// The shape next to a ratio with about `budget` parameters; width a multiple of `head`.
shape_size shape_of(double budget, double ratio, u32 head);

typedef enum { SHAPE_BEATEN, SHAPE_UNSURE, SHAPE_FRONTIER } shape_standing;
typedef struct shape_point {
  double budget, ratio;
  shape_size size;
  double loss, error; // by the ratio's line at these parameters; error: one standard error
  bool beyond;        // more parameters than any model that was trained
  bool fits;          // the machine takes it; otherwise nothing below is known
  double tokens_per_s, joules_per_token, wafer_s, flops_6p, flops_explicit;
  shape_standing standing;
} shape_point;

typedef struct shapes_study {
  study *s;
  const shapes_options *o;
  study_list budgets, train_budgets, ratios;
  double *x, *loss; // [ratio][train budget][seed]: log2 parameters, validation loss
  fit_line *lines;  // [ratio]
  shape_point *points;
  u32 point_count;
  double tokens; // of every training
} shapes_study;

bool shapes_run(shapes_study *p, study *s, const shapes_options *o, status *st);
bool shapes_page(shapes_study *p, status *st); // study_shapes_page.c
// A point is beaten where another is no slower and lower by more than both errors, unsure where only lower.
void shapes_stand(shape_point *points, u32 count);

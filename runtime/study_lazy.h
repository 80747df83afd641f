// weft study lazy: does a block of a deep network still learn features, or only move along its
// linearization? (completep.md 2.3, the paper's figure 6.) A residual MLP of two-matrix ReLU branches; one
// Adam step on one weight matrix of the first block; how far that block's output is from what the
// linearization in that matrix says, relative to how far the linearization moved it.
#pragma once

#include "runtime/study.h"

#define LAZY_FIELDS(F)                                                                                                 \
  F(TEXT, alphas, "alphas", UNIT_NONE, "0.5 1", 0, 0, NULL, "depth exponents of the residual branches")                \
  F(TEXT, layers, "layers", UNIT_NONE, "2 4 8 16 32 64 128 256", 0, 0, NULL, "depths")                                 \
  F(U32, width, "width", UNIT_NONE, "256", 1, 65536, NULL, "width of stream and branches")                             \
  F(U32, inputs, "inputs", UNIT_NONE, "784", 1, 1000000, NULL, "input features; images state their own")               \
  F(U32, classes, "classes", UNIT_NONE, "10", 2, 100000, NULL, "output classes")                                       \
  F(U32, batch, "batch", UNIT_NONE, "32", 1, 4096, NULL, "inputs of the step")                                         \
  F(U32, base_layers, "base_layers", UNIT_NONE, "2", 1, 100000, NULL, "depth at which m_L is 1")                       \
  F(F64, lr, "lr", UNIT_NONE, "1e-3", 1e-12, 10, NULL, "base learning rate of the Adam step")                          \
  F(F64, gain, "gain", UNIT_NONE, "2", 1e-6, 100, NULL, "variance of a weight times its inputs")                       \
  F(U32, seeds, "seeds", UNIT_NONE, "7", 1, 1000, NULL, "seeds, from the run's on; the median is fitted")              \
  F(TEXT, images, "images", UNIT_NONE, "", 0, 0, NULL, "MNIST images (idx3-ubyte, not compressed); empty: random inputs") \
  F(TEXT, labels, "labels", UNIT_NONE, "", 0, 0, NULL, "their labels (idx1-ubyte)")
typedef struct lazy_options {
  LAZY_FIELDS(FIELD_MEMBER)
} lazy_options;
extern const field_table lazy_table; // section "lazy"

// What one step does to the first block.
typedef struct lazy_value {
  double distance; // |h - h_lin| / |h_lin - h_0|: what is not linear, of what moved
  double absolute; // |h - h_lin| / |h_lin|
  double update;   // norm of the weight's change
} lazy_value;

// A network of one seed: weights of all blocks, drawn once for all depths.
typedef struct lazy_net lazy_net;
lazy_net *lazy_net_create(const lazy_options *o, u64 seed, u32 layers_max, u32 threads, arena *a, status *st);
lazy_value lazy_net_measure(const lazy_net *n, u32 layers, double alpha);

typedef struct lazy_slope {
  double alpha, slope, low, high; // low, high: slopes of single seeds
  double absolute_slope, update_slope;
  bool pass; // within 0.15 of alpha - 1
} lazy_slope;

typedef struct lazy_study {
  study *s;
  const lazy_options *o;
  study_list alphas, layers;
  lazy_value *values; // [alpha][layers][seed]
  lazy_slope *slopes;
} lazy_study;
bool lazy_run(lazy_study *l, study *s, const lazy_options *o, status *st);
bool lazy_page(lazy_study *l, status *st);

// Parameters and FLOPs of a graph, by both accountings in use.
#pragma once

#include "model/graph/graph.h"

typedef struct graph_counts {
  u64 params;           // all of them
  u64 params_positions; // the learned position table
  u64 params_non_embed; // without wte, wpe, W_u
  // FLOPs per trained token, a multiply-add counts 2, backward is twice forward:
  double flops_6p;       // "6 P": 6 x (all parameters - positions)
  double flops_palm;     // 6 P + 12 L N T (full square of attention), nanoGPT's count
  double flops_explicit; // 72 N^2 L (general in mlp) + 12 N T L + 6 N V, nodes summed, full square
  double flops_causal;   // explicit with only those keys that a token sees: the causal half of attention
} graph_counts;

graph_counts graph_count(const graph *g);

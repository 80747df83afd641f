// A graph of a few nodes written by hand, woven, run on the fabric and read back, beside the same by the host's
// operations: kernels of a family by itself, and tests of the families.
#pragma once

#include "model/compute/kernels.h"
#include "runtime/wafer.h"

enum { WEAVE_CASE_TENSORS = 32, WEAVE_CASE_NODES = 8 };
typedef struct weave_case_run_facts { // of one phase
  fabric_result result;
  double wall_s;
} weave_case_run_facts;

typedef struct weave_case {
  arena *memory;
  graph g;
  graph_tensor tensors[WEAVE_CASE_TENSORS];
  graph_node nodes[WEAVE_CASE_NODES];
  machine m;
  u32 sequences;
  bool axpy_fp32;                    // as weave_request's
  bool given[WEAVE_CASE_TENSORS];    // activations that are written into the PEs before the run
  float *values[WEAVE_CASE_TENSORS]; // on the host, before and after: [rows][cols], activations [token][cols] of all
                                     // sequences
  u32 *ids[WEAVE_CASE_TENSORS];
  woven step;
  wafer w;
  weave_case_run_facts runs[WEAVE_CASE_NODES]; // by phase
  u64 cycles;                                  // of all phases
  sim_counts counts;
} weave_case;

// A graph for sequences of `seq` tokens; model fields that families ask for (width, heads, position, activation ...)
// are the caller's to set in c->g.model.
weave_case *weave_case_begin(u32 seq, u32 sequences, u32 width, u32 heads);
void weave_case_end(weave_case *c);
// cols features (activations), rows x cols (parameters); returns the tensor's index.
u32 weave_case_tensor(weave_case *c, tensor_kind kind, u32 rows, u32 cols);
void weave_case_twin(weave_case *c, u32 tensor, u32 gradient);
// Tensors in the order of the operation's line; GRAPH_NONE where absent. Forward nodes first, then
// gradients, which say their forward node themselves where a family asks for it.
graph_node *weave_case_node(weave_case *c, graph_op op, double scale, const u32 in[NODE_IN_MAX],
                            const u32 out[NODE_OUT_MAX]);
#define TENSORS(...) ((const u32[]){__VA_ARGS__, GRAPH_NONE, GRAPH_NONE, GRAPH_NONE, GRAPH_NONE})
// Fills a tensor: small whole numbers (-3 to 3) or numbers in [-1, 1) that F16 and BF16 hold exactly.
float *weave_case_fill(weave_case *c, u32 tensor, u64 seed, bool whole);
u32 *weave_case_ids(weave_case *c, u32 tensor, u64 seed, u32 below);
u32 weave_case_tokens(const weave_case *c);                  // of all sequences
size_t weave_case_elements(const weave_case *c, u32 tensor); // of all sequences

// What a table's operations make of copies of the values as they are before the run; by tensor, in the case's memory.
float **weave_case_define(const weave_case *c, const kernel_table *k);
// Weaves for the grid of the machine, and opens its wafer.
bool weave_case_weave(weave_case *c, const machine *m, u32 width, u32 height, df_type type, status *st);
// Then: writes the given activations, runs every phase, reads what each has written back into values.
bool weave_case_run(weave_case *c, status *st);

// The wafer of a woven step: the memory of every PE from phase to phase, and the host's tensors at the ports.
#pragma once

#include "mapper/weave.h"
#include "sim/fabric/fabric.h"

// Values on the host by tensor of the graph: what streams in is read, what streams out is added.
typedef struct wafer_host {
  float *values; // parameters [rows][cols], activations [token][cols], one word of loss
  u32 *ids;      // tokens: targets
} wafer_host;

typedef struct wafer {
  const woven *step;
  const machine *machine;
  u8 *memory;       // PE by PE, row by row: step->data_bytes each
  wafer_host *host; // by tensor
  u64 flip_at;      // for tests: this wavelet-hop of the next phase is hit; UINT64_MAX: none
} wafer;

// Memory of all PEs, zeroed, and no host tensors. CODE_SYSTEM where memory runs out.
bool wafer_open(const woven *step, const machine *m, arena *a, wafer *ret_wafer, status *st);
// Runs one phase to its end: ports are fed from the host's tensors and what leaves is added to them. Every tensor
// that a stream of the phase names must have host values. max_cycles as fabric_run.
bool wafer_run(wafer *w, u32 phase, const fabric_options *o, u64 max_cycles, fabric_result *ret_result, status *st);
// Is the tensor in the PEs' memory, divided by features or whole in every column?
bool wafer_holds(const wafer *w, u32 tensor);
// Activations [token][cols] of the microbatch, as they lie in the PEs (rounded to their type on the way in).
void wafer_write(wafer *w, u32 tensor, const float *values);
void wafer_read(const wafer *w, u32 tensor, float *ret_values);

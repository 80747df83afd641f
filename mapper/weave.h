// A training step woven for the fabric: each node of the graph becomes one phase, a dataflow on the grid that
// takes its operands from SRAM and from streams at the edge and leaves its results in SRAM. Phases run one after
// the other; memory stays. Families turn nodes into phases (weave_linear.c, weave_norm.c, ...) and decide nothing.
//
// Layout: features lie along x, tokens along y. An activation's tile in a PE is feature by feature, each a row of
// the PE's tokens, so that an AXPY or DOT over tokens runs over consecutive elements.
#pragma once

#include "mapper/plan.h"
#include "sim/isa/dataflow_build.h"

// Contiguous tiles of `units` of `unit` features over `parts` columns, balanced: the first units % parts columns
// have one unit more. Columns from `parts` on have none.
typedef struct weave_axis {
  u32 unit, units, parts;
} weave_axis;
static inline u32 weave_tile(const weave_axis *a, u32 column) { // features of a column
  return column < a->parts ? a->unit * (a->units / a->parts + (column < a->units % a->parts)) : 0;
}
static inline u32 weave_first(const weave_axis *a, u32 column) { // features before it
  const u32 more = a->units % a->parts, at = column < a->parts ? column : a->parts;
  return a->unit * (at * (a->units / a->parts) + (at < more ? at : more));
}
static inline u32 weave_tile_max(const weave_axis *a) {
  return weave_tile(a, 0);
}

// Tokens over rows: row y holds whole sequences (seq_rows 1; the first rows take one more where they do not
// divide), or seq_rows rows hold one sequence in equal parts (seq_rows divides it).
typedef struct weave_tokens {
  u32 seq, sequences; // tokens of a sequence; sequences of a microbatch
  u32 seq_rows, rows; // rows per sequence; rows used
  u32 row_max;        // tokens of the fullest row
} weave_tokens;
u32 weave_row_tokens(const weave_tokens *t, u32 row);
u32 weave_row_first(const weave_tokens *t, u32 row); // tokens (b * seq + position) in the rows before

// Where a tensor of the graph lies: the same address in every PE.
typedef struct weave_place {
  bool placed;
  bool everywhere; // every column has all features (statistics of a row's tokens)
  u8 type;         // df_type
  weave_axis axis;
  u32 blocks; // the axis is repeated: q, k, v. Feature f of block b is column b * (unit * units) + f of the tensor
  u32 address;
  u32 pitch;       // bytes from a feature's tokens to the next one's
  u32 block_bytes; // from block to block
  u32 bytes;       // of all blocks
} weave_place;

// A stream's elements in order: segments one after the other; each `repeat` times its items, each `count`
// elements of a tensor: element number base + (repetition) * step + (place in the item) * stride.
typedef struct woven_item {
  u32 tensor; // of the graph
  u32 count;
  u64 base, step, stride;
} woven_item;
enum { WOVEN_ITEMS_MAX = 4 };
typedef struct woven_segment {
  u64 repeat;
  u32 item_count;
  woven_item items[WOVEN_ITEMS_MAX];
} woven_segment;
typedef struct woven_stream {
  u32 port; // of the phase's dataflow; one word per element
  u8 type;  // how the word holds the element: F32, F16 and BF16 (low half), I32
  u32 first_segment, segment_count;
} woven_stream;

typedef struct woven_phase {
  u32 node;   // of the graph
  u32 family; // phase_family
  dataflow flow;
  u32 first_stream, stream_count;
} woven_phase;

// Constant once built.
typedef struct woven {
  const graph *graph;
  u32 width, height; // of the grid that is used: rows end with the last token
  u8 type;           // df_type of activations and of streamed weights: F32, F16 or BF16
  double loss_scale;
  weave_tokens tokens;
  const weave_place *places; // by tensor of the graph
  u32 data_bytes;            // of every PE: tensors, then the largest scratch
  u32 code_bytes;            // of the fullest PE: phases with the same code share it
  u32 phase_count, stream_count, segment_count;
  const woven_phase *phases; // forward, then backward
  const woven_stream *streams;
  const woven_segment *segments;
} woven;

typedef struct weave_request {
  const graph *graph;
  const machine *machine;
  u32 width, height; // of the grid; at most what the machine allows
  u32 microbatch;    // sequences at once
  u32 batch;         // sequences of the whole step, over which the loss is averaged
  u8 type;           // DF_F32, DF_F16, DF_BF16
  bool axpy_fp32;    // 16-bit types: the local AXPY sums in fp32 all the same
  bool keep;         // forward activations keep their memory to the end of forward, for those who look
  double loss_scale; // gradients of activations are so many times too large, for numbers that would be too small in F16
} weave_request;

// Host streams by tensor: parameters (weights down the columns), activations where an embedding enters (element
// token * width + feature, made by the host), targets (I32); gradients of parameters, and of the embedding's output,
// on their way out (times loss_scale); the loss as one word, summed over the microbatch's tokens (not divided).
// CODE_CONFIG with what does not fit and by how much, or which operation has no form on the fabric.
bool weave_step(const weave_request *r, arena *a, woven *ret_woven, status *st);
// Elements, and so words, of a stream.
u64 woven_stream_words(const woven_segment *segments, const woven_stream *s);

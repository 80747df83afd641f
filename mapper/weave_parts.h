// What the families share: the step under construction, cells of PEs that share a class, streams, scratch, and the
// collectives along rows and columns.
#pragma once

#include "mapper/weave.h"

typedef struct weave_gate { // where a stream enters or leaves
  u32 column, color;
  bool out;
} weave_gate;

enum { WEAVE_QUEUES = 8 };
typedef struct weave {
  const weave_request *request;
  const graph *graph;
  u32 width, height;
  u8 type;     // of activations and weights
  u8 acc_type; // of the local AXPY's sums
  weave_tokens tokens;
  weave_place *places;
  arena *memory;
  df_builder *b;    // of the open phase
  u32 tensor_bytes; // of all places; scratch begins there
  u32 scratch, scratch_max;
  woven_phase *phases;
  woven_stream *streams;
  weave_gate *gates; // by stream
  woven_segment *segments;
  u32 phase_count, phase_room, stream_count, stream_room, segment_count, segment_room;
  u32 color_count, class_count, vector_count;                                 // of the open phase
  u32 in_colors[WEAVE_QUEUES], out_colors[WEAVE_QUEUES], in_count, out_count; // queues of the open class
  status *st;
} weave;

// first, first + step, ... (count of them): columns or rows.
typedef struct weave_run {
  u32 first, count, step;
} weave_run;
enum { WEAVE_RUNS_MAX = 64 };
typedef struct weave_runs {
  u32 count;
  weave_run run[WEAVE_RUNS_MAX];
} weave_runs;

// Columns [0, columns) in runs within which every axis has tiles of one size; the first and the last column are
// runs of their own, and with `parity` even and odd columns are apart (step 2). Axes: up to 4, NULL ends them.
weave_runs weave_columns(u32 columns, const weave_axis *const *axes, bool parity);
// Used rows likewise: one count of tokens per run; with `ends` the first and the last row of the grid are alone.
weave_runs weave_rows(const weave *w, bool ends, bool parity);
static inline df_rect weave_rect(weave_run columns, weave_run rows) {
  return (df_rect){columns.first, rows.first, columns.count, rows.count, columns.step, rows.step};
}
static inline bool weave_is_odd(weave_run r) {
  return r.first & 1;
} // of a run made with parity
// Features before a column, for the columns of a run (one tile size): affine in the column's number in the run.
df_affine weave_first_along(const weave_axis *a, weave_run columns);
df_affine weave_tokens_before(const weave_tokens *t, weave_run rows); // affine in the row's number in the run

// Runs of columns 0 to columns - 1 in groups of `group` side by side: within a run the place in the group is the
// first, the last, or an inner one of one parity. A run never mixes them.
weave_runs weave_group_columns(u32 columns, u32 group);

// Opens the phase of a node: w->b is its builder, the scratch is empty. weave_end closes it.
void weave_begin(weave *w, const graph_node *node, phase_family family);
bool weave_end(weave *w); // checks the dataflow
// A class of the open phase on the PEs of columns x rows; names are numbered, data bytes are set by weave_end.
void weave_class(weave *w, weave_run columns, weave_run rows);
// The open class on more PEs (it must not depend on its place, or in the same way).
void weave_class_also(weave *w, weave_run columns, weave_run rows);
// Bytes behind the tensors that are free for the phase, at the same address in every PE; never given out twice.
u32 weave_scratch(weave *w, u32 bytes);
// The same for `rows` rows of a PE's tokens that are read beside rows of tensors, weave_row_bytes apart. Of 16 bit they
// begin in odd banks, and those of tensors in even ones where a row has a multiple of four tokens: no product waits.
u32 weave_scratch_rows(weave *w, u32 type, u32 rows);
u32 weave_row_bytes(const weave *w, u32 type);
static inline u32 weave_pair(u32 bytes) { // up to a whole number of pairs of banks
  return (bytes + 2 * BANK_BYTES - 1) / (2 * BANK_BYTES) * (2 * BANK_BYTES);
}
u32 weave_new_color(weave *w); // what the machine does not have is dataflow_check's to refuse

// Vectors of the open class. Names are completed by a number, so they may repeat.
// The `tokens` of one feature of a tensor: R(feature_reg) counts features of the tile, R(block_reg) blocks
// (DF_NO_REGISTER: the first).
u32 weave_feature(weave *w, const char *name, u32 tensor, u32 tokens, u32 feature_reg, u32 block_reg);
u32 weave_at(weave *w, const char *name, u32 type, u32 address, df_affine length); // memory
u32 weave_in(weave *w, const char *name, u32 type, df_affine length, u32 color);   // a queue per color
u32 weave_out(weave *w, const char *name, u32 type, df_affine length, u32 color);
u32 weave_constant(weave *w, const char *name, double value); // one F32 in scratch; its CONST goes into the open task

// A stream at the northern (in) or southern (out) end of a column's used rows. Segments are added to the one made
// last; a port's wavelets are counted from them.
void weave_stream(weave *w, u32 column, u32 color, bool out, u32 type);
void weave_segment(weave *w, u64 repeat, const woven_item *items, u32 item_count);
// Routes of a color from the northern end of the columns down to the ramps of all used rows.
void weave_down_routes(weave *w, weave_run columns, u32 color);

// A sum (or maximum) along rows of PEs, back to all of them: chain eastwards (two colors by turns), then broadcast
// west from the last. `group`: columns per group, groups side by side from column 0; `columns`: in all, a multiple.
typedef struct weave_row_sum {
  u32 columns, group;
  u32 color[2], back;
} weave_row_sum;
weave_row_sum weave_row_sum_routes(weave *w, u32 columns, u32 group); // colors and routes over all used rows
// For a class on `columns` (of weave_group_columns): F32 elements at `address` are replaced by their totals. `length`
// of them, and R(length_reg) more. Emits into the open task; the task waits for it. op: DF_ADD or DF_MAX.
typedef struct weave_span {
  u32 address;
  df_affine length;
  u32 length_reg; // DF_NO_REGISTER
} weave_span;
void weave_row_sum_emit(weave *w, const weave_row_sum *s, weave_run columns, df_opcode op, weave_span at);

// A sum down columns of PEs that leaves at their southern ends (two colors by turns; the gate is weave_stream's with
// weave_column_sum_gate). Rows in runs with ends and parity. The step is one instruction over F32 elements in memory,
// for the caller to append.
typedef struct weave_column_sum {
  u32 color[2];
} weave_column_sum;
weave_column_sum weave_column_sum_routes(weave *w, weave_run columns); // colors, and routes over all used rows
u32 weave_column_sum_gate(const weave *w, const weave_column_sum *s);  // color at the southern end
df_instruction weave_column_sum_step(weave *w, const weave_column_sum *s, weave_run rows, u32 vector, df_affine length);

// A baton line: PEs that each send in turn on one color and hear all that is sent before them and by themselves; who
// has heard those before it may send. It keeps order without switches: from before + ramp, to onward + ramp. Columns
// are lines towards SOUTH or NORTH, rows towards EAST or WEST; the rectangle's rows (or columns) may be many lines of
// `length` PEs one after the other.
void weave_baton_routes(weave *w, df_rect lines, u32 length, u32 color, u32 towards);

// A stream down a column that all rows hear: the open class on `rows` passes over the words of the rows before (their
// tokens times `features`), takes its own as `keep` emits it (word by word all of them), and passes over the rest.
typedef void weave_keep(weave *w, u32 tokens, u32 color, const void *of);
void weave_keep_own(weave *w, weave_run rows, u32 features, u32 color, weave_keep *keep, const void *of);

typedef bool weave_node(weave *w, const graph_node *node);
weave_node weave_linear, weave_grad_x;              // weave_linear.c
weave_node weave_grad_w;                            // weave_grad_w.c
weave_node weave_norm, weave_norm_grad;             // weave_norm.c
weave_node weave_activation, weave_activation_grad; // weave_elementwise.c
weave_node weave_residual, weave_residual_grad;
weave_node weave_embed, weave_embed_grad; // weave_embed.c
weave_node weave_attention;               // weave_attention.c
weave_node weave_attention_grad;          // weave_attention_grad.c
weave_node weave_loss, weave_loss_grad;   // weave_loss.c

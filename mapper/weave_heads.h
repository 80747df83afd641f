// What attention and its gradient share: which heads and tokens a PE holds, the keys and values of the rows above it,
// and the scores of one query, which is what a PE works on at a time: all keys that it may see, features one by one.
#pragma once

#include "mapper/weave_parts.h"

// Registers. A loop over one thing is left out, and its register stays 0.
enum {
  HEADS_HEAD,     // of the column's whole heads
  HEADS_SEQUENCE, // of the row's whole sequences
  HEADS_QUERY,    // of the sequence's tokens in the row
  HEADS_FEATURE,  // of the head's features in the column
  HEADS_TOKEN,    // of the row: SEQUENCE and QUERY in one, where there are several sequences
  HEADS_TILE,     // feature of the column: HEAD and FEATURE in one, where there are several heads
  HEADS_ROW       // of the sequence's rows
};

// PEs with the same code.
typedef struct heads_class {
  weave_run columns, rows; // rows of the first sequence; with several rows to a sequence the others' follow alike
  u32 place;               // in the columns of a head
  bool top, bottom;        // no row of the sequence is above, below
  bool odd;                // rows above it
  u32 heads, features;     // of the column; of a head in the column
  u32 sequences, queries;  // of the row; of a sequence in the row
  df_affine above, before; // rows of the sequence above, tokens in them
} heads_class;

typedef struct weave_heads {
  u32 qkv;
  double scale;
  u32 seq, seq_rows;
  u32 width, spread, columns; // features of a head; columns that share one; columns in use
  bool alibi;
  weave_row_sum sum;
  u32 baton;                    // color
  u32 gathered, gathered_bytes; // address of keys [feature][seq]; so many bytes on lie values
  // Addresses of F32
  u32 factor;            // the scale
  u32 slopes, distances; // [head]; j - i, where the last one is 0
  u32 queries, scores;   // [feature], scaled; [key]
  u32 exponents, shares; // [key]; a head's columns that divide them (1: each takes all, in the scores' place)
  u32 class_count;
  heads_class *classes;
} weave_heads;

// Colors, routes, scratch and classes of the open phase.
weave_heads weave_heads_begin(weave *w, const graph_node *node, u32 qkv);
// Opens the class and its task, emits what begins it and, with several rows to a sequence, the exchange: after it every
// row has the keys and values of the rows above and its own.
void weave_heads_open(weave *w, const weave_heads *h, const heads_class *c);
void weave_heads_constant(weave *w, u32 address, double value); // one F32
// Loops, with what steps beside them: over the column's heads, the row's sequences, the sequence's queries in the row,
// the head's features in the column.
typedef enum heads_loop { HEADS_EACH, HEADS_SEQUENCES, HEADS_QUERIES, HEADS_FEATURES } heads_loop;
void weave_heads_loop(weave *w, const heads_class *c, heads_loop over);
void weave_heads_loop_end(weave *w, const heads_class *c, heads_loop over);
// The task goes on when the microthread is free.
void weave_heads_join(weave *w, u32 thread);
// On a microthread, so that the set-up of one instruction falls into the time of others; they write to other places.
static inline void weave_heads_on(weave *w, u32 thread, df_instruction i) {
  df_build_op(w->b, df_on(i, thread));
}
// The registers that count tokens of the row and features of the column.
static inline u32 weave_heads_token_reg(const heads_class *c) {
  return c->sequences > 1 ? HEADS_TOKEN : HEADS_QUERY;
}
static inline u32 weave_heads_feature_reg(const heads_class *c) {
  return c->heads > 1 ? HEADS_TILE : HEADS_FEATURE;
}

u32 weave_heads_view(weave *w, u32 type, df_affine address, df_affine length); // any vector
// Vectors of F32.
u32 weave_heads_array(weave *w, u32 address, u32 count);
u32 weave_heads_keys(weave *w, const heads_class *c, u32 address); // an element for each key that the query sees
// One element for all of these keys; R(reg) counts elements (DF_NO_REGISTER: the first).
u32 weave_heads_repeat(weave *w, const heads_class *c, u32 address, u32 reg);
// One of an array: R(reg) counts.
u32 weave_heads_at(weave *w, u32 address, u32 reg);

// Vectors of tensors: what the query sees of a feature, counted from the head's `first`, in all rows above too (block
// 1: keys, 2: values); the head's features of the query; a head's statistic of all of the row's tokens, or of the
// query.
u32 weave_heads_seen(weave *w, const weave_heads *h, const heads_class *c, u32 block, u32 first);
u32 weave_heads_query(weave *w, const heads_class *c, u32 tensor, u32 block);
u32 weave_heads_statistics(weave *w, const heads_class *c, u32 tensor);
u32 weave_heads_statistic(weave *w, const heads_class *c, u32 tensor);

// Parts of the code. The query's features times the scale, in `queries`.
void weave_heads_scale(weave *w, const weave_heads *h, const heads_class *c);
// `to` (by keys) begins as `from` (a vector), in the columns that are not the head's first as 0: they add to it. With
// ALiBi the scores are less by their distances.
void weave_heads_start(weave *w, const heads_class *c, u32 to, u32 from);
void weave_heads_distances(weave *w, const weave_heads *h, const heads_class *c);
// Sums by keys over the columns of the head.
void weave_heads_sum(weave *w, const weave_heads *h, const heads_class *c, u32 address);
// exp(score - top) of all keys into `exponents`; top: the address of one F32, HEADS_NO_TOP: nothing is taken off.
enum { HEADS_NO_TOP = UINT32_MAX };
void weave_heads_exponents(weave *w, const weave_heads *h, const heads_class *c, u32 top);

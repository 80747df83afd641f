// Who owns what: features over the columns of a group, tokens over its rows, and the classes of PEs
// that come out equal.
#pragma once

#include "mapper/plan.h"

// Columns of a group that hold the same amounts.
typedef struct tile_column {
  u32 columns;  // how many
  u32 features; // of the residual width
  u32 hidden;   // of the MLP's hidden width
  u32 vocab;    // outputs of the unembedding that it owns
  u32 heads;    // heads that it holds parts of
  bool row_end; // the last column, where sums over the row end
  u32 spans[2]; // columns that share the first and the last of them; 0 where it lies whole in this one
} tile_column;

// Rows that hold the same tokens, over the whole wafer and one microbatch.
typedef struct tile_row {
  u32 rows; // per group of columns, summed over the groups
  u32 tokens;
  u32 position;  // of the row inside its sequence, 0 where it holds whole ones
  u64 before;    // tokens of the same sequence in rows above
  u32 sequences; // whole sequences in the row, 1 otherwise
} tile_row;

typedef struct tile_map {
  tile_column *columns;
  u32 column_count;
  tile_row *rows; // by position
  u32 row_count;
  tile_row *sizes; // rows merged by tokens, for what does not care where in a sequence a row is
  u32 size_count;
} tile_map;

typedef struct tile_area { // columns and rows that a plan may use; transposed: the machine's rows and columns
  u32 width, height;
  bool transposed, interleaved; // passed on to the tiles
} tile_area;
tile_area tiles_area(const machine *m, const plan_options *o, bool transposed, bool interleaved);

// Geometry for a microbatch on `replicas` column groups: as many rows per sequence as the height allows,
// or several whole sequences per row. False where the groups outnumber columns or sequences.
bool tiles_choose(const graph *g, tile_area area, u32 replicas, u32 microbatch, plan_tiles *ret_tiles);
// Every class, in `a`.
void tiles_map(const graph *g, const plan_tiles *t, u32 microbatch, arena *a, tile_map *ret_map);
// Keys in a block that rotates between the rows of a sequence; 0 where none does. Shorter blocks cost a set-up
// and, in forward, a change of scale each; longer ones cost memory. 32 keys: a set-up of 15 cycles on 32
// elements' 16, and a rescale per 32 multiply-adds.
enum { TILES_ROTATED_KEYS = 32 };
static inline u32 tiles_rotated_keys(const graph *g, const plan_tiles *t) {
  u32 row = (g->seq + t->seq_rows - 1) / t->seq_rows;
  return t->seq_rows == 1 ? 0 : row < TILES_ROTATED_KEYS ? row : TILES_ROTATED_KEYS;
}
// Balanced parts: part i of `total` over `parts` (the first total mod parts take one more).
static inline u32 tiles_part(u32 total, u32 parts, u32 i) {
  return total / parts + (i < total % parts);
}
static inline u32 tiles_ceil(u32 a, u32 b) {
  return (a + b - 1) / b;
}

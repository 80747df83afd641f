// Dividing features and tokens over the mesh.
#include "mapper/tiles.h"

tile_area tiles_area(const machine *m, const plan_options *o, bool transposed, bool interleaved) {
  u32 w = o->width ? o->width : m->spec.usable_width, h = o->height ? o->height : m->spec.usable_height;
  return (tile_area){transposed ? h : w, transposed ? w : h, transposed, interleaved};
}

// Columns of one head when heads are aligned to columns, and the features of the fullest column.
static void align_heads(const model_spec *m, u32 width, u32 *ret_pes, u32 *ret_features) {
  u32 dh = model_head_width(m);
  if (width < m->heads) { // whole heads in a column
    *ret_pes = 0;
    *ret_features = tiles_ceil(m->heads, width) * dh;
    return;
  }
  u32 pes = width / m->heads;
  if (pes > dh) pes = dh;
  *ret_pes = pes;
  *ret_features = tiles_ceil(dh, pes);
}

// First feature of column x, and the column of a feature, where features are balanced over all columns.
static u32 balanced_start(u32 total, u32 parts, u32 x) {
  u32 more = total % parts;
  return total / parts * x + (x < more ? x : more);
}

static u32 balanced_owner(u32 total, u32 parts, u32 i) {
  u32 base = total / parts, more = total % parts, large = more * (base + 1);
  return i < large ? i / (base + 1) : more + (i - large) / base;
}

// Columns that head h touches where features are balanced.
static u32 balanced_span(const model_spec *m, u32 width, u32 h) {
  u32 dh = model_head_width(m);
  return balanced_owner(m->width, width, h * dh + dh - 1) - balanced_owner(m->width, width, h * dh) + 1;
}

// Without alignment: the columns of the most spread head, the heads of the column with the most of them.
static void choose_spread(const model_spec *m, plan_tiles *t) {
  u32 dh = model_head_width(m);
  t->head_pes = 0;
  for (u32 h = 0; h < m->heads; h++) {
    u32 span = balanced_span(m, t->group_width, h);
    if (span > t->head_pes) t->head_pes = span;
  }
  t->heads_max = 0;
  for (u32 x = 0; x < t->group_width && x < m->width; x++) {
    u32 first = balanced_start(m->width, t->group_width, x), end = balanced_start(m->width, t->group_width, x + 1);
    u32 heads = (end - 1) / dh - first / dh + 1;
    if (heads > t->heads_max) t->heads_max = heads;
  }
}

bool tiles_choose(const graph *g, tile_area area, u32 replicas, u32 microbatch, plan_tiles *ret_tiles) {
  if (replicas == 0 || replicas > area.width || replicas > microbatch) return false;
  const model_spec *m = &g->model;
  plan_tiles t = {.replicas = replicas, .group_width = area.width / replicas, .seq_rows = 1, .row_seqs = 1};
  u32 slots = tiles_ceil(microbatch, replicas);
  if (slots <= area.height) {
    t.seq_rows = area.height / slots;
    if (t.seq_rows > g->seq) t.seq_rows = g->seq;
    t.slots = slots;
  } else {
    t.row_seqs = tiles_ceil(slots, area.height);
    t.slots = tiles_ceil(slots, t.row_seqs);
  }
  t.rows = t.slots * t.seq_rows;
  t.transposed = area.transposed;
  t.interleaved = area.interleaved && t.seq_rows > 1;
  t.tokens_max = tiles_ceil(g->seq, t.seq_rows) * t.row_seqs;

  u32 plain = tiles_ceil(m->width, t.group_width), head_pes, aligned;
  align_heads(m, t.group_width, &head_pes, &aligned);
  // Alignment saves a second chain per key where a PE would hold parts of two heads; it is free when the
  // fullest PE gets no more features by it.
  t.heads_aligned = aligned <= plain;
  t.head_pes = head_pes;
  t.heads_max = head_pes ? 1 : tiles_ceil(m->heads, t.group_width);
  if (!t.heads_aligned) choose_spread(m, &t);
  t.features_max = t.heads_aligned ? aligned : plain;
  t.hidden_max = tiles_ceil(model_hidden_width(m), t.group_width);
  *ret_tiles = t;
  return true;
}

// Features and heads of column x.
static void column_features(const model_spec *m, const plan_tiles *t, u32 x, tile_column *c) {
  u32 dh = model_head_width(m);
  if (t->heads_aligned && t->head_pes) {
    bool used = x < m->heads * t->head_pes;
    c->features = used ? tiles_part(dh, t->head_pes, x % t->head_pes) : 0;
    c->heads = used;
    if (used && t->head_pes > 1) c->spans[0] = t->head_pes;
  } else if (t->heads_aligned) {
    c->heads = tiles_part(m->heads, t->group_width, x);
    c->features = c->heads * dh;
  } else {
    c->features = tiles_part(m->width, t->group_width, x);
    if (!c->features) return;
    u32 before = balanced_start(m->width, t->group_width, x);
    u32 first = before / dh, last = (before + c->features - 1) / dh;
    u32 spans[] = {balanced_span(m, t->group_width, first), balanced_span(m, t->group_width, last)};
    c->heads = last - first + 1;
    c->spans[0] = spans[0] > 1 ? spans[0] : 0;
    c->spans[1] = last > first && spans[1] > 1 ? spans[1] : 0;
  }
}

static bool same_column(const tile_column *a, const tile_column *b) {
  return a->features == b->features && a->hidden == b->hidden && a->vocab == b->vocab && a->heads == b->heads &&
         a->row_end == b->row_end && a->spans[0] == b->spans[0] && a->spans[1] == b->spans[1];
}

static void map_columns(const graph *g, const plan_tiles *t, arena *a, tile_map *map) {
  map->columns = arena_array(a, tile_column, t->group_width);
  for (u32 x = 0; x < t->group_width; x++) {
    tile_column c = {.columns = 1,
                     .hidden = tiles_part(model_hidden_width(&g->model), t->group_width, x),
                     .vocab = tiles_part(g->model.vocab, t->group_width, x),
                     .row_end = x + 1 == t->group_width};
    column_features(&g->model, t, x, &c);
    u32 i = 0;
    while (i < map->column_count && !same_column(&map->columns[i], &c)) i++;
    if (i == map->column_count)
      map->columns[map->column_count++] = c;
    else
      map->columns[i].columns++;
  }
}

static void map_sequence_rows(const graph *g, const plan_tiles *t, u32 microbatch, tile_map *map) {
  u64 before = 0;
  for (u32 r = 0; r < t->seq_rows; r++) {
    u32 tokens = tiles_part(g->seq, t->seq_rows, r);
    map->rows[map->row_count++] = (tile_row){microbatch, tokens, r, before, 1};
    before += tokens;
  }
}

static void map_full_rows(const graph *g, const plan_tiles *t, u32 microbatch, tile_map *map) {
  u32 full = microbatch / t->row_seqs, rest = microbatch % t->row_seqs;
  if (full) map->rows[map->row_count++] = (tile_row){full, g->seq * t->row_seqs, 0, 0, t->row_seqs};
  if (rest) map->rows[map->row_count++] = (tile_row){1, g->seq * rest, 0, 0, rest};
}

void tiles_map(const graph *g, const plan_tiles *t, u32 microbatch, arena *a, tile_map *ret_map) {
  *ret_map = (tile_map){0};
  map_columns(g, t, a, ret_map);
  ret_map->rows = arena_array(a, tile_row, t->seq_rows + 2);
  if (t->row_seqs == 1)
    map_sequence_rows(g, t, microbatch, ret_map);
  else
    map_full_rows(g, t, microbatch, ret_map);
  ret_map->sizes = arena_array(a, tile_row, ret_map->row_count);
  for (u32 i = 0; i < ret_map->row_count; i++) {
    const tile_row *r = &ret_map->rows[i];
    u32 k = 0;
    while (k < ret_map->size_count && ret_map->sizes[k].tokens != r->tokens) k++;
    if (k == ret_map->size_count)
      ret_map->sizes[ret_map->size_count++] = *r;
    else
      ret_map->sizes[k].rows += r->rows;
  }
}

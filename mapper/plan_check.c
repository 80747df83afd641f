// The independent verifier of plans: owners of features, heads and tokens are counted one by one, and
// memory is found by walking a microbatch forwards with explicit lifetimes. Shares no code with what
// builds plans.
//
// What it checks (each failure names its number):
//  1. columns: replicas x group_width lie inside what machine and options leave
//  2. rows: slots x seq_rows lie inside it; one of seq_rows and row_seqs is 1; no row without a token
//  3. every sequence of a microbatch has a place, every replica a sequence, no slot is superfluous
//  4. tokens_max, features_max, hidden_max and heads_max are what the fullest PE owns; every token,
//     feature, hidden feature and head has an owner
//  5. head_pes and heads_aligned say how heads lie: spread over that many columns, in none with another
//  6. microbatches cover the batch and none is superfluous
//  7. what was stated is obeyed: microbatch, replicas, activations, kept, tokens, grid, axpy; tokens are
//     interleaved only where a sequence spans rows
//  8. memory: code + buffers + activations = total <= the PE's SRAM, and the peak of live tensors and
//     buffers under the policy is what the plan says
#include "mapper/pipeline.h"

#include <string.h>

#define NONE GRAPH_NONE

typedef struct checker {
  const plan *p;
  const graph *g;
  const machine *m;
  arena *memory;
  status *st;
} checker;

static bool refuse(const checker *c, u32 number, const char *what) {
  return status_fail(c->st, CODE_BUG, "plan check %u: %s", number, what);
}

// --- geometry

static bool check_area(const checker *c) {
  const plan_tiles *t = &c->p->tiles;
  const plan_options *o = &c->p->options;
  u64 width = c->m->spec.usable_width, height = c->m->spec.usable_height;
  if (o->width && o->width < width) width = o->width;
  if (o->height && o->height < height) height = o->height;
  if (t->transposed) {
    u64 across = width;
    width = height;
    height = across;
  }
  if (!t->replicas || !t->group_width) return refuse(c, 1, "there is no column");
  if ((u64)t->replicas * t->group_width > width) return refuse(c, 1, "the column groups are wider than the machine");
  if ((u64)t->slots * t->seq_rows != t->rows) return refuse(c, 2, "rows are not slots x seq_rows");
  if (!t->rows || t->rows > height) return refuse(c, 2, "the rows do not lie inside the machine");
  if (!t->row_seqs || (t->seq_rows != 1 && t->row_seqs != 1))
    return refuse(c, 2, "a sequence spans rows and a row holds several sequences");
  if (t->seq_rows > c->g->seq) return refuse(c, 2, "a sequence has more rows than tokens");
  return true;
}

static bool check_sequences(const checker *c) {
  const plan_tiles *t = &c->p->tiles;
  u64 most = 0, fewest = UINT64_MAX; // sequences of a replica, dealt one after the other
  for (u32 r = 0; r < t->replicas; r++) {
    u64 own = c->p->microbatch / t->replicas + (r < c->p->microbatch % t->replicas ? 1 : 0);
    if (own > most) most = own;
    if (own < fewest) fewest = own;
  }
  if (fewest == 0) return refuse(c, 3, "a replica has no sequence");
  if ((u64)t->slots * t->row_seqs < most) return refuse(c, 3, "a sequence has no place");
  if ((u64)(t->slots - 1) * t->row_seqs >= most) return refuse(c, 3, "a slot stays empty in every replica");
  if (most < t->row_seqs) return refuse(c, 3, "no row is as full as row_seqs says");
  return true;
}

static bool check_tokens(const checker *c) {
  const plan_tiles *t = &c->p->tiles;
  u64 fullest = 0, owned = 0;
  for (u32 r = 0; r < t->seq_rows; r++) {
    // row r owns tokens [floor(r T / R), floor((r + 1) T / R)) up to order: sizes differ by one at most
    u64 own = (u64)c->g->seq * (r + 1) / t->seq_rows - (u64)c->g->seq * r / t->seq_rows;
    owned += own;
    if (own > fullest) fullest = own;
  }
  if (owned != c->g->seq) return refuse(c, 4, "tokens without an owner");
  return fullest * t->row_seqs == t->tokens_max || refuse(c, 4, "tokens_max is not what the fullest row holds");
}

// Column that owns item i where `total` are dealt in runs: the first total mod parts take one more.
static u32 owner(u64 total, u64 parts, u64 i) {
  u64 column = i * parts / total; // near it; the exact one begins at or before i and ends after it
  for (;;) {
    u64 start = column * (total / parts) + (column < total % parts ? column : total % parts);
    u64 size = total / parts + (column < total % parts ? 1 : 0);
    if (i < start)
      column--;
    else if (i >= start + size)
      column++;
    else
      return (u32)column;
  }
}

// Aligned: head h takes head_pes columns of its own, or shares one with whole heads.
static u32 feature_owner(const checker *c, u32 feature) {
  const plan_tiles *t = &c->p->tiles;
  const model_spec *m = &c->g->model;
  u32 dh = model_head_width(m), head = feature / dh;
  if (!t->heads_aligned) return owner(m->width, t->group_width, feature);
  if (!t->head_pes) return owner(m->heads, t->group_width, head);
  return head * t->head_pes + owner(dh, t->head_pes, feature % dh);
}

typedef struct column_load {
  u32 features, hidden, heads;
} column_load;

static bool check_features(const checker *c, column_load *columns) {
  const plan_tiles *t = &c->p->tiles;
  const model_spec *m = &c->g->model;
  u32 hidden = model_hidden_width(m);
  if (t->heads_aligned && t->head_pes && (u64)t->head_pes * m->heads > t->group_width)
    return refuse(c, 5, "the columns of all heads are more than a group has");
  if (t->heads_aligned && t->head_pes > model_head_width(m))
    return refuse(c, 5, "a head spans columns without a feature");
  for (u32 f = 0; f < m->width; f++) {
    u32 x = feature_owner(c, f);
    if (x >= t->group_width) return refuse(c, 4, "a feature without an owner");
    columns[x].features++;
  }
  for (u32 f = 0; f < hidden; f++) columns[owner(hidden, t->group_width, f)].hidden++;
  u32 features_max = 0, hidden_max = 0;
  for (u32 x = 0; x < t->group_width; x++) {
    if (columns[x].features > features_max) features_max = columns[x].features;
    if (columns[x].hidden > hidden_max) hidden_max = columns[x].hidden;
  }
  if (features_max != t->features_max) return refuse(c, 4, "features_max is not what the fullest PE owns");
  return hidden_max == t->hidden_max || refuse(c, 4, "hidden_max is not what the fullest PE owns");
}

static bool check_heads(const checker *c, column_load *columns) {
  const plan_tiles *t = &c->p->tiles;
  const model_spec *m = &c->g->model;
  u32 dh = model_head_width(m), spread = 0;
  bool parts_of_two = false;
  for (u32 h = 0; h < m->heads; h++) {
    u32 columns_of_head = 0, last = NONE;
    for (u32 f = h * dh; f < (h + 1) * dh; f++) {
      u32 x = feature_owner(c, f);
      if (x == last) continue;
      last = x;
      columns_of_head++;
      columns[x].heads++;
    }
    if (columns_of_head > spread) spread = columns_of_head;
  }
  u32 heads_max = 0;
  for (u32 x = 0; x < t->group_width; x++) {
    if (columns[x].heads > heads_max) heads_max = columns[x].heads;
    parts_of_two |= columns[x].heads > 1 && spread > 1; // with spread 1 they are whole
  }
  if (t->head_pes == 0 ? spread != 1 : spread != t->head_pes)
    return refuse(c, 5, "head_pes is not the spread of the most spread head");
  if (t->heads_aligned && parts_of_two) return refuse(c, 5, "heads are called aligned, but a PE holds parts of two");
  if (!t->heads_aligned && !parts_of_two)
    return refuse(c, 5, "heads are called unaligned, but no PE holds parts of two");
  return heads_max == t->heads_max || refuse(c, 4, "heads_max is not what the PE with most heads holds");
}

static bool check_columns(const checker *c) {
  u32 width = c->p->tiles.group_width;
  column_load *columns = arena_array(c->memory, column_load, width);
  return check_features(c, columns) && check_heads(c, columns);
}

static bool check_batch(const checker *c) {
  const plan *p = c->p;
  const plan_options *o = &p->options;
  if (!p->batch || !p->systems || !p->microbatch || !p->microbatches) return refuse(c, 6, "there is nothing to do");
  u64 all = (u64)p->microbatch * p->systems;
  if (all * p->microbatches < p->batch) return refuse(c, 6, "the microbatches do not cover the batch");
  if (all * (p->microbatches - 1) >= p->batch) return refuse(c, 6, "a microbatch is superfluous");
  bool obeyed = (!o->microbatch || o->microbatch == p->microbatch) &&
                (!o->replicas || o->replicas == p->tiles.replicas) &&
                (o->activations == POLICY_AUTO || o->activations == p->policy) && o->axpy == p->axpy &&
                (o->kept == KEPT_AUTO || o->kept == p->kept) &&
                (o->grid == GRID_AUTO || (o->grid == GRID_TRANSPOSED) == p->tiles.transposed);
  if (p->tiles.seq_rows > 1)
    obeyed &= o->tokens == TOKENS_AUTO || (o->tokens == TOKENS_INTERLEAVED) == p->tiles.interleaved;
  else if (p->tiles.interleaved)
    return refuse(c, 7, "tokens are interleaved over one row");
  obeyed &= (!o->kept_blocks || o->kept_blocks >= p->kept_blocks || p->policy == POLICY_RESIDENT) &&
            (!o->ahead || o->ahead == p->ahead || p->policy != POLICY_OFFLOAD);
  if (!p->ahead || !p->kept_blocks || p->kept_blocks > c->g->model.layers)
    return refuse(c, 7, "nothing is ahead, or no block keeps anything");
  if (p->kept < KEPT_INPUT || p->kept > KEPT_ALL) return refuse(c, 7, "the kept level is unknown");
  if (!obeyed) return refuse(c, 7, "something stated was not obeyed");
  bool known = p->policy == POLICY_RESIDENT || p->policy == POLICY_RECOMPUTE || p->policy == POLICY_OFFLOAD;
  return known || refuse(c, 7, "the activation policy is unknown");
}

// --- memory

// One moment of a microbatch: a node runs, or a tensor leaves or comes (its memory is taken then).
typedef enum moment_kind { RUN, LEAVE, COME } moment_kind;
typedef struct moment {
  moment_kind what;
  u32 which; // node or tensor
} moment;

typedef struct timeline {
  moment *moments;
  u32 count;
  bool *again;      // by forward node: wanted once more by the block at hand
  u32 *born, *last; // of each tensor's present instance: first and last moment; born NONE: none
  i64 *change;      // by moment: bytes of instances that begin, less those that ended before it
  i64 *begun;       // bytes that the node's results take at their birth
  i64 *ended;       // bytes of operands that nobody reads after it
} timeline;

static bool from_block(const graph *g, u32 tensor, u32 layer) {
  const graph_tensor *t = &g->tensors[tensor];
  return t->kind == TENSOR_ACT && t->producer < g->forward_end && g->nodes[t->producer].layer == layer;
}

static bool in_block(const graph *g, u32 n, u32 layer) {
  return n < g->forward_end && g->nodes[n].layer == layer;
}

// The activation that a block reads and does not make.
static u32 input_of_block(const graph *g, u32 layer) {
  for (u32 n = 0; n < g->forward_end; n++)
    for (u32 i = 0; in_block(g, n, layer) && i < NODE_IN_MAX; i++) {
      u32 in = g->nodes[n].in[i];
      if (in != NONE && g->tensors[in].kind == TENSOR_ACT && !from_block(g, in, layer)) return in;
    }
  return NONE;
}

// Does backward find this result of a block's node again, beside the block's input?
static bool is_held(const checker *c, u32 n, u32 tensor) {
  const graph *g = c->g;
  u32 layer = g->nodes[n].layer, level = c->p->kept, before = 0; // dealt evenly: blocks served before this one
  for (u32 k = 1; (u64)k * g->model.layers <= (u64)layer * c->p->kept_blocks; k++) before = k;
  if ((u64)(before + 1) * g->model.layers > (u64)(layer + 1) * c->p->kept_blocks) level--;
  if (c->p->policy == POLICY_RESIDENT) return true;
  if (g->nodes[n].op == OP_ATTENTION) return level >= KEPT_ATTENTION;
  for (u32 k = n + 1; in_block(g, k, layer); k++)
    for (u32 i = 0; i < NODE_IN_MAX; i++) {
      if (g->nodes[k].in[i] != tensor) continue;
      u32 by = g->nodes[k].op;
      if (by == OP_RESIDUAL) return false;
      if (g->nodes[n].op == OP_RESIDUAL) return level >= KEPT_MIDDLE;
      if (by == OP_ATTENTION) return level >= KEPT_QKV;
      return g->nodes[n].op == OP_LINEAR && by != OP_ROTARY && level >= KEPT_ALL;
    }
  return false;
}

static void add(timeline *l, moment_kind what, u32 which) {
  l->moments[l->count].what = what;
  l->moments[l->count++].which = which;
}

// Forward. What is held leaves when the next block has made its like, the last block's at the end; a block's
// input when the block is done.
static void lay_forward(const checker *c, timeline *l) {
  const graph *g = c->g;
  bool moves = c->p->policy == POLICY_OFFLOAD;
  for (u32 n = 0; n < g->forward_end; n++) {
    add(l, RUN, n);
    u32 layer = g->nodes[n].layer;
    if (!moves) continue;
    if (layer != NONE && !in_block(g, n + 1, layer)) add(l, LEAVE, input_of_block(g, layer));
    for (u32 t = 0; t < g->tensor_count; t++) {
      u32 maker = g->tensors[t].producer;
      if (g->tensors[t].kind != TENSOR_ACT || maker > n || g->nodes[maker].layer == NONE || !is_held(c, maker, t))
        continue;
      u32 size = 1, from = g->nodes[maker].layer;
      for (u32 k = maker; in_block(g, k + 1, from); k++) size++;
      for (u32 k = maker; k > 0 && in_block(g, k - 1, from); k--) size++;
      bool like = maker + size == n && layer == from + 1;
      bool end = n + 1 == g->forward_end && from + 1 == g->model.layers;
      if (like || end) add(l, LEAVE, t);
    }
  }
}

// Runs again what makes a result that is neither held nor there yet, operands first.
static void want(const checker *c, timeline *l, u32 tensor, u32 layer) {
  const graph *g = c->g;
  if (tensor == NONE || !from_block(g, tensor, layer)) return;
  u32 maker = g->tensors[tensor].producer;
  if (l->again[maker] || is_held(c, maker, tensor)) return;
  for (u32 i = 0; i < NODE_IN_MAX; i++) want(c, l, g->nodes[maker].in[i], layer); // as deep as a block is long
  l->again[maker] = true;
  add(l, RUN, maker);
}

static bool has_left(const checker *c, u32 tensor) {
  const graph *g = c->g;
  u32 maker = g->tensors[tensor].producer;
  if (g->tensors[tensor].kind != TENSOR_ACT || maker >= g->forward_end) return false;
  for (u32 layer = 0; layer < g->model.layers; layer++)
    if (input_of_block(g, layer) == tensor) return true;
  return g->nodes[maker].layer != NONE && is_held(c, maker, tensor);
}

// What left is in memory again from where one needed before it, `ahead` moments of first use earlier, is used.
static void come_back(const checker *c, timeline *l, u32 begin) {
  const graph *g = c->g;
  u32 *use = arena_array(c->memory, u32, g->tensor_count), end = l->count, pending = 0;
  moment *old = arena_array(c->memory, moment, end);
  memcpy(old, l->moments, end * sizeof *old);
  for (u32 t = 0; t < g->tensor_count; t++) {
    use[t] = NONE;
    if (!has_left(c, t)) continue;
    for (u32 now = begin; now < end && use[t] == NONE; now++)
      for (u32 i = 0; i < NODE_IN_MAX; i++)
        if (g->nodes[old[now].which].in[i] == t) use[t] = now;
    pending += use[t] != NONE;
  }
  l->count = begin;
  bool *come = arena_array(c->memory, bool, g->tensor_count);
  for (u32 now = begin; now < end; now++) {
    bool used = false;
    for (u32 t = 0; t < g->tensor_count && pending; t++) used |= use[t] == now;
    for (u32 step = 0, until = now; used && step <= c->p->ahead; step++) { // this use and the next ones
      u32 next = NONE;
      for (u32 t = 0; t < g->tensor_count; t++) {
        if (use[t] == until && !come[t]) {
          add(l, COME, t);
          come[t] = true;
        }
        if (use[t] != NONE && use[t] > until && use[t] < next) next = use[t];
      }
      until = next;
      if (next == NONE) break;
    }
    l->moments[l->count++] = old[now];
  }
}

static void lay_backward(const checker *c, timeline *l) {
  const graph *g = c->g;
  u32 begin = l->count;
  for (u32 n = g->forward_end; n < g->backward_end; n++) {
    for (u32 i = 0; g->nodes[n].layer != NONE && i < NODE_IN_MAX; i++) want(c, l, g->nodes[n].in[i], g->nodes[n].layer);
    add(l, RUN, n);
  }
  if (c->p->policy == POLICY_OFFLOAD) come_back(c, l, begin);
}

enum { TURNING_KEYS = 32 };  // rotate at once, at most
enum { HALF = 2, FULL = 4 }; // bytes of a value

static u64 node_room(const checker *c, u32 n) {
  const plan_tiles *t = &c->p->tiles;
  u64 tokens = t->tokens_max, local = c->p->axpy == AXPY_FP16 ? HALF : FULL;
  u64 sums = 2 * tokens * FULL + 2 * tokens * local; // chained and local, one on its way and one being made
  u64 block = 0;                                     // of K, V, dK or dV that rotates, in values
  if (t->seq_rows > 1) {
    u64 keys = (c->g->seq - 1) / t->seq_rows + 1;
    block = (u64)t->features_max * (keys > TURNING_KEYS ? TURNING_KEYS : keys);
  }
  switch (c->g->nodes[n].op) {
  case OP_LINEAR:
  case OP_LINEAR_GRAD_X:
  case OP_LOSS_GRAD:
    return sums;
  case OP_LINEAR_GRAD_W: // the stream of dY, twice; the column's sums, twice
    return 2 * tokens * HALF + 2 * FULL * (t->hidden_max > t->features_max ? t->hidden_max : t->features_max);
  case OP_LAYERNORM:
  case OP_LAYERNORM_GRAD:
  case OP_ROTARY: // a cosine and a sine
  case OP_ROTARY_GRAD:
    return 2 * tokens * FULL;
  case OP_RMSNORM:
  case OP_RMSNORM_GRAD:
    return tokens * FULL;
  case OP_ATTENTION: // K and V twice
    return sums + tokens * HALF + 4 * block * HALF;
  case OP_ATTENTION_GRAD: // scores and dP; K and V twice, dK and dV once
    return 2 * sums + 2 * tokens * HALF + 4 * block * HALF + 2 * block * FULL;
  default:
    return 0;
  }
}

// Bytes of a tensor in the fullest PE; a gradient is as large as what it is the gradient of.
static i64 bytes_of(const checker *c, u32 tensor) {
  const graph *g = c->g;
  const plan_tiles *t = &c->p->tiles;
  const graph_tensor *x = &g->tensors[tensor];
  if (x->kind == TENSOR_ACT_GRAD) return bytes_of(c, x->twin);
  if (x->kind != TENSOR_ACT) return 0;
  const graph_node *maker = &g->nodes[x->producer];
  u64 values = 0;
  switch (maker->op) {
  case OP_LAYERNORM:
    values = maker->out[1] == tensor ? 2 * FULL : t->features_max * HALF;
    break;
  case OP_RMSNORM:
    values = maker->out[1] == tensor ? FULL : t->features_max * HALF;
    break;
  case OP_ROTARY:
    values = 3 * t->features_max * HALF;
    break;
  case OP_ATTENTION:
    values = maker->out[1] == tensor ? t->heads_max * FULL : t->features_max * HALF;
    break;
  case OP_ACTIVATION:
  case OP_GATE:
    values = t->hidden_max * HALF;
    break;
  case OP_LOSS:
    values = FULL;
    break;
  case OP_LINEAR: {
    u32 reader = OP_COUNT; // what a linear layer's result is depends on who reads it
    for (u32 n = x->producer; n < g->forward_end; n++)
      if (g->nodes[n].in[0] == tensor || g->nodes[n].in[1] == tensor) reader = g->nodes[n].op;
    values = reader == OP_ATTENTION || reader == OP_ROTARY  ? 3 * t->features_max * HALF
             : reader == OP_ACTIVATION || reader == OP_GATE ? t->hidden_max * HALF
             : reader == OP_LOSS                            ? FULL // one output per PE at a time
                                                            : t->features_max * HALF;
    break;
  }
  default: // embedding, residual stream
    values = t->features_max * HALF;
  }
  return (i64)(values * t->tokens_max);
}

static void end_instance(const checker *c, timeline *l, u32 tensor) {
  if (l->born[tensor] == NONE) return;
  l->change[l->last[tensor] + 1] -= bytes_of(c, tensor);
  const moment *at = &l->moments[l->last[tensor]];
  bool read_last = false;
  for (u32 i = 0; at->what == RUN && i < NODE_IN_MAX; i++) read_last |= c->g->nodes[at->which].in[i] == tensor;
  if (read_last && l->born[tensor] != l->last[tensor]) l->ended[l->last[tensor]] += bytes_of(c, tensor);
  l->born[tensor] = NONE;
}

static void begin_instance(const checker *c, timeline *l, u32 tensor, u32 now) {
  end_instance(c, l, tensor);
  l->born[tensor] = l->last[tensor] = now;
  l->change[now] += bytes_of(c, tensor);
  l->begun[now] += bytes_of(c, tensor);
}

static bool use(const checker *c, timeline *l, u32 tensor, u32 now) {
  if (!bytes_of(c, tensor)) return true;
  if (l->born[tensor] == NONE) return refuse(c, 8, "something is read that was never made");
  l->last[tensor] = now;
  return true;
}

static bool run_node(const checker *c, timeline *l, const graph_node *node, u32 now) {
  for (u32 i = 0; i < NODE_IN_MAX; i++)
    if (node->in[i] != NONE && !use(c, l, node->in[i], now)) return false;
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    if (node->out[i] == NONE) continue;
    if (!(node->accumulate >> i & 1))
      begin_instance(c, l, node->out[i], now);
    else if (!use(c, l, node->out[i], now))
      return false;
  }
  return true;
}

static bool live_through(const checker *c, timeline *l) {
  for (u32 now = 0; now < l->count; now++) {
    const moment *at = &l->moments[now];
    if (at->what == COME)
      begin_instance(c, l, at->which, now);
    else if (!(at->what == LEAVE ? use(c, l, at->which, now) : run_node(c, l, &c->g->nodes[at->which], now)))
      return false;
  }
  for (u32 t = 0; t < c->g->tensor_count; t++) end_instance(c, l, t);
  return true;
}

// Operations whose results may lie where an operand was that nobody reads again.
static bool reuses_operands(u32 op) {
  static const u8 yes[OP_COUNT] = {
      [OP_ACTIVATION] = 1, [OP_ACTIVATION_GRAD] = 1, [OP_RESIDUAL] = 1, [OP_RESIDUAL_GRAD] = 1, [OP_LAYERNORM] = 1,
      [OP_GATE] = 1,       [OP_GATE_GRAD] = 1,       [OP_ROTARY] = 1,   [OP_ROTARY_GRAD] = 1,   [OP_RMSNORM] = 1};
  return yes[op];
}

static u64 peak_of(const checker *c, const timeline *l) {
  i64 live = 0;
  u64 peak = 0;
  for (u32 now = 0; now < l->count; now++) {
    live += l->change[now];
    u64 bytes = (u64)live;
    if (l->moments[now].what == RUN) {
      u32 n = l->moments[now].which;
      i64 shared = l->begun[now] < l->ended[now] ? l->begun[now] : l->ended[now];
      bytes += node_room(c, n);
      if (reuses_operands(c->g->nodes[n].op)) bytes -= (u64)shared;
    }
    if (bytes > peak) peak = bytes;
  }
  return peak;
}

static bool check_memory(const checker *c) {
  const graph *g = c->g;
  const plan_memory *m = &c->p->memory;
  if (m->limit_bytes != c->m->spec.sram_bytes) return refuse(c, 8, "the limit is not the PE's SRAM");
  if (m->code_bytes <= c->m->spec.code_base_bytes) return refuse(c, 8, "there is no code");
  if ((u64)m->code_bytes + m->buffer_bytes + m->activation_bytes != m->total_bytes)
    return refuse(c, 8, "code, buffers and activations are not the total");
  if (m->total_bytes > m->limit_bytes) return refuse(c, 8, "it does not fit");
  u32 room = 2 * g->backward_end + 2 * g->tensor_count;
  timeline l = {.moments = arena_array(c->memory, moment, room),
                .again = arena_array(c->memory, bool, g->forward_end),
                .born = arena_array(c->memory, u32, g->tensor_count),
                .last = arena_array(c->memory, u32, g->tensor_count)};
  lay_forward(c, &l);
  lay_backward(c, &l);
  require(l.count <= room);
  memset(l.born, 0xff, g->tensor_count * sizeof *l.born);
  l.change = arena_array(c->memory, i64, l.count + 1);
  l.begun = arena_array(c->memory, i64, l.count);
  l.ended = arena_array(c->memory, i64, l.count);
  if (!live_through(c, &l)) return false;
  u64 peak = peak_of(c, &l);
  if (peak + m->code_bytes == m->total_bytes) return true;
  return status_fail(c->st, CODE_BUG, "plan check 8: tensors and buffers peak at %llu bytes, the plan says %u",
                     (unsigned long long)peak, m->total_bytes - m->code_bytes);
}

bool plan_check(const plan *p, const graph *g, const machine *m, status *st) {
  if (p->options.mode == PLAN_PIPELINED) return pipeline_check(p, g, m, st);
  arena *memory = arena_create("plan check");
  checker c = {p, g, m, memory, st};
  bool ok = check_area(&c) && check_batch(&c) && check_sequences(&c) && check_tokens(&c) && check_columns(&c) &&
            check_memory(&c);
  arena_destroy(memory);
  return ok;
}

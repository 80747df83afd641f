// One parallel region per call: weights are packed, threads take lanes as they come, run a lane's sequences
// through all steps, and then fold the lanes' gradients in order, chunk by chunk. Invariants:
//   1. What a lane computes depends on the batch, the parameters and the lane's number alone.
//   2. grads[p][i] = ((lane 0 + lane 1) + lane 2) + ..., whichever thread computes it. Ranks keep that order: each adds
//      its lanes to what the rank before it sends, and the last one's sums go to all.
//   3. A thread writes only to its own block (or its lanes' blocks), to the lanes it took and to the chunks it took.
// Where the head is apart (execute_head.c) sequences go in waves, one per lane: all forward, the head of
// each by all threads, all backward.
#include "model/compute/execute_parts.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LANES_MAX = 8 };
// Gradient sums of all lanes together stay below this, two lanes excepted. It leaves eight lanes to 6.5 M
// parameters and keeps 53 M with their AdamW state below 1.2 GB.
static const u64 lanes_bytes_max = 208ull << 20;
// A vocabulary from here on has its head apart: its gradient would dominate the lanes, its logits the block.
enum { HEAD_APART_VOCAB = 8192 };
// Floats folded at a time.
enum { FOLD_CHUNK = 16384 };

static bool is_head_param(const graph *g, u32 param) {
  param_role role = g->tensors[g->params[param]].role;
  return role == ROLE_EMBED || role == ROLE_UNEMBED;
}

static bool wants_head_apart(const graph *g) { return g->model.vocab >= HEAD_APART_VOCAB; }

// A parameter's gradient in a lane starts on a cache line.
static size_t param_floats(const graph *g, u32 param) {
  const graph_tensor *t = &g->tensors[g->params[param]];
  return ((size_t)t->rows * t->cols + 15) / 16 * 16;
}

static u32 count_lanes(const graph *g, u32 batch, bool head_apart) {
  u64 bytes = 0;
  for (u32 p = 0; p < g->param_count; p++)
    if (!head_apart || !is_head_param(g, p)) bytes += param_floats(g, p) * sizeof(float);
  u32 lanes = batch < LANES_MAX ? batch : LANES_MAX;
  while (lanes > 2 && lanes * bytes > lanes_bytes_max) lanes = lanes > 4 ? 4 : 2;
  return lanes;
}

u32 execute_lanes(const graph *g, u32 batch) { return count_lanes(g, batch, wants_head_apart(g)); }

// ---- making one

static float **take_blocks(u32 count, size_t floats, const char *what, arena *a, status *st) {
  float **blocks = arena_array(a, float *, count + 1);
  for (u32 i = 0; i < count; i++) {
    blocks[i] = arena_take_big(a, (floats ? floats : 1) * sizeof(float), what, st);
    if (!blocks[i]) return NULL;
  }
  return blocks;
}

static u32 packed_index(executor *e, u32 param, bool backward) {
  for (u32 i = 0; i < e->packed_count; i++)
    if (e->packed[i].param == param && e->packed[i].backward == backward) return i;
  e->packed[e->packed_count] = (packed_weight){.param = param, .backward = backward};
  return e->packed_count++;
}

static weight_pack pack_of(const executor *e, const packed_weight *w, float *const *params) {
  const graph_tensor *t = &e->graph->tensors[e->graph->params[w->param]];
  return (weight_pack){params ? params[w->param] : NULL, t->rows, t->cols, w->backward, w->to};
}

// Every weight that a step multiplies with, in the direction it does.
static bool plan_packing(executor *e, arena *a, status *st) {
  const graph *g = e->graph;
  e->node_packed = arena_array(a, u32, g->node_count);
  e->packed = arena_array(a, packed_weight, 2 * (u64)g->param_count);
  for (u32 n = 0; n < g->node_count; n++) e->node_packed[n] = GRAPH_NONE;
  if (!e->kernels->pack) return true;
  for (u32 s = 0; s < e->order.count; s++) {
    u32 n = e->order.steps[s].node;
    if (n == GRAPH_NONE || (g->nodes[n].op != OP_LINEAR && g->nodes[n].op != OP_LINEAR_GRAD_X)) continue;
    e->node_packed[n] = packed_index(e, g->tensors[g->nodes[n].in[1]].param, g->nodes[n].op == OP_LINEAR_GRAD_X);
  }
  for (u32 i = 0; i < e->packed_count; i++) {
    packed_weight *w = &e->packed[i];
    weight_pack p = pack_of(e, w, NULL);
    w->to = arena_take_big(a, e->kernels->packed_floats(p.out, p.in, p.backward) * sizeof(float), "packed weights", st);
    if (!w->to) return false;
    w->first_task = e->pack_tasks;
    e->pack_tasks += e->kernels->pack_tasks(&p);
  }
  return true;
}

// An activation's slope is found along with its value and put where its input was, if nothing else reads that.
static void plan_slopes(executor *e, arena *a) {
  const graph *g = e->graph;
  e->node_slopes = arena_array(a, bool, g->node_count);
  for (u32 n = g->forward_end; n < g->backward_end && e->kernels->slopes; n++) {
    if (g->nodes[n].op != OP_ACTIVATION_GRAD) continue;
    u32 readers = 0;
    for (u32 k = 0; k < g->backward_end; k++)
      for (u32 i = 0; i < NODE_IN_MAX; i++) readers += g->nodes[k].in[i] == g->nodes[n].in[1];
    e->node_slopes[n] = e->node_slopes[g->nodes[n].forward] = readers == 2;
  }
}

static void plan_lanes(executor *e, arena *a) {
  const graph *g = e->graph;
  e->shared = arena_array(a, bool, g->param_count);
  e->param_offsets = arena_array(a, size_t, g->param_count + 1);
  for (u32 p = 0; p < g->param_count; p++) {
    e->shared[p] = e->order.head_apart && is_head_param(g, p);
    e->param_offsets[p + 1] = e->param_offsets[p] + (e->shared[p] ? 0 : param_floats(g, p));
  }
}

static u32 first_lane(const execute_ranks *k, u32 rank, u32 lanes) { return k ? rank * lanes / k->ranks : 0; }

static bool open_ranks(executor *e, u32 lanes, arena *a, status *st) {
  const execute_ranks *k = e->setup.options.ranks;
  e->lanes = k ? first_lane(k, k->rank + 1, lanes) - first_lane(k, k->rank, lanes) : lanes;
  if (!k) return true;
  require(k->rank < k->ranks);
  if (k->ranks > lanes)
    return status_fail(st, CODE_CONFIG, "%u ranks cannot share a batch of %u sequences, whose gradients are summed in %u lanes; "
                       "start at most %u", k->ranks, e->setup.max_batch, lanes, lanes);
  if (e->order.head_apart)
    return status_fail(st, CODE_CONFIG, "model.vocab: from %u on, the unembedding's gradient is summed sequence by sequence in "
                       "one process, so ranks cannot share a batch", HEAD_APART_VOCAB);
  size_t most = 0;
  for (u32 p = 0; p < e->graph->param_count; p++) most = param_floats(e->graph, p) > most ? param_floats(e->graph, p) : most;
  if (k->rank > 0) e->incoming = arena_take_big(a, most * sizeof(float), "gradients of the rank before", st);
  return k->rank == 0 || e->incoming;
}

executor *executor_open(const executor_setup *s, arena *a, status *st) {
  require(s->max_batch > 0 && s->threads > 0);
  const graph *g = s->graph;
  executor *e = arena_array(a, executor, 1);
  *e = (executor){.setup = *s, .graph = g, .kernels = s->kernels};
  bool can = s->kernels->head_logits != NULL, must = s->options.head == HEAD_TOGETHER;
  order_options o = {s->options.recompute, can && (must || (s->options.head == HEAD_AUTO && wants_head_apart(g))),
                     s->kernels->pairs};
  if (!node_order_build(g, o, a, &e->order, st) || !open_ranks(e, count_lanes(g, s->max_batch, o.head_apart), a, st))
    return NULL;
  // Lanes bound the threads that find work, but for a head that all of them share.
  e->threads = s->threads < e->lanes || o.head_apart ? s->threads : e->lanes;
  if (!memory_plan_build(g, &e->order, a, &e->plan, st) || !plan_packing(e, a, st)) return NULL;
  plan_lanes(e, a);
  plan_slopes(e, a);
  if (o.head_apart && !execute_head_open(e, a, st)) return NULL;
  e->losses = arena_take_big(a, s->max_batch * sizeof *e->losses, "losses", st);
  e->clocks = arena_array(a, execute_clock, e->threads);
  e->sums = take_blocks(e->lanes - 1, e->param_offsets[g->param_count], "gradients of a lane", a, st);
  e->blocks = take_blocks(o.head_apart ? e->lanes : e->threads, e->plan.floats, "activations of a thread", a, st);
  e->scratch = take_blocks(e->threads, s->kernels->scratch_floats(g), "scratch of a thread", a, st);
  return e->losses && e->sums && e->blocks && e->scratch ? e : NULL;
}

executor *executor_create(const graph *g, const kernel_table *k, u32 max_batch, u32 threads, arena *a,
                          status *st) {
  return executor_open(&(executor_setup){.graph = g, .kernels = k, .max_batch = max_batch, .threads = threads}, a, st);
}

// ---- time

u64 execute_now(const executor *e) {
  struct timespec t = {0};
  if (e->profile) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

void execute_add_time(executor *e, u32 kind, u64 since) {
  if (!e->profile) return;
  execute_clock *c = &e->clocks[omp_get_thread_num()];
  c->ns[kind] += execute_now(e) - since;
  c->calls[kind]++;
}

void execute_profile(executor *e, bool on) {
  e->profile = on;
  memset(e->clocks, 0, e->threads * sizeof *e->clocks);
}

static int by_time(const void *x, const void *y) {
  double a = ((const execute_time *)x)->seconds, b = ((const execute_time *)y)->seconds;
  return (a < b) - (a > b);
}

u32 execute_times(const executor *e, execute_time ret_rows[EXECUTE_TIMES]) {
  static const char *const extra[] = {"pack weights", "head: logits, loss", "head: gradients", "fold lanes", "update"};
  u32 count = 0;
  for (u32 k = 0; k < EXTRA_COUNT; k++) {
    execute_time row = {.name = k < OP_COUNT ? graph_op_name((graph_op)k) : extra[k - OP_COUNT]};
    for (u32 t = 0; t < e->threads; t++) {
      row.seconds += 1e-9 * (double)e->clocks[t].ns[k];
      row.calls += e->clocks[t].calls[k];
    }
    if (row.calls) ret_rows[count++] = row;
  }
  qsort(ret_rows, count, sizeof *ret_rows, by_time);
  return count;
}

// ---- a sequence

// One sequence on its way through the steps.
typedef struct sequence {
  const execute_run *run;
  u32 index, lane;
  bool fresh; // the lane's first: its gradients are written, not added
  float *block, *scratch;
} sequence;

float *execute_block(const executor *e, u32 lane) {
  return e->blocks[e->order.head_apart ? lane : (u32)omp_get_thread_num()];
}

static float *lane_sum(const execute_run *r, u32 lane, u32 param) {
  const u32 own = lane - r->first_lane;
  return own == 0 ? r->grads[param] : r->e->sums[own - 1] + r->e->param_offsets[param];
}

// Tokens and parameters are only read; the kernels' operands are one type for in and out.
static float *operand(const sequence *s, u32 tensor, bool second) {
  if (tensor == GRAPH_NONE) return NULL;
  const executor *e = s->run->e;
  const graph *g = e->graph;
  const graph_tensor *t = &g->tensors[tensor];
  switch (t->kind) {
  case TENSOR_PARAM: return s->run->b->params[t->param];
  case TENSOR_PARAM_GRAD: return lane_sum(s->run, s->lane, t->param);
  case TENSOR_ACT:
  case TENSOR_ACT_GRAD: return s->block + (second && e->order.again[tensor] ? e->plan.again : e->plan.offsets)[tensor];
  case TENSOR_TOKENS: {
    const u32 *ids = tensor == g->tokens ? s->run->b->inputs : s->run->b->targets;
    return (float *)(uintptr_t)(ids + (size_t)s->index * g->seq);
  }
  case TENSOR_SCALAR: break;
  }
  return NULL;
}

// The first node to add to a sum writes it instead, where the operation can; an embedding's rows are added
// to one by one, so its table was cleared.
static u32 accumulate_of(const sequence *s, u32 node) {
  const graph *g = s->run->e->graph;
  const graph_node *n = &g->nodes[node];
  u32 accumulate = n->accumulate;
  for (u32 i = 0; s->fresh && i < NODE_OUT_MAX; i++)
    if (n->out[i] != GRAPH_NONE && g->tensors[n->out[i]].kind == TENSOR_PARAM_GRAD &&
        g->tensors[n->out[i]].producer == node && !(n->op == OP_EMBED_GRAD && i == 0))
      accumulate &= ~(1u << i);
  return accumulate;
}

static kernel_call call_of(const sequence *s, u32 step) {
  const executor *e = s->run->e;
  const graph *g = e->graph;
  u32 index = e->order.steps[step].node;
  const graph_node *node = &g->nodes[index];
  bool second = step >= e->order.forward_end;
  kernel_call c = {.graph = g, .node = node, .seq = g->seq, .scratch = s->scratch};
  c.accumulate = accumulate_of(s, index);
  c.slopes = s->run->grads && e->node_slopes[index];
  c.loss_scale = 1.0 / s->run->targets;
  if (e->node_packed[index] != GRAPH_NONE) c.packed = e->packed[e->node_packed[index]].to;
  for (u32 i = 0; i < NODE_IN_MAX; i++) {
    c.in[i] = operand(s, node->in[i], second);
    c.in_cols[i] = c.in[i] ? g->tensors[node->in[i]].cols : 0;
  }
  for (u32 i = 0; i < NODE_OUT_MAX; i++) {
    c.out[i] = operand(s, node->out[i], second);
    c.out_cols[i] = c.out[i] ? g->tensors[node->out[i]].cols : 0;
  }
  return c;
}

static void run_steps(const sequence *s, u32 begin, u32 end) {
  executor *e = s->run->e;
  for (u32 i = begin; i < end; i++) {
    if (e->order.steps[i].node == GRAPH_NONE) continue; // the head
    kernel_call c = call_of(s, i);
    u64 since = execute_now(e);
    require(e->kernels->run[c.node->op]);
    if (e->order.steps[i].pair) {
      kernel_call second = call_of(s, ++i);
      e->kernels->pair(&c, &second);
    } else {
      e->kernels->run[c.node->op](&c);
    }
    execute_add_time(e, c.node->op, since);
  }
}

static double sequence_loss(const sequence *s) {
  const float *loss = operand(s, s->run->e->graph->loss, false);
  double sum = 0;
  for (u32 t = 0; t < s->run->e->graph->seq; t++) sum += loss[t];
  return sum;
}

static sequence sequence_of(const execute_run *r, u32 index, u32 lane) {
  return (sequence){r, index, lane, index == lane, execute_block(r->e, lane), r->e->scratch[omp_get_thread_num()]};
}

static void clear_embedding(const execute_run *r, u32 lane) {
  const graph *g = r->e->graph;
  u32 wte = g->nodes[0].in[1], p = g->tensors[wte].param;
  memset(lane_sum(r, lane, p), 0, (size_t)g->tensors[wte].rows * g->tensors[wte].cols * sizeof(float));
}

static void run_lane(const execute_run *r, u32 lane) {
  executor *e = r->e;
  for (u32 i = lane; i < r->b->batch; i += r->lanes) {
    sequence s = sequence_of(r, i, lane);
    run_steps(&s, 0, e->order.forward_end);
    e->losses[i] = sequence_loss(&s); // its memory is reused after this
    if (!r->grads) continue;
    if (s.fresh && !e->graph->model.tied) clear_embedding(r, lane);
    run_steps(&s, e->order.forward_end, e->order.count);
  }
}

// ---- all of them

static void run_waves(const execute_run *r) {
  executor *e = r->e;
  for (u32 first = 0; first < r->b->batch; first += r->lanes) {
    u32 count = r->b->batch - first < r->lanes ? r->b->batch - first : r->lanes;
#pragma omp for schedule(dynamic, 1)
    for (u32 i = 0; i < count; i++) {
      sequence s = sequence_of(r, first + i, i);
      e->losses[first + i] = 0;
      run_steps(&s, 0, e->order.forward_end);
    }
    for (u32 i = 0; i < count; i++) execute_head_run(r, first + i, e->blocks[i]);
    if (!r->grads) continue;
#pragma omp for schedule(dynamic, 1)
    for (u32 i = 0; i < count; i++) {
      sequence s = sequence_of(r, first + i, i);
      run_steps(&s, e->order.forward_end, e->order.count);
    }
    execute_head_finish(r, first, count);
  }
}

static void pack_weights(const execute_run *r) {
  executor *e = r->e;
  u64 since = execute_now(e);
#pragma omp for schedule(dynamic, 1)
  for (u32 task = 0; task < e->pack_tasks; task++) {
    u32 i = e->packed_count - 1;
    while (e->packed[i].first_task > task) i--;
    weight_pack p = pack_of(e, &e->packed[i], r->b->params);
    e->kernels->pack(&p, task - e->packed[i].first_task);
  }
  execute_add_time(e, EXTRA_PACK, since);
}

static size_t param_count(const graph *g, u32 param) {
  const graph_tensor *t = &g->tensors[g->params[param]];
  return (size_t)t->rows * t->cols;
}

// to[k] = ((from[0][k] + from[1][k]) + from[2][k]) + ..., a few values at a time so that all lanes are read side by
// side: memory answers many streams faster than one after the other. `to` may be from[0].
static void fold_chunk(const float *const *from, u32 lanes, size_t n, float *to) {
  enum { SIDE = 16 };
  size_t k = 0;
  for (; k + SIDE <= n; k += SIDE) {
    float sum[SIDE];
    memcpy(sum, from[0] + k, sizeof sum);
    for (u32 l = 1; l < lanes; l++)
      for (u32 i = 0; i < SIDE; i++) sum[i] += from[l][k + i];
    memcpy(to + k, sum, sizeof sum);
  }
  for (; k < n; k++) {
    float sum = from[0][k];
    for (u32 l = 1; l < lanes; l++) sum += from[l][k];
    to[k] = sum;
  }
}

// Every thread of the region calls this; chunks go around the threads.
static void fold_param(const execute_run *r, u32 p) {
  const executor *e = r->e;
  size_t chunk = p, mine = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
  size_t count = e->shared[p] ? 0 : param_count(e->graph, p);
  for (size_t i = 0; i < count; i += FOLD_CHUNK, chunk++) {
    if (chunk % threads != mine) continue;
    size_t n = count - i < FOLD_CHUNK ? count - i : FOLD_CHUNK;
    const float *from[LANES_MAX + 1];
    u32 lanes = 0;
    if (e->incoming) from[lanes++] = e->incoming + i;
    for (u32 l = r->first_lane; l < r->lane_end; l++) from[lanes++] = lane_sum(r, l, p) + i;
    fold_chunk(from, lanes, n, r->grads[p] + i);
  }
}

// A chain over the ranks, parameter by parameter, so that they add at the same time; then the sums to all.
static void fold_ranks(const execute_run *r, const execute_ranks *k) {
  const graph *g = r->e->graph;
  for (u32 p = 0; p < g->param_count; p++) {
#pragma omp master
    if (k->rank > 0) k->receive(k->user, r->e->incoming, param_count(g, p));
#pragma omp barrier
    fold_param(r, p);
#pragma omp barrier
#pragma omp master
    if (k->rank + 1 < k->ranks) k->send(k->user, r->grads[p], param_count(g, p));
  }
#pragma omp master
  for (u32 p = 0; p < g->param_count; p++) k->share(k->user, r->grads[p], param_count(g, p));
}

static void fold_lanes(const execute_run *r) {
  const execute_ranks *ranks = r->e->setup.options.ranks;
  if (ranks) fold_ranks(r, ranks);
  for (u32 p = 0; p < r->e->graph->param_count && r->lanes > 1 && !ranks; p++) fold_param(r, p);
#pragma omp barrier
}

static void finish(const execute_run *r) {
  executor *e = r->e;
  u64 since = execute_now(e);
  if (r->grads) fold_lanes(r);
  execute_add_time(e, EXTRA_FOLD, since);
#pragma omp master
  {
    const execute_ranks *ranks = e->setup.options.ranks;
    if (ranks) ranks->gather(ranks->user, e->losses, r->b->batch);
    double sum = 0;
    for (u32 i = 0; i < r->b->batch; i++) sum += e->losses[i];
    e->loss = sum / r->targets;
  }
#pragma omp barrier
  since = execute_now(e);
  if (r->after) r->after(r->user);
  execute_add_time(e, EXTRA_AFTER, since);
}

// At least 1, so that a batch without any has a loss of 0.
static double count_targets(const executor *e, const execute_batch *b) {
  u64 count = 0;
  for (u64 i = 0; i < (u64)b->batch * e->graph->seq; i++) count += b->targets[i] != TARGET_NONE;
  return count ? (double)count : 1;
}

double execute_gradients_then(executor *e, const execute_batch *b, float *const *grads, execute_after *after, void *user) {
  require(b->batch > 0 && b->batch <= e->setup.max_batch);
  const execute_ranks *k = e->setup.options.ranks;
  const u32 lanes = count_lanes(e->graph, b->batch, e->order.head_apart), rank = k ? k->rank : 0;
  execute_run r = {.e = e, .b = b, .grads = grads, .lanes = lanes, .after = after, .user = user};
  r.first_lane = first_lane(k, rank, lanes);
  r.lane_end = k ? first_lane(k, rank + 1, lanes) : lanes;
  r.targets = count_targets(e, b);
  require(!grads || r.lane_end > r.first_lane);
  e->last_params = b->params;
  if (k) memset(e->losses, 0, b->batch * sizeof *e->losses);
  // A single sequence runs in block 0.
  u32 threads = r.lanes < e->threads && !e->order.head_apart ? r.lanes : e->threads;
#pragma omp parallel num_threads(threads)
  {
    pack_weights(&r);
    if (e->order.head_apart) {
      run_waves(&r);
    } else {
#pragma omp for schedule(dynamic, 1)
      for (u32 lane = r.first_lane; lane < r.lane_end; lane++) run_lane(&r, lane);
    }
    finish(&r);
  }
  return e->loss;
}

double execute_forward(executor *e, const execute_batch *b) { return execute_gradients_then(e, b, NULL, NULL, NULL); }

double execute_gradients(executor *e, const execute_batch *b, float *const *grads) {
  require(grads);
  return execute_gradients_then(e, b, grads, NULL, NULL);
}

double execute_loss(const executor *e) { return e->loss; }

// Logits that were not kept are made again.
static void read_logits(const executor *e, float *ret_values) {
  const graph *g = e->graph;
  const graph_node *n = &g->nodes[e->head.node];
  kernel_call c = {.graph = g, .node = n, .seq = g->seq, .scratch = e->scratch[0]};
  c.in[0] = e->blocks[0] + e->plan.offsets[e->order.head_x];
  c.in[1] = e->last_params[g->tensors[n->in[1]].param];
  c.in_cols[0] = g->model.width;
  c.out[0] = ret_values;
  c.out_cols[0] = g->model.vocab;
  e->kernels->run[OP_LINEAR](&c);
}

void execute_read(const executor *e, u32 tensor, float *ret_values) {
  const graph_tensor *t = &e->graph->tensors[tensor];
  require(t->kind == TENSOR_ACT && !e->order.again[tensor]);
  if (tensor == e->graph->logits && e->order.head_apart) {
    read_logits(e, ret_values);
    return;
  }
  memcpy(ret_values, e->blocks[0] + e->plan.offsets[tensor], (size_t)e->graph->seq * t->cols * sizeof(float));
}

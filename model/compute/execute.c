// One parallel region per call: threads take lanes as they come, run a lane's sequences through all nodes,
// and then fold the lanes' gradients in order, chunk by chunk. Invariants:
//   1. What a lane computes depends on the batch, the parameters and the lane's number alone.
//   2. grads[p][i] = ((lane 0 + lane 1) + lane 2) + ..., whichever thread computes it.
//   3. A thread writes only to its own block, to the lanes it took and to the chunks it took.
#include "model/compute/execute.h"

#include <omp.h>
#include <string.h>

#include "model/compute/memory_plan.h"

enum { LANES_MAX = 8 };
// Gradient sums of all lanes together stay below this, two lanes excepted.
static const u64 lanes_bytes_max = 1ull << 30;
// Floats folded at a time: the chunk's lanes fit a first-level cache.
enum { FOLD_CHUNK = 1024 };

struct executor {
  const graph *graph;
  const kernel_table *kernels;
  u32 max_batch, threads;
  memory_plan plan;
  float **blocks;        // per thread: plan.floats of activations
  float **scratch;       // per thread
  float **lanes;         // per lane: all parameters' gradients
  size_t *param_offsets; // within a lane; [param_count] is the lane's size
  double *losses;        // per sequence of the batch: sum over its tokens
};

// A parameter's gradient in a lane starts on a cache line.
static size_t param_floats(const graph *g, u32 param) {
  const graph_tensor *t = &g->tensors[g->params[param]];
  return ((size_t)t->rows * t->cols + 15) / 16 * 16;
}

u32 execute_lanes(const graph *g, u32 batch) {
  u64 bytes = 0;
  for (u32 p = 0; p < g->param_count; p++) bytes += param_floats(g, p) * sizeof(float);
  u32 lanes = batch < LANES_MAX ? batch : LANES_MAX;
  while (lanes > 2 && lanes * bytes > lanes_bytes_max) lanes--;
  return lanes;
}

static float **take_blocks(u32 count, size_t floats, const char *what, arena *a, status *st) {
  float **blocks = arena_array(a, float *, count);
  for (u32 i = 0; i < count; i++) {
    blocks[i] = arena_take_big(a, (floats ? floats : 1) * sizeof(float), what, st);
    if (!blocks[i]) return NULL;
  }
  return blocks;
}

executor *executor_create(const graph *g, const kernel_table *k, u32 max_batch, u32 threads, arena *a,
                          status *st) {
  require(max_batch > 0 && threads > 0);
  executor *e = arena_array(a, executor, 1);
  u32 lanes = execute_lanes(g, max_batch);
  *e = (executor){.graph = g, .kernels = k, .max_batch = max_batch};
  e->threads = threads < lanes ? threads : lanes;
  if (!memory_plan_build(g, a, &e->plan, st)) return NULL;
  e->param_offsets = arena_array(a, size_t, g->param_count + 1);
  for (u32 p = 0; p < g->param_count; p++) e->param_offsets[p + 1] = e->param_offsets[p] + param_floats(g, p);
  e->losses = arena_take_big(a, max_batch * sizeof *e->losses, "losses", st);
  e->lanes = take_blocks(lanes, e->param_offsets[g->param_count], "gradients of a lane", a, st);
  e->blocks = take_blocks(e->threads, e->plan.floats, "activations of a thread", a, st);
  e->scratch = take_blocks(e->threads, k->scratch_floats(g), "scratch of a thread", a, st);
  return e->losses && e->lanes && e->blocks && e->scratch ? e : NULL;
}

// One sequence on its way through the nodes.
typedef struct sequence {
  const executor *e;
  const execute_batch *batch;
  u32 index, thread, lane;
} sequence;

// Tokens and parameters are only read; the kernels' operands are one type for in and out.
static float *operand(const sequence *s, u32 tensor) {
  if (tensor == GRAPH_NONE) return NULL;
  const graph *g = s->e->graph;
  const graph_tensor *t = &g->tensors[tensor];
  switch (t->kind) {
  case TENSOR_PARAM: return s->batch->params[t->param];
  case TENSOR_PARAM_GRAD: return s->e->lanes[s->lane] + s->e->param_offsets[t->param];
  case TENSOR_ACT:
  case TENSOR_ACT_GRAD: return s->e->blocks[s->thread] + s->e->plan.offsets[tensor];
  case TENSOR_TOKENS: {
    const u32 *ids = tensor == g->tokens ? s->batch->inputs : s->batch->targets;
    return (float *)(uintptr_t)(ids + (size_t)s->index * g->seq);
  }
  case TENSOR_SCALAR: break;
  }
  return NULL;
}

static void run_nodes(const sequence *s, u32 begin, u32 end) {
  const graph *g = s->e->graph;
  for (u32 n = begin; n < end; n++) {
    const graph_node *node = &g->nodes[n];
    kernel_call c = {.graph = g, .node = node, .seq = g->seq, .scratch = s->e->scratch[s->thread]};
    c.loss_scale = 1.0 / ((double)s->batch->batch * g->seq);
    for (u32 i = 0; i < NODE_IN_MAX; i++) {
      c.in[i] = operand(s, node->in[i]);
      c.in_cols[i] = c.in[i] ? g->tensors[node->in[i]].cols : 0;
    }
    for (u32 i = 0; i < NODE_OUT_MAX; i++) {
      c.out[i] = operand(s, node->out[i]);
      c.out_cols[i] = c.out[i] ? g->tensors[node->out[i]].cols : 0;
    }
    require(s->e->kernels->run[node->op]);
    s->e->kernels->run[node->op](&c);
  }
}

static double sequence_loss(const sequence *s) {
  const float *loss = operand(s, s->e->graph->loss);
  double sum = 0;
  for (u32 t = 0; t < s->e->graph->seq; t++) sum += loss[t];
  return sum;
}

static void run_lane(executor *e, const execute_batch *b, u32 lane, u32 lanes, bool gradients) {
  const graph *g = e->graph;
  if (gradients) memset(e->lanes[lane], 0, e->param_offsets[g->param_count] * sizeof(float));
  for (u32 i = lane; i < b->batch; i += lanes) {
    sequence s = {e, b, i, (u32)omp_get_thread_num(), lane};
    run_nodes(&s, 0, g->forward_end);
    e->losses[i] = sequence_loss(&s); // its memory is reused after this
    if (gradients) run_nodes(&s, g->forward_end, g->backward_end);
  }
}

// to[i] = the lanes' sum in order, for one chunk of one parameter.
static void fold_chunk(const executor *e, u32 lanes, size_t offset, size_t count, float *to) {
  memcpy(to, e->lanes[0] + offset, count * sizeof *to);
  for (u32 l = 1; l < lanes; l++) {
    const float *from = e->lanes[l] + offset;
    for (size_t i = 0; i < count; i++) to[i] += from[i];
  }
}

static size_t param_count(const graph *g, u32 param) {
  const graph_tensor *t = &g->tensors[g->params[param]];
  return (size_t)t->rows * t->cols;
}

// Every thread of the region calls this; chunks go around the threads.
static void fold_lanes(const executor *e, u32 lanes, float *const *grads) {
  const graph *g = e->graph;
  size_t chunk = 0, mine = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
  for (u32 p = 0; p < g->param_count; p++) {
    size_t count = param_count(g, p);
    for (size_t i = 0; i < count; i += FOLD_CHUNK, chunk++) {
      if (chunk % threads != mine) continue;
      size_t n = count - i < FOLD_CHUNK ? count - i : FOLD_CHUNK;
      fold_chunk(e, lanes, e->param_offsets[p] + i, n, grads[p] + i);
    }
  }
}

static double execute(executor *e, const execute_batch *b, float *const *grads) {
  require(b->batch > 0 && b->batch <= e->max_batch);
  u32 lanes = execute_lanes(e->graph, b->batch);
  u32 threads = lanes < e->threads ? lanes : e->threads; // a single sequence runs in block 0
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(dynamic, 1)
    for (u32 lane = 0; lane < lanes; lane++) run_lane(e, b, lane, lanes, grads != NULL);
    if (grads) fold_lanes(e, lanes, grads);
  }
  double sum = 0;
  for (u32 i = 0; i < b->batch; i++) sum += e->losses[i];
  return sum / ((double)b->batch * e->graph->seq);
}

double execute_forward(executor *e, const execute_batch *b) { return execute(e, b, NULL); }

double execute_gradients(executor *e, const execute_batch *b, float *const *grads) {
  require(grads);
  return execute(e, b, grads);
}

void execute_read(const executor *e, u32 tensor, float *ret_values) {
  const graph_tensor *t = &e->graph->tensors[tensor];
  require(t->kind == TENSOR_ACT);
  memcpy(ret_values, e->blocks[0] + e->plan.offsets[tensor], (size_t)e->graph->seq * t->cols * sizeof(float));
}

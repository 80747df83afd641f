// MemoryX's side of a step on the fabric.
#include "runtime/fabric_step.h"

#include <math.h>
#include <string.h>

enum {
  KINDS = 2, // sequences at once: a microbatch, or a single one
  GRID = 16  // unless stated: a grid that shows every wavelet in seconds
};

// The step for a number of sequences at once.
typedef struct kind {
  woven step;
  wafer w;
  fabric_phase_time *times;
} kind;

struct fabric_step {
  fabric_step_setup setup;
  arena *memory;
  kind kinds[KINDS];
  u32 kind_count;
  const wafer *latest;
  float *entering, *leaving; // the embedding's output and its gradient, [token][width] of a microbatch
  float loss;
  u32 entering_tensor, leaving_tensor;
  fabric_load load; // of the first kind
  u64 cycles, flip_at;
  u32 flip_phase;
  trainer_source source;
  fabric_step_watch *watch;
  void *user;
  status st;
};

static u32 grid_pes(const fabric_step *f) {
  return f->kinds[0].step.width * f->kinds[0].step.height;
}

static const graph_node *find_node(const graph *g, graph_op op) {
  for (u32 n = 0; n < g->backward_end; n++)
    if (g->nodes[n].op == op) return &g->nodes[n];
  bug_fail(__FILE__, __LINE__, "a graph without an embedding");
}

// Gradients in F16 are kept away from its smallest numbers: times the next power of two above the tokens of the step,
// by which they were divided.
static double loss_scale(const fabric_step_setup *s) {
  return s->type == DF_F16 ? exp2(floor(log2((double)s->batch * s->graph->seq)) + 1) : 1;
}

static bool weave_kind(fabric_step *f, u32 sequences, status *st) {
  const fabric_step_setup *s = &f->setup;
  const weave_request r = {.graph = s->graph,
                           .machine = s->machine,
                           .width = s->width,
                           .height = s->height,
                           .microbatch = sequences,
                           .batch = s->batch,
                           .type = s->type,
                           .axpy_fp32 = s->axpy_fp32,
                           .keep = s->keep,
                           .loss_scale = loss_scale(s)};
  kind *k = &f->kinds[f->kind_count];
  if (!weave_step(&r, f->memory, &k->step, st) || !wafer_open(&k->step, s->machine, f->memory, &k->w, st)) return false;
  k->times = arena_array(f->memory, fabric_phase_time, k->step.phase_count);
  f->kind_count++;
  return true;
}

static kind *kind_for(fabric_step *f, u32 sequences) {
  for (u32 i = 0; i < f->kind_count; i++)
    if (f->kinds[i].step.tokens.sequences == sequences) return &f->kinds[i];
  if (f->kind_count == KINDS) f->kind_count--; // an odd size makes way for the next one
  return weave_kind(f, sequences, &f->st) ? &f->kinds[f->kind_count - 1] : NULL;
}

static double run_forward(void *user, const execute_batch *b);
static double run_gradients(void *user, const execute_batch *b, float *const *grads);
static void read_activation(void *user, u32 tensor, float *ret_values);

static u8 type_of(u32 precision) {
  return precision == PRECISION_FP32 ? DF_F32 : precision == PRECISION_FP16 ? DF_F16 : DF_BF16;
}

static u32 stated_or(u32 stated, u32 usable) {
  return stated ? stated : usable < GRID ? usable : GRID;
}

const fabric_step_setup *fabric_step_wanted(const run_spec *r, const graph *g, const machine *m, arena *a) {
  fabric_step_setup *s = arena_array(a, fabric_step_setup, 1);
  *s = (fabric_step_setup){.graph = g,
                           .machine = m,
                           .width = stated_or(r->plan.width, m->spec.usable_width),
                           .height = stated_or(r->plan.height, m->spec.usable_height),
                           .batch = r->train.batch,
                           .microbatch = r->plan.microbatch,
                           .type = type_of(r->train.precision),
                           .axpy_fp32 = r->plan.axpy == AXPY_FP32,
                           .threads = r->threads};
  return s;
}

fabric_step *fabric_step_open(const fabric_step_setup *s, arena *a, status *st) {
  fabric_step *f = arena_array(a, fabric_step, 1);
  f->setup = *s;
  f->memory = a;
  f->flip_at = UINT64_MAX;
  f->source = (trainer_source){run_forward, run_gradients, read_activation, f};
  f->entering_tensor = find_node(s->graph, OP_EMBED)->out[0];
  f->leaving_tensor = find_node(s->graph, OP_EMBED_GRAD)->in[0];
  status why = {0};
  if (s->microbatch && s->batch % s->microbatch != 0) {
    status_fail(st, CODE_CONFIG, "plan.microbatch: %u does not divide train.batch = %u", s->microbatch, s->batch);
    return NULL;
  }
  const u32 least = s->microbatch ? s->microbatch : 1;
  for (u32 n = s->microbatch ? s->microbatch : s->batch; n >= least && !f->kind_count; n--) {
    status small = {0};
    if (s->batch % n == 0 && !weave_kind(f, n, &small)) why = small;
  }
  if (!f->kind_count) {
    *st = why; // of the smallest
    return NULL;
  }
  const size_t values = (size_t)f->kinds[0].step.tokens.sequences * s->graph->seq * s->graph->model.width;
  f->entering = arena_take_big(a, values * sizeof(float), "the embedding's output", st);
  f->leaving = arena_take_big(a, values * sizeof(float), "the embedding's gradient", st);
  if (s->load) {
    f->load.hops = arena_array(a, u64, grid_pes(f));
    f->load.busy = arena_array(a, u64, grid_pes(f));
  }
  return f->entering && f->leaving ? f : NULL;
}

const trainer_source *fabric_step_source(fabric_step *f) {
  return &f->source;
}
const status *fabric_step_status(const fabric_step *f) {
  return &f->st;
}
const woven *fabric_step_woven(const fabric_step *f) {
  return &f->kinds[0].step;
}
u32 fabric_step_microbatches(const fabric_step *f) {
  return f->setup.batch / f->kinds[0].step.tokens.sequences;
}
const fabric_phase_time *fabric_step_times(const fabric_step *f) {
  return f->kinds[0].times;
}
u64 fabric_step_cycles(const fabric_step *f) {
  return f->cycles;
}

const fabric_load *fabric_step_load(const fabric_step *f) {
  return f->load.hops ? &f->load : NULL;
}

void fabric_step_observe(fabric_step *f, fabric_step_watch *watch, void *user) {
  f->watch = watch;
  f->user = user;
}

void fabric_step_flip(fabric_step *f, u32 phase, u64 nth_hop) {
  f->flip_phase = phase;
  f->flip_at = nth_hop;
}

// ---- the embedding, at the edge

static const float *param_of(const fabric_step *f, const execute_batch *b, u32 tensor) {
  return tensor == GRAPH_NONE ? NULL : b->params[f->setup.graph->tensors[tensor].param];
}

// x = scale (wte[token] + wpe[position]), as the node says.
static void embed(fabric_step *f, const execute_batch *b, u32 first, u32 sequences) {
  const graph *g = f->setup.graph;
  const graph_node *n = find_node(g, OP_EMBED);
  const float *wte = param_of(f, b, n->in[1]), *wpe = param_of(f, b, n->in[2]), scale = (float)n->scale;
  const u32 width = g->model.width;
  for (u32 t = 0; t < sequences * g->seq; t++) {
    const float *row = wte + (size_t)b->inputs[first * g->seq + t] * width,
                *at = wpe ? wpe + (size_t)(t % g->seq) * width : NULL;
    for (u32 i = 0; i < width; i++) f->entering[(size_t)t * width + i] = scale * (row[i] + (at ? at[i] : 0));
  }
}

static void embed_gradient(fabric_step *f, const execute_batch *b, float *const *grads, u32 first) {
  const graph *g = f->setup.graph;
  const graph_node *n = find_node(g, OP_EMBED_GRAD);
  float *dwte = grads[g->tensors[n->out[0]].param];
  float *dwpe = n->out[1] == GRAPH_NONE ? NULL : grads[g->tensors[n->out[1]].param];
  const u32 width = g->model.width, tokens = f->kinds[0].step.tokens.sequences * g->seq;
  const float scale = (float)n->scale;
  for (u32 t = 0; t < tokens; t++) {
    const float *dx = f->leaving + (size_t)t * width;
    float *row = dwte + (size_t)b->inputs[first * g->seq + t] * width,
          *at = dwpe ? dwpe + (size_t)(t % g->seq) * width : NULL;
    for (u32 i = 0; i < width; i++) {
      row[i] += scale * dx[i];
      if (at) at[i] += scale * dx[i];
    }
  }
}

// ---- a microbatch

static void bind_host(fabric_step *f, kind *k, const execute_batch *b, float *const *grads, u32 first) {
  const graph *g = f->setup.graph;
  for (u32 i = 0; i < g->tensor_count; i++) {
    const graph_tensor *t = &g->tensors[i];
    if (t->kind == TENSOR_PARAM) k->w.host[i].values = b->params[t->param];
    if (t->kind == TENSOR_PARAM_GRAD) k->w.host[i].values = grads ? grads[t->param] : NULL;
  }
  k->w.host[g->targets].ids = (u32 *)b->targets + (size_t)first * g->seq;
  k->w.host[g->loss].values = &f->loss;
  k->w.host[f->entering_tensor].values = f->entering;
  k->w.host[f->leaving_tensor].values = f->leaving;
}

// Phases of the nodes before `node_end`. Each begins with its routes set anew.
static bool run_phases(fabric_step *f, kind *k, u32 node_end, u32 first) {
  const fabric_options o = {.threads = f->setup.threads, .load = k == f->kinds ? fabric_step_load(f) : NULL};
  const u64 change = (u64)ceil(f->setup.machine->spec.route_switch_cycles);
  u64 at = 0;
  for (u32 p = 0; p < k->step.phase_count && k->step.phases[p].node < node_end; p++) {
    fabric_result r;
    if (p == f->flip_phase) {
      k->w.flip_at = f->flip_at;
      f->flip_at = UINT64_MAX;
    }
    if (!wafer_run(&k->w, p, &o, UINT64_MAX, &r, &f->st)) return false;
    at += change;
    k->times[p] = (fabric_phase_time){
        .start = at, .cycles = r.cycles, .busy = r.busy, .entered = r.entered, .sent = r.sent, .left = r.left};
    sim_counts_add(&k->times[p].counts, &r.counts);
    at += r.cycles;
    if (f->watch) f->watch(f->user, &k->w, p, first);
  }
  f->cycles += at;
  f->latest = &k->w;
  return true;
}

static double run_batch(fabric_step *f, const execute_batch *b, float *const *grads) {
  const graph *g = f->setup.graph;
  const u32 whole = f->kinds[0].step.tokens.sequences;
  double sum = 0;
  f->cycles = 0;
  if (fabric_step_load(f)) {
    memset(f->load.hops, 0, grid_pes(f) * sizeof *f->load.hops);
    memset(f->load.busy, 0, grid_pes(f) * sizeof *f->load.busy);
  }
  require(!grads || b->batch % whole == 0);
  for (u32 first = 0; first < b->batch;) {
    kind *k = kind_for(f, b->batch - first < whole ? b->batch - first : whole);
    if (!k) return NAN;
    const u32 sequences = k->step.tokens.sequences;
    f->loss = 0;
    embed(f, b, first, sequences);
    memset(f->leaving, 0, (size_t)sequences * g->seq * g->model.width * sizeof(float));
    bind_host(f, k, b, grads, first);
    if (!run_phases(f, k, grads ? g->backward_end : g->forward_end, first)) return NAN;
    if (grads) embed_gradient(f, b, grads, first);
    sum += f->loss;
    first += sequences;
  }
  return sum / ((double)b->batch * g->seq);
}

static size_t param_values(const graph *g, u32 p) {
  const graph_tensor *t = &g->tensors[g->params[p]];
  return (size_t)t->rows * t->cols;
}

static double run_forward(void *user, const execute_batch *b) {
  return run_batch(user, b, NULL);
}

static double run_gradients(void *user, const execute_batch *b, float *const *grads) {
  const fabric_step *f = user;
  const graph *g = f->setup.graph;
  const float unscale = (float)(1 / loss_scale(&f->setup));
  for (u32 p = 0; p < g->param_count; p++) memset(grads[p], 0, param_values(g, p) * sizeof(float));
  const double loss = run_batch(user, b, grads);
  for (u32 p = 0; p < g->param_count && unscale != 1; p++)
    for (size_t i = 0; i < param_values(g, p); i++) grads[p][i] *= unscale;
  return loss;
}

static void read_activation(void *user, u32 tensor, float *ret_values) {
  const fabric_step *f = user;
  require(f->latest && f->latest->step->tokens.sequences == 1);
  if (wafer_holds(f->latest, tensor)) wafer_read(f->latest, tensor, ret_values);
}

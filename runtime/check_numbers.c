// The fabric's values beside the compute backend's, phase by phase.
#include "runtime/check_numbers.h"

#include "model/compute/witness.h"
#include "runtime/run_data.h"

#include <math.h>

// Rounding that a value may have gathered, in units of its type's last place; a wrong term is far beyond.
enum { UNITS_32 = 1024, UNITS_16 = 16 };

static double limit_of(u8 type) {
  return type == DF_F32 ? ldexp(UNITS_32, -24) : type == DF_F16 ? ldexp(UNITS_16, -11) : ldexp(UNITS_16, -8);
}

typedef struct checker {
  number_check *result;
  const graph *g;
  const witness *w;
  number_row *rows;
  arena *memory;
  float *ours;
  double *deviation, *largest; // by tensor, over the microbatches so far
} checker;

static void compare(checker *c, const wafer *w, u32 tensor, u32 first_sequence) {
  const graph_tensor *t = &c->g->tensors[tensor];
  const size_t count = (size_t)w->step->tokens.sequences * t->rows * t->cols;
  const float *theirs = witness_tensor(c->w, tensor) + (size_t)first_sequence * t->rows * t->cols;
  const double scale = t->kind == TENSOR_ACT_GRAD ? w->step->loss_scale : 1;
  wafer_read(w, tensor, c->ours);
  for (size_t i = 0; i < count; i++) {
    const double off = fabs(c->ours[i] / scale - theirs[i]);
    c->deviation[tensor] = off <= c->deviation[tensor] ? c->deviation[tensor] : isnan(off) ? INFINITY : off;
    c->largest[tensor] = fmax(c->largest[tensor], fabs(theirs[i]));
  }
}

static void note(checker *c, u32 tensor, u32 node) {
  number_check *r = c->result;
  const double deviation = c->deviation[tensor] == 0 ? 0 : c->deviation[tensor] / c->largest[tensor];
  number_row *row = NULL;
  for (u32 i = 0; i < r->row_count && !row; i++)
    if (c->rows[i].tensor == c->g->tensors[tensor].name) row = &c->rows[i];
  if (!row) row = &c->rows[r->row_count++];
  *row = (number_row){c->g->tensors[tensor].name, c->g->nodes[node].name, deviation, deviation <= r->limit};
}

// What the phase's node has written for good.
static void after_phase(void *user, const wafer *w, u32 phase, u32 first_sequence) {
  checker *c = user;
  const u32 node = w->step->phases[phase].node;
  for (u32 k = 0; k < NODE_OUT_MAX; k++) {
    const u32 tensor = c->g->nodes[node].out[k];
    if (tensor == GRAPH_NONE || witness_last_writer(c->w, tensor) != node || !wafer_holds(w, tensor)) continue;
    compare(c, w, tensor, first_sequence);
    note(c, tensor, node);
  }
}

static void compare_gradients(checker *c, float *const *grads) {
  for (u32 p = 0; p < c->g->param_count; p++) {
    const graph_tensor *t = &c->g->tensors[c->g->params[p]];
    const float *theirs = witness_tensor(c->w, t->twin);
    // the key's bias changes no softmax: its gradient is exactly zero, and only round-off is there to compare
    const bool keys = text_ends(t->name, "attn.bqkv");
    for (size_t i = 0; i < (size_t)t->rows * t->cols; i++) {
      if (keys && i / c->g->model.width == 1) continue;
      const double off = fabs((double)grads[p][i] - theirs[i]);
      c->deviation[t->twin] = off <= c->deviation[t->twin] ? c->deviation[t->twin] : isnan(off) ? INFINITY : off;
      c->largest[t->twin] = fmax(c->largest[t->twin], fabs(theirs[i]));
    }
    note(c, t->twin, witness_last_writer(c->w, t->twin));
  }
}

static bool step(checker *c, const run_spec *r, trainer *t, fabric_step *f, status *st) {
  const train_options *o = &r->train;
  token_data data;
  if (!run_data_open(r, c->memory, &data, st)) return false;
  const size_t tokens = (size_t)o->batch * o->seq;
  u32 *inputs = arena_array(c->memory, u32, tokens), *targets = arena_array(c->memory, u32, tokens);
  for (u32 i = 0; i < o->batch; i++)
    tokens_batch(&data, r->top.seed, 1, i,
                 (token_window){o->seq, inputs + (size_t)i * o->seq, targets + (size_t)i * o->seq});
  tokens_close(&data);
  float **params = arena_array(c->memory, float *, c->g->param_count),
        **grads = arena_array(c->memory, float *, c->g->param_count);
  for (u32 p = 0; p < c->g->param_count; p++) {
    const graph_tensor *param = &c->g->tensors[c->g->params[p]];
    params[p] = trainer_param(t, p);
    grads[p] = arena_array(c->memory, float, (size_t)param->rows * param->cols);
  }
  const execute_batch b = {o->batch, inputs, targets, params};
  c->w = witness_of(c->g, trainer_kernels(o), &b, c->memory, st);
  if (!c->w) return false;
  size_t most = 0;
  for (u32 i = 0; i < c->g->tensor_count; i++)
    if ((size_t)c->g->tensors[i].rows * c->g->tensors[i].cols > most)
      most = (size_t)c->g->tensors[i].rows * c->g->tensors[i].cols;
  c->ours = arena_array(c->memory, float, most *fabric_step_woven(f)->tokens.sequences);
  fabric_step_observe(f, after_phase, c);
  const trainer_source *source = fabric_step_source(f);
  c->result->loss = source->gradients(source->user, &b, grads);
  if (!status_ok(fabric_step_status(f))) {
    *st = *fabric_step_status(f);
    return false;
  }
  compare_gradients(c, grads);
  const float *losses = witness_tensor(c->w, c->g->loss);
  for (size_t i = 0; i < tokens; i++) c->result->loss_backend += losses[i] / (double)tokens;
  c->result->cycles = fabric_step_cycles(f);
  return true;
}

bool check_numbers(const run_spec *r, number_sabotage *sabotage, arena *a, number_check *ret_check, status *st) {
  graph *g = arena_array(a, graph, 1);
  machine *m = arena_array(a, machine, 1);
  const base_hyper base = {r->train.lr, r->train.weight_decay, r->train.eps};
  if (!graph_build(&r->model, base, r->train.seq, a, g, st) || !machine_build(&r->machine, m, st)) return false;
  fabric_step *f = fabric_step_open(fabric_step_wanted(r, g, m, a), a, st);
  const trainer_setup setup = {.graph = g,
                               .options = &r->train,
                               .kernels = trainer_kernels(&r->train),
                               .seed = r->top.seed,
                               .threads = run_threads(r)};
  trainer *t = f ? trainer_create(&setup, a, st) : NULL;
  if (!t) return false;
  if (sabotage) sabotage(f);
  *ret_check = (number_check){.limit = limit_of(fabric_step_woven(f)->type)};
  checker c = {.result = ret_check, .g = g, .memory = a};
  c.rows = arena_array(a, number_row, g->tensor_count);
  c.deviation = arena_array(a, double, g->tensor_count);
  c.largest = arena_array(a, double, g->tensor_count);
  if (!step(&c, r, t, f, st)) return false;
  ret_check->rows = c.rows;
  for (u32 i = 0; i < ret_check->row_count && !ret_check->first; i++)
    if (!c.rows[i].pass) ret_check->first = &c.rows[i];
  return true;
}

// Reading activations of a model between its steps.
#include "runtime/study_coord.h"

#include <math.h>
#include <string.h>

// A tensor that is watched: its module, and the block where that is the stream.
typedef struct watched {
  coord_module module;
  u32 tensor, block;
  double weight; // in the module's mean
  float *before; // [sequences][seq][cols]
} watched;

struct coord_probe {
  trial *t;
  u32 sequences;
  u32 *tokens; // [sequences][2][seq]
  float **params;
  watched *all;
  u32 count;
  float *room;
};

const char *coord_module_name(coord_module m) {
  static const char *const names[COORD_MODULES] = {"embedding",       "attention branches", "MLP branches",
                                                   "residual stream", "final residual",     "logits"};
  require((u32)m < COORD_MODULES);
  return names[m];
}

static void watch(coord_probe *p, coord_module module, u32 tensor, u32 block) {
  const u32 layers = p->t->graph.model.layers;
  const bool many = module == COORD_ATTENTION || module == COORD_MLP || module == COORD_STREAM;
  p->all[p->count++] = (watched){module, tensor, block, many ? 1.0 / layers : 1, NULL};
}

static void find_tensors(coord_probe *p) {
  const graph *g = &p->t->graph;
  u32 residuals = 0;
  for (u32 i = 0; i < g->forward_end; i++) {
    const graph_node *n = &g->nodes[i];
    if (n->op == OP_EMBED) watch(p, COORD_EMBED, n->out[0], 0);
    if (n->op != OP_RESIDUAL) continue;
    const bool mlp = residuals++ % 2;
    watch(p, mlp ? COORD_MLP : COORD_ATTENTION, n->in[1], n->layer);
    if (mlp) watch(p, COORD_STREAM, n->out[0], n->layer);
    if (mlp && n->layer + 1 == g->model.layers) watch(p, COORD_FINAL, n->out[0], n->layer);
  }
  watch(p, COORD_LOGITS, g->logits, 0);
}

static size_t values_of(const coord_probe *p, const watched *w) {
  return (size_t)p->t->graph.seq * p->t->graph.tensors[w->tensor].cols;
}

static void forward(coord_probe *p, u32 sequence) {
  const u32 seq = p->t->graph.seq;
  const u32 *tokens = p->tokens + (size_t)sequence * 2 * seq;
  execute_forward(trainer_executor(p->t->trainer), &(execute_batch){1, tokens, tokens + seq, p->params});
}

coord_probe *coord_probe_open(trial *t, u32 sequences, arena *a, status *st) {
  const graph *g = &t->graph;
  coord_probe *p = arena_array(a, coord_probe, 1);
  *p = (coord_probe){.t = t, .sequences = sequences};
  p->all = arena_array(a, watched, 4 * g->model.layers + 4);
  p->tokens = arena_array(a, u32, (size_t)sequences * 2 * g->seq);
  p->params = arena_array(a, float *, g->param_count);
  for (u32 i = 0; i < g->param_count; i++) p->params[i] = trainer_param(t->trainer, i);
  find_tensors(p);
  size_t most = 0;
  for (u32 i = 0; i < p->count; i++) {
    watched *w = &p->all[i];
    most = values_of(p, w) > most ? values_of(p, w) : most;
    w->before = arena_take_big(a, sequences * values_of(p, w) * sizeof(float), "activations to compare with", st);
    if (!w->before) return NULL;
  }
  p->room = arena_take_big(a, most * sizeof(float), "an activation", st);
  for (u32 s = 0; p->room && s < sequences; s++) {
    u32 *tokens = p->tokens + (size_t)s * 2 * g->seq;
    tokens_held(&t->of->data, s, sequences, (token_window){g->seq, tokens, tokens + g->seq});
    forward(p, s);
    for (u32 i = 0; i < p->count; i++)
      execute_read(trainer_executor(t->trainer), p->all[i].tensor, p->all[i].before + s * values_of(p, &p->all[i]));
  }
  return p->room ? p : NULL;
}

static double mean_change(const float *a, const float *b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += fabs((double)a[i] - (double)b[i]);
  return sum / (double)count;
}

void coord_probe_read(coord_probe *p, double ret_change[COORD_MODULES], double *ret_blocks) {
  memset(ret_change, 0, COORD_MODULES * sizeof *ret_change);
  if (ret_blocks) memset(ret_blocks, 0, p->t->graph.model.layers * sizeof *ret_blocks);
  for (u32 s = 0; s < p->sequences; s++) {
    forward(p, s);
    for (u32 i = 0; i < p->count; i++) {
      const watched *w = &p->all[i];
      execute_read(trainer_executor(p->t->trainer), w->tensor, p->room);
      const double d = mean_change(p->room, w->before + s * values_of(p, w), values_of(p, w)) / p->sequences;
      ret_change[w->module] += d * w->weight;
      if (ret_blocks && w->module == COORD_STREAM) ret_blocks[w->block] += d;
    }
  }
}

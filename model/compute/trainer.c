// Parameters, AdamW state and the training step. Everything is a function of (seed, step, index),
// so a run that stops at a checkpoint and goes on is the run that never stopped.
#include "model/compute/adamw.h"
#include "model/compute/trainer_state.h"
#include "base/random.h"

#include <math.h>

enum { PAD_FLOATS = 16 }; // parameters start on cache lines

static u64 padded(u64 count) { return (count + PAD_FLOATS - 1) / PAD_FLOATS * PAD_FLOATS; }

static u64 param_values(const graph *g, u32 p) {
  const graph_tensor *t = &g->tensors[g->params[p]];
  return (u64)t->rows * t->cols;
}

// One array of pointers per use, all into one block.
static bool take_state(trainer *t, arena *a, status *st) {
  const graph *g = t->setup.graph;
  u64 total = 0;
  t->count = arena_array(a, u64, g->param_count);
  for (u32 p = 0; p < g->param_count; p++) {
    t->count[p] = param_values(g, p);
    total += padded(t->count[p]);
  }
  float ***uses[] = {&t->param, &t->grad, &t->m, &t->v};
  float *block = arena_take_big(a, total * COUNT_OF(uses) * sizeof(float),
                                "parameters, gradients and AdamW state", st);
  if (!block) return false;
  for (u32 u = 0; u < COUNT_OF(uses); u++) {
    *uses[u] = arena_array(a, float *, g->param_count);
    for (u32 p = 0; p < g->param_count; p++) {
      (*uses[u])[p] = block;
      block += padded(t->count[p]);
    }
  }
  return true;
}

static void init_param(const trainer *t, u32 p) {
  const graph *g = t->setup.graph;
  float *values = t->param[p];
  double std = graph_param_rule(g, p).init_std;
  float fixed = graph_param_is_gain(g, p) ? 1 : 0;
  i64 count = (i64)t->count[p];
#pragma omp parallel for schedule(static) num_threads((int)t->setup.threads) if (count > 4096)
  for (i64 i = 0; i < count; i++)
    values[i] = std > 0 ? (float)(std * random_normal(t->setup.seed, RANDOM_INIT, p, (u64)i)) : fixed;
}

trainer *trainer_create(const trainer_setup *s, arena *a, status *st) {
  require(s->threads > 0 && s->options->batch > 0);
  trainer *t = arena_array(a, trainer, 1);
  t->setup = *s;
  if (!take_state(t, a, st)) return NULL;
  u64 tokens = (u64)s->options->batch * s->graph->seq;
  t->inputs = arena_take_big(a, 2 * tokens * sizeof(u32), "the tokens of a batch", st);
  if (!t->inputs) return NULL;
  t->targets = t->inputs + tokens;
  t->exec = executor_create(s->graph, s->kernels, s->options->batch, s->threads, a, st);
  if (!t->exec) return NULL;
  for (u32 p = 0; p < s->graph->param_count; p++) init_param(t, p);
  return t;
}

static double gradient_norm(const trainer *t) {
  double sum = 0;
  for (u32 p = 0; p < t->setup.graph->param_count; p++)
    sum += adamw_square_sum(t->grad[p], t->count[p], t->setup.threads);
  return sqrt(sum);
}

static void update(trainer *t, u64 step, double factor, double norm) {
  const train_options *o = t->setup.options;
  const graph *g = t->setup.graph;
  double horizon = g->rules.beta_horizon_mult;
  for (u32 p = 0; p < g->param_count; p++) {
    role_rule rule = graph_param_rule(g, p);
    adamw_values values = {
        .lr = rule.lr * factor,
        .weight_decay = rule.weight_decay,
        .eps = rule.eps,
        .beta1 = 1 - (1 - o->beta1) * horizon,
        .beta2 = 1 - (1 - o->beta2) * horizon,
        .clip_factor = adamw_clip_factor(o->clip, norm),
        .t = step,
    };
    adamw_array array = {t->param[p], t->m[p], t->v[p], t->grad[p], t->count[p]};
    adamw_update(&values, array, t->setup.threads);
  }
}

step_result trainer_step_on(trainer *t, const u32 *inputs, const u32 *targets) {
  const train_options *o = t->setup.options;
  execute_batch b = {o->batch, inputs, targets, t->param};
  step_result r = {.step = t->steps_done + 1};
  double factor = train_schedule(o, r.step);
  r.lr = o->lr * factor;
  r.loss = execute_gradients(t->exec, &b, t->grad);
  r.grad_norm = gradient_norm(t);
  r.finite = isfinite(r.loss) && isfinite(r.grad_norm);
  if (r.finite) update(t, r.step, factor, r.grad_norm);
  t->steps_done = r.step;
  return r;
}

step_result trainer_step(trainer *t, const token_data *data) {
  u32 seq = t->setup.graph->seq;
  for (u32 i = 0; i < t->setup.options->batch; i++) {
    token_window w = {seq, t->inputs + (u64)i * seq, t->targets + (u64)i * seq};
    tokens_batch(data, t->setup.seed, t->steps_done + 1, i, w);
  }
  return trainer_step_on(t, t->inputs, t->targets);
}

double trainer_evaluate(trainer *t, const token_data *data) {
  u32 seq = t->setup.graph->seq, batch = t->setup.options->batch;
  u32 count = t->setup.options->eval_sequences;
  double sum = 0;
  for (u32 done = 0; done < count;) {
    u32 n = count - done < batch ? count - done : batch;
    for (u32 i = 0; i < n; i++) {
      token_window w = {seq, t->inputs + (u64)i * seq, t->targets + (u64)i * seq};
      tokens_held(data, done + i, count, w);
    }
    execute_batch b = {n, t->inputs, t->targets, t->param};
    sum += execute_forward(t->exec, &b) * n;
    done += n;
  }
  return sum / count;
}

float *trainer_param(trainer *t, u32 param) {
  require(param < t->setup.graph->param_count);
  return t->param[param];
}

const float *trainer_grad(const trainer *t, u32 param) {
  require(param < t->setup.graph->param_count);
  return t->grad[param];
}

u64 trainer_steps_done(const trainer *t) { return t->steps_done; }
executor *trainer_executor(trainer *t) { return t->exec; }

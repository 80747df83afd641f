// Parameters, AdamW state and the training step. Everything is a function of (seed, step, index),
// so a run that stops at a checkpoint and goes on is the run that never stopped.
#include "model/compute/adamw.h"
#include "model/compute/mask.h"
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

const kernel_table *trainer_kernels(const train_options *o) {
  switch ((precision_kind)o->precision) {
  case PRECISION_BF16: return kernels_fast_bf16();
  case PRECISION_FP16: return kernels_fast_fp16();
  case PRECISION_FP32: break;
  }
  return kernels_fast();
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
  size_t chunks = 0;
  for (u32 p = 0; p < s->graph->param_count; p++) chunks += adamw_chunks(t->count[p]);
  t->square_sums = arena_array(a, double, chunks);
  executor_setup e = {s->graph, s->kernels, s->options->batch, s->threads,
                      {.recompute = s->options->recompute == RECOMPUTE_BLOCK, .ranks = s->ranks}};
  t->exec = executor_open(&e, a, st);
  if (!t->exec) return NULL;
  for (u32 p = 0; p < s->graph->param_count; p++) init_param(t, p);
  return t;
}

// A step under way: what the threads of its region share.
typedef struct stepping {
  trainer *t;
  double factor;
  step_result r;
} stepping;

// Per parameter its chunks' sums in order, then the parameters in order.
static double gradient_norm(const trainer *t) {
  const double *sums = t->square_sums;
  double total = 0;
  for (u32 p = 0; p < t->setup.graph->param_count; p++) {
    double sum = 0;
    for (size_t n = adamw_chunks(t->count[p]); n > 0; n--) sum += *sums++;
    total += sum;
  }
  return sqrt(total);
}

static void update(const stepping *s, u32 p) {
  const trainer *t = s->t;
  const train_options *o = t->setup.options;
  double horizon = t->setup.graph->rules.beta_horizon_mult;
  role_rule rule = graph_param_rule(t->setup.graph, p);
  adamw_values values = {
      .lr = rule.lr * s->factor,
      .weight_decay = rule.weight_decay,
      .eps = rule.eps,
      .beta1 = 1 - (1 - o->beta1) * horizon,
      .beta2 = 1 - (1 - o->beta2) * horizon,
      .clip_factor = adamw_clip_factor(o->clip, s->r.grad_norm),
      .t = s->r.step,
  };
  adamw_update_team(&values, &(adamw_array){t->param[p], t->m[p], t->v[p], t->grad[p], t->count[p]});
}

// Every thread of the step's region runs this once the gradients are complete.
static void after_gradients(void *user) {
  stepping *s = user;
  trainer *t = s->t;
  double *sums = t->square_sums;
  for (u32 p = 0; p < t->setup.graph->param_count; sums += adamw_chunks(t->count[p]), p++)
    adamw_square_sums_team(t->grad[p], t->count[p], sums);
#pragma omp barrier
#pragma omp single
  {
    s->r.grad_norm = gradient_norm(t);
    const double loss = t->setup.source ? s->r.loss : execute_loss(t->exec);
    s->r.finite = isfinite(loss) && isfinite(s->r.grad_norm);
  }
  for (u32 p = 0; s->r.finite && p < t->setup.graph->param_count; p++) update(s, p);
}

step_result trainer_step_on(trainer *t, const u32 *inputs, const u32 *targets) {
  const train_options *o = t->setup.options;
  execute_batch b = {o->batch, inputs, targets, t->param};
  stepping s = {.t = t, .r = {.step = t->steps_done + 1}};
  s.factor = train_schedule(o, s.r.step);
  s.r.lr = o->lr * s.factor;
  const trainer_source *source = t->setup.source;
  if (source) {
    s.r.loss = source->gradients(source->user, &b, t->grad);
#pragma omp parallel num_threads((int)t->setup.threads)
    after_gradients(&s);
  } else {
    s.r.loss = execute_gradients_then(t->exec, &b, t->grad, after_gradients, &s);
  }
  t->steps_done = s.r.step;
  return s.r;
}

// An encoder is asked for hidden tokens instead of the next.
static void mask_where_asked(const trainer *t, u64 seed, u64 stream, u32 index, token_window w) {
  const model_spec *m = &t->setup.graph->model;
  if (m->attention == ATTENTION_BIDIRECTIONAL) mask_window(w, (mask_draw){seed, (u32)stream, index, m->vocab});
}

step_result trainer_step(trainer *t, const token_data *data) {
  u32 seq = t->setup.graph->seq;
  for (u32 i = 0; i < t->setup.options->batch; i++) {
    token_window w = {seq, t->inputs + (u64)i * seq, t->targets + (u64)i * seq};
    tokens_batch(data, t->setup.seed, t->steps_done + 1, i, w);
    mask_where_asked(t, t->setup.seed, t->steps_done + 1, i, w);
  }
  return trainer_step_on(t, t->inputs, t->targets);
}

double trainer_forward(trainer *t, const execute_batch *b) {
  const trainer_source *source = t->setup.source;
  return source ? source->forward(source->user, b) : execute_forward(t->exec, b);
}

void trainer_read(trainer *t, u32 tensor, float *ret_values) {
  const trainer_source *source = t->setup.source;
  if (source) source->read(source->user, tensor, ret_values);
  else execute_read(t->exec, tensor, ret_values);
}

double trainer_evaluate(trainer *t, const token_data *data) {
  u32 seq = t->setup.graph->seq, batch = t->setup.options->batch;
  u32 count = train_eval_sequences(t->setup.options);
  double sum = 0;
  for (u32 done = 0; done < count;) {
    u32 n = count - done < batch ? count - done : batch;
    for (u32 i = 0; i < n; i++) {
      token_window w = {seq, t->inputs + (u64)i * seq, t->targets + (u64)i * seq};
      tokens_held(data, done + i, count, w);
      mask_where_asked(t, 0, 0, done + i, w); // the same for every run
    }
    execute_batch b = {n, t->inputs, t->targets, t->param};
    sum += trainer_forward(t, &b) * n;
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

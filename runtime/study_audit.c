// Seeing what a model's tensors are given, and saying which is not as promised.
#include "runtime/study_audit.h"

#include "runtime/study_fit.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Sampling error of an initial spread over a few thousand weights is 1 to 2 %.
#define AUDIT_TOLERANCE 0.08
// Base values of the steps that are looked at.
#define TELLING_RATE 1.0
#define TELLING_DECAY 0.5
#define TINY_EPS 1e-30
#define NO_DECAY 1e-3

enum { AUDIT_SEQ = 32, AUDIT_BATCH = 2, ROWS_MAX = 160 };

const char *audit_what_name(audit_what w) {
  static const char *const names[AUDIT_WHATS] = {"init std", "learning rate", "AdamW eps", "weight decay", "factor"};
  require((u32)w < AUDIT_WHATS);
  return names[w];
}

typedef struct collector {
  audit *to;
  arena *memory;
  double sums[ROWS_MAX]; // of log measured
} collector;

// "h12.attn.wo" belongs to "h*.attn.wo".
static const char *kind_of(const char *name, arena *a) {
  if (name[0] != 'h' || !isdigit((u8)name[1])) return name;
  const char *dot = strchr(name, '.');
  return dot ? arena_format(a, "h*%s", dot) : name;
}

static bool beyond(double ratio) {
  return !(fabs(ratio - 1) <= AUDIT_TOLERANCE);
}

// A promise of none is kept by none; ratios are infinite where one of both is.
static double ratio_of(double measured, double promised) {
  const bool none = fabs(measured) < NO_DECAY;
  if (promised == 0) return none ? 1 : INFINITY;
  return measured / promised;
}

static void note(collector *c, const char *name, audit_what what, double measured, double promised) {
  audit *t = c->to;
  const char *kind = kind_of(name, c->memory);
  u32 i = 0;
  while (i < t->count && (t->rows[i].what != what || strcmp(t->rows[i].name, kind) != 0)) i++;
  require(i < ROWS_MAX);
  audit_row *row = &t->rows[i];
  if (i == t->count) {
    *row = (audit_row){.name = arena_text(c->memory, kind), .what = what, .promised = promised, .worst_ratio = 1};
    t->count++;
  }
  if (!isnan(measured)) {
    const double ratio = ratio_of(measured, promised);
    c->sums[i] += log(fmax(fabs(measured), 1e-300));
    row->tensors++;
    row->wrong += beyond(ratio);
    if (!row->worst || fabs(log(fmax(ratio, 1e-9))) > fabs(log(fmax(row->worst_ratio, 1e-9)))) {
      row->worst = arena_text(c->memory, name);
      row->worst_ratio = ratio;
    }
  }
  row->measured = row->tensors ? exp(c->sums[i] / row->tensors) : NAN;
}

// ---- a step with telling values

typedef struct look {
  trial t;
  float **before; // parameters before the step
} look;

static u64 values_of(const graph *g, u32 param) {
  const graph_tensor *t = &g->tensors[g->params[param]];
  return (u64)t->rows * t->cols;
}

static bool look_open(look *k, study *s, const run_spec *wish, double eps, double decay, status *st) {
  run_spec w = *wish;
  w.train.lr = TELLING_RATE;
  w.train.eps = eps;
  w.train.weight_decay = decay;
  w.train.schedule = SCHEDULE_CONSTANT;
  w.train.warmup = w.train.clip = 0;
  w.train.steps = 1;
  w.train.batch = AUDIT_BATCH;
  if (w.train.seq > AUDIT_SEQ) w.train.seq = AUDIT_SEQ;
  if (!trial_open(&k->t, s, &w, st)) return false;
  const graph *g = &k->t.graph;
  k->before = arena_array(k->t.memory, float *, g->param_count);
  for (u32 p = 0; p < g->param_count; p++) {
    float *now = trainer_param(k->t.trainer, p);
    // Biases start at zero, where a decay could not be seen.
    if (decay > 0 && g->tensors[g->params[p]].role == ROLE_HIDDEN_B)
      for (u64 i = 0; i < values_of(g, p); i++) now[i] = 0.05f;
    k->before[p] = arena_take(k->t.memory, values_of(g, p) * sizeof(float));
    memcpy(k->before[p], now, values_of(g, p) * sizeof(float));
  }
  return true;
}

static double change_of(look *k, u32 p, u64 i) {
  return (double)trainer_param(k->t.trainer, p)[i] - (double)k->before[p][i];
}

// Squares of gradients below this vanish in single precision.
#define GRADIENT_SEEN 1e-15

static double rate_seen(look *k, u32 p, double *room) {
  const float *g = trainer_grad(k->t.trainer, p);
  u32 n = 0;
  for (u64 i = 0; i < values_of(&k->t.graph, p); i++)
    if (fabs(g[i]) > GRADIENT_SEEN) room[n++] = fabs(change_of(k, p, i));
  return fit_median(room, n);
}

// |change| = rate |g| / (|g| + eps), where both are of a size.
static double eps_seen(look *k, u32 p, double rate, double *room) {
  const float *g = trainer_grad(k->t.trainer, p);
  u32 n = 0;
  for (u64 i = 0; i < values_of(&k->t.graph, p); i++) {
    const double share = fabs(change_of(k, p, i)) / rate;
    if (fabs(g[i]) > GRADIENT_SEEN && share > 1e-3 && share < 0.999) room[n++] = fabs(g[i]) * (1 / share - 1);
  }
  return n >= 8 ? fit_median(room, n) : NAN;
}

// -change = rate sign(g) + rate decay p.
static double decay_seen(look *k, u32 p, double rate) {
  const float *g = trainer_grad(k->t.trainer, p);
  double product = 0, square = 0;
  for (u64 i = 0; i < values_of(&k->t.graph, p); i++) {
    if (g[i] != 0 && fabs(g[i]) <= GRADIENT_SEEN) continue;
    const double sign = (g[i] > 0) - (g[i] < 0), x = k->before[p][i];
    product += (-change_of(k, p, i) / rate - sign) * x;
    square += x * x;
  }
  return square > 0 ? product / square : NAN;
}

static double spread_seen(look *k, u32 p) {
  double sum = 0, square = 0;
  const u64 n = values_of(&k->t.graph, p);
  for (u64 i = 0; i < n; i++) sum += k->before[p][i];
  for (u64 i = 0; i < n; i++) square += pow(k->before[p][i] - sum / (double)n, 2);
  return sqrt(square / (double)n);
}

// ---- forward factors

static float *read_values(look *k, u32 tensor) {
  const graph_tensor *t = &k->t.graph.tensors[tensor];
  float *v = arena_take(k->t.memory, (size_t)k->t.graph.seq * t->cols * sizeof(float));
  execute_read(trainer_executor(k->t.trainer), tensor, v);
  return v;
}

static double residual_seen(look *k, const graph_node *n) {
  const float *x = read_values(k, n->in[0]), *branch = read_values(k, n->in[1]), *y = read_values(k, n->out[0]);
  double product = 0, square = 0;
  for (u32 i = 0; i < k->t.graph.seq * k->t.graph.model.width; i++) {
    product += ((double)y[i] - (double)x[i]) * branch[i];
    square += (double)branch[i] * branch[i];
  }
  return product / square;
}

static double logits_seen(look *k, const graph_node *n) {
  const graph *g = &k->t.graph;
  const float *x = read_values(k, n->in[0]), *y = read_values(k, n->out[0]);
  const float *w = k->before[g->tensors[n->in[1]].param];
  double product = 0, square = 0;
  for (u32 t = 0; t < g->seq; t++)
    for (u32 v = 0; v < g->model.vocab; v++) {
      double sum = 0;
      for (u32 i = 0; i < g->model.width; i++) sum += (double)x[t * g->model.width + i] * w[v * g->model.width + i];
      product += sum * y[t * g->model.vocab + v];
      square += sum * sum;
    }
  return product / square;
}

static double dot(const float *a, const float *b, u32 n) {
  double sum = 0;
  for (u32 i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return sum;
}

// The second token mixes two values; how much of the first tells the difference of the two scores.
static double attention_seen(look *k, const graph_node *n) {
  const graph *g = &k->t.graph;
  const u32 width = g->model.width, d = model_head_width(&g->model);
  const float *qkv = read_values(k, n->in[0]), *mix = read_values(k, n->out[0]);
  double product = 0, square = 0;
  for (u32 h = 0; g->seq > 1 && h < g->model.heads; h++) {
    const float *q = qkv + 3 * width + h * d, *key = qkv + width + h * d, *value = qkv + 2 * width + h * d;
    const float *y = mix + width + h * d;
    double first = 0, whole = 0;
    for (u32 i = 0; i < d; i++) {
      const double between = (double)value[i] - value[3 * width + i];
      first += ((double)y[i] - value[3 * width + i]) * between;
      whole += between * between;
    }
    const double share = first / whole, slope = graph_alibi_slope(h, g->model.heads);
    const double scores = log(share / (1 - share)) + (g->model.position == POSITION_ALIBI ? slope : 0);
    const double apart = dot(q, key, d) - dot(q, key + 3 * width, d);
    product += scores * apart;
    square += apart * apart;
  }
  return square > 0 ? product / square : NAN;
}

static void see_factors(look *k, collector *c) {
  const graph *g = &k->t.graph;
  const audit_factors promised = audit_factors_of(&g->model);
  u32 *tokens = arena_array(k->t.memory, u32, 2 * g->seq);
  float **params = arena_array(k->t.memory, float *, g->param_count);
  for (u32 p = 0; p < g->param_count; p++) params[p] = trainer_param(k->t.trainer, p);
  // Neighbours differ: two equal tokens have equal keys and values, which tell nothing of their scores.
  for (u32 i = 0; i < 2 * g->seq; i++) tokens[i] = i % g->model.vocab;
  execute_forward(trainer_executor(k->t.trainer), &(execute_batch){1, tokens, tokens + g->seq, params});
  for (u32 i = 0; i < g->forward_end; i++) {
    const graph_node *n = &g->nodes[i];
    if (n->op == OP_RESIDUAL) note(c, g->tensors[n->in[1]].name, AUDIT_FACTOR, residual_seen(k, n), promised.residual);
    // Where a token sees all of them its mix does not tell two scores apart.
    if (n->op == OP_ATTENTION && g->model.attention == ATTENTION_CAUSAL)
      note(c, n->name, AUDIT_FACTOR, attention_seen(k, n), promised.attention);
    if (n->op == OP_LINEAR && n->out[0] == g->logits)
      note(c, "logits", AUDIT_FACTOR, logits_seen(k, n), promised.logits);
  }
}

// ---- one size

static double init_promise(const graph *g, const char *name, audit_promise p) {
  const bool out = text_ends(name, ".attn.wo") || text_ends(name, ".mlp.w2");
  return out && g->model.init_rule == INIT_GPT2 ? p.init / sqrt(2.0 * g->model.layers) : p.init;
}

// First look: rates, initial spreads and factors. ret_rates per parameter, ret_size: RMS gradient.
static bool see_rates(study *s, const run_spec *wish, collector *c, double **ret_rates, double *ret_size, status *st) {
  look k;
  bool ok = look_open(&k, s, wish, TINY_EPS, 0, st);
  if (ok) {
    const graph *g = &k.t.graph;
    see_factors(&k, c);
    const step_result r = trainer_step(k.t.trainer, &s->data);
    u64 most = 0, total = 0;
    for (u32 p = 0; p < g->param_count; p++) {
      total += values_of(g, p);
      if (values_of(g, p) > most) most = values_of(g, p);
    }
    *ret_size = r.grad_norm / sqrt((double)total);
    double *room = arena_take(k.t.memory, most * sizeof(double));
    *ret_rates = arena_array(c->memory, double, g->param_count);
    for (u32 p = 0; p < g->param_count; p++) {
      const graph_tensor *t = &g->tensors[g->params[p]];
      const audit_promise promise = audit_promise_of(&g->model, t->role);
      (*ret_rates)[p] = rate_seen(&k, p, room);
      note(c, t->name, AUDIT_INIT, spread_seen(&k, p) / g->model.init_std, init_promise(g, t->name, promise));
      note(c, t->name, AUDIT_RATE, (*ret_rates)[p] / TELLING_RATE, promise.rate);
    }
  }
  trial_close(&k.t);
  return ok;
}

static bool see_eps(study *s, const run_spec *wish, collector *c, const double *rates, double base, status *st) {
  look k;
  bool ok = look_open(&k, s, wish, base, 0, st);
  if (ok) {
    const graph *g = &k.t.graph;
    trainer_step(k.t.trainer, &s->data);
    u64 most = 0;
    for (u32 p = 0; p < g->param_count; p++) most = values_of(g, p) > most ? values_of(g, p) : most;
    double *room = arena_take(k.t.memory, most * sizeof(double));
    for (u32 p = 0; p < g->param_count; p++) {
      const graph_tensor *t = &g->tensors[g->params[p]];
      note(c, t->name, AUDIT_EPS, eps_seen(&k, p, rates[p], room) / base, audit_promise_of(&g->model, t->role).eps);
    }
  }
  trial_close(&k.t);
  return ok;
}

static bool see_decay(study *s, const run_spec *wish, collector *c, const double *rates, status *st) {
  look k;
  bool ok = look_open(&k, s, wish, TINY_EPS, TELLING_DECAY, st);
  if (ok) {
    const graph *g = &k.t.graph;
    trainer_step(k.t.trainer, &s->data);
    for (u32 p = 0; p < g->param_count; p++) {
      const graph_tensor *t = &g->tensors[g->params[p]];
      note(c, t->name, AUDIT_DECAY, decay_seen(&k, p, rates[p]) / TELLING_DECAY,
           audit_promise_of(&g->model, t->role).decay);
    }
  }
  trial_close(&k.t);
  return ok;
}

bool audit_run(study *s, const run_spec *wish, arena *a, audit *ret, status *st) {
  *ret = (audit){wish->model.width, wish->model.layers, arena_array(a, audit_row, ROWS_MAX), 0};
  collector c = {.to = ret, .memory = a};
  double *rates = NULL, size = 0;
  if (!see_rates(s, wish, &c, &rates, &size, st)) return false;
  // In the middle of the blocks' gradients, were their rule kept.
  const double base = size / audit_promise_of(&wish->model, ROLE_HIDDEN_W).eps;
  return see_eps(s, wish, &c, rates, base, st) && see_decay(s, wish, &c, rates, st);
}

// ---- comparing sizes

static void exponents(const audit *all, u32 count, u32 row, bool depth, double ret[2]) {
  double x[64], measured[64], promised[64];
  ret[0] = ret[1] = NAN;
  if (count < 2 || count > COUNT_OF(x)) return;
  for (u32 i = 0; i < count; i++) {
    x[i] = depth ? all[i].layers : all[i].width;
    measured[i] = all[i].rows[row].measured;
    promised[i] = all[i].rows[row].promised;
  }
  ret[0] = fit_power(x, measured, count);
  ret[1] = fit_power(x, promised, count);
}

static const audit_row *worse(const audit_row *a, const audit_row *b) {
  if (!b->wrong) return a;
  if (!a) return b;
  return fabs(log(fmax(b->worst_ratio, 1e-9))) > fabs(log(fmax(a->worst_ratio, 1e-9))) ? b : a;
}

static void say_power(text *out, const char *axis, double measured, double promised) {
  if (isfinite(measured) && isfinite(promised) && fabs(measured - promised) > 0.05)
    text_format(out, "%s%s^%.2f where %s^%.2f is promised", out->size ? ", " : "", axis, measured, axis, promised);
}

static void say_blame(audit_blame *b, const audit_row *row) {
  text powers = {0};
  say_power(&powers, "L", b->depth_measured, b->depth_promised);
  say_power(&powers, "N", b->width_measured, b->width_promised);
  const bool none = row->promised == 0;
  snprintf(b->words, sizeof b->words, "%s of %s%s%s%s%s", audit_what_name(b->what), b->name, powers.size ? " goes as " : "",
           text_get(&powers), powers.size ? "; " : " is ", "");
  const size_t used = strlen(b->words);
  if (none)
    snprintf(b->words + used, sizeof b->words - used, "not none, as promised");
  else
    snprintf(b->words + used, sizeof b->words - used, "%s%.3g times its promise", powers.size ? "at worst " : "", b->ratio);
  text_free(&powers);
}

static int by_size(const void *a, const void *b) {
  const double x = fabs(log(fmax(((const audit_blame *)a)->ratio, 1e-9)));
  const double y = fabs(log(fmax(((const audit_blame *)b)->ratio, 1e-9)));
  return (x < y) - (x > y);
}

u32 audit_compare(const audit_sizes *s, arena *a, audit_blame *ret, u32 room) {
  const audit *any = s->depth_count ? s->depths : s->widths;
  audit_blame *all = arena_array(a, audit_blame, any->count + 1);
  u32 count = 0;
  for (u32 r = 0; r < any->count; r++) {
    const audit_row *worst = NULL;
    for (u32 i = 0; i < s->depth_count; i++) worst = worse(worst, &s->depths[i].rows[r]);
    for (u32 i = 0; i < s->width_count; i++) worst = worse(worst, &s->widths[i].rows[r]);
    if (!worst) continue;
    audit_blame *b = &all[count++];
    // All of the kind, or the one tensor that differs from its siblings.
    *b = (audit_blame){.name = worst->wrong == worst->tensors ? worst->name : worst->worst, .what = worst->what,
                       .ratio = worst->worst_ratio};
    double power[2];
    exponents(s->depths, s->depth_count, r, true, power);
    b->depth_measured = power[0];
    b->depth_promised = power[1];
    exponents(s->widths, s->width_count, r, false, power);
    b->width_measured = power[0];
    b->width_promised = power[1];
    say_blame(b, worst);
  }
  qsort(all, count, sizeof *all, by_size);
  for (u32 i = 0; i < count && i < room; i++) ret[i] = all[i];
  return count;
}

// Replays a recording step by step and compares every recorded number with ours.
#include "model/compute/verify.h"

#include "model/compute/safetensors.h"
#include "model/compute/verify_config.h"

#include <math.h>
#include <string.h>

typedef struct replay {
  const char *path;
  const verify_options *o;
  arena *a;
  st_file file;
  recorded_config config;
  graph g;
  trainer *t;
  float **params;        // the trainer's
  u32 *inputs, *targets; // [steps][batch][seq]
  verify_row *rows;
  verify_result r;
} replay;

// ---- comparing

// Elements [from, to) are left out.
typedef struct skipped {
  u64 from, to;
} skipped;

// The part of b_qkv that belongs to K has an exactly zero gradient, and AdamW with a tiny eps turns
// round-off into steps as large as the learning rate. Not so where every feature of K is rotated.
static skipped skip_of(const replay *p, const char *param) {
  u64 width = p->g.model.width;
  bool rotated = model_rotary_dims(&p->g.model) == model_head_width(&p->g.model);
  return text_ends(param, "attn.bqkv") && !rotated ? (skipped){width, 2 * width} : (skipped){0, 0};
}

static verify_row compare(const char *name, const float *ours, const st_tensor *want, skipped skip) {
  verify_row row = {.name = name};
  double largest = 0;
  for (u64 i = 0; i < want->count; i++) {
    if (i >= skip.from && i < skip.to) continue;
    double w = st_value(want, i), off = fabs((double)ours[i] - w);
    largest = fmax(largest, fabs(w));
    // Not-a-number on either side deviates without end.
    row.max_abs = off <= row.max_abs ? row.max_abs : isnan(off) ? INFINITY : off;
  }
  row.max_rel = row.max_abs == 0 ? 0 : row.max_abs / largest;
  return row;
}

static void add_row(replay *p, verify_row row, double deviation, double limit) {
  row.of_limit = deviation / limit;
  row.pass = deviation <= limit;
  p->rows[p->r.row_count++] = row;
}

static void keep_largest(double *largest, double value) {
  if (!(value <= *largest)) *largest = value;
}

// ---- reading the recording

static const st_tensor *find(const replay *p, const char *name, status *st) {
  const st_tensor *t = st_find(&p->file, name);
  if (!t) status_fail(st, CODE_DATA, "%s: has no \"%s\", so there is nothing to compare with", p->path, name);
  return t;
}

// A recorded vector may be [n] where ours is [1][n].
static bool check_shape(const replay *p, const st_tensor *t, const u64 *shape, u32 dims, status *st) {
  u32 skip = dims > t->dims ? dims - t->dims : 0;
  bool same = t->dims + skip == dims;
  for (u32 d = 0; same && d < dims; d++) same = d < skip ? shape[d] == 1 : t->shape[d - skip] == shape[d];
  if (same) return true;
  return status_fail(st, CODE_DATA, "%s: \"%s\" does not have the shape that the recorded configuration gives it",
                     p->path, t->name);
}

static const st_tensor *find_param(const replay *p, const char *prefix, u32 param, status *st) {
  const graph_tensor *g = &p->g.tensors[p->g.params[param]];
  const st_tensor *t = find(p, arena_format(p->a, "%s/%s", prefix, g->name), st);
  return t && check_shape(p, t, (u64[]){g->rows, g->cols}, 2, st) ? t : NULL;
}

// Every tensor under the prefix must be a parameter of the model.
static bool check_names(const replay *p, const char *prefix, status *st) {
  size_t n = strlen(prefix);
  for (u32 i = 0; i < p->file.count; i++) {
    const char *name = p->file.tensors[i].name;
    if (!strncmp(name, prefix, n) && name[n] == '/' && graph_find_param(&p->g, name + n + 1) == GRAPH_NONE)
      return status_fail(st, CODE_DATA, "%s: \"%s\" is no parameter of the model that the configuration describes",
                         p->path, name);
  }
  return true;
}

static bool load_weights(replay *p, status *st) {
  if (!check_names(p, "init", st)) return false;
  p->params = arena_array(p->a, float *, p->g.param_count);
  for (u32 i = 0; i < p->g.param_count; i++) {
    const st_tensor *t = find_param(p, "init", i, st);
    if (!t) return false;
    float *values = p->params[i] = trainer_param(p->t, i);
    for (u64 k = 0; k < t->count; k++) values[k] = (float)st_value(t, k);
  }
  return true;
}

// Where an encoder predicts nothing its recorded target is -1.
static bool load_tokens(replay *p, const char *name, bool targets, u32 **ret, status *st) {
  const train_options *o = &p->config.train;
  const st_tensor *t = find(p, name, st);
  if (!t || !check_shape(p, t, (u64[]){o->steps, o->batch, o->seq}, 3, st)) return false;
  u32 *tokens = arena_take_big(p->a, t->count * sizeof(u32), name, st);
  if (!tokens) return false;
  for (u64 i = 0; i < t->count; i++) {
    double value = st_value(t, i);
    tokens[i] = TARGET_NONE;
    if (value == -1 && targets && p->config.model.attention == ATTENTION_BIDIRECTIONAL) continue;
    if (!(value >= 0 && value < p->config.model.vocab && value == floor(value)))
      return status_fail(st, CODE_DATA, "%s: \"%s\" has %g at position %llu, the vocabulary is %u", p->path, name, value,
                         (unsigned long long)i, p->config.model.vocab);
    tokens[i] = (u32)value;
  }
  *ret = tokens;
  return true;
}

// ---- the replay

static bool compare_params(replay *p, const char *prefix, bool gradients, status *st) {
  const verify_limits *limits = &p->o->limits;
  if (!check_names(p, prefix, st)) return false;
  for (u32 i = 0; i < p->g.param_count; i++) {
    const st_tensor *want = find_param(p, prefix, i, st);
    if (!want) return false;
    skipped skip = skip_of(p, p->g.tensors[p->g.params[i]].name);
    verify_row row = compare(want->name, gradients ? trainer_grad(p->t, i) : p->params[i], want, skip);
    keep_largest(gradients ? &p->r.grad_max_rel : &p->r.weight_max_abs, gradients ? row.max_rel : row.max_abs);
    add_row(p, row, gradients ? row.max_rel : row.max_abs, gradients ? limits->grad_rel : limits->weight_abs);
  }
  return true;
}

static u32 find_activation(const graph *g, const char *name) {
  for (u32 i = 0; i < g->tensor_count; i++)
    if (g->tensors[i].kind == TENSOR_ACT && !strcmp(g->tensors[i].name, name)) return i;
  return GRAPH_NONE;
}

// One recorded activation [batch][seq][cols] of the first batch, gathered a sequence at a time.
typedef struct watched {
  const st_tensor *want;
  u32 tensor;
  float *ours;
} watched;

static bool watch_activations(replay *p, watched *all, u32 *ret_count, status *st) {
  const train_options *o = &p->config.train;
  for (u32 i = 0; i < p->file.count; i++) {
    const st_tensor *want = &p->file.tensors[i];
    u32 tensor = text_starts(want->name, "act/") ? find_activation(&p->g, want->name + 4) : GRAPH_NONE;
    if (tensor == GRAPH_NONE) continue;
    if (!check_shape(p, want, (u64[]){o->batch, o->seq, p->g.tensors[tensor].cols}, 3, st)) return false;
    float *ours = arena_take_big(p->a, want->count * sizeof(float), want->name, st);
    if (!ours) return false;
    all[(*ret_count)++] = (watched){want, tensor, ours};
  }
  return true;
}

static bool compare_activations(replay *p, status *st) {
  const train_options *o = &p->config.train;
  watched *all = arena_array(p->a, watched, p->file.count);
  u32 count = 0;
  if (!watch_activations(p, all, &count, st)) return false;
  for (u32 s = 0; s < o->batch; s++) {
    execute_batch b = {1, p->inputs + (u64)s * o->seq, p->targets + (u64)s * o->seq, p->params};
    trainer_forward(p->t, &b);
    for (u32 i = 0; i < count; i++) trainer_read(p->t, all[i].tensor, all[i].ours + s * (all[i].want->count / o->batch));
  }
  for (u32 i = 0; i < count; i++) {
    verify_row row = compare(all[i].want->name, all[i].ours, all[i].want, (skipped){0, 0});
    keep_largest(&p->r.act_max_rel, row.max_rel);
    add_row(p, row, row.max_rel, p->o->limits.grad_rel);
  }
  return true;
}

// What the steps gave, in the recording's order.
typedef struct curve {
  const char *name;
  double *ours;
  u32 count;
  bool relative; // to each recorded value, within the gradients' limit
} curve;

static bool compare_curve(replay *p, const curve *c, status *st) {
  const st_tensor *want = find(p, c->name, st);
  if (!want || !check_shape(p, want, (u64[]){c->count}, 1, st)) return false;
  verify_row row = {.name = want->name};
  for (u32 i = 0; i < c->count; i++) {
    double w = st_value(want, i), off = fabs(c->ours[i] - w);
    keep_largest(&row.max_abs, isnan(off) ? INFINITY : off);
    keep_largest(&row.max_rel, isnan(off) ? INFINITY : off > 0 ? off / fabs(w) : 0);
  }
  if (!c->relative) keep_largest(&p->r.loss_max_abs, row.max_abs);
  add_row(p, row, c->relative ? row.max_rel : row.max_abs, c->relative ? p->o->limits.grad_rel : p->o->limits.loss_abs);
  return true;
}

static double first_batch_loss(replay *p) {
  execute_batch b = {p->config.train.batch, p->inputs, p->targets, p->params};
  return trainer_forward(p->t, &b);
}

static bool recorded_after(const replay *p, const char *prefix) {
  for (u32 i = 0; i < p->file.count; i++)
    if (text_starts(p->file.tensors[i].name, prefix)) return true;
  return false;
}

static bool take_steps(replay *p, status *st) {
  const train_options *o = &p->config.train;
  u64 tokens = (u64)o->batch * o->seq;
  double *loss = arena_array(p->a, double, o->steps), *norm = arena_array(p->a, double, o->steps);
  double *first = arena_array(p->a, double, o->steps + 1);
  first[0] = first_batch_loss(p);
  for (u32 k = 0; k < o->steps; k++) {
    step_result s = trainer_step_on(p->t, p->inputs + k * tokens, p->targets + k * tokens);
    loss[k] = s.loss;
    norm[k] = s.grad_norm;
    if (k == 0 && !compare_params(p, "grad", true, st)) return false;
    const char *prefix = arena_format(p->a, "p%u", k + 1);
    bool wanted = k + 1 == o->steps || recorded_after(p, arena_format(p->a, "%s/", prefix));
    if (wanted && !compare_params(p, prefix, false, st)) return false;
    first[k + 1] = first_batch_loss(p);
  }
  const curve curves[] = {{"loss_step", loss, o->steps, false},
                          {"loss_batch0", first, o->steps + 1, false},
                          {"grad_norm", norm, o->steps, true}};
  for (u32 i = 0; i < COUNT_OF(curves); i++)
    if (!compare_curve(p, &curves[i], st)) return false;
  return true;
}

static void conclude(replay *p) {
  u32 worst = 0;
  p->r.pass = true;
  for (u32 i = 0; i < p->r.row_count; i++) {
    if (!p->rows[i].pass) p->r.pass = false;
    if (p->rows[i].of_limit > p->rows[worst].of_limit) worst = i;
  }
  p->r.rows = p->rows;
  p->r.worst = p->rows[worst].name;
}

static bool run(replay *p, status *st) {
  train_options *o = &p->config.train;
  if (!verify_config_read(p->path, &p->file, p->a, &p->config, st)) return false;
  if (o->steps == 0) return status_fail(st, CODE_DATA, "%s: records no step", p->path);
  base_hyper base = {o->lr, o->weight_decay, o->eps};
  status why = {0};
  if (!graph_build(&p->config.model, base, o->seq, p->a, &p->g, &why))
    return status_fail(st, CODE_DATA, "%s: %s", p->path, why.text);
  if (!load_tokens(p, "tokens", false, &p->inputs, st) || !load_tokens(p, "targets", true, &p->targets, st)) return false;
  if (p->o->sabotage) p->o->sabotage(&p->g, o, p->o->user);
  trainer_setup setup = {.graph = &p->g, .options = o, .kernels = p->o->kernels, .threads = p->o->threads ? p->o->threads : 1};
  if (p->o->open_source && !(setup.source = p->o->open_source(p->o->user, &p->g, o->batch, p->a, st))) return false;
  p->t = trainer_create(&setup, p->a, st);
  p->rows = arena_array(p->a, verify_row, p->file.count);
  if (!p->t || !load_weights(p, st) || !compare_activations(p, st) || !take_steps(p, st)) return false;
  conclude(p);
  return true;
}

bool verify_run(const char *path, const verify_options *o, arena *a, verify_result *ret_result, status *st) {
  replay p = {.path = path, .o = o, .a = a};
  if (!st_open(path, a, &p.file, st)) return false;
  bool ok = run(&p, st);
  st_close(&p.file);
  if (ok) *ret_result = p.r;
  return ok;
}

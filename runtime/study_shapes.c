// Shapes: losses of small models, times of large ones, and who stands on the frontier.
#include "runtime/study_shapes.h"

#include <math.h>
#include <stdio.h>

#define SHAPES_ROW(...) FIELD_ROW(shapes_options, __VA_ARGS__)
static const field shapes_rows[] = {SHAPES_FIELDS(SHAPES_ROW)};
const field_table shapes_table = {"shapes", "What weft study shapes compares.", shapes_rows, COUNT_OF(shapes_rows),
                                  sizeof(shapes_options)};

shape_size shape_of(double budget, double ratio, u32 head) {
  const double layers = fmax(1, round(cbrt(budget / (12 * ratio * ratio))));
  const double width = fmax(1, round(sqrt(budget / (12 * layers)) / head)) * head;
  return (shape_size){(u32)width, (u32)layers, 12 * width * width * layers};
}

void shapes_stand(shape_point *points, u32 count) {
  for (u32 i = 0; i < count; i++) {
    shape_point *p = &points[i];
    p->standing = p->fits ? SHAPE_FRONTIER : SHAPE_BEATEN;
    for (u32 k = 0; k < count; k++) {
      const shape_point *q = &points[k];
      if (k == i || !q->fits || q->wafer_s > p->wafer_s || !(q->loss < p->loss)) continue;
      const bool surely = p->loss - q->loss > 2 * sqrt(p->error * p->error + q->error * q->error);
      if (surely)
        p->standing = SHAPE_BEATEN;
      else if (p->standing == SHAPE_FRONTIER)
        p->standing = SHAPE_UNSURE;
    }
  }
}

// ---- losses

static bool train_one(shapes_study *p, double budget, double ratio, u32 seed, size_t at, status *st) {
  arena *a = arena_create("a shape of a study");
  run_spec *w = study_wish(p->s, a);
  const shape_size z = shape_of(budget, ratio, model_head_width(&w->model));
  w->model.layers = z.layers;
  w->top.seed += seed;
  const char *label =
      arena_format(a, "trained %ux%u, seed %llu", z.width, z.layers, (unsigned long long)w->top.seed);
  const bool ok = study_width_apply(z.width, &w->model, st) && trial_loss(p->s, w, label, &p->loss[at], st);
  p->x[at] = log2(z.params);
  if (!isfinite(p->loss[at])) p->loss[at] = NAN; // a line leaves it out
  study_progress(p->s, z.params, label);
  arena_destroy(a);
  return ok;
}

static bool train_all(shapes_study *p, status *st) {
  const u32 per_ratio = p->train_budgets.count * p->o->seeds;
  for (u32 r = 0; r < p->ratios.count; r++) {
    for (u32 i = 0; i < per_ratio; i++)
      if (!train_one(p, p->train_budgets.values[i / p->o->seeds], p->ratios.values[r], i % p->o->seeds,
                     (size_t)r * per_ratio + i, st))
        return false;
    p->lines[r] = fit_line_of(p->x + r * per_ratio, p->loss + r * per_ratio, per_ratio);
  }
  return true;
}

// ---- times

static bool record_point(shapes_study *p, const shape_point *q, const run_spec *w, status *st) {
  const char *label = arena_format(p->s->memory, "machine %ux%u", q->size.width, q->size.layers);
  const run_row *known;
  u64 run;
  if (!study_known(p->s, w, label, p->s->memory, &known, st)) return false;
  if (known) return true;
  if (!study_row_start(p->s, label, w, &run, st)) return false;
  const struct {
    const char *key;
    double value;
  } values[] = {{"shapes.loss", q->loss},         {"shapes.loss_error", q->error},
                {"shapes.wafer_s", q->wafer_s},   {"shapes.flops_6p", q->flops_6p},
                {"shapes.budget", q->budget},     {"shapes.flops_explicit", q->flops_explicit},
                {"shapes.ratio", q->ratio},       {"shapes.joules_per_token", q->joules_per_token},
                {"shapes.standing", q->standing}, {"shapes.extrapolated", q->beyond}};
  for (u32 i = 0; i < COUNT_OF(values); i++)
    if (isfinite(values[i].value) && !study_metric(p->s, run, values[i].key, 0, values[i].value, st)) return false;
  run_results r = run_results_none();
  const double tokens = (double)w->train.batch * w->train.seq; // of a step
  r.model_tokens_per_s = q->tokens_per_s;
  r.step_s = tokens / q->tokens_per_s;
  r.joules_per_step = q->joules_per_token * tokens;
  return run_db_set_results(p->s->db, run, &r, st) && run_db_finish(p->s->db, run, RUN_FINISHED, NULL, st);
}

static bool machine_wish(const shapes_study *p, const shape_size *z, run_spec *w, status *st) {
  w->model.vocab = p->o->machine_vocab;
  w->model.layers = z->layers;
  w->train.batch = p->o->machine_batch;
  w->train.seq = p->o->machine_seq;
  return study_width_apply(z->width, &w->model, st);
}

// A shape that the machine cannot take is a result, not a failure.
static bool simulate(shapes_study *p, shape_point *q, status *st) {
  arena *a = arena_create("a modelled shape");
  run_spec *w = study_wish(p->s, a);
  step_sim *sim = arena_array(a, step_sim, 1);
  status no_fit = {0};
  bool ok = study_go_on(st) && machine_wish(p, &q->size, w, st);
  q->fits = ok && step_sim_run(w, false, a, sim, &no_fit);
  if (q->fits) {
    const graph_counts counts = graph_count(&sim->graph);
    q->tokens_per_s = sim->tokens_per_s;
    q->joules_per_token = sim->joules_per_step / ((double)w->train.batch * w->train.seq);
    q->wafer_s = p->tokens / sim->tokens_per_s;
    q->flops_6p = counts.flops_6p;
    q->flops_explicit = counts.flops_explicit;
  }
  arena_destroy(a);
  return ok;
}

static bool model_all(shapes_study *p, status *st) {
  const u32 head = model_head_width(&p->s->base->model);
  double most = 0;
  for (u32 i = 0; i < p->train_budgets.count; i++) most = fmax(most, p->train_budgets.values[i]);
  for (u32 b = 0; b < p->budgets.count; b++)
    for (u32 r = 0; r < p->ratios.count; r++) {
      shape_point *q = &p->points[p->point_count++];
      *q = (shape_point){.budget = p->budgets.values[b], .ratio = p->ratios.values[r]};
      q->size = shape_of(q->budget, q->ratio, head);
      q->loss = fit_at(&p->lines[r], log2(q->size.params));
      q->error = fit_error_at(&p->lines[r], log2(q->size.params));
      q->beyond = q->size.params > 1.25 * most;
      if (!simulate(p, q, st)) return false;
      study_progress(p->s, p->s->work / 50, "modelling shapes on the machine");
    }
  shapes_stand(p->points, p->point_count);
  return true;
}

static bool record_all(shapes_study *p, status *st) {
  for (u32 i = 0; i < p->point_count; i++) {
    const shape_point *q = &p->points[i];
    if (!q->fits) continue;
    run_spec *w = study_wish(p->s, p->s->memory);
    if (!machine_wish(p, &q->size, w, st) || !record_point(p, q, w, st)) return false;
  }
  return true;
}

// ---- what it says

static void conclude(shapes_study *p) {
  text out = {0};
  u32 said = 0, unsure = 0, fits = 0;
  char words[64], wall[64];
  text_format(&out, "On %s the frontier of loss against time for %s tokens:", p->s->base->machine.preset,
              text_si(p->tokens, "", words, sizeof words));
  for (u32 i = 0; i < p->point_count; i++) {
    const shape_point *q = &p->points[i];
    fits += q->fits;
    unsure += q->standing == SHAPE_UNSURE;
    if (q->standing != SHAPE_FRONTIER) continue;
    text_format(&out, "%s %ux%u (%s parameters) %.3f \u00b1 %.3f%s in %s", said++ ? ";" : "", q->size.width,
                q->size.layers, text_si(q->size.params, "", words, sizeof words), q->loss, q->error,
                q->beyond ? " extrapolated" : "", text_si(q->wafer_s, "s", wall, sizeof wall));
  }
  text_format(&out, ". %u of the other shapes cannot be told from it at these errors.", unsure);
  text_add(&out, " Losses come from small models, times from full-scale shapes by simulation; nothing was trained at the "
                 "full scale.");
  p->s->pass = said > 0 && fits == p->point_count;
  snprintf(p->s->verdict, sizeof p->s->verdict, "%s", text_get(&out));
  text_free(&out);
}

bool shapes_run(shapes_study *p, study *s, const shapes_options *o, status *st) {
  arena *a = s->memory;
  *p = (shapes_study){.s = s, .o = o};
  if (!study_list_read("shapes.budgets", o->budgets, 1000, a, &p->budgets, st) ||
      !study_list_read("shapes.train_budgets", o->train_budgets, 1000, a, &p->train_budgets, st) ||
      !study_list_read("shapes.ratios", o->ratios, 1e-3, a, &p->ratios, st))
    return false;
  if (p->train_budgets.count * o->seeds < 3 || p->train_budgets.count < 2)
    return status_fail(st, CODE_CONFIG, "shapes.train_budgets: a line with an error needs two sizes and three models");
  const size_t models = (size_t)p->ratios.count * p->train_budgets.count * o->seeds;
  p->x = arena_array(a, double, models);
  p->loss = arena_array(a, double, models);
  p->lines = arena_array(a, fit_line, p->ratios.count);
  p->points = arena_array(a, shape_point, p->budgets.count * p->ratios.count);
  p->tokens = (double)s->base->train.steps * s->base->train.batch * s->base->train.seq;
  for (u32 i = 0; i < p->train_budgets.count; i++) s->work += p->train_budgets.values[i] * o->seeds * p->ratios.count;
  if (!train_all(p, st) || !model_all(p, st) || !record_all(p, st)) return false;
  conclude(p);
  return true;
}

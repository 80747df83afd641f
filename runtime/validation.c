// Published training runs and the runs behind our numbers for them. Measured values are the publications'.
// Nothing is fitted to them but for the columns that say so: axpy_issue_cycles, on one row per generation.
#include "runtime/validation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum { SAMPLES_PER_S, SPEED_UP, KERNEL_PES } quantity;

// What is published, and what to state to model it.
typedef struct published {
  const char *id, *workload, *machine, *model;
  const char *batch, *seq, *systems, *mode;
  u32 what;           // quantity
  const char *kernel; // KERNEL_PES: name of the operation
  double measured, gate;
  const char *class, *source;
} published;

#define STREAMING(id, workload, machine, model, batch, systems, measured, source)                                      \
  {                                                                                                                    \
    id, workload, machine, model, batch, "2048", systems, "streaming", SAMPLES_PER_S, NULL, measured, 0.20, "HW",      \
        source                                                                                                         \
  }
#define PIPELINED(id, workload, what, kernel, measured)                                                                \
  {                                                                                                                    \
    id, workload, "cs2", "gpt2-small", "1024", "1024", "1", "pipelined", what, kernel, measured, 0.20, "COMP",         \
        "DABench-LLM 2601.19904"                                                                                       \
  }

static const published rows_published[] = {
    STREAMING("V18", "GPT-3 2.7B, MSL 2048, batch 256", "cs2", "gpt3-2.7b", "256", "1", 46.8, "arXiv 2409.00287"),
    STREAMING("V19", "GPT-3 6.7B, MSL 2048, batch 256", "cs2", "gpt3-6.7b", "256", "1", 22.7, "arXiv 2409.00287"),
    STREAMING("V20", "GPT-J 6B, MSL 2048, batch 120 over 2 systems", "cs2", "gptj-6b", "120", "2", 43.67,
              "ALCF R2.0.3"),
    STREAMING("V21", "GPT-J 6B, MSL 2048, batch 120", "cs3", "gptj-6b", "120", "1", 44.75, "ALCF 2025-10"),
    {"V22", "1T parameters, 1 to 16 systems, 120 sequences each", "cs3", "gpt-1t", "1920", "2048", "16", "streaming",
     SPEED_UP, NULL, 15.3, 0.025, "HW press", "Sandia"},
    PIPELINED("V23", "GPT-2 small side by side, MSL 1024", SAMPLES_PER_S, NULL, 860.3),
    PIPELINED("V24", "its PEs: queries, keys, values", KERNEL_PES, "h0.attn.qkv", 2304),
    PIPELINED("V24", "its PEs: attention out", KERNEL_PES, "h0.attn_branch", 768),
    PIPELINED("V24", "its PEs: one layer of the MLP", KERNEL_PES, "h0.mlp.pre", 3402),
    PIPELINED("V24", "its PEs: vocabulary", KERNEL_PES, "logits", 65604),
};

// One parameter per generation may be fitted, on this row alone.
static const struct { const char *machine, *row; } anchors[] = {{"cs2", "V19"}, {"cs3", "V21"}};

static const char issue_key[] = "machine.dsd.axpy_issue_cycles";
enum { SETS_MAX = 3, STATED = 6 };

// What published facts leave open, changed one choice at a time (docs/MACHINE.md has each choice).
typedef struct variant {
  const char *name;
  u32 kind;
  const char *machine; // only rows of it; NULL: all
  u32 count;
  run_assignment sets[SETS_MAX];
} variant;

#define SET(k, v)                                                                                                      \
  { .key = k, .value = v }
#define UPPER_RATE SET("machine.dsd.fma16_rate", "2.92"), SET("machine.dsd.dot16_rate", "2.92")
static const variant bare = {"bare", VARIANT_BARE, NULL, 0, {SET(NULL, NULL)}};
static const variant upper = {"fp16 rate 2.92 (upper)", VARIANT_UPPER, "cs2", 2, {UPPER_RATE}};
static const variant choices[] = {
    {"clock 0.85 GHz", VARIANT_OTHER, NULL, 1, {SET("machine.clock", "0.85GHz")}},
    {"AXPY in fp32", VARIANT_OTHER, NULL, 1, {SET("plan.axpy", "fp32")}},
    {"59 cycles per weight (software task)", VARIANT_OTHER, NULL, 1, {SET(issue_key, "59")}},
    {"only blocks' inputs kept", VARIANT_OTHER, NULL, 1, {SET("plan.kept", "input")}},
    {"everything resident or rebuilt, nothing off the wafer",
     VARIANT_OTHER,
     NULL,
     1,
     {SET("plan.activations", "recompute")}},
    {"tokens in order over the rows", VARIANT_OTHER, NULL, 1, {SET("plan.tokens", "contiguous")}},
    {"searched plan", VARIANT_OTHER, NULL, 1, {SET("plan.search", "true")}},
};

static void describe(const step_sim *s, validation_row *row) {
  u32 worst = 0;
  for (u32 i = 1; i < RESOURCE_COUNT; i++)
    if (s->result.by_resource[i] > s->result.by_resource[worst]) worst = i;
  snprintf(row->bound, sizeof row->bound, "%s %.0f%%", engine_resource_name(worst),
           100 * s->result.by_resource[worst] / s->result.cycles);
  if (s->plan.options.mode == PLAN_PIPELINED) {
    snprintf(row->breakdown, sizeof row->breakdown, "%u kernels on %u PEs, %.4g cycles a token; %s",
             s->plan.pipeline.count, s->result.pes_used, s->plan.pipeline.period_cycles, s->plan.limit);
    return;
  }
  double families[FAMILY_COUNT] = {0};
  for (u32 i = 0; i < s->program.phase_count; i++) families[s->program.phases[i].family] += s->result.by_phase[i];
  size_t at = (size_t)snprintf(row->breakdown, sizeof row->breakdown, "microbatch %u x %u, %u replicas, %s (%s)",
                               s->plan.microbatches, s->plan.microbatch, s->plan.tiles.replicas,
                               plan_policy_name(s->plan.policy), plan_kept_name(s->plan.kept));
  for (u32 i = 0; i < FAMILY_COUNT; i++) {
    double share = 100 * families[i] / s->result.cycles;
    if (share >= 1 && at < sizeof row->breakdown)
      at +=
          (size_t)snprintf(row->breakdown + at, sizeof row->breakdown - at, "; %s %.0f%%", phase_family_name(i), share);
  }
}

// A published row with a variant's changes, and `more` where there are any, as a run. False with st untouched
// where no plan fits; then `ret_unfit` is true.
static bool model(const published *p, const variant *v, const run_assignment *more, arena *a, step_sim *ret_sim,
                  bool *ret_unfit, status *st) {
  run_assignment sets[STATED + SETS_MAX + 1] = {SET("machine", p->machine),   SET("model", p->model),
                                                SET("train.batch", p->batch), SET("train.seq", p->seq),
                                                SET("systems", p->systems),   SET("plan.mode", p->mode)};
  u32 count = STATED;
  for (u32 i = 0; i < v->count; i++) sets[count++] = v->sets[i];
  if (more) sets[count++] = *more;
  for (u32 i = 0; i < count; i++) sets[i].where = p->id;
  run_spec *r = arena_array(a, run_spec, 1);
  *ret_unfit = false;
  if (!run_spec_load(r, NULL, sets, count, a, st)) return false;
  status unfit = {0};
  if (step_sim_run(r, false, a, ret_sim, &unfit)) return true;
  *ret_unfit = unfit.code == CODE_CONFIG;
  return *ret_unfit || status_fail(st, unfit.code, "%s", unfit.text);
}

static double kernel_pes(const step_sim *s, const char *name) {
  for (u32 i = 0; i < s->plan.pipeline.count; i++) {
    const plan_kernel *k = &s->plan.pipeline.kernels[i];
    if (strcmp(s->graph.nodes[k->node].name, name) == 0) return (double)k->width * k->height;
  }
  return NAN;
}

// The step of one system with its share of the batch against that of all; where the loss went.
static bool speed_up(const published *p, const variant *v, const step_sim *all, arena *a, validation_row *row,
                     status *st) {
  char share[32];
  snprintf(share, sizeof share, "%u", all->plan.batch / all->plan.systems);
  published one = *p;
  one.systems = "1";
  one.batch = share;
  step_sim *s = arena_array(a, step_sim, 1);
  bool unfit;
  if (!model(&one, v, NULL, a, s, &unfit, st)) return false;
  if (unfit) {
    snprintf(row->bound, sizeof row->bound, "does not fit on 1");
    return true;
  }
  row->ours = all->samples_per_s / s->samples_per_s;
  double lost = all->result.cycles - s->result.cycles;
  size_t at = (size_t)snprintf(row->breakdown, sizeof row->breakdown, "kept: %s on %u, %s on 1; of what is lost",
                               plan_kept_name(all->plan.kept), all->plan.systems, plan_kept_name(s->plan.kept));
  for (u32 i = 0; i < RESOURCE_COUNT; i++) {
    double part = (all->result.by_resource[i] - s->result.by_resource[i]) / lost;
    if (fabs(part) >= 0.01 && at < sizeof row->breakdown)
      at += (size_t)snprintf(row->breakdown + at, sizeof row->breakdown - at, ", %s %.0f%%", engine_resource_name(i),
                             100 * part);
  }
  return true;
}

static bool run_row(const published *p, const variant *v, const run_assignment *more, arena *a, validation_row *row,
                    status *st) {
  static const char *const units[] = {"samples/s", "x", "PEs"};
  *row = (validation_row){.id = p->id,
                          .workload = p->workload,
                          .machine = p->machine,
                          .unit = units[p->what],
                          .class = p->class,
                          .source = p->source,
                          .measured = p->measured,
                          .gate = p->gate,
                          .variant = v->name,
                          .kind = v->kind,
                          .gated = v->kind == VARIANT_BARE,
                          .fitted = NAN,
                          .ours = NAN,
                          .error = NAN};
  step_sim *s = arena_array(a, step_sim, 1);
  bool unfit;
  if (!model(p, v, more, a, s, &unfit, st)) return false;
  if (unfit) {
    snprintf(row->bound, sizeof row->bound, "does not fit");
    return true;
  }
  describe(s, row);
  if (p->what == SPEED_UP && !speed_up(p, v, s, a, row, st)) return false;
  if (p->what == SAMPLES_PER_S) row->ours = s->samples_per_s;
  if (p->what == KERNEL_PES) row->ours = kernel_pes(s, p->kernel);
  row->error = row->ours / row->measured - 1;
  row->pass = fabs(row->error) <= row->gate;
  return true;
}

// --- one fitted number

static bool time_at(const published *p, const variant *v, double issue, arena *a, double *ret_s, status *st) {
  char value[32];
  snprintf(value, sizeof value, "%.6f", issue);
  run_assignment more = SET(issue_key, value);
  arena_mark mark = arena_save(a);
  validation_row row;
  bool ok = run_row(p, v, &more, a, &row, st);
  arena_rewind(a, mark);
  *ret_s = 1 / row.ours;
  return ok;
}

// Steps of the secant method (the time of a step is nearly linear in it), not below 0.
static bool fit(const published *p, const variant *v, arena *a, double *ret_issue, status *st) {
  enum { STEPS = 4, FAR = 40 };
  double x0 = FAR, x1 = 0, t0, t1, wanted = 1 / p->measured;
  if (!time_at(p, v, x0, a, &t0, st) || !time_at(p, v, x1, a, &t1, st)) return false;
  for (u32 i = 0; i < STEPS && fabs(t1 / wanted - 1) > 1e-3 && fabs(t1 - t0) > 1e-12; i++) {
    double next = fmax(0, x1 + (wanted - t1) * (x1 - x0) / (t1 - t0));
    x0 = x1;
    t0 = t1;
    x1 = next;
    if (fabs(x1 - x0) < 1e-9) break; // at 0, and still too slow
    if (!time_at(p, v, x1, a, &t1, st)) return false;
  }
  *ret_issue = x1;
  return true;
}

static const published *find_row(const char *id) {
  for (u32 i = 0; i < COUNT_OF(rows_published); i++)
    if (strcmp(rows_published[i].id, id) == 0) return &rows_published[i];
  return NULL;
}

static bool run_fitted(const variant *base, arena *a, validation_row *rows, u32 *count, status *st) {
  for (u32 g = 0; g < COUNT_OF(anchors); g++) {
    const published *anchor = find_row(anchors[g].row);
    if (!anchor || (base->machine && strcmp(base->machine, anchors[g].machine) != 0)) continue;
    double issue;
    if (!fit(anchor, base, a, &issue, st)) return false;
    char value[32];
    snprintf(value, sizeof value, "%.6f", issue);
    run_assignment more = SET(issue_key, value);
    variant v = *base;
    v.kind = base->kind == VARIANT_BARE ? VARIANT_FITTED : VARIANT_UPPER_FITTED;
    v.name = arena_format(a, "%s%s on %s", base->kind == VARIANT_BARE ? "" : "fp16 rate 2.92, ", "fitted", anchor->id);
    for (u32 i = 0; i < COUNT_OF(rows_published); i++) {
      const published *p = &rows_published[i];
      if (strcmp(p->machine, anchors[g].machine) != 0 || p->what == SPEED_UP) continue;
      if (!run_row(p, &v, &more, a, &rows[*count], st)) return false;
      rows[(*count)++].fitted = issue;
    }
  }
  return true;
}

static bool is_wanted(u32 row, const char *only) {
  return !only || strcmp(rows_published[row].id, only) == 0;
}

bool validation_run(const char *only, arena *a, const validation_row **ret_rows, u32 *ret_count, status *st) {
  enum { COLUMNS = 4 };
  validation_row *rows = arena_array(a, validation_row, COUNT_OF(rows_published) * (COLUMNS + COUNT_OF(choices)));
  u32 count = 0;
  for (u32 i = 0; i < COUNT_OF(rows_published); i++)
    if (is_wanted(i, only) && !run_row(&rows_published[i], &bare, NULL, a, &rows[count++], st)) return false;
  for (u32 i = 0; i < COUNT_OF(rows_published); i++)
    if (is_wanted(i, only) && strcmp(rows_published[i].machine, upper.machine) == 0 &&
        !run_row(&rows_published[i], &upper, NULL, a, &rows[count++], st))
      return false;
  *ret_rows = rows;
  *ret_count = count;
  if (only) return true;
  if (!run_fitted(&bare, a, rows, &count, st) || !run_fitted(&upper, a, rows, &count, st)) return false;
  for (u32 i = 0; i < COUNT_OF(rows_published); i++)
    for (u32 v = 0; v < COUNT_OF(choices); v++) {
      const published *p = &rows_published[i];
      if (p->what == SAMPLES_PER_S && strcmp(p->mode, "streaming") == 0 &&
          !run_row(p, &choices[v], NULL, a, &rows[count++], st))
        return false;
    }
  *ret_count = count;
  return true;
}

bool validation_band(const run_spec *r, arena *a, step_sim *sim, status *st) {
  if (r->engine.name == ENGINE_FABRIC) {
    snprintf(sim->error_band, sizeof sim->error_band,
             "single kernels: rows V1 to V17 of docs/VALIDATION.md; whole steps of this size have no published "
             "measurement");
    return true;
  }
  double low = INFINITY, high = -INFINITY;
  bool same_machine = false, pipelined = r->plan.mode == PLAN_PIPELINED;
  char ids[64] = "";
  for (u32 i = 0; i < COUNT_OF(rows_published); i++) {
    const published *p = &rows_published[i];
    if (p->what != SAMPLES_PER_S || (strcmp(p->mode, "pipelined") == 0) != pipelined) continue;
    arena_mark mark = arena_save(a);
    validation_row row;
    if (!run_row(p, &bare, NULL, a, &row, st)) return false;
    low = fmin(low, row.error);
    high = fmax(high, row.error);
    same_machine |= strcmp(row.machine, r->machine.preset) == 0;
    size_t at = strlen(ids);
    snprintf(ids + at, sizeof ids - at, "%s%s", at ? ", " : "", p->id);
    arena_rewind(a, mark);
  }
  char range[32];
  if (low < high)
    snprintf(range, sizeof range, "%+.0f%% to %+.0f%%", 100 * low, 100 * high);
  else
    snprintf(range, sizeof range, "%+.0f%%", 100 * low);
  snprintf(sim->error_band, sizeof sim->error_band, "%s of this class (%s) are modelled at %s%s",
           pipelined ? "compiler reports" : "published runs", ids, range,
           same_machine ? "" : "; none was on this machine");
  return true;
}

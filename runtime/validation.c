// The rows, the runs behind them and the page made of them. Measured values are the publications';
// nothing here is fitted to them.
#include "runtime/validation.h"

#include "base/embed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// A throughput row of weight streaming: what to state to run it.
typedef struct throughput_row {
  const char *id, *workload, *machine, *model;
  const char *batch, *seq, *systems;
  double measured, gate;
  const char *source;
} throughput_row;

static const throughput_row throughput_rows[] = {
    {"V18", "GPT-3 2.7B, MSL 2048, batch 256", "cs2", "gpt3-2.7b", "256", "2048", "1", 46.8, 0.20, "arXiv 2409.00287"},
    {"V19", "GPT-3 6.7B, MSL 2048, batch 256", "cs2", "gpt3-6.7b", "256", "2048", "1", 22.7, 0.20, "arXiv 2409.00287"},
    {"V20", "GPT-J 6B, MSL 2048, batch 120 over 2 systems", "cs2", "gptj-6b", "120", "2048", "2", 43.67, 0.20, "ALCF R2.0.3"},
    {"V21", "GPT-J 6B, MSL 2048, batch 120", "cs3", "gptj-6b", "120", "2048", "1", 44.75, 0.20, "ALCF 2025-10"},
};

// What published facts leave open, changed one choice at a time (docs/MACHINE.md has each choice).
typedef struct variant {
  const char *name;
  run_assignment sets[2];
  u32 count;
} variant;

static const variant variants[] = {
    {"bare", {{0}}, 0},
    {"clock 0.85 GHz", {{.key = "machine.clock", .value = "0.85GHz"}}, 1},
    {"fp16 rate 2.92 (upper)",
     {{.key = "machine.dsd.fma16_rate", .value = "2.92"}, {.key = "machine.dsd.dot16_rate", .value = "2.92"}},
     2},
    {"AXPY in fp32", {{.key = "plan.axpy", .value = "fp32"}}, 1},
    {"59 cycles per weight (software task)", {{.key = "machine.dsd.axpy_issue_cycles", .value = "59"}}, 1},
    {"everything resident or rebuilt, nothing off the wafer", {{.key = "plan.activations", .value = "recompute"}}, 1},
};

static const char *const missing[] = {
    "V22: a 1T-parameter model on several systems needs the layout search over systems",
    "V23, V24: the layer-pipelined mode does not exist yet",
};

u32 validation_missing(const char *const **ret_lines) {
  *ret_lines = missing;
  return COUNT_OF(missing);
}

static void describe(const step_sim *s, validation_row *row) {
  u32 worst = 0;
  for (u32 i = 1; i < RESOURCE_COUNT; i++)
    if (s->result.by_resource[i] > s->result.by_resource[worst]) worst = i;
  snprintf(row->bound, sizeof row->bound, "%s %.0f%%", engine_resource_name(worst),
           100 * s->result.by_resource[worst] / s->result.cycles);
  double families[FAMILY_COUNT] = {0};
  for (u32 i = 0; i < s->program.phase_count; i++) families[s->program.phases[i].family] += s->result.by_phase[i];
  size_t at = (size_t)snprintf(row->breakdown, sizeof row->breakdown, "microbatch %u x %u, %s", s->plan.microbatches,
                               s->plan.microbatch, plan_policy_name(s->plan.policy));
  for (u32 i = 0; i < FAMILY_COUNT; i++) {
    double share = 100 * families[i] / s->result.cycles;
    if (share >= 1 && at < sizeof row->breakdown)
      at +=
          (size_t)snprintf(row->breakdown + at, sizeof row->breakdown - at, "; %s %.0f%%", phase_family_name(i), share);
  }
}

// False with st untouched where the plan does not fit: then the row has no value of ours.
static bool run_row(const throughput_row *t, const variant *v, arena *a, validation_row *row, status *st) {
  run_assignment sets[COUNT_OF(v->sets) + 5] = {{.key = "machine", .value = t->machine, .where = t->id},
                                                {.key = "model", .value = t->model, .where = t->id},
                                                {.key = "train.batch", .value = t->batch, .where = t->id},
                                                {.key = "train.seq", .value = t->seq, .where = t->id},
                                                {.key = "systems", .value = t->systems, .where = t->id}};
  for (u32 i = 0; i < v->count; i++) {
    sets[5 + i] = v->sets[i];
    sets[5 + i].where = t->id;
  }
  run_spec *r = arena_array(a, run_spec, 1);
  step_sim *s = arena_array(a, step_sim, 1);
  *row = (validation_row){.id = t->id,
                          .workload = t->workload,
                          .machine = t->machine,
                          .unit = "samples/s",
                          .class = "HW",
                          .source = t->source,
                          .measured = t->measured,
                          .gate = t->gate,
                          .variant = v->name,
                          .gated = v == variants,
                          .ours = NAN,
                          .error = NAN};
  if (!run_spec_load(r, NULL, sets, 5 + v->count, a, st)) return false;
  status unfit = {0};
  if (!step_sim_run(r, false, a, s, &unfit)) {
    snprintf(row->bound, sizeof row->bound, "does not fit");
    return unfit.code == CODE_CONFIG || status_fail(st, unfit.code, "%s", unfit.text);
  }
  row->ours = s->samples_per_s;
  row->error = row->ours / row->measured - 1;
  row->pass = fabs(row->error) <= row->gate;
  describe(s, row);
  return true;
}

bool validation_run(arena *a, const validation_row **ret_rows, u32 *ret_count, status *st) {
  validation_row *rows = arena_array(a, validation_row, COUNT_OF(throughput_rows) * COUNT_OF(variants));
  u32 count = 0;
  for (u32 i = 0; i < COUNT_OF(throughput_rows); i++)
    for (u32 v = 0; v < COUNT_OF(variants); v++)
      if (!run_row(&throughput_rows[i], &variants[v], a, &rows[count++], st)) return false;
  *ret_rows = rows;
  *ret_count = count;
  return true;
}

bool validation_band(const run_spec *r, arena *a, step_sim *sim, status *st) {
  double low = 0, high = 0;
  bool same_machine = false;
  for (u32 i = 0; i < COUNT_OF(throughput_rows); i++) {
    arena_mark mark = arena_save(a);
    validation_row row;
    if (!run_row(&throughput_rows[i], variants, a, &row, st)) return false;
    low = i ? fmin(low, row.error) : row.error;
    high = i ? fmax(high, row.error) : row.error;
    same_machine |= strcmp(row.machine, r->machine.preset) == 0;
    arena_rewind(a, mark);
  }
  snprintf(sim->error_band, sizeof sim->error_band,
           "throughput of published GPT-3 and GPT-J runs on CS-2 and CS-3 is modelled at %+.0f%% to %+.0f%%%s", 100 * low, 100 * high,
           same_machine ? "" : "; no published run of this machine has been compared yet");
  return true;
}

static void markdown_rows(const validation_row *rows, u32 count, bool gated, text *out) {
  for (u32 i = 0; i < count; i++) {
    const validation_row *r = &rows[i];
    if (r->gated != gated) continue;
    text_format(out, "| %s | ", r->id);
    if (gated)
      text_format(out, "%s | %s | ", r->workload, r->machine);
    else
      text_format(out, "%s | ", r->variant);
    text_format(out, "%.4g | ", r->measured);
    if (isfinite(r->ours))
      text_format(out, "%.4g | %+.1f%% | ", r->ours, 100 * r->error);
    else
      text_add(out, "- | - | ");
    if (gated)
      text_format(out, "%.0f%% | %s | [%s] %s |\n", 100 * r->gate, r->pass ? "pass" : "**miss**", r->class, r->source);
    else
      text_format(out, "%s | %s |\n", r->bound, r->breakdown);
  }
}

void validation_markdown(const validation *v, text *out) {
  text_add(out,
           "# Validation\n\nGenerated by `weft validate --markdown`. Measured values are published; ours come from "
           "bare physics: no number of a machine\nis fitted to a row, but for phase.route_switch_cycles, which V13 "
           "calibrates. Error = ours / measured - 1.\n\n"
           "## Kernels on the fabric, wavelet by wavelet\n\n");
  validation_fabric_markdown(v->fabric, v->fabric_count, out);
  text_add(out, "\n## Training throughput\n\nIn samples per second, by the flow engine.\n\n"
                "| row | workload | machine | measured | ours | error | gate | | source "
                "|\n|---|---|---|---|---|---|---|---|---|\n");
  markdown_rows(v->rows, v->count, true, out);
  text_add(out,
           "\n## What each open choice is worth\n\nOne choice changed at a time, the plan chosen anew for each.\n\n"
           "| row | variant | measured | ours | error | bound by | plan and shares |\n|---|---|---|---|---|---|---|\n");
  markdown_rows(v->rows, v->count, false, out);
  text_add(out, "\n## Rows that do not run yet\n\n");
  for (u32 i = 0; i < COUNT_OF(missing); i++) text_format(out, "- %s.\n", missing[i]);
  text_add(
      out,
      "\n## Where the model of training is coarse\n\n"
      "- Inside a phase everything overlaps perfectly: its time is the largest of the busiest datapath, the busiest "
      "link and\n"
      "  the edge, plus one change of routes and one fill and drain. Contention within an iteration is not resolved.\n"
      "- The fp16 rate of WSE-2 is unmeasured. The bare value is WSE-3's measured 2.92 scaled by lanes (1.46); the "
      "table\n"
      "  above shows the upper value too, and it decides most of the error.\n"
      "- What backward needs is rebuilt from each block's input (two thirds of the block's forward products). What "
      "the\n"
      "  vendor keeps, rebuilds or moves is not public; a plan that keeps more would be faster.\n"
      "- Rows of a causally masked sequence wait for the one with the most keys; tokens are not interleaved over "
      "rows.\n"
      "- Each replica of the columns has its own copy of the weight stream and sends its own gradients.\n"
      "- The unembedding's gradient chains once per feature; in chunks of the vocabulary it would be once per chunk.\n"
      "- Gradients of rotated keys and values are counted on their way down the column, not on their way home.\n"
      "- Attention pays a set-up for every key and feature; what a kernel could batch is not.\n"
      "- With a limit on the gradient norm every update would wait for it; updates overlap backward here.\n"
      "- Energy is power times time.\n");
}

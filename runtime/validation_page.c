// docs/VALIDATION.md, made of the rows.
#include "runtime/validation.h"

#include <math.h>
#include <string.h>

static void add_value(const validation_row *r, text *out) {
  if (r && isfinite(r->ours))
    text_format(out, " %.4g | %+.1f%% |", r->ours, 100 * r->error);
  else
    text_add(out, " - | - |");
}

static void add_gated(const validation *v, text *out) {
  text_add(out, "| row | workload | machine | unit | measured | ours | error | gate | | source |\n"
                "|---|---|---|---|---|---|---|---|---|---|\n");
  for (u32 i = 0; i < v->count; i++) {
    const validation_row *r = &v->rows[i];
    if (!r->gated) continue;
    text_format(out, "| %s | %s | %s | %s | %.5g |", r->id, r->workload, r->machine, r->unit, r->measured);
    add_value(r, out);
    text_format(out, " %.3g%% | %s | [%s] %s |\n", 100 * r->gate, r->pass ? "pass" : "**miss**", r->class, r->source);
  }
}

// The same row in another column.
static const validation_row *column(const validation *v, const validation_row *of, u32 kind) {
  for (u32 i = 0; i < v->count; i++)
    if (v->rows[i].kind == kind && strcmp(v->rows[i].id, of->id) == 0 && strcmp(v->rows[i].workload, of->workload) == 0)
      return &v->rows[i];
  return NULL;
}

static void add_columns(const validation *v, text *out) {
  text_add(out,
           "| row | workload | measured | bare | error | fitted | error | fp16 rate 2.92 | error | fitted | error |\n"
           "|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (u32 i = 0; i < v->count; i++) {
    const validation_row *r = &v->rows[i];
    if (!r->gated || strcmp(r->unit, "x") == 0) continue;
    text_format(out, "| %s | %s, %s | %.5g |", r->id, r->workload, r->machine, r->measured);
    for (u32 kind = VARIANT_BARE; kind <= VARIANT_UPPER_FITTED; kind++) add_value(column(v, r, kind), out);
    text_add(out, "\n");
  }
  text_add(out, "\n");
  for (u32 i = 0; i < v->count; i++) {
    const validation_row *r = &v->rows[i];
    bool first = isfinite(r->fitted) && (i == 0 || strcmp(v->rows[i - 1].variant, r->variant) != 0);
    if (first)
      text_format(out, "- %s, %s: axpy_issue_cycles = %.1f%s.\n", r->machine, r->variant, r->fitted,
                  r->fitted > 0 ? "" : ", as low as it goes: the row is not reached");
  }
}

static const validation_row *of_id(const validation *v, const char *id, u32 kind) {
  for (u32 i = 0; i < v->count; i++)
    if (v->rows[i].kind == kind && strcmp(v->rows[i].id, id) == 0) return &v->rows[i];
  return NULL;
}

static void add_ratio(const validation *v, const char *above, const char *below, text *out) {
  const validation_row *a = of_id(v, above, VARIANT_BARE), *b = of_id(v, below, VARIANT_BARE);
  if (!a || !b) return;
  double measured = a->measured / b->measured;
  text_format(out, "| %s / %s | %.4g |", above, below, measured);
  for (u32 kind = VARIANT_BARE; kind <= VARIANT_UPPER_FITTED; kind++) {
    const validation_row *x = of_id(v, above, kind), *y = of_id(v, below, kind);
    validation_row ratio = {.ours = NAN};
    if (x && y) ratio.ours = x->ours / y->ours;
    ratio.error = ratio.ours / measured - 1;
    add_value(&ratio, out);
  }
  text_add(out, "\n");
}

static void add_choices(const validation *v, text *out) {
  text_add(out, "| row | variant | measured | ours | error | bound by | plan and shares |\n"
                "|---|---|---|---|---|---|---|\n");
  for (u32 i = 0; i < v->count; i++) {
    const validation_row *r = &v->rows[i];
    if (strcmp(r->unit, "PEs") == 0) continue;
    text_format(out, "| %s | %s | %.4g |", r->id, r->variant, r->measured);
    add_value(r, out);
    text_format(out, " %s | %s |\n", r->bound, r->breakdown);
  }
}

static const char coarse[] =
    "- Inside a phase everything overlaps perfectly: its time is the largest of the busiest PE, the busiest link and\n"
    "  the edge, plus one change of routes and one fill and drain. In a PE microthreads use the datapath in each "
    "other's\n"
    "  set-ups. Contention within an iteration is not resolved; docs/PARITY.md shows what that misses.\n"
    "- The fp16 rate of WSE-2 is unmeasured; the bare value is WSE-3's measured 2.92 scaled by lanes (1.46). What is "
    "published\n"
    "  points both ways. For 1.46: a CS-3 does V21 2.05 times as fast as one of V20's two CS-2, which ours do as well "
    "with "
    "1.46 and\n"
    "  far from it with 2.92. For 2.92: the vendor's simulator gives 4.00 on WSE-3, which is what two 64-bit reads a "
    "cycle "
    "allow and\n"
    "  WSE-2 has too, not what 8 lanes would; and V24's PEs do more than 1.46 at V23's rate.\n"
    "- With bare numbers both generations come out 12 to 24% too slow. Some of that is the set-up of each weight's "
    "AXPY,\n"
    "  which a fitted axpy_issue_cycles takes away (as if set-ups hid behind the instruction before); the rest is "
    "what\n"
    "  backward rebuilds, of which a searched plan does less.\n"
    "- What is kept for backward and where it goes is not public. Here a block's input and its middle leave the wafer "
    "or "
    "stay,\n"
    "  what is between is rebuilt; activations that leave share MemoryX's link with those of other systems, weights "
    "and\n"
    "  gradients do not. V22's loss is that: the plan of 16 systems cannot move the middles and rebuilds them.\n"
    "- In the pipelined mode one link carries the stream between two kernels (plan.links); it sets V23. How many the\n"
    "  vendor's compiler uses is not published, nor is V23's batch (1024 here; filling takes some 30 sequences).\n"
    "- Each replica of the columns has its own copy of the weight stream and sends its own gradients.\n"
    "- The unembedding's gradient chains once per feature; in chunks of the vocabulary it would be once per chunk.\n"
    "- Gradients of rotated keys and values are counted on their way to the other rows, not on their way home.\n"
    "- Attention pays a set-up for every key and feature; what a kernel could batch is not.\n"
    "- With a limit on the gradient norm every update would wait for it; updates overlap backward here.\n"
    "- Sparse weights are spread evenly; the column with the most of them is not looked for.\n"
    "- Energies per operation but the wires' are ASSUMED; power times time stands beside them.\n";

void validation_markdown(const validation *v, text *out) {
  text_add(out,
           "# Validation\n\nGenerated by `weft validate --markdown`. Measured values are published; ours come from "
           "bare physics: no number of a machine\nis fitted to a row, but for phase.route_switch_cycles, which V13 "
           "calibrates. Error = ours / measured - 1.\n\n"
           "## Kernels on the fabric, wavelet by wavelet\n\n");
  validation_fabric_markdown(v->fabric, v->fabric_count, out);
  text_add(out, "\n## Training: bare physics\n\nBy the flow engine, with the plan that is taken without a search.\n\n");
  add_gated(v, out);
  text_add(out, "\n## One fitted number per generation, and the unmeasured rate\n\nThe fitted number is "
                "dsd.axpy_issue_cycles: on V19 for CS-2, on V21 for CS-3, on nothing else. The presets keep the bare "
                "one.\n\n");
  add_columns(v, out);
  text_add(out, "\nRatios, which no such number can help:\n\n"
                "| rows | measured | bare | error | fitted | error | fp16 rate 2.92 | error | fitted | error |\n"
                "|---|---|---|---|---|---|---|---|---|---|\n");
  add_ratio(v, "V18", "V19", out);
  add_ratio(v, "V20", "V19", out);
  text_add(out,
           "\n## What each open choice is worth\n\nOne choice changed at a time, the plan chosen anew for each.\n\n");
  add_choices(v, out);
  text_add(out, "\n## Where the model of training is coarse\n\n");
  text_add(out, coarse);
}

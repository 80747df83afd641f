// The parts of a report about the modelled step: where its time goes, the plan on the wafer, what would
// change it, and what of the machine is assumed.
#include "runtime/report_parts.h"
#include "model/graph/graph_count.h"
#include "runtime/picture_step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_UNITS = 940 };

static step_parts parts_of(const step_sim *s) {
  return (step_parts){&s->plan, &s->machine, &s->program, &s->result};
}

// --- the step

// The n-th run of consecutive phases of a layer; false where there are fewer.
static bool find_block(const program *g, u32 layer, u32 which, u32 *ret_first, u32 *ret_count) {
  for (u32 i = 0; i < g->phase_count;) {
    const u32 start = i;
    while (i < g->phase_count && g->phases[i].layer == g->phases[start].layer) i++;
    if (g->phases[start].layer != layer) continue;
    if (which-- > 0) continue;
    *ret_first = start;
    *ret_count = i - start;
    return true;
  }
  return false;
}

static void block_add(report_page *p, u32 which, const char *words) {
  const step_parts parts = parts_of(p->sim);
  const u32 layer = p->sim->graph.model.layers / 2;
  timeline t = {.w = PAGE_UNITS};
  if (!find_block(&p->sim->program, layer, which, &t.first_phase, &t.phase_count) || t.phase_count < 2) return;
  t.title = arena_format(p->memory, "Layer %u of %u, %s", layer, p->sim->graph.model.layers, words);
  picture drawn;
  picture_timeline(&drawn, p->memory, &parts, &t);
  html_words(p->out, "h3", t.title);
  html_picture(p->out, &drawn, NULL);
}

static void resources_add(report_page *p) {
  const engine_result *r = &p->sim->result;
  const char *const columns[] = {"resource", "cycles that it bounds", "share of the step"};
  html_table(p->out, columns, 3);
  for (u32 i = 0; i < RESOURCE_COUNT; i++) {
    if (!(r->by_resource[i] > 0)) continue;
    html_row(p->out,
             (const char *const[]){engine_resource_name(i), report_si(p->memory, r->by_resource[i], ""),
                                   report_share(p->memory, r->by_resource[i] / r->cycles)},
             3);
  }
  html_table_end(p->out);
}

// The bottleneck as a sentence of its own.
static const char *bottleneck_sentence(const report_page *p) {
  const char *words = p->sim->bottleneck;
  if (!words[0]) return NULL;
  char *sentence = arena_format(p->memory, "%s.", words);
  if (sentence[0] >= 'a' && sentence[0] <= 'z') sentence[0] = (char)(sentence[0] - 'a' + 'A');
  return sentence;
}

void report_step(report_page *p) {
  const step_sim *s = p->sim;
  const step_parts parts = parts_of(s);
  picture drawn;
  html_section(p->out, "Where the modelled step's time goes", bottleneck_sentence(p));
  picture_step_cycles(&drawn, p->memory, &parts, PAGE_UNITS);
  html_picture(p->out, &drawn,
               "Cycles by resource; below, each phase family, coloured by what takes most of each of its phases.");
  resources_add(p);
  html_section_end(p->out);
  html_section(p->out, "Timeline", NULL);
  const timeline whole = {.w = PAGE_UNITS};
  picture_timeline(&drawn, p->memory, &parts, &whole);
  html_picture(p->out, &drawn,
               s->plan.microbatches > 1
                   ? arena_format(p->memory, "The first of %u microbatches, coloured by what bounds each phase.",
                                  s->plan.microbatches)
                   : "The step, coloured by what bounds each phase.");
  block_add(p, 0, "forward");
  block_add(p, 1, "backward");
  html_section_end(p->out);
}

// --- the plan

static const char *stated(arena *a, u32 value, const char *chosen) {
  return value ? arena_format(a, "%u, stated", value) : chosen;
}

static void decisions_add(report_page *p) {
  const plan *d = &p->sim->plan;
  const plan_options *o = &d->options;
  arena *a = p->memory;
  const bool policy_stated = o->activations != POLICY_AUTO;
  html_table(p->out, NULL, 2);
  if (o->mode == PLAN_PIPELINED) {
    html_fact(p->out, "mode", "layers side by side, weights on the wafer");
    html_fact(p->out, "kernels", report_count(a, d->pipeline.count));
    html_fact(p->out, "period", arena_format(a, "%.5g cycles a token; %s", d->pipeline.period_cycles, d->limit));
    html_fact(p->out, "estimate when chosen",
              arena_format(a, "%s cycles a step", report_si(a, d->estimate_cycles, "")));
    html_table_end(p->out);
    return;
  }
  html_fact(p->out, "microbatch", stated(a, o->microbatch, arena_format(a, "%u sequences, chosen", d->microbatch)));
  html_fact(p->out, "microbatches in a step", report_count(a, d->microbatches));
  html_fact(p->out, "column groups", stated(a, o->replicas, arena_format(a, "%u, chosen", d->tiles.replicas)));
  html_fact(p->out, "activations for backward",
            arena_format(a, "%s, %s; kept: %s", plan_policy_name(d->policy), policy_stated ? "stated" : "chosen",
                         d->policy == POLICY_RESIDENT ? "all" : plan_kept_name(d->kept)));
  html_fact(p->out, "local AXPY accumulates in", d->axpy == AXPY_FP16 ? "fp16" : "fp32");
  html_fact(p->out, "estimate when chosen", arena_format(a, "%s cycles a step", report_si(a, d->estimate_cycles, "")));
  if (d->largest_microbatch)
    html_fact(p->out, "largest microbatch",
              arena_format(a, "%u%s%s", d->largest_microbatch, d->limit[0] ? "; beyond it " : "", d->limit));
  html_table_end(p->out);
}

static void model_add(report_page *p) {
  const graph *g = &p->sim->graph;
  const graph_counts n = graph_count(g);
  arena *a = p->memory;
  html_fold(p->out, "The model that is mapped");
  html_table(p->out, NULL, 2);
  html_fact(p->out, "shape",
            arena_format(a, "%u layers, width %u, %u heads, MLP %u, vocabulary %u, %u tokens a sequence",
                         g->model.layers, g->model.width, g->model.heads, model_hidden_width(&g->model), g->model.vocab,
                         g->seq));
  html_fact(p->out, "parameters", picture_count(a, n.params));
  html_fact(p->out, "FLOPs per token, causal attention", report_si(a, n.flops_causal, ""));
  html_fact(p->out, "FLOPs per token, 6 x parameters", report_si(a, n.flops_6p, ""));
  html_table_end(p->out);
  html_fold_end(p->out);
}

void report_layout(report_page *p) {
  const step_sim *s = p->sim;
  const step_parts parts = parts_of(s);
  picture drawn;
  html_section(p->out, "The plan on the wafer", NULL);
  picture_wafer(&drawn, p->memory, &parts, PAGE_UNITS);
  html_picture(p->out, &drawn,
               "The usable rectangle to scale. A band is a slot for one sequence, or for a few where slots are thin.");
  decisions_add(p);
  model_add(p);
  html_section_end(p->out);
  const char *peak =
      s->plan.memory.peak_node[0] ? arena_format(p->memory, "It is fullest at %s.", s->plan.memory.peak_node) : NULL;
  html_section(p->out, "Memory of the fullest PE", peak);
  picture_step_memory(&drawn, p->memory, &s->plan, PAGE_UNITS);
  html_picture(p->out, &drawn, NULL);
  html_section_end(p->out);
}

// --- sensitivity

static const char *knob_words(const char *name) {
  static const char *const words[][2] = {{"clock", "clock 10 % faster"},
                                         {"rate", "multiply-add rates 10 % higher"},
                                         {"axpy_issue_cycles", "issue of an AXPY 10 % dearer"},
                                         {"edge_io", "edge I/O 10 % faster"},
                                         {"memoryx", "MemoryX 10 % faster"},
                                         {"hop", "a hop 10 % dearer"}};
  for (u32 i = 0; i < COUNT_OF(words); i++)
    if (strcmp(words[i][0], name) == 0) return words[i][1];
  return name;
}

void report_sensitivity(report_page *p) {
  if (!p->sim->has_sensitivity) return;
  double most = 1e-9;
  for (u32 i = 0; i < STEP_SENSITIVITIES; i++) most = fmax(most, fabs(p->sim->sensitivity[i].throughput));
  html_section(p->out, "What would change it",
               "Throughput when one number of the machine changes by 10 % and the plan stays.");
  html_table(p->out, NULL, 3);
  for (u32 i = 0; i < STEP_SENSITIVITIES; i++) {
    const step_sensitivity *s = &p->sim->sensitivity[i];
    text_add(p->out, "<tr><td>");
    picture_escape(p->out, knob_words(s->name));
    text_format(p->out, "</td><td>%+.2f %%</td><td><span class=\"bar %s\" style=\"width:%.0fpx\"></span></td></tr>\n",
                100 * s->throughput, s->throughput < 0 ? "less" : "more", fmax(1, 240 * fabs(s->throughput) / most));
  }
  html_table_end(p->out);
  html_section_end(p->out);
}

// --- assumptions

bool report_machine_notes(const report_page *p, config *ret_config, machine_spec *ret_spec) {
  const char *name = p->sim ? p->sim->machine.spec.preset : p->row.facts.machine;
  if (!name || !name[0]) return false;
  status st = {0}; // a preset that is gone since is no failure of the report
  config_init(ret_config, p->memory);
  config_bind(ret_config, &machine_table, ret_spec);
  return machine_preset(ret_config, name, &st);
}

static const char *value_text(arena *a, const field *f, const machine_spec *spec) {
  text out = {0};
  field_format(f, spec, &out);
  const char *words = arena_text(a, text_get(&out));
  text_free(&out);
  return words;
}

void report_assumptions(report_page *p) {
  config notes;
  machine_spec spec;
  if (!report_machine_notes(p, &notes, &spec)) return;
  const machine_spec *used = p->sim ? &p->sim->machine.spec : &spec;
  html_section(p->out, "What is assumed of the machine",
               "Numbers that nobody has published or that were stated for this run; all others carry a published "
               "source (see the parameters).");
  const char *const columns[] = {"number", "value", "why", "what it is"};
  html_table(p->out, columns, 4);
  for (u32 i = 0; i < machine_table.count; i++) {
    const field *f = &machine_table.fields[i];
    if (f->type == FIELD_TEXT) continue;
    const char *source = config_note(&notes, arena_format(p->memory, "machine.%s", f->key))->source;
    const char *value = value_text(p->memory, f, used), *published = value_text(p->memory, f, &spec);
    const bool own = strcmp(value, published) != 0;
    if (own)
      source = arena_format(p->memory, "stated for this run; the machine's is %s (%s)", published,
                            source ? source : "default");
    else if (!source)
      source = "default, no source given";
    if (own || text_starts(source, "ASSUMED") || text_starts(source, "CALIBRATED") || text_starts(source, "default"))
      html_row(p->out, (const char *const[]){f->key, value, source, f->sentence}, 4);
  }
  html_table_end(p->out);
  html_section_end(p->out);
}

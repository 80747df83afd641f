// weft map: how a step is laid onto the wafer, what limits it, and the largest microbatch that fits.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/picture_step.h"
#include "runtime/run_data.h"
#include "runtime/validation.h"

#include <string.h>

static json_t *memory_json(const plan_memory *m) {
  return json_pack("{s:I,s:I,s:I,s:I,s:I,s:s}", "code_bytes", (json_int_t)m->code_bytes, "activation_bytes",
                   (json_int_t)m->activation_bytes, "buffer_bytes", (json_int_t)m->buffer_bytes, "total_bytes",
                   (json_int_t)m->total_bytes, "limit_bytes", (json_int_t)m->limit_bytes, "peak", m->peak_node);
}

static json_t *kernels_json(const step_sim *s) {
  json_t *list = json_array();
  for (u32 i = 0; i < s->plan.pipeline.count; i++) {
    const plan_kernel *k = &s->plan.pipeline.kernels[i];
    json_array_append_new(list,
                          json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:I}", "name", s->graph.nodes[k->node].name, "pes",
                                    (json_int_t)k->width * k->height, "x", (json_int_t)k->x, "y", (json_int_t)k->y,
                                    "width", (json_int_t)k->width, "height", (json_int_t)k->height, "cycles_per_token",
                                    output_real(k->token_cycles), "sram_bytes", (json_int_t)k->sram_bytes));
  }
  return list;
}

static void print_json(const run_spec *r, const step_sim *s) {
  const plan *p = &s->plan;
  const plan_tiles *t = &p->tiles;
  json_t *d = output_document("map");
  json_object_set_new(d, "machine", json_string(r->machine.preset));
  bool pipelined = p->options.mode == PLAN_PIPELINED;
  json_object_set_new(d, "mode", json_string(pipelined ? "pipelined" : "streaming"));
  json_object_set_new(d, "systems", json_integer(p->systems));
  json_object_set_new(d, "microbatch", json_integer(p->microbatch));
  json_object_set_new(d, "microbatches", json_integer(p->microbatches));
  json_object_set_new(d, "activations", json_string(plan_policy_name(p->policy)));
  if (pipelined)
    json_object_set_new(d, "kernels", kernels_json(s));
  else
    json_object_set_new(d, "kept", json_string(plan_kept_name(p->kept)));
  json_object_set_new(d, "tiles",
                      json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:b}", "replicas",
                                (json_int_t)t->replicas, "group_width", (json_int_t)t->group_width, "seq_rows",
                                (json_int_t)t->seq_rows, "row_seqs", (json_int_t)t->row_seqs, "slots",
                                (json_int_t)t->slots, "rows", (json_int_t)t->rows, "tokens_max",
                                (json_int_t)t->tokens_max, "features_max", (json_int_t)t->features_max, "hidden_max",
                                (json_int_t)t->hidden_max, "head_pes", (json_int_t)t->head_pes, "heads_aligned",
                                t->heads_aligned, "interleaved", t->interleaved, "transposed", t->transposed));
  json_object_set_new(d, "memory", memory_json(&p->memory));
  json_object_set_new(d, "largest_microbatch", json_integer(p->largest_microbatch));
  json_object_set_new(d, "limit", json_string(p->limit));
  json_object_set_new(d, "estimate_cycles", output_real(p->estimate_cycles));
  json_object_set_new(d, "bottleneck", json_string(s->bottleneck));
  json_object_set_new(d, "error_band", json_string(s->error_band));
  json_object_set_new(d, "phases", json_integer(s->program.phase_count));
  output_json(d);
}

static bool print_part(const char *what, const step_sim *s, status *st) {
  text page = {0};
  if (strcmp(what, "plan") == 0)
    plan_print(&s->plan, &s->graph, &page);
  else if (strcmp(what, "program") == 0)
    program_print(&s->program, &page);
  else if (strcmp(what, "graph") == 0)
    graph_print(&s->graph, &page);
  else
    return status_fail(st, CODE_USAGE, "map: --print %s: it can be plan, program or graph", what);
  output_text(text_get(&page));
  text_free(&page);
  return true;
}

static bool draw(const step_sim *s, const char *path, arena *a, status *st) {
  const step_parts parts = {&s->plan, &s->machine, &s->program, &s->result};
  picture p;
  picture_wafer(&p, a, &parts, 960);
  return picture_save(&p, path, st);
}

// Searches all that differs, beside the plan that is taken without a search.
static bool search(const run_spec *r, const step_sim *s, arena *a, status *st) {
  enum { SHOWN = 10 };
  plan_options o = r->plan;
  o.search = true;
  plan_trials trials = {.memory = a};
  plan best;
  plan_request q = {.graph = &s->graph,
                    .machine = &s->machine,
                    .options = &o,
                    .engine = flow_engine(),
                    .batch = r->train.batch,
                    .systems = r->top.systems,
                    .trials = &trials};
  if (!plan_build(&q, a, &best, st)) return false;
  text page = {0};
  plan_trials_print(&trials, SHOWN, &page);
  text_format(&page, "\nThe best plan found:\n");
  plan_print(&best, &s->graph, &page);
  output_text(text_get(&page));
  text_free(&page);
  output_format(
      "  gain         %.1f%% over the plan that is taken without a search; plan.search: true takes this one\n",
      100 * (s->plan.estimate_cycles / best.estimate_cycles - 1));
  output_format("  error band   %s\n", s->error_band);
  return true;
}

static bool run(const command_call *c, status *st) {
  const char *svg = command_value(c, "svg"), *part = command_value(c, "print");
  if (part && command_flag(c, "json"))
    return status_fail(st, CODE_USAGE, "map: --print %.40s is text and --json a document of its own; choose one", part);
  if (command_flag(c, "search") && (part || svg || command_flag(c, "json")))
    return status_fail(st, CODE_USAGE, "map: --search prints tables; without --json, --print and --svg");
  run_spec *r = arena_array(c->memory, run_spec, 1);
  step_sim *s = arena_array(c->memory, step_sim, 1);
  if (!command_run_spec(c, command_argument(c, 0), r, st) || !run_data_vocab(r, c->memory, st)) return false;
  if (command_flag(c, "search") && r->engine.name != ENGINE_FLOW)
    return status_fail(st, CODE_CONFIG, "engine.name: --search compares plans of engine.name=flow");
  if (!step_sim_run(r, false, c->memory, s, st)) return false;
  if (!validation_band(r, c->memory, s, st)) return false;
  if (command_flag(c, "search")) return search(r, s, c->memory, st);
  if (svg && !draw(s, svg, c->memory, st)) return false;
  if (command_flag(c, "json")) {
    print_json(r, s);
    return true;
  }
  if (!print_part(part ? part : "plan", s, st)) return false;
  if (!part) output_format("  bottleneck   %s\n  error band   %s\n", s->bottleneck, s->error_band);
  if (svg) output_format("  picture      %s\n", svg);
  return true;
}

static const command_option options[] = {
    {"svg", "FILE", "draw the layout (.svg or .png)", NULL},
    {"search", NULL, "try every combination; the best plans, what limits each, and why the others lost", NULL},
    {"print", "plan|program|graph", "the link of the chain to print (default: plan)", NULL},
};

const command cmd_map = {
    .name = "map",
    .arguments = "[run.yaml]",
    .sentence = "how a step is laid onto the wafer, and what limits it",
    .examples = {{"weft map --model gpt3-6.7b --machine cs2 --set train.batch=256 --set train.seq=2048",
                  "the plan, the largest microbatch, what runs out first"},
                 {"weft map --model gpt3-6.7b --set train.batch=256 --set train.seq=2048 --svg layout.svg",
                  "the same as a picture"}},
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_RUN | COMMAND_JSON,
    .arguments_max = 1,
    .run = run,
};

// weft simulate: one training step on the modelled machine, without training anything.
#include "runtime/check_numbers.h"
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/picture_maps.h"
#include "runtime/run_data.h"
#include "runtime/step_record.h"
#include "runtime/validation.h"

static json_t *counts_json(const sim_counts *n) {
  return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "wavelets", (json_int_t)n->wavelets, "hops", (json_int_t)n->hops,
                   "macs", (json_int_t)n->macs, "sram_read_bytes", (json_int_t)n->sram_read_bytes, "sram_write_bytes",
                   (json_int_t)n->sram_write_bytes, "tasks", (json_int_t)n->tasks);
}

static json_t *resources_json(const step_sim *s) {
  json_t *o = json_object();
  for (u32 i = 0; i < RESOURCE_COUNT; i++)
    json_object_set_new(o, engine_resource_name(i), output_real(s->result.by_resource[i]));
  return o;
}

static json_t *families_json(const step_sim *s) {
  double cycles[FAMILY_COUNT] = {0};
  for (u32 i = 0; i < s->program.phase_count; i++) cycles[s->program.phases[i].family] += s->result.by_phase[i];
  json_t *o = json_object();
  for (u32 i = 0; i < FAMILY_COUNT; i++) json_object_set_new(o, phase_family_name(i), output_real(cycles[i]));
  return o;
}

// run 0: it was not recorded.
static void print_json(const run_spec *r, const step_sim *s, u64 run) {
  json_t *d = output_document("simulate");
  json_object_set_new(d, "machine", json_string(r->machine.preset));
  json_object_set_new(d, "model", json_string(r->model.preset));
  json_object_set_new(d, "engine", json_string(s->engine));
  json_object_set_new(d, "cycles_per_step", output_real(s->result.cycles));
  json_object_set_new(d, "step_s", output_real(s->step_s));
  json_object_set_new(d, "tokens_per_s", output_real(s->tokens_per_s));
  json_object_set_new(d, "samples_per_s", output_real(s->samples_per_s));
  json_object_set_new(d, "utilization", output_real(s->utilization));
  json_object_set_new(d, "mac_per_cycle_per_pe", output_real(s->mac_per_cycle_per_pe));
  json_object_set_new(d, "joules_per_step", output_real(s->joules_per_step));
  const step_energy *e = &s->energy;
  json_object_set_new(d, "joules_from_counts",
                      json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "total", output_real(e->total), "mac", output_real(e->mac),
                                "sram", output_real(e->sram), "wires", output_real(e->wire), "edge", output_real(e->io),
                                "idle", output_real(e->idle)));
  json_object_set_new(d, "bottleneck", json_string(s->bottleneck));
  json_object_set_new(d, "error_band", json_string(s->error_band));
  json_t *sensitivity = json_object();
  for (u32 i = 0; i < STEP_SENSITIVITIES && s->has_sensitivity; i++)
    json_object_set_new(sensitivity, s->sensitivity[i].name, output_real(s->sensitivity[i].throughput));
  json_object_set_new(d, "sensitivity", sensitivity);
  if (r->train.tokens) {
    json_object_set_new(d, "time_to_train_s", output_real(s->time_to_train_s));
    json_object_set_new(d, "energy_to_train_j", output_real(s->energy_to_train_j));
  }
  json_object_set_new(d, "systems", json_integer(s->plan.systems));
  json_object_set_new(d, "pes_used", json_integer(s->result.pes_used));
  json_object_set_new(d, "sram_peak_bytes", json_integer(s->result.sram_peak_bytes));
  bool pipelined = s->plan.options.mode == PLAN_PIPELINED;
  json_object_set_new(d, "mode", json_string(pipelined ? "pipelined" : "streaming"));
  json_object_set_new(d, "microbatch", json_integer(s->plan.microbatch));
  json_object_set_new(d, "microbatches", json_integer(s->plan.microbatches));
  json_object_set_new(d, "replicas", json_integer(s->plan.tiles.replicas));
  json_object_set_new(d, "activations", json_string(plan_policy_name(s->plan.policy)));
  if (!pipelined) json_object_set_new(d, "kept", json_string(plan_kept_name(s->plan.kept)));
  json_object_set_new(d, "counts", counts_json(&s->result.counts));
  json_object_set_new(d, "cycles_by_resource", resources_json(s));
  json_object_set_new(d, "cycles_by_family", families_json(s));
  json_object_set_new(d, "wall_s", output_real(s->wall_s));
  if (run) json_object_set_new(d, "run_id", json_integer((json_int_t)run));
  output_json(d);
}

static void print_layout(const step_sim *s) {
  char a[64];
  if (s->plan.options.mode == PLAN_PIPELINED)
    output_format(
        "  pipeline      %u kernels on %u PEs, %.4g cycles a token, activations %s; %s of SRAM in the fullest\n",
        s->plan.pipeline.count, s->result.pes_used, s->plan.pipeline.period_cycles, plan_policy_name(s->plan.policy),
        text_bytes(s->result.sram_peak_bytes, a, sizeof a));
  else
    output_format("  microbatch    %u x %u, %u replicas, activations %s; %u PEs, %s of SRAM in the fullest\n",
                  s->plan.microbatches, s->plan.microbatch, s->plan.tiles.replicas, plan_policy_name(s->plan.policy),
                  s->result.pes_used, text_bytes(s->result.sram_peak_bytes, a, sizeof a));
}

static void print_page(const run_spec *r, const step_sim *s) {
  char a[64], b[64], e[64];
  output_format("one step of %u sequences x %u tokens on %u x %s, modelled by %s\n", r->train.batch, r->train.seq,
                s->plan.systems, r->machine.preset, s->engine);
  output_format("  time          %s (%.4g cycles)\n", text_si(s->step_s, "s", a, sizeof a), s->result.cycles);
  output_format("  throughput    %s, %.4g samples/s\n", text_si(s->tokens_per_s, "tokens/s", a, sizeof a),
                s->samples_per_s);
  output_format("  utilization   %.1f%% of the dense fp16 peak (%s); %.3g MAC per cycle and PE\n", 100 * s->utilization,
                text_si(s->machine.peak_flops * s->plan.systems, "FLOP/s", b, sizeof b), s->mac_per_cycle_per_pe);
  output_format(
      "  energy        %s a step (power x time); %s from counts and ASSUMED energies: idle %.0f%%, memory %.0f%%, "
      "wires %.0f%%, multiply-adds %.0f%%, edge %.0f%%\n",
      text_si(s->joules_per_step, "J", a, sizeof a), text_si(s->energy.total, "J", b, sizeof b),
      100 * s->energy.idle / s->energy.total, 100 * s->energy.sram / s->energy.total,
      100 * s->energy.wire / s->energy.total, 100 * s->energy.mac / s->energy.total,
      100 * s->energy.io / s->energy.total);
  print_layout(s);
  output_format("  bottleneck    %s\n", s->bottleneck);
  if (s->has_sensitivity) output_text("  throughput per +10% of");
  for (u32 i = 0; i < STEP_SENSITIVITIES && s->has_sensitivity; i++)
    output_format("%s %s %+.1f%%", i ? "," : "", s->sensitivity[i].name, 100 * s->sensitivity[i].throughput);
  output_format("%s  error band    %s\n", s->has_sensitivity ? "\n" : "", s->error_band);
  if (r->train.tokens)
    output_format("  whole training of %s: %s, %s\n", text_si((double)r->train.tokens, "tokens", a, sizeof a),
                  text_duration(s->time_to_train_s, b, sizeof b), text_si(s->energy_to_train_j, "J", e, sizeof e));
  output_format("  simulated in  %s on this host\n", text_si(s->wall_s, "s", a, sizeof a));
}

// ---- the fabric's numbers beside the host's

static void print_numbers(const number_check *n) {
  output_format("%-28s %-28s %s\n", "tensor", "made by", "deviation of its largest");
  for (u32 i = 0; i < n->row_count; i++)
    output_format("%-28s %-28s %.2e%s\n", n->rows[i].tensor, n->rows[i].node, n->rows[i].deviation,
                  n->rows[i].pass ? "" : "  DIFFERS");
  output_format("loss %.7g on the fabric, %.7g on the host; %u tensors, limit %.2e\n", n->loss, n->loss_backend,
                n->row_count, n->limit);
}

static void print_numbers_json(const number_check *n) {
  json_t *d = output_document("check-numbers"), *rows = json_array();
  for (u32 i = 0; i < n->row_count; i++)
    json_array_append_new(rows, json_pack("{s:s,s:s,s:o,s:b}", "tensor", n->rows[i].tensor, "node", n->rows[i].node,
                                          "deviation", output_real(n->rows[i].deviation), "pass", n->rows[i].pass));
  json_object_set_new(d, "loss", output_real(n->loss));
  json_object_set_new(d, "loss_host", output_real(n->loss_backend));
  json_object_set_new(d, "limit", output_real(n->limit));
  json_object_set_new(d, "cycles", json_integer((json_int_t)n->cycles));
  json_object_set_new(d, "pass", json_boolean(!n->first));
  json_object_set_new(d, "tensors", rows);
  output_json(d);
}

static bool compare_numbers(const command_call *c, const run_spec *r, status *st) {
  number_check n;
  if (r->engine.name != ENGINE_FABRIC)
    return status_fail(st, CODE_USAGE, "--check-numbers: only engine.name=fabric has numbers to check");
  if (!check_numbers(r, NULL, c->memory, &n, st)) return false;
  if (command_flag(c, "json"))
    print_numbers_json(&n);
  else
    print_numbers(&n);
  return !n.first ||
         status_fail(st, CODE_CHECK, "%s, made by %s, is %.2e of its largest away from the host's, more than %.2e",
                     n.first->tensor, n.first->node, n.first->deviation, n.limit);
}

static bool draw_maps(const step_sim *s, const char *path, arena *a, status *st) {
  picture p;
  picture_maps(&p, a, s->fabric, 960);
  return picture_save(&p, path, st);
}

static bool run(const command_call *c, status *st) {
  run_spec *r = arena_array(c->memory, run_spec, 1);
  step_sim *s = arena_array(c->memory, step_sim, 1);
  if (!command_run_spec(c, command_argument(c, 0), r, st) || !run_data_vocab(r, c->memory, st)) return false;
  const char *maps = command_value(c, "maps"), *trace = command_value(c, "trace");
  if (command_flag(c, "check-numbers")) return compare_numbers(c, r, st);
  if (maps && r->engine.name != ENGINE_FABRIC)
    return status_fail(st, CODE_USAGE,
                       "--maps: only engine.name=fabric knows what each PE does; weft map --svg draws "
                       "the plan");
  bool ok = step_sim_run(r, true, c->memory, s, st) && validation_band(r, c->memory, s, st);
  if (!ok) return false;
  u64 id = 0;
  if (command_value(c, "db") && !step_record(r, s, c->memory, &id, st)) return false;
  if (trace && !step_sim_trace(s, trace, st)) return false;
  if (maps && !draw_maps(s, maps, c->memory, st)) return false;
  if (command_flag(c, "json"))
    print_json(r, s, id);
  else
    print_page(r, s);
  if (id && !command_flag(c, "json"))
    output_format("  run           %llu in %s\n", (unsigned long long)id, r->record.db);
  if (trace && !command_flag(c, "json")) output_format("  trace         %s (open in ui.perfetto.dev)\n", trace);
  if (maps && !command_flag(c, "json")) output_format("  maps          %s\n", maps);
  return true;
}

static const command_option options[] = {
    {"check-numbers", NULL, "engine.name=fabric: every activation and gradient of a step beside the host's", NULL},
    {"maps", "FILE", "engine.name=fabric: draw links, datapaths and memory over the grid (.svg or .png)", NULL},
    {"trace", "FILE.pftrace", "write the step as a trace that Perfetto opens", NULL},
};

const command cmd_simulate = {
    .name = "simulate",
    .arguments = "[run.yaml]",
    .sentence = "one training step on the modelled machine",
    .examples = {{"weft simulate --model gpt3-6.7b --machine cs2 --set train.batch=256 --set train.seq=2048",
                  "throughput, bottleneck, sensitivities"},
                 {"weft simulate --model gpt3-13b --set train.batch=512 --set train.seq=2048 --set train.tokens=257G",
                  "and the time and energy of a whole training"}},
    .details = "With --db the step is recorded as a run; without it nothing is written.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_RUN | COMMAND_DB | COMMAND_JSON,
    .arguments_max = 1,
    .run = run,
};

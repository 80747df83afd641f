// Rows about a configuration and its modelled step, and the whole row of a simulation.
#include "runtime/step_record.h"

#include "runtime/run_data.h"

#ifndef WEFT_VERSION
#define WEFT_VERSION "0.0.0"
#endif

static const char *stated(const char *word) {
  return word[0] ? word : NULL;
}

run_facts step_facts(const run_spec *r, const step_sim *s, arena *a) {
  text yaml = {0};
  run_spec_print(r, true, &yaml);
  run_facts f = run_facts_none();
  f.name = stated(r->record.name);
  f.experiment = stated(r->record.experiment);
  f.config = arena_text(a, text_get(&yaml));
  f.config_hash = run_spec_hash(r);
  f.graph_hash = graph_hash(&s->graph);
  f.machine = r->machine.preset[0] ? r->machine.preset : "machine";
  f.machine_hash = machine_hash(&s->machine);
  f.plan_hash = plan_hash(&s->plan);
  f.program_hash = program_hash(&s->program);
  f.seed = r->top.seed;
  f.threads = run_threads(r);
  f.weft_version = WEFT_VERSION;
  text_free(&yaml);
  return f;
}

run_results step_results(const run_spec *r, const step_sim *s) {
  run_results out = run_results_none();
  out.model_tokens_per_s = s->tokens_per_s;
  out.samples_per_s = s->samples_per_s;
  out.cycles_per_step = s->result.cycles;
  out.step_s = s->step_s;
  out.joules_per_step = s->joules_per_step;
  out.utilization = s->utilization;
  out.mac_per_cycle_per_pe = s->mac_per_cycle_per_pe;
  if (s->time_to_train_s > 0) {
    out.time_to_train_s = s->time_to_train_s;
    out.energy_to_train_j = s->energy_to_train_j;
  }
  out.systems = r->top.systems;
  out.microbatch = s->plan.microbatch;
  out.pes_used = s->result.pes_used;
  out.sram_peak_bytes = s->result.sram_peak_bytes;
  out.wavelets = (i64)s->result.counts.wavelets;
  out.hops = (i64)s->result.counts.hops;
  out.macs = (i64)s->result.counts.macs;
  out.engine = s->engine;
  out.bottleneck = s->bottleneck;
  return out;
}

// ---- values and their origins

static u32 field_total(const config *c) {
  u32 count = 0;
  for (u32 i = 0; i < c->count; i++) count += c->sections[i].table->count;
  return count;
}

bool step_record_params(run_db *db, u64 run, const run_spec *r, arena *a, status *st) {
  const config *c = &r->config;
  run_param *params = arena_array(a, run_param, field_total(c));
  u32 count = 0;
  for (u32 i = 0; i < c->count; i++) {
    const config_section *s = &c->sections[i];
    const char *dot = s->table->name[0] ? "." : "";
    for (u32 k = 0; k < s->table->count; k++) {
      text value = {0};
      field_format(&s->table->fields[k], s->spec, &value);
      params[count++] = (run_param){
          .key = arena_format(a, "%s%s%s", s->table->name, dot, s->table->fields[k].key),
          .value = arena_text(a, text_get(&value)),
          .origin = s->notes[k].origin,
      };
      text_free(&value);
    }
  }
  return run_db_set_params(db, run, params, count, st);
}

// ---- the modelled step

static bool record_maps(run_db *db, u64 run, const step_fabric *f, status *st) {
  bool ok = true;
  for (u32 i = 0; f && i < STEP_MAPS && ok; i++) {
    const step_map *m = &f->maps[i];
    ok = run_db_set_map(db, run, &(run_map){m->name, m->unit, f->width, f->height, m->values}, st);
  }
  return ok;
}

bool step_record_phases(run_db *db, u64 run, const step_sim *s, arena *a, status *st) {
  const engine_result *result = &s->result;
  run_phase *phases = arena_array(a, run_phase, result->span_count + 1);
  for (u32 i = 0; i < result->span_count; i++) {
    const program_phase *p = &s->program.phases[i];
    const engine_span *span = &result->spans[i];
    phases[i] = (run_phase){
        .name = p->origin,
        .layer = p->layer == UINT32_MAX ? p->origin : arena_format(a, "h%u", p->layer),
        .start_cycle = (u64)span->start_cycle,
        .end_cycle = (u64)span->end_cycle,
        .bound_by = engine_resource_name(span->resource),
    };
  }
  return run_db_set_phases(db, run, phases, result->span_count, st) && record_maps(db, run, s->fabric, st);
}

bool step_record(const run_spec *r, const step_sim *s, arena *a, u64 *ret_run, status *st) {
  run_db *db = run_db_open(r->record.db, st);
  if (!db) return false;
  run_facts facts = step_facts(r, s, a);
  run_results results = step_results(r, s);
  facts.command = "simulate";
  results.wall_s = s->wall_s;
  bool ok = run_db_start(db, &facts, ret_run, st) && step_record_params(db, *ret_run, r, a, st) &&
            step_record_phases(db, *ret_run, s, a, st) && run_db_set_results(db, *ret_run, &results, st) &&
            run_db_finish(db, *ret_run, RUN_FINISHED, NULL, st);
  ok = run_db_close(db, st) && ok;
  return ok;
}

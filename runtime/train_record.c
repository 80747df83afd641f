// Rows of a training run: facts, values and their origins, the modelled step, results, files.
#include "runtime/train_record.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef WEFT_VERSION
#define WEFT_VERSION "0.0.0"
#endif

static const char *machine_name(const run_spec *r) {
  return r->machine.preset[0] ? r->machine.preset : "machine";
}

run_facts train_facts(const train_run *t, arena *a) {
  const run_spec *r = t->spec;
  text yaml = {0};
  run_spec_print(r, true, &yaml);
  run_facts f = run_facts_none();
  f.name = r->record.name[0] ? r->record.name : NULL;
  f.command = "train";
  f.config = arena_text(a, text_get(&yaml));
  f.config_hash = run_spec_hash(r);
  f.data = arena_format(a, "%s: %llu tokens to train on, %llu held out", run_data_name(r),
                        (unsigned long long)t->data.train_count, (unsigned long long)t->data.held_count);
  f.data_hash = t->data.hash;
  f.graph_hash = graph_hash(&t->sim.graph);
  f.machine = machine_name(r);
  f.machine_hash = machine_hash(&t->sim.machine);
  f.plan_hash = plan_hash(&t->sim.plan);
  f.program_hash = program_hash(&t->sim.program);
  f.seed = r->top.seed;
  f.threads = run_threads(r);
  f.weft_version = WEFT_VERSION;
  text_free(&yaml);
  return f;
}

// ---- values and their origins

static u32 field_total(const config *c) {
  u32 count = 0;
  for (u32 i = 0; i < c->count; i++) count += c->sections[i].table->count;
  return count;
}

static bool record_params(const train_run *t, arena *a, status *st) {
  const config *c = &t->spec->config;
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
  return run_db_set_params(t->db, t->id, params, count, st);
}

// ---- the modelled step

static bool record_phases(const train_run *t, arena *a, status *st) {
  const engine_result *result = &t->sim.result;
  run_phase *phases = arena_array(a, run_phase, result->span_count + 1);
  for (u32 i = 0; i < result->span_count; i++) {
    const program_phase *p = &t->sim.program.phases[i];
    const engine_span *s = &result->spans[i];
    phases[i] = (run_phase){
        .name = p->origin,
        .layer = p->layer == UINT32_MAX ? p->origin : arena_format(a, "h%u", p->layer),
        .start_cycle = (u64)s->start_cycle,
        .end_cycle = (u64)s->end_cycle,
        .bound_by = engine_resource_name(s->resource),
    };
  }
  return run_db_set_phases(t->db, t->id, phases, result->span_count, st);
}

bool train_record_model(train_run *t, status *st) {
  arena *a = arena_create("record");
  // A resumed run keeps the origins that it was started with.
  const run_param *known;
  u32 count = 0;
  const bool ok = run_db_params(t->db, t->id, a, &known, &count, st) && (count || record_params(t, a, st)) &&
                  record_phases(t, a, st) && train_record_results(t, st);
  arena_destroy(a);
  return ok;
}

bool train_record_results(train_run *t, status *st) {
  const step_sim *s = &t->sim;
  run_results r = run_results_none();
  r.steps = (i64)t->steps_done;
  r.tokens = (i64)(t->steps_done * t->spec->train.batch * t->spec->train.seq);
  r.loss_first = t->loss_first;
  r.loss_last = t->loss_last;
  r.val_loss = t->val_loss;
  r.wall_s = t->wall_s;
  r.host_tokens_per_s = t->host_tokens_per_s;
  r.model_tokens_per_s = s->tokens_per_s;
  r.samples_per_s = s->samples_per_s;
  r.cycles_per_step = s->result.cycles;
  r.step_s = s->step_s;
  r.joules_per_step = s->joules_per_step;
  r.utilization = s->utilization;
  r.mac_per_cycle_per_pe = s->mac_per_cycle_per_pe;
  if (s->time_to_train_s > 0) {
    r.time_to_train_s = s->time_to_train_s;
    r.energy_to_train_j = s->energy_to_train_j;
  }
  r.systems = t->spec->top.systems;
  r.microbatch = s->plan.microbatch;
  r.pes_used = s->result.pes_used;
  r.sram_peak_bytes = s->result.sram_peak_bytes;
  r.wavelets = (i64)s->result.counts.wavelets;
  r.hops = (i64)s->result.counts.hops;
  r.macs = (i64)s->result.counts.macs;
  r.engine = flow_engine()->name;
  r.bottleneck = s->bottleneck;
  return run_db_set_results(t->db, t->id, &r, st);
}

// ---- files

bool train_record_artifact(train_run *t, const char *kind, const char *path, status *st) {
  char full[PATH_MAX];
  struct stat info;
  const bool is_file = stat(path, &info) == 0 && S_ISREG(info.st_mode);
  const run_artifact artifact = {
      .kind = kind,
      .path = realpath(path, full) ? full : path,
      .bytes = is_file ? (u64)info.st_size : 0,
  };
  return run_db_add_artifact(t->db, t->id, &artifact, st);
}

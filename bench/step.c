// What a wavelet-hop of a training step costs beside one of plain streams: a step of a small transformer on the fabric,
// from weaving's phases to gradients, and the streams of bench_noc on a mesh as large, in turn, in CPU time of one
// thread. `step [--rounds N] [--grid K]`.
#include "bench/measure.h"
#include "bench/streams.h"

#include "runtime/fabric_step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MAX = 101, LONG = 20 };

typedef struct cost {
  double cpu_s;
  u64 hops;
} cost;

// ---- a step

typedef struct subject {
  arena *memory;
  run_spec spec;
  graph graph;
  machine machine;
  fabric_step *step;
  float **params, **grads;
  u32 *ids;
} subject;

static void must(bool ok, const status *st) {
  if (!ok) fprintf(stderr, "step: %s\n", st->text);
  require(ok);
}

static void begin(subject *s, const char *grid) {
  const run_assignment sets[] = {{.key = "machine", .value = "cs3", .where = "bench"},
                                 {.key = "engine.name", .value = "fabric", .where = "bench"},
                                 {.key = "model.layers", .value = "2", .where = "bench"},
                                 {.key = "model.width", .value = "32", .where = "bench"},
                                 {.key = "model.heads", .value = "2", .where = "bench"},
                                 {.key = "model.vocab", .value = "64", .where = "bench"},
                                 {.key = "train.seq", .value = "16", .where = "bench"},
                                 {.key = "train.batch", .value = "4", .where = "bench"},
                                 {.key = "plan.width", .value = grid, .where = "bench"},
                                 {.key = "plan.height", .value = grid, .where = "bench"}};
  status st = {0};
  s->memory = arena_create("step");
  must(run_spec_load(&s->spec, NULL, sets, COUNT_OF(sets), s->memory, &st), &st);
  const train_options *t = &s->spec.train;
  must(graph_build(&s->spec.model, (base_hyper){t->lr, t->weight_decay, t->eps}, t->seq, s->memory, &s->graph, &st),
       &st);
  must(machine_build(&s->spec.machine, &s->machine, &st), &st);
  fabric_step_setup setup = *fabric_step_wanted(&s->spec, &s->graph, &s->machine, s->memory);
  setup.threads = 1;
  s->step = fabric_step_open(&setup, s->memory, &st);
  must(s->step != NULL, &st);
  s->params = arena_array(s->memory, float *, s->graph.param_count);
  s->grads = arena_array(s->memory, float *, s->graph.param_count);
  s->ids = arena_array(s->memory, u32, (size_t)t->batch * t->seq);
  for (u32 p = 0; p < s->graph.param_count; p++) {
    const graph_tensor *of = &s->graph.tensors[s->graph.params[p]];
    s->params[p] = arena_array(s->memory, float, (size_t)of->rows * of->cols);
    s->grads[p] = arena_array(s->memory, float, (size_t)of->rows * of->cols);
  }
}

static cost run_step(const subject *s) {
  const execute_batch b = {s->spec.train.batch, s->ids, s->ids, s->params};
  const trainer_source *source = fabric_step_source(s->step);
  cost c = {0};
  const double before = measure_cpu_s();
  source->gradients(source->user, &b, s->grads);
  c.cpu_s = measure_cpu_s() - before;
  must(status_ok(fabric_step_status(s->step)), fabric_step_status(s->step));
  for (u32 p = 0; p < fabric_step_woven(s->step)->phase_count; p++)
    c.hops += fabric_step_times(s->step)[p].counts.hops * fabric_step_microbatches(s->step);
  return c;
}

// ---- streams

static cost run_streams(const dataflow *d, const machine *m) {
  arena *a = arena_create("streams");
  status st = {0};
  fabric *f = fabric_open(d, m, &(fabric_options){.threads = 1}, a, &st);
  must(f != NULL, &st);
  fabric_result r;
  const double before = measure_cpu_s();
  must(fabric_run(f, UINT64_MAX, &r, &st), &st);
  const cost c = {measure_cpu_s() - before, r.counts.hops};
  arena_destroy(a);
  return c;
}

static double ns_per_hop(cost c) {
  return 1e9 * c.cpu_s / (double)c.hops;
}

int main(int argc, char **argv) {
  u32 rounds = 5;
  const char *grid = "16";
  for (int i = 1; i + 1 < argc; i++) {
    if (!strcmp(argv[i], "--rounds")) rounds = (u32)strtoul(argv[i + 1], NULL, 10);
    if (!strcmp(argv[i], "--grid")) grid = argv[i + 1];
  }
  require(rounds > 0 && rounds < ROUNDS_MAX);
  subject s;
  begin(&s, grid);
  machine m = s.machine;
  m.spec.sram_bytes = 1 << 20; // long streams, as bench_noc
  double ns[1 + STREAMS_PATTERNS][ROUNDS_MAX];
  dataflow d[STREAMS_PATTERNS];
  cost step = {0};
  for (u32 p = 0; p < STREAMS_PATTERNS; p++)
    d[p] = streams_build((u32)strtoul(grid, NULL, 10), p, LONG * streams_words(p), s.memory);
  for (u32 i = 0; i < rounds; i++) {
    step = run_step(&s);
    ns[0][i] = ns_per_hop(step);
    for (u32 p = 0; p < STREAMS_PATTERNS; p++) ns[1 + p][i] = ns_per_hop(run_streams(&d[p], &m));
  }
  const double own = measure_median(ns[0], rounds);
  printf("a step on %s x %s PEs of cs3: %llu cycles, %.2f M hops, %.1f ns a hop\n", grid, grid,
         (unsigned long long)fabric_step_cycles(s.step), (double)step.hops / 1e6, own);
  for (u32 p = 0; p < STREAMS_PATTERNS; p++) {
    const double plain = measure_median(ns[1 + p], rounds);
    printf("  %-12s %6.1f ns a hop: the step takes %.2f times as long\n", streams_name(p), plain, own / plain);
  }
  arena_destroy(s.memory);
  return 0;
}

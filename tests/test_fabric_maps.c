// What a step on the fabric shows beside its cycles: tracks of streams, sums and updates, and maps over the grid, drawn
// and recorded.
#include "runtime/picture_maps.h"
#include "runtime/run_db.h"
#include "tests/child.h"
#include "traces/trace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct simulated {
  arena *memory;
  run_spec spec;
  step_sim sim;
} simulated;

// Two microbatches: four sequences of 8 tokens, of which a PE holds two at once.
static simulated *simulate(const char *more) {
  arena *a = arena_create("test");
  simulated *s = arena_array(a, simulated, 1);
  s->memory = a;
  run_assignment sets[32];
  u32 count = 0;
  status st = {0};
  char *rest = arena_format(a,
                            "machine=mesh16 engine.name=fabric model.layers=1 model.width=18 model.heads=3 "
                            "model.vocab=40 train.seq=8 train.batch=4 plan.width=5 plan.height=3 %s",
                            more);
  for (char *word; (word = strtok_r(rest, " ", &rest));) {
    char *value = strchr(word, '=');
    *value = 0;
    sets[count++] = (run_assignment){.key = word, .value = value + 1, .where = "test"};
  }
  support_ok(run_spec_load(&s->spec, NULL, sets, count, a, &st), &st);
  support_ok(step_sim_run(&s->spec, true, a, &s->sim, &st), &st);
  return s;
}

static bool lies_within(step_stretch s, double from, double until) {
  return s.until <= 0 || (s.from >= from && s.from < s.until && s.until <= until);
}

static void test_activity(void **state) {
  (void)state;
  simulated *s = simulate("");
  const step_sim *m = &s->sim;
  u32 sums = 0;
  double update = 0;
  for (u32 i = 0; i < m->program.phase_count; i++) {
    const step_activity *own = &m->fabric->phases[i];
    const program_phase *p = &m->program.phases[i];
    const double from = m->result.spans[i].start_cycle, until = m->result.spans[i].end_cycle;
    assert_int_equal(own->in.until > 0, p->stream_in > 0);
    assert_int_equal(own->out.until > 0, p->stream_out > 0);
    assert_int_equal(own->update.until > 0, p->update_params > 0);
    assert_true(lies_within(own->in, from, until) && lies_within(own->reduce, from, until) &&
                lies_within(own->out, from, until));
    sums += own->reduce.until > 0;
    if (!p->update_params) continue;
    assert_true(own->update.from >= fmax(update, until)); // one after the other, gradients first
    update = own->update.until;
  }
  assert_true(sums > m->program.phase_count / 2 && sums < m->program.phase_count);
  assert_true(update > 0 && update <= m->result.cycles);
  u64 params = 0;
  for (u32 i = 0; i < m->program.phase_count; i++) params += m->program.phases[i].update_params;
  u64 all = 0;
  for (u32 p = 0; p < m->graph.param_count; p++) {
    const graph_tensor *t = &m->graph.tensors[m->graph.params[p]];
    all += (u64)t->rows * t->cols;
  }
  assert_int_equal(params, all);
  arena_destroy(s->memory);
}

static u64 slices(const char *path, const char *track, arena *a) {
  status st = {0};
  const trace_total *rows;
  u32 count;
  u64 sum = 0;
  support_ok(trace_totals(path, a, &rows, &count, &st), &st);
  for (u32 i = 0; i < count; i++)
    if (text_ends(rows[i].track, track)) sum += rows[i].count;
  return sum;
}

static void test_trace(void **state) {
  (void)state;
  simulated *s = simulate("plan.height=2");
  char folder[256], path[300];
  status st = {0};
  support_folder(folder, sizeof folder);
  snprintf(path, sizeof path, "%s/step.pftrace", folder);
  support_ok(step_sim_trace(&s->sim, path, &st), &st);
  u64 in = 0, reduce = 0, out = 0, update = 0;
  for (u32 i = 0; i < s->sim.program.phase_count; i++) {
    const step_activity *own = &s->sim.fabric->phases[i];
    in += own->in.until > 0;
    reduce += own->reduce.until > 0;
    out += own->out.until > 0;
    update += own->update.until > 0;
  }
  assert_int_equal(slices(path, "/compute", s->memory), s->sim.program.phase_count);
  assert_int_equal(slices(path, "/stream in", s->memory), in);
  assert_int_equal(slices(path, "/reduce", s->memory), reduce);
  assert_int_equal(slices(path, "/stream out", s->memory), out);
  assert_int_equal(slices(path, "/optimizer", s->memory), update);
  assert_true(in && reduce && out && update);
  support_remove(folder);
  arena_destroy(s->memory);
}

// Links carry every hop of the step, and what the busiest PE does is no more than there is time for.
static void test_maps(void **state) {
  (void)state;
  simulated *s = simulate("");
  const step_fabric *f = s->sim.fabric;
  const double cycles = s->sim.result.cycles - s->sim.result.host_cycles;
  const u32 pes = f->width * f->height;
  double hops = 0, most = 0, sram = 0;
  for (u32 i = 0; i < pes; i++) {
    hops += f->maps[0].values[i] * cycles;
    most = fmax(most, f->maps[1].values[i]);
    sram = fmax(sram, f->maps[2].values[i]);
    assert_true(f->maps[1].values[i] > 0 && f->maps[2].values[i] > 0);
  }
  assert_true(fabs(hops - (double)s->sim.result.counts.hops) < 1e-5 * hops);
  assert_true(most <= 1 && most * cycles <= s->sim.result.by_resource[RESOURCE_COMPUTE] + 1);
  assert_true(sram <= s->sim.plan.memory.activation_bytes);
  assert_true(f->maps[2].values[0] > f->maps[2].values[pes - 1]); // the last columns and rows have fewer
  picture p;
  text page = {0};
  picture_maps(&p, s->memory, f, 960);
  picture_svg(&p, false, &page);
  assert_non_null(strstr(text_get(&page), "PE (4, 2): "));
  assert_non_null(strstr(text_get(&page), "wavelets/cycle"));
  text_free(&page);
  arena_destroy(s->memory);
}

#define RUN                                                                                                            \
  "--set", "machine=mesh16", "--set", "model.layers=1", "--set", "model.width=16", "--set", "model.heads=2", "--set",  \
      "model.vocab=256", "--set", "train.seq=8", "--set", "train.batch=2"

static void test_command(void **state) {
  (void)state;
  char folder[256], path[300];
  support_folder(folder, sizeof folder);
  child c = child_run(folder, CHILD_ARGS("simulate", RUN, "--set", "engine.name=fabric", "--db", "runs.db", "--maps",
                                         "maps.svg", "--trace", "step.pftrace"));
  child_expect(&c, 0);
  assert_non_null(strstr(c.out, "maps.svg"));
  child_free(&c);
  snprintf(path, sizeof path, "%s/maps.svg", folder);
  assert_true(file_exists(path));
  snprintf(path, sizeof path, "%s/runs.db", folder);
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = run_db_open(path, &st);
  support_ok(db != NULL, &st);
  const run_map *maps;
  u32 count;
  run_map compute;
  support_ok(run_db_maps(db, 1, a, &maps, &count, &st), &st);
  assert_int_equal(count, STEP_MAPS);
  support_ok(run_db_get_map(db, 1, "compute", a, &compute, &st), &st);
  assert_int_equal(compute.w, 16);
  assert_true(compute.values[0] > 0);
  support_ok(run_db_close(db, &st), &st);
  arena_destroy(a);
  c = child_run(folder, CHILD_ARGS("simulate", RUN, "--maps", "maps.svg"));
  child_expect(&c, 2);
  child_free(&c);
  support_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_activity),
      cmocka_unit_test(test_trace),
      cmocka_unit_test(test_maps),
      cmocka_unit_test(test_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

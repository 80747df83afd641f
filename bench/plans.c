// What a search over plans gains: ten pairs of model and machine, the plan taken without a search, the one found,
// and how long the search took on this host. Usage: bench_plans
#include "base/file.h"
#include "runtime/step_sim.h"

#include <stdio.h>

static const char *const pairs[][4] = { // model, machine, batch, sequence
    {"gpt3-256m", "cs2", "1024", "2048"}, {"gpt3-590m", "cs2", "512", "2048"}, {"gpt3-1.3b", "cs2", "528", "2048"},
    {"gpt3-2.7b", "cs2", "256", "2048"},  {"gpt3-6.7b", "cs2", "256", "2048"}, {"gpt3-1.3b", "cs3", "528", "2048"},
    {"gpt3-6.7b", "cs3", "256", "2048"},  {"gpt3-13b", "cs3", "512", "2048"},  {"gpt3-20b", "cs3", "256", "2048"},
    {"gpt3-175b", "cs3", "128", "2048"}};

static bool step(const char *const pair[4], bool search, arena *a, step_sim *s, status *st) {
  run_assignment sets[] = {{.key = "model", .value = pair[0], .where = "bench"},
                           {.key = "machine", .value = pair[1], .where = "bench"},
                           {.key = "train.batch", .value = pair[2], .where = "bench"},
                           {.key = "train.seq", .value = pair[3], .where = "bench"},
                           {.key = "plan.search", .value = search ? "true" : "false", .where = "bench"}};
  run_spec *r = arena_array(a, run_spec, 1);
  return run_spec_load(r, NULL, sets, COUNT_OF(sets), a, st) && step_sim_run(r, false, a, s, st);
}

int main(void) {
  status st = {0};
  printf("%-10s %-4s %6s %14s %14s %7s %9s\n", "model", "", "batch", "usual cycles", "searched", "gain", "search");
  for (u32 i = 0; i < COUNT_OF(pairs) && status_ok(&st); i++) {
    arena *a = arena_create("bench");
    step_sim usual, searched;
    if (step(pairs[i], false, a, &usual, &st) && step(pairs[i], true, a, &searched, &st))
      printf("%-10s %-4s %6s %14.5g %14.5g %6.1f%% %7.1f s\n", pairs[i][0], pairs[i][1], pairs[i][2],
             usual.result.cycles, searched.result.cycles, 100 * (usual.result.cycles / searched.result.cycles - 1),
             searched.wall_s);
    arena_destroy(a);
  }
  if (!status_ok(&st)) fprintf(stderr, "%s\n", st.text);
  return (int)st.code;
}

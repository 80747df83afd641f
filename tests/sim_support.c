// Machines, models and plan options for tests, stated as lists of "key=value".
#include "tests/sim_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void apply(const field_table *t, void *spec, const char *changes) {
  status st = {0};
  while (changes && *changes) {
    char key[64], value[64];
    int used = 0;
    if (sscanf(changes, " %63[^= ]=%63s%n", key, value, &used) != 2) fail_msg("cannot read \"%s\"", changes);
    const field *f = field_find(t, key);
    if (!f) fail_msg("no field %s", key);
    support_ok(field_parse(t, f, spec, value, "test", &st), &st);
    changes += used;
    while (*changes == ' ') changes++;
  }
}

machine sim_machine(const char *preset, const char *changes) {
  arena *a = arena_create("machine");
  status st = {0};
  config c;
  machine_spec spec;
  machine m;
  config_init(&c, a);
  config_bind(&c, &machine_table, &spec);
  support_ok(machine_preset(&c, preset, &st), &st);
  apply(&machine_table, &spec, changes);
  support_ok(machine_build(&spec, &m, &st), &st);
  arena_destroy(a);
  return m;
}

graph sim_graph(const char *model, u32 seq, arena *a) {
  status st = {0};
  model_spec m;
  graph g;
  field_defaults(&model_table, &m);
  apply(&model_table, &m, model);
  support_ok(graph_build(&m, (base_hyper){1e-3, 0.1, 1e-8}, seq, a, &g, &st), &st);
  return g;
}

plan_options sim_options(const char *changes) {
  plan_options o;
  field_defaults(&plan_table, &o);
  apply(&plan_table, &o, changes);
  return o;
}

void sim_near(double value, double expected, double relative) {
  if (!(fabs(value - expected) <= relative * fabs(expected))) fail_msg("%.17g, expected %.17g", value, expected);
}

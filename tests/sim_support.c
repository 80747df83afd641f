// Machines, models and plan options for tests, stated as lists of "key=value".
#include "tests/sim_support.h"

#include "sim/flow/flow.h"

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

const plan_case sim_cases[] = {
    {"mesh16", NULL, TINY, 16, 8, 1, NULL},
    {"mesh16", NULL, TINY, 16, 1, 1, NULL},
    {"mesh16", NULL, TINY "heads=1", 16, 5, 1, NULL},
    {"mesh16", NULL, TINY "heads=32", 16, 5, 1, NULL},
    {"mesh16", NULL, TINY "bias=false", 7, 3, 1, NULL},
    {"mesh16", NULL, TINY "mlp=1", 16, 8, 1, NULL},
    {"mesh16", NULL, TINY "mlp=3", 16, 8, 1, "width=7"},
    {"mesh16", NULL, TINY "mlp=3 width=20", 16, 8, 1, "width=7"},
    {"mesh16", NULL, TINY "vocab=32", 16, 8, 1, NULL},
    {"mesh16", NULL, TINY "vocab=5", 16, 8, 1, NULL},
    {"mesh16", NULL, TINY "layers=1", 16, 8, 1, "activations=offload"},
    {"mesh16", NULL, "layers=2 width=8 heads=2 vocab=64", 16, 8, 1, NULL}, // narrower than the columns
    {"mesh16", NULL, "layers=2 width=1 heads=1 vocab=3", 5, 2, 1, NULL},
    {"mesh16", NULL, ODD, 13, 11, 1, NULL},
    {"mesh16", NULL, ODD, 13, 11, 1, "replicas=3 activations=recompute"},
    {"mesh16", NULL, ODD, 13, 11, 3, "axpy=fp32"},
    {"mesh16", NULL, ODD, 13, 100, 1, NULL}, // more sequences than rows
    {"mesh16", NULL, ODD, 13, 100, 1, "microbatch=37 replicas=2"},
    {"mesh16", NULL, ODD, 13, 100, 1, "microbatch=37 replicas=1"},
    {"mesh16", NULL, ODD, 1, 3, 1, NULL}, // one token
    {"mesh16", NULL, ODD, 13, 10, 1, "width=1"},
    {"mesh16", NULL, ODD, 13, 10, 1, "height=1"},
    {"mesh16", NULL, ODD, 13, 10, 1, "width=2"}, // a column holds whole heads and parts of others
    {"mesh16", NULL, ODD, 13, 10, 1, "width=3 activations=offload"},
    {"mesh16", NULL, ODD, 13, 10, 1, "width=5"},
    {"mesh16", NULL, ODD, 13, 16, 1, "replicas=16"},
    {"mesh16", NULL, "layers=2 width=66 heads=3 vocab=64", 16, 8, 1, "activations=resident"},
    {"mesh16", NULL, "layers=2 width=66 heads=3 vocab=64", 100, 8, 1, "replicas=1"},
    {"mesh16", "pe.sram_bytes=12KiB", ODD, 64, 100, 2, NULL},
    {"mesh16", "pe.sram_bytes=10KiB fabric.usable_width=13 fabric.usable_height=11", ODD, 64, 9, 1, NULL},
    {"mesh16", NULL, "layers=2 width=28 heads=7 vocab=64", 8, 4, 1, "width=2"},
    {"mesh16", NULL, "layers=2 width=40 heads=4 vocab=64", 8, 4, 1, "width=7"},
    {"cs2", NULL, SMALL, 1024, 64, 1, NULL},
    {"cs2", NULL, SMALL, 1000, 61, 4, "activations=offload"},
    {"cs2", NULL, XL, 2048, 121, 1, NULL},
    {"cs3", NULL, XL, 2048, 240, 2, "activations=recompute"},
    {"cs3", NULL, XL, 2048, 240, 2, "axpy=fp32 replicas=1"},
    {"cs3", NULL, "layers=7 width=448 heads=7 vocab=50257 position=alibi", 2048, 300, 1, NULL},
    {"cs3", NULL, "layers=2 width=1 heads=1 vocab=2", 3, 5000, 1, NULL},
    {"cs3", NULL, "layers=3 width=4096 heads=32 vocab=50257", 2048, 60, 1, "replicas=1"},
    {"mesh16", NULL, LLAMA, 16, 8, 1, NULL},
    {"mesh16", NULL, LLAMA "mlp=1", 13, 5, 1, "width=7"}, // hidden features as many as the width, laid out otherwise
    {"mesh16", NULL, LLAMA, 16, 40, 2, "activations=recompute"},
    {"mesh16", NULL, GPTJ, 16, 8, 1, NULL},
    {"mesh16", NULL, GPTJ "rotary_dims=10", 13, 11, 1, "replicas=3 activations=offload"},
    {"mesh16", NULL, GPTJ "norm=rmsnorm activation=silu", 64, 3, 1, "replicas=1"},
    {"mesh16", NULL, BERT, 13, 11, 1, NULL},
    {"mesh16", NULL, BERT, 64, 3, 1, "replicas=1"}, // rows of a sequence pass keys up and down
    {"mesh16", NULL, BERT "heads=42", 30, 3, 1, "replicas=1 activations=offload"},
    {"mesh16", NULL, BERT, 13, 100, 1, "microbatch=37 replicas=2"},
    {"cs2", NULL,
     "layers=3 width=4096 heads=16 vocab=50257 block=parallel activation=gelu position=rotary rotary_dims=64", 2048, 60,
     1, NULL},
};
const u32 sim_case_count = COUNT_OF(sim_cases);

bool sim_try_build(const plan_case *c, built *b, status *st) {
  b->memory = arena_create("plan");
  b->machine = sim_machine(c->machine, c->machine_changes);
  b->graph = sim_graph(c->model, c->seq, b->memory);
  b->options = sim_options(c->options);
  plan_request r = {.graph = &b->graph,
                    .machine = &b->machine,
                    .options = &b->options,
                    .engine = flow_engine(),
                    .batch = c->batch,
                    .systems = c->systems};
  return plan_build(&r, b->memory, &b->plan, st);
}

built sim_build(const plan_case *c) {
  built b;
  status st = {0};
  if (!sim_try_build(c, &b, &st)) fail_msg("%s on %s: %s", c->model, c->machine, st.text);
  return b;
}

program sim_lower(built *b) {
  program p;
  status st = {0};
  support_ok(plan_lower(&b->plan, &b->graph, &b->machine, b->memory, &p, &st), &st);
  return p;
}

void sim_every_case(void (*check)(built *)) {
  for (u32 i = 0; i < sim_case_count; i++) {
    built b = sim_build(&sim_cases[i]);
    check(&b);
    arena_destroy(b.memory);
  }
}

dataflow sim_dataflow(const char *words, arena *a) {
  status st = {0};
  dataflow d = {0};
  support_ok(dataflow_parse("test", words, strlen(words), a, &d, &st), &st);
  return d;
}

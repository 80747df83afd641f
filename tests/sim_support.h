// What tests of the simulated side share: machines and models by name, changed by "key=value" texts.
#pragma once

#include "sim/isa/dataflow.h"
#include "mapper/plan.h"
#include "tests/support.h"

// A machine preset with changes such as "pe.sram_bytes=24KiB fabric.usable_width=9" (NULL: none).
machine sim_machine(const char *preset, const char *changes);
// A dataflow from its text form, which must be right.
dataflow sim_dataflow(const char *words, arena *a);
// A graph for sequences of `seq` tokens; `model` is such a list over the defaults of MODEL_FIELDS.
graph sim_graph(const char *model, u32 seq, arena *a);
// Plan options from such a list over the defaults.
plan_options sim_options(const char *changes);
// Expects |value - expected| <= relative * |expected|.
void sim_near(double value, double expected, double relative);

// A request for a plan. The table has machines and models of all kinds: sizes that divide nothing, one head,
// narrower than the columns, more sequences than rows, several systems.
typedef struct plan_case {
  const char *machine, *machine_changes, *model;
  u32 seq, batch, systems;
  const char *options;
} plan_case;
extern const plan_case sim_cases[];
extern const u32 sim_case_count;
#define TINY "layers=2 width=32 heads=4 vocab=64 "
#define ODD "layers=3 width=42 heads=7 vocab=101 mlp=2.5 "
#define SMALL "layers=12 width=768 heads=12 vocab=50257 position=learned activation=gelu tied=true "
#define XL "layers=24 width=2048 heads=16 vocab=50257 position=learned activation=gelu tied=true "

#define LLAMA "layers=3 width=48 heads=3 vocab=90 mlp=2.6875 norm=rmsnorm activation=swiglu position=rotary bias=false "
#define GPTJ                                                                                                           \
  "layers=3 width=48 heads=4 vocab=90 block=parallel activation=gelu position=rotary rotary_dims=4 "                   \
  "rotary_layout=interleaved "
#define BERT "layers=3 width=42 heads=7 vocab=101 attention=bidirectional activation=gelu position=learned tied=true "

// What a case becomes. Lives in an arena of its own.
typedef struct built {
  arena *memory;
  machine machine;
  graph graph;
  plan_options options;
  plan plan;
} built;
bool sim_try_build(const plan_case *c, built *b, status *st);
built sim_build(const plan_case *c); // fails the test where there is no plan
program sim_lower(built *b);
// Runs a check on every case of the table.
void sim_every_case(void (*check)(built *));

// What tests of the simulated side share: machines and models by name, changed by "key=value" texts.
#pragma once

#include "mapper/plan.h"
#include "tests/support.h"

// A machine preset with changes such as "pe.sram_bytes=24KiB fabric.usable_width=9" (NULL: none).
machine sim_machine(const char *preset, const char *changes);
// A graph for sequences of `seq` tokens; `model` is such a list over the defaults of MODEL_FIELDS.
graph sim_graph(const char *model, u32 seq, arena *a);
// Plan options from such a list over the defaults.
plan_options sim_options(const char *changes);
// Expects |value - expected| <= relative * |expected|.
void sim_near(double value, double expected, double relative);

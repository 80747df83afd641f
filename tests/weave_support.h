// What tests of woven families share, beside runtime/weave_case.h.
#pragma once

#include "runtime/weave_case.h"
#include "tests/sim_support.h"

// Weaves and runs on a machine by name; fails the test where something cannot, and where a phase's
// text does not read back.
void weave_support_run(weave_case *c, const char *preset, u32 width, u32 height, df_type type);
void weave_support_run_on(weave_case *c, const machine *m, u32 width, u32 height, df_type type); // the same

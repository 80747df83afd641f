// What a step on the fabric asked of each PE: its links, its datapath, its memory.
#pragma once

#include "runtime/fabric_step.h"
#include "runtime/step_sim.h"

// Of the latest step of a fabric whose setup had `load`.
void fabric_maps(const fabric_step *f, arena *a, step_map ret_maps[STEP_MAPS]);

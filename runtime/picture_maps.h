// Maps over the grid of a step on the fabric, side by side.
#pragma once

#include "runtime/picture.h"
#include "runtime/step_sim.h"

// Every PE a square, the darker the more of the map's largest value. Beyond a few thousand PEs a square stands for
// several, with their largest value.
void picture_maps(picture *ret_picture, arena *a, const step_fabric *f, double w);

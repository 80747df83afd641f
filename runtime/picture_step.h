// What a modelled step looks like: where the plan lies on the wafer, which phase runs when, what the
// cycles went to, what fills the memory of a PE. One colour per resource, the same in every picture.
#pragma once

#include "mapper/plan.h"
#include "runtime/picture.h"

typedef struct step_parts {
  const plan *plan;
  const machine *machine;
  const program *program;
  const engine_result *result;
} step_parts;

// The usable rectangle to scale: column groups, sequence slots, idle rows and columns, streams at the
// edge, and how a sequence lies in a group. Below 360 units wide it is a thumbnail without the notes.
void picture_wafer(picture *ret_picture, arena *a, const step_parts *s, double w);

// The same for layers side by side: every kernel's rectangle where it lies, by family, and the way of a token.
void picture_pipeline(picture *ret_picture, arena *a, const step_parts *s, double w);

// Phases of a window along time, a lane per family, coloured by what bounds them. Phases narrower than
// a few pixels are drawn as the share of each column that they fill.
typedef struct timeline {
  u32 first_phase, phase_count; // count 0: the first group of phases, with a legend and a strip of the step
  const char *title;            // for those who do not see it; NULL: says it itself
  double w;                     // 0: 960
} timeline;
void picture_timeline(picture *ret_picture, arena *a, const step_parts *s, const timeline *t);

// Stacked bars: the step by resource, and each family by what bounds its phases.
void picture_step_cycles(picture *ret_picture, arena *a, const step_parts *s, double w);
// One bar: code, buffers, activations and what is free in the fullest PE.
void picture_step_memory(picture *ret_picture, arena *a, const plan *decided, double w);

picture_ink picture_step_ink(u32 resource);      // engine_resource
const char *picture_step_resource(u32 resource); // as legends say it
u32 picture_step_resources_used(const engine_result *r, picture_legend ret_items[RESOURCE_COUNT]);

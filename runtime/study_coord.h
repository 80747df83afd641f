// weft study coord: does every module's activation change alike at every depth and width over the first
// steps? Where it does not: which rule is broken, or which rule the parameterization lacks.
#pragma once

#include "runtime/study_audit.h"

#define COORD_FIELDS(F)                                                                                                \
  F(TEXT, rules, "rules", UNIT_NONE, "sp mup alpha0.5 completep", 0, 0, NULL,                                          \
    "parameterizations: sp, sp-gpt2, mup, completep, completedp, released, alpha0.5")                                           \
  F(TEXT, layers, "layers", UNIT_NONE, "2 4 8 16 32 64", 0, 0, NULL, "depths, at model.width")                         \
  F(TEXT, widths, "widths", UNIT_NONE, "64 128 256", 0, 0, NULL, "widths, at model.layers")                            \
  F(U32, seeds, "seeds", UNIT_NONE, "3", 1, 1000, NULL, "seeds, from the run's on")                                    \
  F(U32, probe, "probe", UNIT_NONE, "1", 1, 1024, NULL, "held-out sequences that activations are read on")             \
  F(F64, tolerance, "tolerance", UNIT_NONE, "0.2", 0, 10, NULL, "largest slope that passes, in powers of depth or width")
typedef struct coord_options {
  COORD_FIELDS(FIELD_MEMBER)
} coord_options;
extern const field_table coord_table; // section "coord"

typedef enum coord_module {
  COORD_EMBED,
  COORD_ATTENTION, // mean over the blocks' branches, before their factor
  COORD_MLP,       // likewise
  COORD_STREAM,    // the residual stream after each block, mean over blocks
  COORD_FINAL,     // after the last block
  COORD_LOGITS,
  COORD_MODULES
} coord_module;
const char *coord_module_name(coord_module m);

// Change of the modules' activations since initialisation, mean |h(t) - h(0)|, on fixed sequences.
typedef struct coord_probe coord_probe;
coord_probe *coord_probe_open(trial *t, u32 sequences, arena *a, status *st); // remembers what is now
// ret_blocks: of the stream after each block; NULL: not wanted.
void coord_probe_read(coord_probe *p, double ret_change[COORD_MODULES], double *ret_blocks);

enum { COORD_AXES = 2, COORD_TIMES_MAX = 64 }; // depth, width
typedef struct coord_slopes {
  double mean, sd;
  u32 count;
  double promised_low; // the slope may lie between this and 0
  bool pass, sure;     // sure: the verdict stands one standard error away
} coord_slopes;

// What came out for one parameterization.
typedef struct coord_result {
  study_rule rule;
  coord_slopes slopes[COORD_AXES][COORD_MODULES]; // at the last step
  double *change; // [axis][size][seed][time][module]
  double *blocks; // of the deepest model: mean over seeds
  audit_blame blames[8];
  u32 blame_count;
  bool depth_holds, width_holds, sound; // sound: no rule is broken
  char words[700];
} coord_result;

typedef struct coord_study {
  study *s;
  const coord_options *o;
  study_list axes[COORD_AXES];
  study_rule *rules;
  u32 rule_count, times[COORD_TIMES_MAX], time_count;
  coord_result *results;
} coord_study;

// The course of it, on an open study.
bool coord_run(coord_study *c, study *s, const coord_options *o, status *st);
bool coord_page(coord_study *c, status *st); // study_coord_page.c
// How one value per size goes: slopes over seeds of change[size][seed], and whether their mean is within the
// tolerance of what is promised, from `promised_low` to 0.
coord_slopes coord_slope(const study_list *sizes, const double *change, u32 seeds, double promised_low,
                         double tolerance);
size_t coord_index(const coord_study *c, u32 axis, u32 size, u32 seed, u32 time);

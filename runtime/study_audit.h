// What a parameterization is seen to do, against what it states. Nothing is read from the rules that built
// the model: one optimizer step with telling base values (rate 1, then a large eps, then a large decay)
// shows each tensor's rate, eps and decay, initial weights show their spread, activations the forward
// factors. The promises are written here once more, from the paper's Table 1, in units of the base values.
#pragma once

#include "runtime/study.h"

typedef enum audit_what {
  AUDIT_INIT,
  AUDIT_RATE,
  AUDIT_EPS,
  AUDIT_DECAY,
  AUDIT_FACTOR, // on the residual branches, the logits, q.k
  AUDIT_WHATS
} audit_what;
const char *audit_what_name(audit_what w);

// One kind of tensor ("h*.attn.wqkv") at one size.
typedef struct audit_row {
  const char *name;
  audit_what what;
  double measured, promised; // in units of the base value; measured NaN: could not be seen
  const char *worst;         // the tensor furthest from the promise, and its ratio measured / promised
  double worst_ratio;
  u32 tensors, wrong;        // of them beyond the tolerance
} audit_row;

typedef struct audit {
  double width, layers;
  audit_row *rows; // the same names in the same order at every size
  u32 count;
} audit;

bool audit_run(study *s, const run_spec *wish, arena *a, audit *ret, status *st);

// Promises of a parameter group, and of the forward factors.
typedef struct audit_promise {
  double init, rate, eps, decay;
} audit_promise;
audit_promise audit_promise_of(const model_spec *m, param_role role);
typedef struct audit_factors {
  double residual, logits, attention;
} audit_factors;
audit_factors audit_factors_of(const model_spec *m);

// A rule that is not kept: which tensors, and how its size goes with width and depth.
typedef struct audit_blame {
  const char *name;
  audit_what what;
  double depth_measured, depth_promised; // exponents; NaN with fewer than two depths
  double width_measured, width_promised;
  double ratio; // measured / promised where it is worst
  char words[400];
} audit_blame;
typedef struct audit_sizes {
  const audit *depths, *widths; // one width each, one depth each
  u32 depth_count, width_count;
} audit_sizes;
// Fills up to `room` blames, the worst first; returns how many rules are broken.
u32 audit_compare(const audit_sizes *s, arena *a, audit_blame *ret, u32 room);

// The modelled step from the fabric: every wavelet of it, on the grid that the run states. Its time does not depend on
// the numbers, so it runs once, on zeros.
#pragma once

#include "runtime/step_sim.h"

// s has its graph and machine; plan, program and result are filled as if the whole of the door had: one phase per node,
// resident activations, no replicas. CODE_CONFIG with what does not fit.
bool fabric_sim_run(const run_spec *r, arena *a, step_sim *s, status *st);

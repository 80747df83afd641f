// The engine that moves counts only: the whole wafer from the program, in one pass over its phases.
#pragma once

#include "sim/engine.h"

const engine *flow_engine(void);

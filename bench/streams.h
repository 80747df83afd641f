// Plain streams for a mesh of PEs: what the engine is measured by.
#pragma once

#include "sim/isa/dataflow_build.h"

enum { STREAMS_PATTERNS = 6 };
const char *streams_name(u32 pattern); // rows, columns, neighbours, transpose, permutation, mixed
i32 streams_words(u32 pattern);        // of a stream, so that a short run can be timed
// k x k PEs that send streams of single words, each a message of its own, on paths first along x and then along y.
dataflow streams_build(u32 k, u32 pattern, i32 words, arena *a);

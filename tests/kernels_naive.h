// The definition of the operations: what every faster kernel is tested against.
#pragma once

#include "model/compute/kernels.h"

const kernel_table *kernels_naive(void);

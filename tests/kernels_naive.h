// The definition of the operations: what every faster kernel is tested against.
#pragma once

#include "model/compute/kernels.h"

const kernel_table *kernels_naive(void);
const kernel_table *kernels_naive_bf16(void); // linear layers on rounded operands
const kernel_table *kernels_naive_fp16(void);

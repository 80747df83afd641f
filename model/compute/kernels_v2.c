// The fast kernels that any CPU can run.
#include <math.h>
#include <string.h>

#include "model/compute/kernels_level.h"

#define LEVEL 2
#include "model/compute/kernels_body.h"

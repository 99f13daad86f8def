// Begin and end of stepwise passes for CUDA: step.h has the kernels.

#include "step.h"

// Begin and end of stepwise passes for Metal: step.h has the kernels.

#include "step.h"

// The optimizer's step for CUDA: adam.h has the kernels.

#include "adam.h"

// The optimizer's step for Metal: adam.h has the kernels.

#include "adam.h"

// Softmax cross-entropy for Metal: loss.h has the kernels.

#include "loss.h"

// Softmax cross-entropy for CUDA: loss.h has the kernels.

#include "loss.h"

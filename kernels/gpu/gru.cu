// The GRU for CUDA: gru.h has the kernels.

#include "gru.h"

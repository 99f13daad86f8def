// The LSTM for CUDA: lstm.h has the kernels.

#include "lstm.h"

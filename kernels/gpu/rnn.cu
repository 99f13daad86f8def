// The tanh and relu networks for CUDA: rnn.h has the kernels.

#include "rnn.h"

// The tanh and relu networks for Metal: rnn.h has the kernels.

#include "rnn.h"

// The LSTM for Metal: lstm.h has the kernels.

#include "lstm.h"

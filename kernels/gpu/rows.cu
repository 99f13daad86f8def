// Copies and biases of rows for CUDA: rows.h has the kernels.

#include "rows.h"

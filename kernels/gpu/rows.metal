// Copies and biases of rows for Metal: rows.h has the kernels.

#include "rows.h"

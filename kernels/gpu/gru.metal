// The GRU for Metal: gru.h has the kernels.

#include "gru.h"

// The kernels of the GRU, one block a tile of rows or one step at a time. Sizes and launches: README.md.

#pragma once

#include "gru_cell.h"
#include "persistent.h"
#include "stepwise.h"

// Two words for W_hh, one text: see gru_kernels.inc for the arguments.
#define WORD float
#define KERNEL(name) name##_f32
#include "gru_kernels.inc"

#define WORD unsigned short
#define KERNEL(name) name##_bf16
#include "gru_kernels.inc"

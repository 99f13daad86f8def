// The kernels of the tanh and relu networks, one block a tile of rows or one step at a time. Sizes and launches: README.md.

#pragma once

#include "rnn_cell.h"
#include "persistent.h"
#include "stepwise.h"

// Two words for W_hh, one text: see rnn_kernels.inc for the arguments.
#define WORD float
#define KERNEL(name) name##_f32
#include "rnn_kernels.inc"

#define WORD unsigned short
#define KERNEL(name) name##_bf16
#include "rnn_kernels.inc"

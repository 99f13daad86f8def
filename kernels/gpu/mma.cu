// The kernels of teams through tensor cores, in tf32 and bf16, for CUDA alone and compute capability 8.0 or later:
// team_sweeps.h has the sweeps, team_kernels.inc the arguments.

#include "gru_cell.h"
#include "lstm_cell.h"
#include "rnn_cell.h"
#include "team_mma.h"
#include "team_sweeps.h"

#define WORD float
#define SHARE team::MmaShare<team::Tf32>
#define KERNEL(name) mma_##name##_tf32
#include "team_kernels.inc"

#define WORD unsigned short
#define SHARE team::MmaShare<team::Bf16>
#define KERNEL(name) mma_##name##_bf16
#include "team_kernels.inc"

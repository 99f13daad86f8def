// The kernels of teams, for CUDA alone: team_sweeps.h has the sweeps, team_kernels.inc the arguments.

#include "gru_cell.h"
#include "lstm_cell.h"
#include "rnn_cell.h"
#include "team_sweeps.h"

#include "team_kernels.inc"

// The kernels of teams in fp32, for CUDA alone: team_sweeps.h has the sweeps, team_kernels.inc the arguments.

#include "gru_cell.h"
#include "lstm_cell.h"
#include "rnn_cell.h"
#include "team_sweeps.h"

#define WORD float
#define SHARE team::Share
#define KERNEL(name) team_##name##_f32
#include "team_kernels.inc"

// Arms words: all bits of each are set. Grid: any.
STEP_KERNEL
team_arm_f32(
    OUT(0, float, words),  // (rows, width) out
    INT(1, rows),          // of the words
    INT(2, width)          // numbers of a row
) {
    STEP_BEGIN;
    const size_t count = static_cast<size_t>(rows) * width;
    const size_t stride = static_cast<size_t>(threads.blocks) * threads.count;
    for (size_t i = static_cast<size_t>(threads.block) * threads.count + threads.index; i < count; i += stride) {
        words[i] = float_of_bits(0xffffffffu);
    }
}

// What is done to the rows of matrices beside the sweeps: copies of any strides, and what a product is added to.

#pragma once

#include "common.h"

namespace rows {

// The numbers that a thread takes: every `stride`th from its own on.
struct Share {
    size_t first;
    size_t stride;

    METHOD explicit Share(LOCAL const Threads& threads) {
        first = static_cast<size_t>(threads.block) * threads.count + threads.index;
        stride = static_cast<size_t>(threads.blocks) * threads.count;
    }
};

}  // namespace rows

// A copy of another order, with zeros behind the rows' ends. Grid: any; ceil(B T W / block) gives each thread one
// number.
STEP_KERNEL
rows_copy_f32(
    IN(0, float, from),        // (B, T, W) in
    IN(1, int, lengths),       // (B,)      in  or null: all have T
    OUT(2, float, to),         // (B, T, W) out; in|out where it adds
    INT(3, batch_size),        // B
    INT(4, seq_len),           // T
    INT(5, width),             // W
    INT(6, from_row_stride),
    INT(7, from_step_stride),
    INT(8, from_unit_stride),
    INT(9, to_row_stride),
    INT(10, to_step_stride),
    INT(11, adds)              // 1: to += from
    STEP_END(12)
) {
    STEP_BEGIN;
    const rows::Share own(threads);
    GLOBAL const int* steps = GIVEN(1, lengths);
    const size_t count = static_cast<size_t>(batch_size) * seq_len * width;
    for (size_t i = own.first; i < count; i += own.stride) {
        const size_t unit = i % width;
        const size_t step = i / width % seq_len;
        const size_t row = i / width / seq_len;
        float value = 0.f;
        if (!steps || static_cast<int>(step) < steps[row]) {
            value = from[row * from_row_stride + step * from_step_stride + unit * from_unit_stride];
        }
        const size_t at = row * to_row_stride + step * to_step_stride + unit;
        to[at] = adds ? to[at] + value : value;
    }
}

// What a sweep is prepared with: the biases in every row, which a product is added to; ones, with which a product sums rows;
// and a copy of the recurrent weights. Grid: any; ceil(rows * width / block) gives each thread one bias.
STEP_KERNEL
rows_bias_f32(
    IN(0, float, bias),        // (width,) in
    IN(1, float, other),       // (width,) in   added to it; or null
    OUT(2, float, to),         // (rows, width) out
    OUT(3, float, ones),       // (ones_count,) out; may be null where that is 0
    IN(4, float, from),        // (copy_count,) in   copied; may be null where that is 0
    OUT(5, float, copy),       // (copy_count,) out  or null as `from`
    INT(6, row_count),         // rows
    INT(7, width),
    INT(8, row_stride),        // numbers of `to` from a row to the next
    INT(9, ones_count),
    INT(10, copy_count)
    STEP_END(11)
) {
    STEP_BEGIN;
    const rows::Share own(threads);
    GLOBAL const float* more = GIVEN(1, other);
    const size_t count = static_cast<size_t>(row_count) * width;
    for (size_t i = own.first; i < count; i += own.stride) {
        const size_t unit = i % width;
        to[i / width * row_stride + unit] = more ? bias[unit] + more[unit] : bias[unit];
    }
    for (size_t i = own.first; i < static_cast<size_t>(ones_count); i += own.stride) {
        ones[i] = 1.f;
    }
    for (size_t i = own.first; i < static_cast<size_t>(copy_count); i += own.stride) {
        copy[i] = from[i];
    }
}

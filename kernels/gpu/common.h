// What every kernel needs: words of weights, activations, and the place of a step in its row.
//
// Letters: B rows of a batch, T steps, H units, G gates of a unit (1 tanh/relu, 3 gru, 4 lstm).

#pragma once

#include "target.h"

// ---- words of weights: fp32, or bf16 as its 16 bits ---------------------------------------------
// The conversions are our own: cuda_bf16.h has no form for the CPU compiler, and they are one
// instruction anyway.

FUNCTION float widen(float value) { return value; }

FUNCTION float widen(unsigned short bits) {
    return float_of_bits(static_cast<unsigned>(bits) << 16);
}

template <typename Word>
FUNCTION Word narrow(float value);

template <>
FUNCTION float narrow<float>(float value) {
    return value;
}

// Round to nearest, ties to even; a NaN stays one (its payload could round up to infinity).
template <>
FUNCTION unsigned short narrow<unsigned short>(float value) {
    const unsigned bits = bits_of_float(value);
    if (value != value) {
        return static_cast<unsigned short>((bits >> 16) | 0x40u);
    }
    return static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if !STREAMS_WEIGHTS

// Four words that one instruction loads.
template <typename Word>
struct Quad;

template <>
struct Quad<float> {
    using Type = float4;
};

template <>
struct Quad<unsigned short> {
    using Type = ushort4;
};

#endif

// ---- activations --------------------------------------------------------------------------------

FUNCTION float sigmoid(float z) { return 1.f / (1.f + exact_exp(-z)); }

// Their derivatives, from their values.
FUNCTION float through_sigmoid(float s, float grad) { return grad * s * (1.f - s); }

FUNCTION float through_tanh(float t, float grad) { return grad * (1.f - t * t); }

// ---- sizes and places ---------------------------------------------------------------------------

// Vectors are padded so that four numbers of one can be loaded at once.
HOST_FUNCTION int padded(int count) { return (count + 3) / 4 * 4; }

// What all kernels know of the batch.
struct Batch {
    GLOBAL const int* lengths;  // (B,) in: steps of each row, 0 to T; or null: all have T
    GLOBAL const float* mask;   // (B, H) in: factors of the recurrent dropout; or null
    int batch_size;
    int seq_len;
    int hidden_size;
    int reverse;             // 1: steps run backwards in time, from each row's own end
    int outputs_row_stride;  // numbers from a row of the outputs to the next, ...
    int outputs_step_stride;  // ... and from a step to the next

    METHOD int length(int row) const { return lengths ? lengths[row] : seq_len; }

    METHOD float mask_of(int row, int unit) const {
        return mask ? mask[static_cast<size_t>(row) * hidden_size + unit] : 1.f;
    }
};

// Where a row stands at a step of the recurrence.
//
// Steps at or behind the row's length stand for the places behind its end: t = step in both
// directions, so that running through all T steps visits every place once.
struct Place {
    bool is_active;  // the row has this step
    bool is_last;    // and it is the row's last
    bool is_first;
    bool carries;  // backward: a gradient arrives from the step after it
    size_t at;     // row * T + t
    size_t output;
    size_t output_before;  // of the step before it in the recurrence; unused at the first
    size_t at_before;

    // `segment`: steps of a truncation segment, 0 for none. Segments are counted from the
    // direction's first step of all T: in reverse, a shorter row enters later.
    METHOD Place(LOCAL const Batch& batch, int row, int step, int segment) {
        const int length = batch.length(row);
        is_active = step < length;
        is_first = step == 0;
        is_last = step == length - 1;
        const int t = is_active && batch.reverse ? length - 1 - step : step;
        const int t_before = batch.reverse ? t + 1 : t - 1;
        const int next = step + 1 + (batch.reverse ? batch.seq_len - length : 0);
        carries = step + 1 < length && (segment == 0 || next % segment != 0);
        const size_t row_at = static_cast<size_t>(row) * batch.seq_len;
        at = row_at + t;
        at_before = row_at + t_before;
        const size_t row_output = static_cast<size_t>(row) * batch.outputs_row_stride;
        output = row_output + static_cast<size_t>(t) * batch.outputs_step_stride;
        output_before = row_output + static_cast<size_t>(t_before) * batch.outputs_step_stride;
    }
};

// What a pass reads and writes, in the terms that all cells share, and what a cell has to give.
//
// A cell is a struct of static members; rnn_cell.h, gru_cell.h and lstm_cell.h hold one each. Sweeps over
// steps (persistent.h, stepwise.h, team.h) are written once over it:
//
//     GATES      G
//     SAVED      numbers a unit keeps of a step for backward, besides h and c
//     HAS_C      whether there is a second state, c
//     HAS_STATE  whether a unit hands a number to its next step by another way than the product:
//                forward c (lstm) or h without dropout's mask (gru); backward grad_c (lstm) or the
//                gradient that goes past the product (gru)
//     TWO_DELTAS whether the gradients of W_ih x + b_ih and of W_hh h + b_hh differ
//     forward    one unit, one step: (x[G], z[G], function, state in|out, saved[SAVED] out) -> h_t
//     Kept       what backward reads of a step; load(..) fetches it
//     backward   (kept, function, grad_h, state in|out, delta_x[G] out, delta_h[G] out)

#pragma once

#include "common.h"

// Tensors of a forward pass. Those that may be null are marked; a cell without one leaves it null.
struct Forward {
    Batch batch;
    int function = 0;                    // rnn: 0 tanh, 1 relu
    GLOBAL const float* gx = nullptr;    // (B, T, G*H) in: W_ih x + b_ih
    GLOBAL const float* b_hh = nullptr;  // (G*H,) in; or null
    GLOBAL const float* h_0 = nullptr;   // (B, H) in; or null: zeros
    GLOBAL const float* c_0 = nullptr;   // (B, H) in; or null: zeros
    GLOBAL float* outputs = nullptr;     // (B, T, H), strided, out: h_t, zero behind a row's end; or null
    GLOBAL float* h_in = nullptr;        // (B, T, H) out: what W_hh is multiplied by, zero behind the end; or null
    GLOBAL float* gates = nullptr;       // (B, T, SAVED*H) out: kept for backward, unwritten behind the end; or null
    GLOBAL float* c = nullptr;           // (B, T, H) out: c_t, unwritten behind the end; or null
    GLOBAL float* h_n = nullptr;         // (B, H) out: the state at each row's end
    GLOBAL float* c_n = nullptr;         // (B, H) out
};

// Tensors of a backward pass. What lies behind a row's end is not read.
struct Backward {
    Batch batch;
    int function = 0;
    int segment = 0;                             // steps of a truncation segment; 0: none
    GLOBAL const float* outputs = nullptr;       // (B, T, H), strided, in
    GLOBAL const float* gates = nullptr;         // (B, T, SAVED*H) in
    GLOBAL const float* c = nullptr;             // (B, T, H) in
    GLOBAL const float* h_0 = nullptr;           // (B, H) in; or null
    GLOBAL const float* c_0 = nullptr;           // (B, H) in; or null
    GLOBAL const float* grad_outputs = nullptr;  // (B, T, H), of the outputs' strides, in; or null
    GLOBAL const float* grad_h_n = nullptr;      // (B, H) in; or null
    GLOBAL const float* grad_c_n = nullptr;      // (B, H) in; or null
    GLOBAL float* delta_x = nullptr;             // (B, T, G*H) out: gradient of gx, zero behind the end
    GLOBAL float* delta_h = nullptr;             // (B, T, G*H) out: of W_hh h + b_hh, where TWO_DELTAS
    GLOBAL float* grad_h_0 = nullptr;            // (B, H) out
    GLOBAL float* grad_c_0 = nullptr;            // (B, H) out
};

// The number of a unit in a (B, H) tensor that may be null.
FUNCTION float at_or_zero(GLOBAL const float* tensor, int row, int unit, int units) {
    return tensor ? tensor[static_cast<size_t>(row) * units + unit] : 0.f;
}

// Writes what a unit leaves of a step, or the zeros behind a row's end.
//
// `h_in` and `h_t` are zero where the row does not have the step; `saved` and `c_t` are not read
// there.
template <class Cell>
FUNCTION void write_step(LOCAL const Forward& pass,
                         LOCAL const Place& place,
                         int unit,
                         float h_in,
                         float h_t,
                         float c_t,
                         LOCAL const float (&saved)[Cell::SAVED + 1]) {
    const int units = pass.batch.hidden_size;
    if (pass.outputs) {
        pass.outputs[place.output + unit] = h_t;
    }
    if (pass.h_in) {
        pass.h_in[place.at * units + unit] = h_in;
    }
    if (!place.is_active) {
        return;
    }
    if (Cell::HAS_C && pass.c) {
        pass.c[place.at * units + unit] = c_t;
    }
    if (Cell::SAVED > 0 && pass.gates) {
#pragma unroll
        for (int i = 0; i < Cell::SAVED; i++) {
            pass.gates[(place.at * Cell::SAVED + i) * units + unit] = saved[i];
        }
    }
}

// Writes the state of a unit at a row's end.
template <class Cell>
FUNCTION void write_final(LOCAL const Forward& pass, int row, int unit, float h, float c) {
    const size_t at = static_cast<size_t>(row) * pass.batch.hidden_size + unit;
    pass.h_n[at] = h;
    if (Cell::HAS_C) {
        pass.c_n[at] = c;
    }
}

// What a row's own unit brings to the first step; a row without steps hands it through.
template <class Cell>
FUNCTION void begin_row(LOCAL const Forward& pass, int row, int unit, SHARED float* state) {
    const int units = pass.batch.hidden_size;
    const float h = at_or_zero(pass.h_0, row, unit, units);
    const float c = Cell::HAS_C ? at_or_zero(pass.c_0, row, unit, units) : 0.f;
    if (Cell::HAS_STATE) {
        *state = Cell::HAS_C ? c : h;
    }
    if (pass.batch.length(row) == 0) {
        write_final<Cell>(pass, row, unit, h, c);
    }
}

// One unit's reverse of one step: adds up what arrives at h_t and c_t, and goes through the cell. The
// deltas are zero behind a row's end.
//
// `from_product` is the sum of the next step's deltas times W_hh, before the mask.
template <class Cell>
FUNCTION void reverse_cell(LOCAL const Backward& pass,
                           LOCAL const Place& place,
                           int row,
                           int unit,
                           LOCAL const typename Cell::Kept& kept,
                           float grad_output,
                           float from_product,
                           LOCAL float& state,
                           LOCAL float (&delta_x)[Cell::GATES],
                           LOCAL float (&delta_h)[Cell::GATES]) {
    const int units = pass.batch.hidden_size;
#pragma unroll
    for (int g = 0; g < Cell::GATES; g++) {
        delta_x[g] = delta_h[g] = 0.f;
    }
    if (place.is_active) {
        float grad_h = grad_output;
        if (place.carries) {
            grad_h += from_product * pass.batch.mask_of(row, unit);
            if (Cell::HAS_STATE && !Cell::HAS_C) {
                grad_h += state;
            }
        } else {
            // The row's last step, or the last of a segment: nothing comes from behind.
            state = 0.f;
        }
        if (place.is_last) {
            grad_h += at_or_zero(pass.grad_h_n, row, unit, units);
            if (Cell::HAS_C) {
                state += at_or_zero(pass.grad_c_n, row, unit, units);
            }
        }
        Cell::backward(kept, pass.function, grad_h, state, delta_x, delta_h);
    }
}

// The same, with the deltas written.
template <class Cell>
FUNCTION void reverse_step(LOCAL const Backward& pass,
                           LOCAL const Place& place,
                           int row,
                           int unit,
                           LOCAL const typename Cell::Kept& kept,
                           float grad_output,
                           float from_product,
                           LOCAL float& state,
                           LOCAL float (&delta_h)[Cell::GATES]) {
    const int units = pass.batch.hidden_size;
    float delta_x[Cell::GATES];
    reverse_cell<Cell>(pass, place, row, unit, kept, grad_output, from_product, state, delta_x, delta_h);
#pragma unroll
    for (int g = 0; g < Cell::GATES; g++) {
        const size_t at = (place.at * Cell::GATES + g) * units + unit;
        pass.delta_x[at] = delta_x[g];
        if (Cell::TWO_DELTAS) {
            pass.delta_h[at] = delta_h[g];
        }
    }
}

// Behind the first step: what arrives at the initial state of one unit.
template <class Cell>
FUNCTION void end_backward(LOCAL const Backward& pass, int row, int unit, float sum, SHARED const float* own) {
    const int units = pass.batch.hidden_size;
    const size_t at = static_cast<size_t>(row) * units + unit;
    float grad_h = sum * pass.batch.mask_of(row, unit);
    float grad_c = 0.f;
    if (Cell::HAS_STATE) {
        (Cell::HAS_C ? grad_c : grad_h) += *own;
    }
    // A row without steps hands its gradient through.
    if (pass.batch.length(row) == 0) {
        grad_h = at_or_zero(pass.grad_h_n, row, unit, units);
        grad_c = Cell::HAS_C ? at_or_zero(pass.grad_c_n, row, unit, units) : 0.f;
    }
    pass.grad_h_0[at] = grad_h;
    if (Cell::HAS_C) {
        pass.grad_c_0[at] = grad_c;
    }
}

// ---- what the argument lists and bodies of the sweeps' kernels share ------------------------------

// The sizes, each with the index of its argument:
//     batch_size           B
//     seq_len              T
//     hidden_size          H
//     outputs_row_stride   numbers from a row of the outputs to the next
//     outputs_step_stride  and from a step to the next
#define SIZES(batch, steps, units, row, step)                             \
    INT(batch, batch_size), INT(steps, seq_len), INT(units, hidden_size), \
        INT(row, outputs_row_stride), INT(step, outputs_step_stride)

// Begins a body with the batch. The indices are those of the arguments; `reversed` 1: steps run backwards in time.
#define BATCH(lengths_index, mask_index, reversed)              \
    const Batch batch{.lengths = GIVEN(lengths_index, lengths), \
                      .mask = GIVEN(mask_index, mask),          \
                      .batch_size = batch_size,                 \
                      .seq_len = seq_len,                       \
                      .hidden_size = hidden_size,               \
                      .reverse = reversed,                      \
                      .outputs_row_stride = outputs_row_stride, \
                      .outputs_step_stride = outputs_step_stride}

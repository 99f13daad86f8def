// What a pass reads and writes, in the terms that all cells share, and what a cell has to give.
//
// A cell is a struct of static members; rnn.cu, gru.cu and lstm.cu hold one each. Sweeps over
// steps (persistent.cuh, stepwise.cuh) are written once over it:
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

#include "common.cuh"

// Tensors of a forward pass. Those that may be null are marked; a cell without one leaves it null.
struct Forward {
    Batch batch;
    int function = 0;             // rnn: 0 tanh, 1 relu
    const float* gx = nullptr;    // (B, T, G*H) in: W_ih x + b_ih
    const float* b_hh = nullptr;  // (G*H,) in; or null
    const float* h_0 = nullptr;   // (B, H) in; or null: zeros
    const float* c_0 = nullptr;   // (B, H) in; or null: zeros
    float* outputs = nullptr;     // (B, T, H), strided, out: h_t, zero behind a row's end; or null
    float* h_in = nullptr;        // (B, T, H) out: what W_hh is multiplied by, zero behind the end; or null
    float* gates = nullptr;       // (B, T, SAVED*H) out: kept for backward, unwritten behind the end; or null
    float* c = nullptr;           // (B, T, H) out: c_t, unwritten behind the end; or null
    float* h_n = nullptr;         // (B, H) out: the state at each row's end
    float* c_n = nullptr;         // (B, H) out
};

// Tensors of a backward pass. What lies behind a row's end is not read.
struct Backward {
    Batch batch;
    int function = 0;
    int segment = 0;                      // steps of a truncation segment; 0: none
    const float* outputs = nullptr;       // (B, T, H), strided, in
    const float* gates = nullptr;         // (B, T, SAVED*H) in
    const float* c = nullptr;             // (B, T, H) in
    const float* h_0 = nullptr;           // (B, H) in; or null
    const float* c_0 = nullptr;           // (B, H) in; or null
    const float* grad_outputs = nullptr;  // (B, T, H), of the outputs' strides, in; or null
    const float* grad_h_n = nullptr;      // (B, H) in; or null
    const float* grad_c_n = nullptr;      // (B, H) in; or null
    float* delta_x = nullptr;             // (B, T, G*H) out: gradient of gx, zero behind the end
    float* delta_h = nullptr;             // (B, T, G*H) out: of W_hh h + b_hh, where TWO_DELTAS
    float* grad_h_0 = nullptr;            // (B, H) out
    float* grad_c_0 = nullptr;            // (B, H) out
};

// The number of a unit in a (B, H) tensor that may be null.
__device__ inline float at_or_zero(const float* tensor, int row, int unit, int units) {
    return tensor ? tensor[static_cast<size_t>(row) * units + unit] : 0.f;
}

// Writes what a unit leaves of a step, or the zeros behind a row's end.
//
// `h_in` and `h_t` are zero where the row does not have the step; `saved` and `c_t` are not read
// there.
template <class Cell>
__device__ inline void write_step(const Forward& pass,
                                  const Place& place,
                                  int unit,
                                  float h_in,
                                  float h_t,
                                  float c_t,
                                  const float (&saved)[Cell::SAVED + 1]) {
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

// One unit's reverse of one step: adds up what arrives at h_t and c_t, goes through the cell, and
// writes the deltas, zero behind a row's end.
//
// `from_product` is the sum of the next step's deltas times W_hh, before the mask.
template <class Cell>
__device__ inline void reverse_step(const Backward& pass,
                                    const Place& place,
                                    int row,
                                    int unit,
                                    const typename Cell::Kept& kept,
                                    float grad_output,
                                    float from_product,
                                    float& state,
                                    float (&delta_h)[Cell::GATES]) {
    const int units = pass.batch.hidden_size;
    float delta_x[Cell::GATES];
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
#pragma unroll
    for (int g = 0; g < Cell::GATES; g++) {
        const size_t at = (place.at * Cell::GATES + g) * units + unit;
        pass.delta_x[at] = delta_x[g];
        if (Cell::TWO_DELTAS) {
            pass.delta_h[at] = delta_h[g];
        }
    }
}

// One step for all rows, for an H whose W_hh does not fit in shared memory: the product is a GEMM
// by the caller, and a thread does the rest of one unit of one row.
//
//     step_begin;  for s in 0..T:  z = operand W_hhᵀ (B, G*H);  *_step_forward(s)
//     for s in (0..T).rev():       *_step_backward(s);  z = operand W_hh (B, H)
//     step_end
//
// `operand` is what the GEMM reads, in the words of W_hh. The same cells as in persistent.h.

#pragma once

#include "cell.h"

// The thread's place in a (B, H) tensor.
struct Unit {
    int row;
    int unit;
    size_t at;
    bool exists;

    METHOD Unit(LOCAL const Threads& threads, int batch_size, int units) {
        at = static_cast<size_t>(threads.block) * threads.count + threads.index;
        row = static_cast<int>(at / units);
        unit = static_cast<int>(at % units);
        exists = row < batch_size;
    }
};

// `h`, `c`: (B, H) in|out: the states before the step, then after it.
template <class Cell, typename Word>
FUNCTION void
forward_one_step(LOCAL const Threads& threads,
                 LOCAL const Forward& pass,
                 GLOBAL const float* z_hh,
                 GLOBAL float* h,
                 GLOBAL float* c,
                 GLOBAL Word* operand,
                 int step) {
    constexpr int G = Cell::GATES;
    const int units = pass.batch.hidden_size;
    const Unit own(threads, pass.batch.batch_size, units);
    if (!own.exists) {
        return;
    }
    const Place place(pass.batch, own.row, step, 0);
    float saved[Cell::SAVED + 1];
    if (!place.is_active) {
        write_step<Cell>(pass, place, own.unit, 0.f, 0.f, 0.f, saved);
        return;
    }
    float x[G], z[G];
#pragma unroll
    for (int g = 0; g < G; g++) {
        x[g] = pass.gx[(place.at * G + g) * units + own.unit];
        z[g] = z_hh[(static_cast<size_t>(own.row) * G + g) * units + own.unit];
        z[g] += pass.b_hh ? pass.b_hh[g * units + own.unit] : 0.f;
    }
    const float mask = pass.batch.mask_of(own.row, own.unit);
    const float h_in = h[own.at] * mask;
    float state = Cell::HAS_C ? c[own.at] : h[own.at];
    const float h_t = Cell::forward(x, z, pass.function, state, saved);
    write_step<Cell>(pass, place, own.unit, h_in, h_t, state, saved);
    h[own.at] = h_t;
    if (Cell::HAS_C) {
        c[own.at] = state;
    }
    operand[own.at] = narrow<Word>(h_t * mask);
}

// `z`: (B, H) in: the product with the operand of the step before this call; null at the first
// call. `state`: (B, H) in|out, of cells that have one; not read at the first call.
template <class Cell, typename Word>
FUNCTION void
backward_one_step(LOCAL const Threads& threads,
                  LOCAL const Backward& pass,
                  GLOBAL const float* z,
                  GLOBAL float* state,
                  GLOBAL Word* operand,
                  int step) {
    constexpr int G = Cell::GATES;
    const int units = pass.batch.hidden_size;
    const Unit own(threads, pass.batch.batch_size, units);
    if (!own.exists) {
        return;
    }
    const Place place(pass.batch, own.row, step, pass.segment);
    typename Cell::Kept kept = {};
    float grad_output = 0.f;
    if (place.is_active) {
        kept.load(pass, place, own.row, own.unit);
        if (pass.grad_outputs) {
            grad_output = pass.grad_outputs[place.output + own.unit];
        }
    }
    float own_state = Cell::HAS_STATE && z ? state[own.at] : 0.f;
    float delta_h[G];
    reverse_step<Cell>(pass, place, own.row, own.unit, kept, grad_output, z ? z[own.at] : 0.f,
                       own_state, delta_h);
    if (Cell::HAS_STATE) {
        state[own.at] = own_state;
    }
#pragma unroll
    for (int g = 0; g < G; g++) {
        const size_t at = (static_cast<size_t>(own.row) * G + g) * units + own.unit;
        operand[at] = narrow<Word>(delta_h[g]);
    }
}

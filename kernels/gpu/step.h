// What stepwise passes do before the first step and behind the last; the same for all cells.

#pragma once

#include "stepwise.h"

namespace step {

template <typename Word>
FUNCTION void begin(LOCAL const Threads& threads,
                    GLOBAL const float* h_0,
                    GLOBAL const float* mask,
                    GLOBAL float* h,
                    GLOBAL Word* operand,
                    int batch_size,
                    int hidden_size) {
    const Unit own(threads, batch_size, hidden_size);
    if (!own.exists) {
        return;
    }
    const float value = h_0 ? h_0[own.at] : 0.f;
    h[own.at] = value;
    operand[own.at] = narrow<Word>(mask ? value * mask[own.at] : value);
}

}  // namespace step

// The state and the operand of the first product. Grid: ceil(B H / block).
STEP_KERNEL
step_begin_f32(
    IN(0, float, h_0),       // (B, H) in   or null: zeros
    IN(1, float, mask),      // (B, H) in   or null: ones
    OUT(2, float, h),        // (B, H) out
    OUT(3, float, operand),  // (B, H) out  mask ⊙ h
    INT(4, batch_size),      // B
    INT(5, hidden_size)      // H
    STEP_END(6)
) {
    STEP_BEGIN;
    step::begin<float>(threads, GIVEN(0, h_0), GIVEN(1, mask), h, operand, batch_size, hidden_size);
}

// The same for a product in bf16.
STEP_KERNEL
step_begin_bf16(
    IN(0, float, h_0),                // (B, H) in   or null: zeros
    IN(1, float, mask),               // (B, H) in   or null: ones
    OUT(2, float, h),                 // (B, H) out
    OUT(3, unsigned short, operand),  // (B, H) out  mask ⊙ h
    INT(4, batch_size),               // B
    INT(5, hidden_size)               // H
    STEP_END(6)
) {
    STEP_BEGIN;
    step::begin<unsigned short>(threads, GIVEN(0, h_0), GIVEN(1, mask), h, operand, batch_size, hidden_size);
}

// The gradient of an initial state, behind the reverse of step 0. Grid: ceil(B H / block).
//
// Of h_0: z from the product, state of the gru. Of c_0: z is the lstm's grad_c, no mask, no state.
STEP_KERNEL
step_end_f32(
    IN(0, float, z),        // (B, H) in
    IN(1, float, state),    // (B, H) in   added; or null
    IN(2, float, grad_n),   // (B, H) in   of the final state, which a row without steps hands on; or null
    IN(3, int, lengths),    // (B,)   in   or null
    IN(4, float, mask),     // (B, H) in   or null
    OUT(5, float, grad_0),  // (B, H) out
    INT(6, batch_size),     // B
    INT(7, hidden_size)     // H
    STEP_END(8)
) {
    STEP_BEGIN;
    const Unit own(threads, batch_size, hidden_size);
    if (!own.exists) {
        return;
    }
    GLOBAL const int* steps = GIVEN(3, lengths);
    if (steps && steps[own.row] == 0) {
        GLOBAL const float* handed_on = GIVEN(2, grad_n);
        grad_0[own.at] = handed_on ? handed_on[own.at] : 0.f;
        return;
    }
    GLOBAL const float* factors = GIVEN(4, mask);
    GLOBAL const float* past_product = GIVEN(1, state);
    const float from_product = factors ? z[own.at] * factors[own.at] : z[own.at];
    grad_0[own.at] = from_product + (past_product ? past_product[own.at] : 0.f);
}

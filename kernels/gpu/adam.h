// Adam (Kingma & Ba, 2015, algorithm 1) as PyTorch computes it, in one pass over parameter, gradient
// and both moments; with the decoupled weight decay of Loshchilov & Hutter (2019), algorithm 2:
//
//     m ← β1 m + (1 - β1) g,  v ← β2 v + (1 - β2) g²
//     θ ← keep θ - step_size m / (√v / correction + ε)
//
// Each number by itself, so a gradient that is NaN stays where it is. The coefficients are computed
// by the caller in f64, and are numbers in memory, so that a launch that was recorded takes those of
// each step. A launch takes up to five parameters, which are all of a classifier's with one
// layer of tanh units: launches cost more than the numbers.

#pragma once

#include "common.h"

namespace adam {

// A parameter with what belongs to it; moments are the mean of g, then the mean of g².
struct Slot {
    GLOBAL float* param;
    GLOBAL const float* grad;
    GLOBAL float* moments;
    int count;
};

enum { SLOTS = 5 };

}  // namespace adam

// Grid: any; ceil(sum of the counts / block) gives each thread one number. A slot of 0 numbers may be
// null.
STEP_KERNEL
adam_f32(
    OUT(0, float, param_0),     // (count,) in|out θ
    IN(1, float, grad_0),       // (count,) in     g
    OUT(2, float, moments_0),   // (2, count) in|out mean of g, mean of g²
    INT(3, count_0),            // numbers of the slot
    OUT(4, float, param_1),     // as above
    IN(5, float, grad_1),
    OUT(6, float, moments_1),
    INT(7, count_1),
    OUT(8, float, param_2),     // as above
    IN(9, float, grad_2),
    OUT(10, float, moments_2),
    INT(11, count_2),
    OUT(12, float, param_3),    // as above
    IN(13, float, grad_3),
    OUT(14, float, moments_3),
    INT(15, count_3),
    OUT(16, float, param_4),    // as above
    IN(17, float, grad_4),
    OUT(18, float, moments_4),
    INT(19, count_4),
    IN(20, float, coefficients) // (8,)   in  β1, 1 - β1, β2, 1 - β2, then those of a step:
                                //   learning rate / (1 - β1^t), √(1 - β2^t), ε, 1 - learning rate * weight decay
    ADAM_END
) {
    STEP_BEGIN;
    const float beta1 = coefficients[0], rest1 = coefficients[1];
    const float beta2 = coefficients[2], rest2 = coefficients[3];
    const float step_size = coefficients[4], correction = coefficients[5];
    const float eps = coefficients[6], keep = coefficients[7];
    const adam::Slot slots[adam::SLOTS] = {
        {param_0, grad_0, moments_0, count_0},
        {param_1, grad_1, moments_1, count_1},
        {param_2, grad_2, moments_2, count_2},
        {param_3, grad_3, moments_3, count_3},
        {param_4, grad_4, moments_4, count_4},
    };
    const size_t stride = static_cast<size_t>(threads.blocks) * threads.count;
    const size_t first = static_cast<size_t>(threads.block) * threads.count + threads.index;
    // The threads walk through the slots as if they were one behind the other.
    size_t before = 0;
#pragma unroll
    for (int s = 0; s < adam::SLOTS; s++) {
        const adam::Slot slot = slots[s];
        const size_t count = slot.count;
        const size_t end = before + count;
        size_t at = first;
        if (at < before) {
            at += (before - at + stride - 1) / stride * stride;
        }
        for (; at < end; at += stride) {
            const size_t i = at - before;
            const float g = slot.grad[i];
            const float m_i = beta1 * slot.moments[i] + rest1 * g;
            const float v_i = beta2 * slot.moments[count + i] + rest2 * g * g;
            slot.moments[i] = m_i;
            slot.moments[count + i] = v_i;
            slot.param[i] = keep * slot.param[i] - step_size * m_i / (exact_sqrt(v_i) / correction + eps);
        }
        before = end;
    }
}

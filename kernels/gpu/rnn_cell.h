// Elman's network: h_t = f(gx_t + W_hh h_{t-1}), f = tanh or relu; gx_t = W_ih x_t + b_ih + b_hh.
//
// Source: Elman (1990), "Finding Structure in Time". Its kernels: rnn.h and team.h.

#pragma once

#include "cell.h"

namespace rnn {

// Backward needs nothing but h_t: tanh' = 1 - h², and relu' = 0 where h is 0.
struct Cell {
    // Metal has no static members.
    enum {
        GATES = 1,
        SAVED = 0,
        HAS_C = 0,
        HAS_STATE = 0,
        TWO_DELTAS = 0,
    };

    METHOD static float forward(
        LOCAL const float (&x)[1], LOCAL const float (&z)[1], int function, LOCAL float&, LOCAL float (&)[1]) {
        const float sum = x[0] + z[0];
        // Not fmaxf, which loses NaN.
        const float relu = sum <= 0.f ? 0.f : sum;
        return function == 0 ? exact_tanh(sum) : relu;
    }

    struct Kept {
        float h_t;

        METHOD void load(LOCAL const Backward& pass, LOCAL const Place& place, int, int unit) {
            h_t = pass.outputs[place.output + unit];
        }
    };

    METHOD static void backward(LOCAL const Kept& kept,
                                int function,
                                float grad_h,
                                LOCAL float&,
                                LOCAL float (&delta_x)[1],
                                LOCAL float (&delta_h)[1]) {
        const float through_relu = kept.h_t == 0.f ? 0.f : grad_h;
        delta_x[0] = function == 0 ? through_tanh(kept.h_t, grad_h) : through_relu;
        delta_h[0] = delta_x[0];
    }
};

}  // namespace rnn

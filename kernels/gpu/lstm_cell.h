// Long short-term memory, gates i f g o:
//
//     i, f, o = σ(gx_t + W_hh h_{t-1} + b_hh),  g = tanh(..)
//     c_t = f c_{t-1} + i g
//     h_t = o tanh(c_t)
//
// Source: Hochreiter & Schmidhuber (1997), "Long Short-Term Memory"; the forget gate is that of
// Gers et al. (2000), "Learning to Forget". Its kernels: lstm.h and team.h.

#pragma once

#include "cell.h"

namespace lstm {

// The state is c; backward its gradient.
struct Cell {
    // Metal has no static members.
    enum {
        GATES = 4,
        SAVED = 4,  // i f g o
        HAS_C = 1,
        HAS_STATE = 1,
        TWO_DELTAS = 0,
    };

    METHOD static float forward(
        LOCAL const float (&x)[4], LOCAL const float (&z)[4], int, LOCAL float& state, LOCAL float (&saved)[5]) {
        const float i = sigmoid(x[0] + z[0]);
        const float f = sigmoid(x[1] + z[1]);
        const float g = exact_tanh(x[2] + z[2]);
        const float o = sigmoid(x[3] + z[3]);
        saved[0] = i;
        saved[1] = f;
        saved[2] = g;
        saved[3] = o;
        state = f * state + i * g;
        return o * exact_tanh(state);
    }

    struct Kept {
        float i, f, g, o;
        float c_t, c_before;

        METHOD void load(LOCAL const Backward& pass, LOCAL const Place& place, int row, int unit) {
            const int units = pass.batch.hidden_size;
            GLOBAL const float* gates = pass.gates + place.at * SAVED * units + unit;
            i = gates[0];
            f = gates[units];
            g = gates[2 * units];
            o = gates[3 * units];
            c_t = pass.c[place.at * units + unit];
            c_before = place.is_first ? at_or_zero(pass.c_0, row, unit, units)
                                      : pass.c[place.at_before * units + unit];
        }
    };

    METHOD static void backward(LOCAL const Kept& kept,
                                int,
                                float grad_h,
                                LOCAL float& state,
                                LOCAL float (&delta_x)[4],
                                LOCAL float (&delta_h)[4]) {
        const float tanh_c = exact_tanh(kept.c_t);
        const float grad_c = state + through_tanh(tanh_c, grad_h * kept.o);
        delta_x[0] = through_sigmoid(kept.i, grad_c * kept.g);
        delta_x[1] = through_sigmoid(kept.f, grad_c * kept.c_before);
        delta_x[2] = through_tanh(kept.g, grad_c * kept.i);
        delta_x[3] = through_sigmoid(kept.o, grad_h * tanh_c);
#pragma unroll
        for (int gate = 0; gate < 4; gate++) {
            delta_h[gate] = delta_x[gate];
        }
        state = grad_c * kept.f;
    }
};

}  // namespace lstm

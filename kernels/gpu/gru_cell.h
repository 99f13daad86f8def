// Gated recurrent unit, gates r z n; the reset gate acts after the product, as in cuDNN and PyTorch:
//
//     r, z = σ(gx_t + W_hh h_{t-1} + b_hh)
//     q    = W_hn h_{t-1} + b_hn
//     n    = tanh(gx_t + r q)
//     h_t  = (1 - z) n + z h_{t-1}
//
// Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for
// Statistical Machine Translation", equations 5 to 8. Its kernels: gru.h and team.h.

#pragma once

#include "cell.h"

namespace gru {

// The state is h without the dropout's mask, which only products see; backward it is the gradient
// that goes past the product, z ⊙ grad_h.
struct Cell {
    // Metal has no static members.
    enum {
        GATES = 3,
        SAVED = 4,  // r z n q
        HAS_C = 0,
        HAS_STATE = 1,
        TWO_DELTAS = 1,
    };

    METHOD static float forward(
        LOCAL const float (&x)[3], LOCAL const float (&z_hh)[3], int, LOCAL float& state, LOCAL float (&saved)[5]) {
        const float r = sigmoid(x[0] + z_hh[0]);
        const float z = sigmoid(x[1] + z_hh[1]);
        const float q = z_hh[2];
        const float n = exact_tanh(x[2] + r * q);
        saved[0] = r;
        saved[1] = z;
        saved[2] = n;
        saved[3] = q;
        state = (1.f - z) * n + z * state;
        return state;
    }

    struct Kept {
        float r, z, n, q;
        float h_before;

        METHOD void load(LOCAL const Backward& pass, LOCAL const Place& place, int row, int unit) {
            const int units = pass.batch.hidden_size;
            GLOBAL const float* gates = pass.gates + place.at * SAVED * units + unit;
            r = gates[0];
            z = gates[units];
            n = gates[2 * units];
            q = gates[3 * units];
            h_before = place.is_first ? at_or_zero(pass.h_0, row, unit, units)
                                      : pass.outputs[place.output_before + unit];
        }
    };

    METHOD static void backward(LOCAL const Kept& kept,
                                int,
                                float grad_h,
                                LOCAL float& state,
                                LOCAL float (&delta_x)[3],
                                LOCAL float (&delta_h)[3]) {
        const float delta_n = through_tanh(kept.n, grad_h * (1.f - kept.z));
        delta_x[0] = delta_h[0] = through_sigmoid(kept.r, delta_n * kept.q);
        delta_x[1] = delta_h[1] = through_sigmoid(kept.z, grad_h * (kept.h_before - kept.n));
        delta_x[2] = delta_n;
        delta_h[2] = delta_n * kept.r;
        state = grad_h * kept.z;
    }
};

}  // namespace gru

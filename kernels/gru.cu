// Gated recurrent unit, gates r z n; the reset gate acts after the product, as in cuDNN and PyTorch:
//
//     r, z = σ(gx_t + W_hh h_{t-1} + b_hh)
//     q    = W_hn h_{t-1} + b_hn
//     n    = tanh(gx_t + r q)
//     h_t  = (1 - z) n + z h_{t-1}
//
// Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for
// Statistical Machine Translation", equations 5 to 8. Sizes and launches: README.md.

#include "persistent.cuh"
#include "stepwise.cuh"

namespace gru {

// The state is h without the dropout's mask, which only products see; backward it is the gradient
// that goes past the product, z ⊙ grad_h.
struct Cell {
    static constexpr int GATES = 3;
    static constexpr int SAVED = 4;  // r z n q
    static constexpr bool HAS_C = false;
    static constexpr bool HAS_STATE = true;
    static constexpr bool TWO_DELTAS = true;

    __device__ static float forward(
        const float (&x)[3], const float (&z_hh)[3], int, float& state, float (&saved)[5]) {
        const float r = sigmoid(x[0] + z_hh[0]);
        const float z = sigmoid(x[1] + z_hh[1]);
        const float q = z_hh[2];
        const float n = tanhf(x[2] + r * q);
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

        __device__ void load(const Backward& pass, const Place& place, int row, int unit) {
            const int units = pass.batch.hidden_size;
            const float* gates = pass.gates + place.at * SAVED * units + unit;
            r = gates[0];
            z = gates[units];
            n = gates[2 * units];
            q = gates[3 * units];
            h_before = place.is_first ? at_or_zero(pass.h_0, row, unit, units)
                                      : pass.outputs[place.output_before + unit];
        }
    };

    __device__ static void backward(const Kept& kept,
                                    int,
                                    float grad_h,
                                    float& state,
                                    float (&delta_x)[3],
                                    float (&delta_h)[3]) {
        const float delta_n = through_tanh(kept.n, grad_h * (1.f - kept.z));
        delta_x[0] = delta_h[0] = through_sigmoid(kept.r, delta_n * kept.q);
        delta_x[1] = delta_h[1] = through_sigmoid(kept.z, grad_h * (kept.h_before - kept.n));
        delta_x[2] = delta_n;
        delta_h[2] = delta_n * kept.r;
        state = grad_h * kept.z;
    }
};

}  // namespace gru

// Two words for W_hh, one text: see gru_kernels.inc for the arguments.
#define WORD float
#define KERNEL(name) name##_f32
#include "gru_kernels.inc"
#undef WORD
#undef KERNEL

#define WORD unsigned short
#define KERNEL(name) name##_bf16
#include "gru_kernels.inc"
#undef WORD
#undef KERNEL

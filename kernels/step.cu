// What stepwise passes do before the first step and behind the last; the same for all cells.

#include "stepwise.cuh"

namespace step {

template <typename Word>
__device__ inline void begin(
    const float* h_0, const float* mask, float* h, Word* operand, int batch_size, int hidden_size) {
    const Unit own(batch_size, hidden_size);
    if (!own.exists) {
        return;
    }
    const float value = h_0 ? h_0[own.at] : 0.f;
    h[own.at] = value;
    operand[own.at] = narrow<Word>(mask ? value * mask[own.at] : value);
}

}  // namespace step

// The state and the operand of the first product. Grid: ceil(B H / block).
extern "C" __global__ void __launch_bounds__(MAX_BLOCK)
step_begin_f32(
    const float* h_0,   // (B, H) in   or null: zeros
    const float* mask,  // (B, H) in   or null: ones
    float* h,           // (B, H) out
    float* operand,     // (B, H) out  mask ⊙ h
    int batch_size,     // B
    int hidden_size     // H
) {
    step::begin<float>(h_0, mask, h, operand, batch_size, hidden_size);
}

// The same for a product in bf16.
extern "C" __global__ void __launch_bounds__(MAX_BLOCK)
step_begin_bf16(
    const float* h_0,         // (B, H) in   or null: zeros
    const float* mask,        // (B, H) in   or null: ones
    float* h,                 // (B, H) out
    unsigned short* operand,  // (B, H) out  mask ⊙ h
    int batch_size,           // B
    int hidden_size           // H
) {
    step::begin<unsigned short>(h_0, mask, h, operand, batch_size, hidden_size);
}

// The gradient of an initial state, behind the reverse of step 0. Grid: ceil(B H / block).
//
// Of h_0: z from the product, state of the gru. Of c_0: z is the lstm's grad_c, no mask, no state.
extern "C" __global__ void __launch_bounds__(MAX_BLOCK)
step_end_f32(
    const float* z,       // (B, H) in
    const float* state,   // (B, H) in   added; or null
    const float* grad_n,  // (B, H) in   of the final state, which a row without steps hands on; or null
    const int* lengths,   // (B,)   in   or null
    const float* mask,    // (B, H) in   or null
    float* grad_0,        // (B, H) out
    int batch_size,       // B
    int hidden_size       // H
) {
    const Unit own(batch_size, hidden_size);
    if (!own.exists) {
        return;
    }
    if (lengths && lengths[own.row] == 0) {
        grad_0[own.at] = grad_n ? grad_n[own.at] : 0.f;
        return;
    }
    const float from_product = mask ? z[own.at] * mask[own.at] : z[own.at];
    grad_0[own.at] = from_product + (state ? state[own.at] : 0.f);
}

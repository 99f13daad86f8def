// Adam (Kingma & Ba, 2015, algorithm 1) as PyTorch computes it, in one pass over parameter, gradient
// and both moments; with the decoupled weight decay of Loshchilov & Hutter (2019), algorithm 2:
//
//     m ← β1 m + (1 - β1) g,  v ← β2 v + (1 - β2) g²
//     θ ← keep θ - step_size m / (√v / correction + ε)
//
// Each number by itself, so a gradient that is NaN stays where it is. The coefficients are computed
// by the caller in f64.

#include "common.cuh"

// Grid: any; ceil(count / block) gives each thread one number.
extern "C" __global__ void __launch_bounds__(MAX_BLOCK)
adam_f32(
    float* param,       // (count,) in|out θ
    const float* grad,  // (count,) in     g
    float* m,           // (count,) in|out mean of g
    float* v,           // (count,) in|out mean of g²
    int count,
    float beta1,
    float rest1,      // 1 - β1
    float beta2,
    float rest2,      // 1 - β2
    float step_size,  // learning rate / (1 - β1^t)
    float correction,  // √(1 - β2^t)
    float eps,
    float keep  // 1 - learning rate * weight decay; 1 for none
) {
    const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
    const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (size_t i = first; i < static_cast<size_t>(count); i += stride) {
        const float g = grad[i];
        const float m_i = beta1 * m[i] + rest1 * g;
        const float v_i = beta2 * v[i] + rest2 * g * g;
        m[i] = m_i;
        v[i] = v_i;
        param[i] = keep * param[i] - step_size * m_i / (sqrtf(v_i) / correction + eps);
    }
}

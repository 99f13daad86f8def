// What every kernel needs: words of weights, activations, the place of a step in its row, and the
// product of a matrix in shared memory with a few vectors.
//
// Letters: B rows of a batch, T steps, H units, G gates of a unit (1 tanh/relu, 3 gru, 4 lstm).
//
// The files here are compiled twice: by nvcc for the device, and by g++ behind
// host/cuda_on_cpu.hpp, which gives them threads and barriers on the CPU. So they use nothing of
// CUDA that this header lacks, and no shared memory but the dynamic one.

#pragma once

// Threads of a block at most; with 128 registers each they fill an SM's register file. Kernels that
// keep W_hh in shared memory have an SM to themselves and say so in __launch_bounds__: without
// that, nvcc holds some of them to 64 registers and spills.
#define MAX_BLOCK 512

// ---- words of weights: fp32, or bf16 as its 16 bits ---------------------------------------------
// The conversions are our own: cuda_bf16.h has no form for the CPU compiler, and they are one
// instruction anyway.

__device__ inline float widen(float value) { return value; }

__device__ inline float widen(unsigned short bits) {
    return __uint_as_float(static_cast<unsigned>(bits) << 16);
}

template <typename Word>
__device__ inline Word narrow(float value);

template <>
__device__ inline float narrow<float>(float value) {
    return value;
}

// Round to nearest, ties to even; a NaN stays one (its payload could round up to infinity).
template <>
__device__ inline unsigned short narrow<unsigned short>(float value) {
    const unsigned bits = __float_as_uint(value);
    if (value != value) {
        return static_cast<unsigned short>((bits >> 16) | 0x40u);
    }
    return static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Four words that one instruction loads.
template <typename Word>
struct Quad;

template <>
struct Quad<float> {
    using Type = float4;
};

template <>
struct Quad<unsigned short> {
    using Type = ushort4;
};

// ---- activations --------------------------------------------------------------------------------

__device__ inline float sigmoid(float z) { return 1.f / (1.f + expf(-z)); }

// Their derivatives, from their values.
__device__ inline float through_sigmoid(float s, float grad) { return grad * s * (1.f - s); }

__device__ inline float through_tanh(float t, float grad) { return grad * (1.f - t * t); }

// ---- sizes and places ---------------------------------------------------------------------------

// Vectors are padded so that four numbers of one can be loaded at once.
__host__ __device__ inline int padded(int count) { return (count + 3) / 4 * 4; }

// What all kernels know of the batch.
struct Batch {
    const int* lengths;  // (B,) in: steps of each row, 0 to T; or null: all have T
    const float* mask;   // (B, H) in: factors of the recurrent dropout; or null
    int batch_size;
    int seq_len;
    int hidden_size;
    int reverse;             // 1: steps run backwards in time, from each row's own end
    int outputs_row_stride;  // numbers from a row of the outputs to the next, ...
    int outputs_step_stride;  // ... and from a step to the next

    __device__ int length(int row) const { return lengths ? lengths[row] : seq_len; }

    __device__ float mask_of(int row, int unit) const {
        return mask ? mask[static_cast<size_t>(row) * hidden_size + unit] : 1.f;
    }
};

// Where a row stands at a step of the recurrence.
//
// Steps at or behind the row's length stand for the places behind its end: t = step in both
// directions, so that running through all T steps visits every place once.
struct Place {
    bool is_active;  // the row has this step
    bool is_last;    // and it is the row's last
    bool is_first;
    bool carries;  // backward: a gradient arrives from the step after it
    size_t at;     // row * T + t
    size_t output;
    size_t output_before;  // of the step before it in the recurrence; unused at the first
    size_t at_before;

    // `segment`: steps of a truncation segment, 0 for none. Segments are counted from the
    // direction's first step of all T: in reverse, a shorter row enters later.
    __device__ Place(const Batch& batch, int row, int step, int segment) {
        const int length = batch.length(row);
        is_active = step < length;
        is_first = step == 0;
        is_last = step == length - 1;
        const int t = is_active && batch.reverse ? length - 1 - step : step;
        const int t_before = batch.reverse ? t + 1 : t - 1;
        const int next = step + 1 + (batch.reverse ? batch.seq_len - length : 0);
        carries = step + 1 < length && (segment == 0 || next % segment != 0);
        const size_t row_at = static_cast<size_t>(row) * batch.seq_len;
        at = row_at + t;
        at_before = row_at + t_before;
        const size_t row_output = static_cast<size_t>(row) * batch.outputs_row_stride;
        output = row_output + static_cast<size_t>(t) * batch.outputs_step_stride;
        output_before = row_output + static_cast<size_t>(t_before) * batch.outputs_step_stride;
    }
};

// ---- the product --------------------------------------------------------------------------------
// A matrix (N, K) lies in shared memory as panels: four columns of all N rows, then the next four.
// The threads of a warp take neighbouring rows, so their 16 bytes (8 in bf16) are neighbours too:
// no two of a phase meet in a bank, for any N. The vectors are read by all threads alike, which is
// a broadcast. Each word is thus read from shared memory once per ROWS vectors, which is what
// bounds the kernels; a plain transposed layout needs four times the load instructions.

// Copies a matrix into panels; columns behind K are zero up to the padding.
//
// IS_TRANSPOSED false: `matrix` is (N, K) row-major; true: (K, N). Reads are coalesced either way.
template <bool IS_TRANSPOSED, typename Word>
__device__ inline void fill_panels(Word* panels, const Word* matrix, int n, int k) {
    const int depth = padded(k);
    for (int i = threadIdx.x; i < n * depth; i += blockDim.x) {
        const int row = IS_TRANSPOSED ? i % n : i / depth;
        const int column = IS_TRANSPOSED ? i / n : i % depth;
        const size_t source = IS_TRANSPOSED ? static_cast<size_t>(column) * n + row
                                            : static_cast<size_t>(row) * k + column;
        panels[(column / 4 * n + row) * 4 + column % 4] =
            column < k ? matrix[source] : narrow<Word>(0.f);
    }
}

// sums[o][r] += Σ_k matrix[first + o * stride][k] · vectors[r][k], k in ascending order.
template <int OUTS, int ROWS, typename Word>
__device__ inline void add_products(float (&sums)[OUTS][ROWS],
                                    const Word* panels,    // (padded(K) / 4, N, 4) in shared memory
                                    const float* vectors,  // (ROWS, depth) in shared memory
                                    int n,
                                    int depth,  // padded(K)
                                    int first,
                                    int stride) {
    using Words = typename Quad<Word>::Type;
    const Words* words = reinterpret_cast<const Words*>(panels) + first;
    // Unrolled further, the loads of the lstm's reverse no longer fit in 128 registers.
#pragma unroll 2
    for (int k = 0; k < depth; k += 4, words += n) {
        float4 v[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            v[r] = *reinterpret_cast<const float4*>(vectors + r * depth + k);
        }
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            const Words w = words[o * stride];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                sums[o][r] = fmaf(widen(w.x), v[r].x, sums[o][r]);
                sums[o][r] = fmaf(widen(w.y), v[r].y, sums[o][r]);
                sums[o][r] = fmaf(widen(w.z), v[r].z, sums[o][r]);
                sums[o][r] = fmaf(widen(w.w), v[r].w, sums[o][r]);
            }
        }
    }
}

// W_hh as a tile's product reads it: held in shared memory, or streamed from the device's.
//
// The product, which bounds the persistent kernels, is z = W v for a few vectors v in shared memory;
// W is (N, K): forward W_hh, backward W_hh transposed. A thread computes rows of it, neighbouring
// threads neighbouring rows, and each word that it reads serves ROWS vectors.

#pragma once

#include "common.h"

#if STREAMS_WEIGHTS

// The matrix lies in the device's memory as (K, N), so that neighbouring threads read neighbouring
// words; what caches hold of it is read again at every step.
template <typename Word>
struct Weights {
    GLOBAL const Word* matrix;
    int n;
    int k;

    METHOD Weights(SHARED float*, GLOBAL const Word* matrix, int n, int k)
        : matrix(matrix), n(n), k(k) {}

    METHOD static size_t floats(int, int) { return 0; }

    template <bool IS_TRANSPOSED>
    METHOD void fill(LOCAL const Threads&) const {}

    // sums[o][r] += Σ_k W[first + o * stride][k] · vectors[r][k], k in ascending order.
    template <int OUTS, int ROWS>
    METHOD void add_products(LOCAL float (&sums)[OUTS][ROWS],
                             SHARED const float* vectors,  // (ROWS, depth)
                             int depth,                    // padded(K)
                             int first,
                             int stride) const {
        GLOBAL const Word* words = matrix + first;
#pragma unroll 2
        for (int i = 0; i < k; i++, words += n) {
            float v[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                v[r] = vectors[r * depth + i];
            }
#pragma unroll
            for (int o = 0; o < OUTS; o++) {
                const float w = widen(words[o * stride]);
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    sums[o][r] = multiply_add(w, v[r], sums[o][r]);
                }
            }
        }
    }
};

#else

// The matrix lies in shared memory as panels: four columns of all N rows, then the next four. The
// threads of a warp take neighbouring rows, so their 16 bytes (8 in bf16) are neighbours too: no two
// of a phase meet in a bank, for any N. The vectors are read by all threads alike, which is a
// broadcast. A plain transposed layout needs four times the load instructions.
template <typename Word>
struct Weights {
    SHARED Word* panels;  // (padded(K) / 4, N, 4)
    GLOBAL const Word* matrix;
    int n;
    int k;

    METHOD Weights(SHARED float* memory, GLOBAL const Word* matrix, int n, int k)
        : panels(reinterpret_cast<SHARED Word*>(memory)), matrix(matrix), n(n), k(k) {}

    // Floats of shared memory; N · padded(K) words are a multiple of 8 bytes.
    METHOD static size_t floats(int n, int k) {
        return static_cast<size_t>(n) * padded(k) * sizeof(Word) / sizeof(float);
    }

    // Copies the matrix into panels; columns behind K are zero up to the padding.
    //
    // IS_TRANSPOSED false: `matrix` is (N, K) row-major; true: (K, N). Reads are coalesced either way.
    template <bool IS_TRANSPOSED>
    METHOD void fill(LOCAL const Threads& threads) const {
        const int depth = padded(k);
        for (int i = threads.index; i < n * depth; i += threads.count) {
            const int row = IS_TRANSPOSED ? i % n : i / depth;
            const int column = IS_TRANSPOSED ? i / n : i % depth;
            const size_t source = IS_TRANSPOSED ? static_cast<size_t>(column) * n + row
                                                : static_cast<size_t>(row) * k + column;
            panels[(column / 4 * n + row) * 4 + column % 4] =
                column < k ? matrix[source] : narrow<Word>(0.f);
        }
    }

    // sums[o][r] += Σ_k W[first + o * stride][k] · vectors[r][k], k in ascending order.
    template <int OUTS, int ROWS>
    METHOD void add_products(LOCAL float (&sums)[OUTS][ROWS],
                             SHARED const float* vectors,  // (ROWS, depth)
                             int depth,                    // padded(K)
                             int first,
                             int stride) const {
        using Words = typename Quad<Word>::Type;
        SHARED const Words* words = reinterpret_cast<SHARED const Words*>(panels) + first;
        // Unrolled further, the loads of the lstm's reverse no longer fit in 128 registers.
#pragma unroll 2
        for (int i = 0; i < depth; i += 4, words += n) {
            float4 v[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                v[r] = *reinterpret_cast<SHARED const float4*>(vectors + r * depth + i);
            }
#pragma unroll
            for (int o = 0; o < OUTS; o++) {
                const Words w = words[o * stride];
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    sums[o][r] = multiply_add(widen(w.x), v[r].x, sums[o][r]);
                    sums[o][r] = multiply_add(widen(w.y), v[r].y, sums[o][r]);
                    sums[o][r] = multiply_add(widen(w.z), v[r].z, sums[o][r]);
                    sums[o][r] = multiply_add(widen(w.w), v[r].w, sums[o][r]);
                }
            }
        }
    }
};

#endif

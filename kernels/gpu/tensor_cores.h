// What tensor cores compute: a product of two small matrices by all lanes of a warp together, and the formats that they
// read. CUDA alone, compute capability 8.0 or later; on the CPU host/cuda_on_cpu.hpp has them.
//
// D (16, 8) += A (16, K) B (K, 8), K = 8 of tf32 or 16 of bf16. With line = lane / 4 and quad = lane % 4, a lane has
//
//     a[0], a[1]  A's rows line and line + 8, word quad      a[2], a[3]  the same rows, word quad + 4
//     b0, b1      B's column line, words quad and quad + 4
//     d[0], d[1]  D's row line, columns 2 quad and 2 quad + 1     d[2], d[3]  row line + 8
//
// A word of a row of A or a column of B is one number of tf32 or two of bf16, the first in the lower half. Products are
// exact, sums fp32.

#pragma once

#include "target.h"

#if defined(__CUDACC__)

// A number in tf32: 10 bits behind the point, the nearest, ties away from zero.
__device__ inline unsigned tf32_of(float value) {
    unsigned word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value));
    return word;
}

// Two numbers in bf16: the nearest, ties to even.
__device__ inline unsigned bf16_of(float low, float high) {
    unsigned word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

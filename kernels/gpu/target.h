// What CUDA and Metal call the same things, so that every kernel has one text for both.
//
// GLOBAL, SHARED and LOCAL stand before what pointers and references point to: the device's memory,
// a block's, a thread's own. IN, OUT, INT and FLOAT declare a kernel's arguments, each with its
// index; an argument that may be null is read through GIVEN. Behind the last argument stands
// TILE_END (kernels with shared memory) or STEP_END with the number of arguments, or ADAM_END, and
// the body begins with TILE_BEGIN or STEP_BEGIN.
//
// The files here are compiled four times: by nvcc, by Apple's compiler when a program first needs
// them, and for either language by g++ behind host/cuda_on_cpu.hpp or host/metal_on_cpu.hpp, which
// give them threads and barriers on the CPU. So they use nothing of CUDA or Metal that those headers
// lack, and no shared memory but the dynamic one.

#pragma once

// Threads of a block at most; with 128 registers each they fill an SM's register file. Kernels that
// keep W_hh in shared memory have an SM to themselves and say so in __launch_bounds__: without
// that, nvcc holds some of them to 64 registers and spills.
#define MAX_BLOCK 512
// Threads of a block that keeps W_hh in registers, which may be 255 each.
#define TEAM_BLOCK 256

#if defined(__METAL_VERSION__)

#include <metal_stdlib>
using namespace metal;

// W_hh is read from the device's memory: a threadgroup's 32 KB are too small for it.
#define STREAMS_WEIGHTS 1

#define GLOBAL device
#define SHARED threadgroup
#define LOCAL thread
#define FUNCTION inline
#define HOST_FUNCTION inline
#define METHOD
#define BARRIER() threadgroup_barrier(mem_flags::mem_threadgroup)

#define IN(index, type, name) device const type* name [[buffer(index)]]
#define OUT(index, type, name) device type* name [[buffer(index)]]
#define INT(index, name) constant int& name [[buffer(index)]]
#define FLOAT(index, name) constant float& name [[buffer(index)]]
// Metal has no null buffer: the host binds another one and clears the bit.
#define GIVEN(index, name) ((given >> index & 1u) != 0u ? name : nullptr)

// Where `threadgroup` is a macro, that of an attribute is not to be replaced.
#if !defined(FIRST_MEMORY)
#define FIRST_MEMORY [[threadgroup(0)]]
#endif

#define TILE_KERNEL kernel void
#define STEP_KERNEL kernel void
#define COORDINATES                                         \
    uint thread_at [[thread_position_in_threadgroup]],      \
        uint block_at [[threadgroup_position_in_grid]],     \
        uint block_size [[threads_per_threadgroup]],        \
        uint grid_size [[threadgroups_per_grid]]
#define TILE_END(count) \
    , constant uint& given [[buffer(count)]], threadgroup uchar* memory FIRST_MEMORY, COORDINATES
#define STEP_END(count) , constant uint& given [[buffer(count)]], COORDINATES
#define ADAM_END , COORDINATES
#define STEP_BEGIN                                                                           \
    const Threads threads{static_cast<int>(thread_at), static_cast<int>(block_at),           \
                          static_cast<int>(block_size), static_cast<int>(grid_size)}
#define TILE_BEGIN STEP_BEGIN

// The exact functions: the fast ones lose NaN.
inline float exact_exp(float value) { return precise::exp(value); }
inline float exact_log(float value) { return precise::log(value); }
inline float exact_tanh(float value) { return precise::tanh(value); }
inline float exact_sqrt(float value) { return precise::sqrt(value); }
inline float multiply_add(float a, float b, float c) { return fma(a, b, c); }
inline float float_of_bits(unsigned bits) { return as_type<float>(bits); }
inline unsigned bits_of_float(float value) { return as_type<unsigned>(value); }

#else

#define STREAMS_WEIGHTS 0

#define GLOBAL
#define SHARED
#define LOCAL
#define FUNCTION __device__ inline
#define HOST_FUNCTION __host__ __device__ inline
#define METHOD __device__
#define BARRIER() __syncthreads()

#define IN(index, type, name) const type* name
#define OUT(index, type, name) type* name
#define INT(index, name) int name
#define FLOAT(index, name) float name
#define GIVEN(index, name) name

#define TILE_KERNEL extern "C" __global__ void __launch_bounds__(MAX_BLOCK, 1)
#define TEAM_KERNEL extern "C" __global__ void __launch_bounds__(TEAM_BLOCK, 1)
#define STEP_KERNEL extern "C" __global__ void __launch_bounds__(MAX_BLOCK)
#define TILE_END(count)
#define STEP_END(count)
#define ADAM_END
#define STEP_BEGIN                                                                   \
    const Threads threads{static_cast<int>(threadIdx.x), static_cast<int>(blockIdx.x), \
                          static_cast<int>(blockDim.x), static_cast<int>(gridDim.x)}
// On the CPU each block has memory of its own.
#if !defined(BLOCK_MEMORY)
#define BLOCK_MEMORY shared_memory
#endif
#define TILE_BEGIN                                                  \
    [[maybe_unused]] extern __shared__ __align__(16) unsigned char shared_memory[]; \
    unsigned char* const memory = BLOCK_MEMORY;                    \
    STEP_BEGIN

__device__ inline float exact_exp(float value) { return expf(value); }
__device__ inline float exact_log(float value) { return logf(value); }
__device__ inline float exact_tanh(float value) { return tanhf(value); }
__device__ inline float exact_sqrt(float value) { return sqrtf(value); }
__device__ inline float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline float float_of_bits(unsigned bits) { return __uint_as_float(bits); }
__device__ inline unsigned bits_of_float(float value) { return __float_as_uint(value); }

// Keeps loads behind it from being moved before it, in the compiler alone.
#define ORDER_OF_LOADS() asm volatile("" : : : "memory")

// Words that blocks hand each other while they run: each is read or written whole, past the caches
// that are not shared, and nothing is said of any other word. On the CPU host/cuda_on_cpu.hpp has them.
#if defined(__CUDACC__)

__device__ inline float relaxed_load(const float* at) {
    float value;
    asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(value) : "l"(at) : "memory");
    return value;
}

// Of an address that is a multiple of 16 bytes.
__device__ inline float4 relaxed_load4(const float* at) {
    float4 v;
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(at)
                 : "memory");
    return v;
}

__device__ inline void relaxed_store(float* at, float value) {
    asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" : : "l"(at), "f"(value) : "memory");
}

// Numbers between lanes of a warp: each takes those of lane ^ mask.
template <int COUNT>
__device__ inline void exchange_lanes(float (&values)[COUNT], int mask) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        values[i] = __shfl_xor_sync(0xffffffffu, values[i], mask);
    }
}

// Of a word that the host reads, too.
__device__ inline void raise_alarm(int* at) {
    asm volatile("st.relaxed.sys.global.s32 [%0], 1;" : : "l"(at) : "memory");
}

// A thread polls as fast as memory answers.
__device__ inline void pause_between_polls() {}

#endif

#endif

// Where a thread stands: its number in the block, the block's in the grid, and the sizes of both.
struct Threads {
    int index;
    int block;
    int count;
    int blocks;
};

// Runs the unchanged .cu files on the CPU: include this before them, with g++ and C++20.
//
// One std::thread per thread of a block, blocks one after the other, a std::barrier for
// __syncthreads and one per warp for shuffles. Dynamic shared memory is filled with NaN before each
// block, so that what was not written shows, and under AddressSanitizer it ends where the launch
// says it ends. ThreadSanitizer sees threads and barriers as they are: a barrier that is missing is
// reported as a race.
//
// Not here: static shared memory (a `__shared__` that is not extern does not compile), textures,
// streams, cooperative groups. A warp is 32 threads without any lockstep: code that needs lockstep
// fails, as it may on a device.

#pragma once

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// An attribute that local variables must not have.
#define __shared__ __attribute__((weak))

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

struct alignas(16) float4 {
    float x, y, z, w;
};

struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};

inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

// The largest amount that a block of any architecture can ask for.
constexpr size_t SHARED_CAPACITY = 227 * 1024;
alignas(16) unsigned char shared_memory[SHARED_CAPACITY];

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

namespace on_cpu {

constexpr unsigned WARP = 32;

struct Warp {
    explicit Warp(unsigned threads) : barrier(threads) {}
    std::barrier<> barrier;
    uint32_t words[WARP] = {};
};

struct Block {
    explicit Block(unsigned threads) : barrier(threads) {
        for (unsigned first = 0; first < threads; first += WARP) {
            warps.push_back(std::make_unique<Warp>(std::min(WARP, threads - first)));
        }
    }
    std::barrier<> barrier;
    std::vector<std::unique_ptr<Warp>> warps;
};

inline Block* block = nullptr;

inline Warp& warp() { return *block->warps[threadIdx.x / WARP]; }

// Numbers travel between lanes as their bits.
template <typename T>
T exchange(T value, unsigned source) {
    static_assert(sizeof(T) == 4);
    Warp& own = warp();
    std::memcpy(&own.words[threadIdx.x % WARP], &value, 4);
    own.barrier.arrive_and_wait();
    if (source < WARP && threadIdx.x / WARP * WARP + source < blockDim.x) {
        std::memcpy(&value, &own.words[source], 4);
    }
    own.barrier.arrive_and_wait();
    return value;
}

inline void fill_shared(size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared_memory, SHARED_CAPACITY);
#endif
    // All bits set is NaN in fp32 and in bf16, and -1 as an index.
    std::memset(shared_memory, 0xff, SHARED_CAPACITY);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(shared_memory + bytes, SHARED_CAPACITY - bytes);
#else
    (void)bytes;
#endif
}

// Runs `kernel()` on every thread, as <<<grid, threads, shared>>> would.
template <typename Kernel>
void launch(const Kernel& kernel, unsigned grid, unsigned threads, size_t shared) {
    if (shared > SHARED_CAPACITY || threads == 0 || threads > 1024) {
        std::fprintf(stderr, "launch: %u threads, %zu bytes of shared memory\n", threads, shared);
        std::abort();
    }
    blockDim = {threads};
    gridDim = {grid};
    Block own(threads);
    block = &own;
    // Threads live through all blocks; the first of them prepares each.
    auto run = [&](unsigned index) {
        threadIdx = {index, 0, 0};
        for (unsigned at = 0; at < grid; at++) {
            blockIdx = {at, 0, 0};
            if (index == 0) {
                fill_shared(shared);
            }
            own.barrier.arrive_and_wait();
            kernel();
            own.barrier.arrive_and_wait();
        }
    };
    std::vector<std::thread> others;
    for (unsigned index = 1; index < threads; index++) {
        others.emplace_back(run, index);
    }
    run(0);
    for (std::thread& other : others) {
        other.join();
    }
    block = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared_memory, SHARED_CAPACITY);
#endif
}

}  // namespace on_cpu

inline void __syncthreads() { on_cpu::block->barrier.arrive_and_wait(); }

inline void __syncwarp(unsigned = ~0u) { on_cpu::warp().barrier.arrive_and_wait(); }

// All lanes of a warp must take part.
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
    return on_cpu::exchange(value, source);
}

template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
    return on_cpu::exchange(value, threadIdx.x % on_cpu::WARP + delta);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int lanes) {
    return on_cpu::exchange(value, (threadIdx.x % on_cpu::WARP) ^ lanes);
}

inline float __expf(float value) { return expf(value); }

inline float atomicAdd(float* at, float value) {
    return std::atomic_ref<float>(*at).fetch_add(value);
}

// Runs the unchanged .cu files on the CPU: include this before them, with g++ and C++20.
//
// A barrier for __syncthreads and one per warp for what lanes hand each other. Blocks
// run one after the other, or all at once as a cooperative launch has them; each has shared memory of its
// own, filled with NaN, so that what was not written shows, and under AddressSanitizer it ends where the
// launch says it ends.
//
// A thread of a block is a fiber, or under a sanitizer a std::thread: ThreadSanitizer sees those and the barriers as they
// are. A barrier that is missing is reported as a race, and so is a store between blocks that is not made for it.
//
// Not here: static shared memory (a `__shared__` that is not extern does not compile), textures,
// streams, cooperative groups. A warp is 32 threads without any lockstep: code that needs lockstep
// fails, as it may on a device.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "threads_on_cpu.hpp"

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// An attribute that local variables must not have.
#define __shared__ __attribute__((weak))

struct alignas(16) float4 {
    float x, y, z, w;
};

struct alignas(8) float2 {
    float x, y;
};

struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};

// The largest amount that a block of any architecture can ask for.
constexpr size_t SHARED_CAPACITY = 227 * 1024;
// Where kernels find their block's shared memory, see ../target.h.
#define BLOCK_MEMORY on_cpu::memory()

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

// The most words that a lane hands to others at once.
constexpr unsigned WORDS = 16;

struct Warp {
    explicit Warp(unsigned threads) : barrier(threads) {}
    Barrier barrier;
    // Two sets, so that whoever is past an exchange writes the one that nobody reads any more.
    uint32_t words[2][WARP][WORDS] = {};
};

// All bits set is NaN in fp32 and in bf16, and -1 as an index.
class Memory {
   public:
    explicit Memory(size_t bytes) : bytes(bytes), at(new (ALIGNMENT) unsigned char[bytes + MARGIN]) { fill(); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { ::operator delete[](at, ALIGNMENT); }

    void fill() { std::memset(at, 0xff, bytes + MARGIN); }
    unsigned char* data() { return at; }

   private:
    static constexpr std::align_val_t ALIGNMENT{16};
#if defined(__SANITIZE_ADDRESS__)
    static constexpr size_t MARGIN = 0;
#else
    static constexpr size_t MARGIN = 1024;
#endif
    const size_t bytes;
    unsigned char* const at;
};

struct Block {
    Block(unsigned threads, size_t shared) : barrier(threads), memory(shared) {
        for (unsigned first = 0; first < threads; first += WARP) {
            warps.push_back(std::make_unique<Warp>(std::min(WARP, threads - first)));
        }
    }
    Barrier barrier;
    Memory memory;
    std::vector<std::unique_ptr<Warp>> warps;
};

inline unsigned char* memory() { return block->memory.data(); }

inline Warp& warp() { return *block->warps[threadIdx.x / WARP]; }

// What all lanes of the warp have there: of each its own words.
template <int COUNT>
const uint32_t (&exchange_words(const uint32_t (&own)[COUNT]))[WARP][WORDS] {
    static_assert(COUNT <= WORDS);
    Warp& all = warp();
    uint32_t(&words)[WARP][WORDS] = all.words[exchanges++ % 2];
    std::copy(own, own + COUNT, words[threadIdx.x % WARP]);
    all.barrier.arrive_and_wait();
    return words;
}

// Numbers travel between lanes as their bits.
template <typename T>
T exchange(T value, unsigned source) {
    static_assert(sizeof(T) == 4);
    uint32_t own[1];
    std::memcpy(own, &value, 4);
    const auto& words = exchange_words(own);
    if (source < WARP && threadIdx.x / WARP * WARP + source < blockDim.x) {
        std::memcpy(&value, words[source], 4);
    }
    return value;
}

// A product of tensor cores, see ../tensor_cores.h: of words of PER_WORD numbers each, number(word, i) being one.
template <int PER_WORD, typename Number>
void multiply_fragments(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, Number number) {
    const auto& words = exchange_words({a[0], a[1], a[2], a[3], b0, b1});
    const unsigned lane = threadIdx.x % WARP;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (unsigned word = 0; word < 8; word++) {
            const uint32_t left = words[row % 8 * 4 + word % 4][row / 8 + 2 * (word / 4)];
            const uint32_t right = words[column * 4 + word % 4][4 + word / 4];
            for (int part = 0; part < PER_WORD; part++) {
                d[i] += number(left, part) * number(right, part);
            }
        }
    }
}

// Whether all blocks of a launch run at once.
enum class Schedule { OneByOne, AllAtOnce };

// Runs `kernel()` on every thread, as <<<grid, threads, shared>>> would, or a cooperative launch.
template <typename Kernel>
void launch(const Kernel& kernel, unsigned grid, unsigned threads, size_t shared, Schedule schedule) {
    if (shared > SHARED_CAPACITY || threads == 0 || threads > 1024) {
        std::fprintf(stderr, "launch: %u threads, %zu bytes of shared memory\n", threads, shared);
        std::abort();
    }
    blockDim = {threads};
    gridDim = {grid};
    const unsigned at_once = schedule == Schedule::AllAtOnce ? grid : 1;
    std::vector<std::unique_ptr<Block>> places;
    for (unsigned place = 0; place < at_once; place++) {
        places.push_back(std::make_unique<Block>(threads, shared));
    }
    // Threads live through all blocks of their place; the first of them prepares each.
    auto run = [&](unsigned number) {
        const unsigned place = number / threads, index = number % threads;
        Block& own = *places[place];
        stand({.thread = {index, 0, 0}, .at = {place, 0, 0}, .block = &own, .exchanges = 0, .polls = 0});
        for (unsigned at = place; at < grid; at += at_once) {
            blockIdx = {at, 0, 0};
            if (index == 0 && at != place) {
                own.memory.fill();
            }
            own.barrier.arrive_and_wait();
            kernel();
            own.barrier.arrive_and_wait();
        }
        block = nullptr;
    };
#if HAS_FIBERS
    fibers.run(at_once * threads, run);
#else
    std::vector<std::thread> others;
    for (unsigned i = 1; i < at_once * threads; i++) {
        others.emplace_back(run, i);
    }
    run(0);
    for (std::thread& other : others) {
        other.join();
    }
#endif
}

}  // namespace on_cpu

inline void __syncthreads() {
    on_cpu::polls = 0;
    on_cpu::block->barrier.arrive_and_wait();
}

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

template <int COUNT>
void exchange_lanes(float (&values)[COUNT], int mask) {
    uint32_t own[COUNT];
    std::memcpy(own, values, sizeof own);
    std::memcpy(values, on_cpu::exchange_words(own)[(threadIdx.x % on_cpu::WARP) ^ mask], sizeof own);
}

// Tensor cores, see ../tensor_cores.h.
inline unsigned tf32_of(float value) {
    const unsigned bits = __float_as_uint(value);
    return std::isnan(value) ? 0x7fffffffu : (bits + 0x1000u) & ~0x1fffu;
}

inline unsigned bf16_of(float low, float high) {
    auto nearest = [](float value) {
        const unsigned bits = __float_as_uint(value);
        return std::isnan(value) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    };
    return nearest(low) | nearest(high) << 16;
}

// They do not look at the bits that tf32 lacks.
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    on_cpu::multiply_fragments<1>(d, a, b0, b1,
                                  [](uint32_t word, int) { return __uint_as_float(word & ~0x1fffu); });
}

inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    on_cpu::multiply_fragments<2>(d, a, b0, b1, [](uint32_t word, int part) {
        return __uint_as_float(part == 0 ? word << 16 : word & 0xffff0000u);
    });
}

inline float __expf(float value) { return expf(value); }

inline float atomicAdd(float* at, float value) {
    return std::atomic_ref<float>(*at).fetch_add(value);
}

// Words between blocks, see ../target.h.
inline uint32_t& word_at(const float* at) { return *reinterpret_cast<uint32_t*>(const_cast<float*>(at)); }

inline float relaxed_load(const float* at) {
    return __uint_as_float(std::atomic_ref<uint32_t>(word_at(at)).load(std::memory_order_relaxed));
}

inline float4 relaxed_load4(const float* at) {
    return {relaxed_load(at), relaxed_load(at + 1), relaxed_load(at + 2), relaxed_load(at + 3)};
}

inline void relaxed_store(float* at, float value) {
    std::atomic_ref<uint32_t>(word_at(at)).store(__float_as_uint(value), std::memory_order_relaxed);
}

inline void raise_alarm(int* at) { std::atomic_ref<int>(*at).store(1, std::memory_order_relaxed); }

// Lets others run, who are many more than the CPU has cores: longer each time.
inline void pause_between_polls() {
#if HAS_FIBERS
    on_cpu::fibers.yield();
#else
    std::this_thread::sleep_for(std::chrono::microseconds(50 << std::min(on_cpu::polls++, 10u)));
#endif
}

// Runs the unchanged .cu files on the CPU: include this before them, with g++ and C++20.
//
// One std::thread per thread of a block, a barrier for __syncthreads and one per warp for shuffles. Blocks
// run one after the other, or all at once as a cooperative launch has them; each has shared memory of its
// own, filled with NaN, so that what was not written shows, and under AddressSanitizer it ends where the
// launch says it ends. ThreadSanitizer sees threads and barriers as they are: a barrier that is missing
// is reported as a race, and so is a store between blocks that is not made for it.
//
// Not here: static shared memory (a `__shared__` that is not extern does not compile), textures,
// streams, cooperative groups. A warp is 32 threads without any lockstep: code that needs lockstep
// fails, as it may on a device.

#pragma once

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

// With the kernel's futex: std::barrier lets the threads of many barriers wait at one place, and spins first, which
// is slow with thousands of threads.
class Barrier {
   public:
    explicit Barrier(unsigned threads) : threads(threads), left(threads) {}

    void arrive_and_wait() {
        const unsigned before = phase.load(std::memory_order_acquire);
        if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            left.store(threads, std::memory_order_relaxed);
            phase.store(before + 1, std::memory_order_release);
            wake();
            return;
        }
        while (phase.load(std::memory_order_acquire) == before) {
            sleep(before);
        }
    }

   private:
#if defined(__linux__)
    void wake() { syscall(SYS_futex, &phase, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
    void sleep(unsigned before) { syscall(SYS_futex, &phase, FUTEX_WAIT_PRIVATE, before, nullptr, nullptr, 0); }
#else
    void wake() { phase.notify_all(); }
    void sleep(unsigned before) { phase.wait(before, std::memory_order_acquire); }
#endif

    const unsigned threads;
    std::atomic<unsigned> left;
    std::atomic<unsigned> phase = 0;
};

struct Warp {
    explicit Warp(unsigned threads) : barrier(threads) {}
    Barrier barrier;
    // Two sets, so that whoever is past an exchange writes the one that nobody reads any more.
    uint32_t words[2][WARP] = {};
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

inline thread_local Block* block = nullptr;
inline thread_local unsigned exchanges = 0;
// Polls of the thread since it was last at its block's barrier.
inline thread_local unsigned polls = 0;

inline unsigned char* memory() { return block->memory.data(); }

inline Warp& warp() { return *block->warps[threadIdx.x / WARP]; }

// Numbers travel between lanes as their bits.
template <typename T>
T exchange(T value, unsigned source) {
    static_assert(sizeof(T) == 4);
    Warp& own = warp();
    uint32_t(&words)[WARP] = own.words[exchanges++ % 2];
    std::memcpy(&words[threadIdx.x % WARP], &value, 4);
    own.barrier.arrive_and_wait();
    if (source < WARP && threadIdx.x / WARP * WARP + source < blockDim.x) {
        std::memcpy(&value, &words[source], 4);
    }
    return value;
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
    auto run = [&](unsigned place, unsigned index) {
        Block& own = *places[place];
        block = &own;
        exchanges = 0;
        threadIdx = {index, 0, 0};
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
    std::vector<std::thread> others;
    for (unsigned i = 1; i < at_once * threads; i++) {
        others.emplace_back(run, i / threads, i % threads);
    }
    run(0, 0);
    for (std::thread& other : others) {
        other.join();
    }
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
    std::this_thread::sleep_for(std::chrono::microseconds(50 << std::min(on_cpu::polls++, 7u)));
}

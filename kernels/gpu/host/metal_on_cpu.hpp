// Runs the unchanged .metal files on the CPU: include this before them, with g++ and C++20.
//
// Threads, barriers and shared memory are those of cuda_on_cpu.hpp; here they get Metal's names. What
// Metal hands a kernel besides its buffers, a launch hands over in the same order: which buffers were
// given, shared memory, and the thread's coordinates. Metal's words are those of metal/metal_stdlib,
// which the .metal files include; whoever includes these takes the words back behind them.

#pragma once

#include "cuda_on_cpu.hpp"

// A version of the language that has all that the files use.
#define __METAL_VERSION__ 310

using uint = unsigned;
using uchar = unsigned char;

namespace metal {

namespace precise {
inline float exp(float value) { return expf(value); }
inline float log(float value) { return logf(value); }
inline float tanh(float value) { return tanhf(value); }
inline float sqrt(float value) { return sqrtf(value); }
}  // namespace precise

inline float fma(float a, float b, float c) { return fmaf(a, b, c); }

template <typename To, typename From>
To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

enum class mem_flags { mem_none, mem_device, mem_threadgroup };

inline void threadgroup_barrier(mem_flags) { __syncthreads(); }

}  // namespace metal

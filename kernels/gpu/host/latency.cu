// How long a word takes from one block to another: two blocks hand a counter back and forth, as teams do
// (../exchange.h). Prints the median of a hop in nanoseconds, as JSON. For `just gpu-report`; needs an NVIDIA GPU.

#include <algorithm>
#include <cstdio>
#include <vector>

#include "../target.h"

constexpr int HOPS = 2000, ROUNDS = 15;

__global__ void hand_over(float* words, long long* elapsed) {
    const bool is_first = blockIdx.x == 0;
    const float* theirs = words + (is_first ? 64 : 0);
    float* own = words + (is_first ? 0 : 64);
    const long long start = clock64();
    for (int hop = 1; hop <= HOPS; hop++) {
        const float expected = static_cast<float>(is_first ? hop - 1 : hop);
        while (relaxed_load(theirs) != expected) {
        }
        relaxed_store(own, static_cast<float>(hop));
    }
    if (is_first) {
        *elapsed = clock64() - start;
    }
}

int main() {
    int kilohertz = 0;
    float* words;
    long long* elapsed;
    if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0) != cudaSuccess ||
        cudaMalloc(&words, 128 * sizeof(float)) != cudaSuccess ||
        cudaMallocManaged(&elapsed, sizeof *elapsed) != cudaSuccess) {
        std::fprintf(stderr, "error: no NVIDIA GPU answers\n");
        return 1;
    }
    std::vector<double> hops;
    for (int round = 0; round < ROUNDS; round++) {
        cudaMemset(words, 0, 128 * sizeof(float));
        void* arguments[] = {&words, &elapsed};
        cudaLaunchCooperativeKernel(reinterpret_cast<void*>(hand_over), dim3(2), dim3(1), arguments, 0, nullptr);
        const cudaError_t error = cudaDeviceSynchronize();
        if (error != cudaSuccess) {
            std::fprintf(stderr, "error: %s\n", cudaGetErrorString(error));
            return 1;
        }
        hops.push_back(*elapsed / (2. * HOPS) * 1e6 / kilohertz);
    }
    std::sort(hops.begin(), hops.end());
    std::printf("{\"part\": \"latency\", \"median_ns\": %.0f, \"least_ns\": %.0f, \"most_ns\": %.0f, \"rounds\": %d}\n",
                hops[ROUNDS / 2], hops.front(), hops.back(), ROUNDS);
    return 0;
}

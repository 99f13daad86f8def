// Problems and plans at random, the same ones for the same seed.

#pragma once

#include <random>

#include "drive.hpp"

struct Random {
    std::mt19937_64 bits;
    // All coins show heads: whatever can be there is there.
    bool is_all_heads = false;
    explicit Random(uint64_t seed) : bits(seed) {}

    int below(int limit) { return static_cast<int>(bits() % limit); }
    bool coin() { return bits() % 2 == 0 || is_all_heads; }
    // fp32, in ±limit.
    double uniform(double limit) {
        return static_cast<float>((static_cast<double>(bits() >> 11) * 0x1p-52 - 1.) * limit);
    }
    Vec vector(size_t count, double limit) {
        Vec out(count);
        for (double& value : out) {
            value = uniform(limit);
        }
        return out;
    }
};

// A problem of the given sizes with everything else drawn.
inline Problem draw_problem(Random& random, Kind kind, int B, int T, int H, bool is_bf16) {
    Problem p{kind, B, T, H};
    const size_t G = gates_of(kind), states = static_cast<size_t>(B) * H, steps = states * T;
    const double limit = 1. / std::sqrt(H);
    p.reverse = random.coin();
    p.segment = random.coin() ? 1 + random.below(T + 1) : 0;
    if (random.is_all_heads) {
        // Several cuts in each row.
        p.segment = 2 + random.below(2);
    }
    p.gx = random.vector(steps * G, 1.);
    p.w_hh = random.vector(G * H * H, limit);
    for (double& w : p.w_hh) {
        w = is_bf16 ? widen(narrow<unsigned short>(static_cast<float>(w))) : w;
    }
    auto maybe = [&](bool is_there, size_t count, double limit) {
        return is_there ? random.vector(count, limit) : Vec();
    };
    const bool is_lstm = kind == Kind::Lstm;
    p.b_hh = maybe(G > 1 && random.coin(), G * H, limit);
    p.h_0 = maybe(random.coin(), states, 1.);
    p.c_0 = maybe(is_lstm && random.coin(), states, 1.);
    p.mask = maybe(random.coin(), states, 1.);
    for (double& factor : p.mask) {
        factor = factor < 0 ? 0. : 1.25;
    }
    if (random.coin()) {
        for (int row = 0; row < B; row++) {
            p.lengths.push_back(row == 0 ? random.below(2) * T : random.below(T + 1));
        }
    }
    p.grad_outputs = maybe(random.below(4) != 0, steps, 1.);
    p.grad_h_n = maybe(random.coin(), states, 1.);
    p.grad_c_n = maybe(is_lstm && random.coin(), states, 1.);
    return p;
}

inline Plan draw_plan(Random& random, const Problem& p, bool is_bf16) {
    Plan plan;
    plan.is_bf16 = is_bf16;
    plan.rows = 1 + random.below(9);
    // As many threads as units, as on a device; or few, with several units each.
    plan.block = random.coin() ? (p.units + 31) / 32 * 32 : 32;
    plan.directions = 1 + random.below(2);
    plan.is_time_major = random.coin();
    plan.keeps = random.below(8) != 0;
    return plan;
}

inline std::string describe(const Problem& p, const Plan& plan) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "B %d T %d H %d rows %d block %u%s%s%s%s%s%s segment %d directions %d%s",
                  p.batch_size, p.seq_len, p.units, plan.rows, plan.block,
                  p.reverse ? " reverse" : "", p.lengths.empty() ? "" : " ragged",
                  p.mask.empty() ? "" : " mask", p.h_0.empty() ? "" : " h_0",
                  p.c_0.empty() ? "" : " c_0", p.b_hh.empty() ? "" : " b_hh", p.segment,
                  plan.directions, plan.is_time_major ? " time-major" : "");
    return text;
}

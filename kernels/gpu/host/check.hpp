// What was found against what was expected, and how much of that failed.
//
// The tolerance is max|a - b| <= 1e-5 max|b| a tensor: sums of up to 600 terms in fp32, through at
// most 150 steps that contract (weights uniform in ±1/√H). bf16 weights are compared with a reference
// that has the same rounded weights; all sums are in fp32, so the tolerance is the same. Teams that multiply in tf32 or
// bf16 round both sides of a product, and have tolerances of their own (drive_team.hpp). Gradients
// that vanish below the smallest normal fp32 number (at the far end of 150 steps they do, to 1e-74)
// need only do so.

#pragma once

#include "draw.hpp"

constexpr double TOLERANCE = 1e-5;
constexpr Kind KINDS[] = {Kind::Tanh, Kind::Relu, Kind::Gru, Kind::Lstm};
constexpr const char* NAMES[] = {"tanh", "relu", "gru", "lstm"};

struct Tally {
    int checks = 0, failures = 0, cases = 0, skipped = 0;
    double worst = 0;
};

inline bool is_verbose = false;

// Fails unless max|a - b| <= tolerance max|b|, for NaN too. Places with `is_relevant` false do not
// count.
template <typename Relevant>
void compare(Tally& tally, const std::string& what, const Vec& a, const Vec& b, Relevant is_relevant,
             double tolerance = TOLERANCE) {
    double difference = 0, scale = 0;
    bool is_number = a.size() == b.size();
    for (size_t i = 0; is_number && i < b.size(); i++) {
        if (is_relevant(i)) {
            is_number = std::isfinite(a[i]);
            difference = std::max(difference, std::abs(a[i] - b[i]));
            scale = std::max(scale, std::abs(b[i]));
        }
    }
    tally.checks++;
    if (scale > std::numeric_limits<float>::min() / tolerance) {
        tally.worst = std::max(tally.worst, difference / scale);
    }
    if (!is_number || !(difference <= tolerance * scale + std::numeric_limits<float>::min())) {
        tally.failures++;
        if (tally.failures <= 10) {
            std::printf("FAILED %s: off by %.3g at a scale of %.3g%s\n", what.c_str(), difference,
                        scale, is_number ? "" : ", and not all are finite");
        }
    }
}

// `keeps`: whether the pass went back, too; `text` describes it.
inline void check_solution(Tally& tally, const std::string& text, const Problem& p, bool keeps, const Solution& found,
                           double tolerance = TOLERANCE) {
    const Solution expected = solve(p);
    auto check = [&](const char* tensor, const Vec& a, const Vec& b, auto relevant) {
        compare(tally, tensor + (" of " + text), a, b, relevant, tolerance);
    };
    auto all = [](size_t) { return true; };
    auto within_rows = [&](size_t size) {
        return [&p, size](size_t i) {
            const size_t step = i / size;
            return static_cast<int>(step % p.seq_len) < p.length(static_cast<int>(step / p.seq_len));
        };
    };
    check("h_n", found.h_n, expected.h_n, all);
    if (p.kind == Kind::Lstm) {
        check("c_n", found.c_n, expected.c_n, all);
    }
    if (!keeps) {
        return;
    }
    check("outputs", found.outputs, expected.outputs, all);
    check("h_in", found.h_in, expected.h_in, all);
    check("delta_x", found.delta_x, expected.delta_x, all);
    check("delta_h", found.delta_h, expected.delta_h, all);
    check("grad_h_0", found.grad_h_0, expected.grad_h_0, all);
    if (gates_of(p.kind) > 1) {
        check("gates", found.gates, expected.gates, within_rows(4 * p.units));
    }
    if (p.kind == Kind::Lstm) {
        check("c", found.c, expected.c, within_rows(p.units));
        check("grad_c_0", found.grad_c_0, expected.grad_c_0, all);
    }
}

inline void check_solution(
    Tally& tally, const std::string& name, const Problem& p, const Plan& plan, const Solution& found) {
    check_solution(tally, name + " (" + describe(p, plan) + ")", p, plan.keeps, found);
}

inline bool has_same_bits(const Solution& a, const Solution& b) {
    return a.h_n == b.h_n && a.outputs == b.outputs && a.delta_x == b.delta_x && a.grad_h_0 == b.grad_h_0;
}

// The softmax cross-entropy of a row of logits and its gradient, by one thread or shared out among `lanes`.
//
//     target_c = ((1 - smoothing) [c is the label] + smoothing / C) class_weights[c]
//     loss     = weight (Σ target ln Σ exp(z - max) - Σ target_c (z_c - max))
//     delta_c  = weight (Σ target softmax(z)_c - target_c)
//
// A lane takes the classes lane, lane + lanes, and so on.

#pragma once

#include "common.h"

namespace softmax {

// What the losses of all rows have in common.
struct Targets {
    GLOBAL const float* class_weights;  // (C,) in   or null: ones
    float smoothing;
    int classes;

    METHOD float of(int c, int label) const {
        const float own = c == label ? 1.f - smoothing : 0.f;
        const float target = own + smoothing / static_cast<float>(classes);
        return class_weights ? target * class_weights[c] : target;
    }

    // A label that is no class makes the loss NaN.
    METHOD float weight(float of_row, int label) const {
        const bool is_class = label >= 0 && label < classes;
        return is_class ? of_row : float_of_bits(0x7fc00000u);
    }
};

// Sums over a row, or over a lane's part of it.
struct Sums {
    float exps;  // of exp(z - max)
    float own;   // of target_c (z_c - max)
    float mass;  // of target
};

// A NaN is no maximum, but reaches the sums by way of its own term.
template <typename Logits>
FUNCTION float largest(Logits z, int classes, int lane, int lanes) {
    float max = float_of_bits(0xff800000u);
    for (int c = lane; c < classes; c += lanes) {
        max = z[c] > max ? z[c] : max;
    }
    return max;
}

template <typename Logits>
FUNCTION Sums sums_of(LOCAL const Targets& targets, Logits z, float max, int label, int lane, int lanes) {
    Sums sums = {0.f, 0.f, 0.f};
    for (int c = lane; c < targets.classes; c += lanes) {
        const float above = z[c] - max;
        const float target = targets.of(c, label);
        sums.exps += exact_exp(above);
        sums.mass += target;
        // Zero times infinity is NaN.
        sums.own += target == 0.f ? 0.f : target * above;
    }
    return sums;
}

// The sum of targets, which is 1 unless classes are weighted.
FUNCTION float mass_of(LOCAL const Targets& targets, LOCAL const Sums& sums) {
    return targets.class_weights ? sums.mass : 1.f;
}

FUNCTION float loss_of(LOCAL const Targets& targets, LOCAL const Sums& sums, float weight) {
    return weight * (mass_of(targets, sums) * exact_log(sums.exps) - sums.own);
}

// `deltas`: (C,) out: of the row.
template <typename Logits>
FUNCTION void write_deltas(LOCAL const Targets& targets,
                           Logits z,
                           float max,
                           LOCAL const Sums& sums,
                           int label,
                           float weight,
                           GLOBAL float* deltas,
                           int lane,
                           int lanes) {
    const float mass = mass_of(targets, sums);
    for (int c = lane; c < targets.classes; c += lanes) {
        const float probability = exact_exp(z[c] - max) / sums.exps;
        deltas[c] = weight * (mass * probability - targets.of(c, label));
    }
}

// The sum of (count,) numbers of shared memory, in values[0] behind the last barrier, in an order that depends on `count`
// alone; the others are lost. All threads of the block come here, behind a barrier.
FUNCTION void add_up(LOCAL const Threads& threads, SHARED float* values, int count) {
    for (int left = count; left > 1;) {
        const int half = (left + 1) / 2;
        for (int i = threads.index; i < left - half; i += threads.count) {
            values[i] += values[i + half];
        }
        BARRIER();
        left = half;
    }
}

// The sum over a row's lanes, or with `is_max` the largest, for all of them; `lanes` is a power of two, and `own` has a number
// a thread. All threads of the block come here.
FUNCTION float over_lanes(SHARED float* own, int lane, int lanes, float value, bool is_max) {
    own[lane] = value;
    BARRIER();
    for (int half = lanes / 2; half > 0; half /= 2) {
        if (lane < half) {
            const float a = own[lane], b = own[lane + half];
            own[lane] = is_max ? (b > a ? b : a) : a + b;
        }
        BARRIER();
    }
    const float result = own[0];
    BARRIER();
    return result;
}

}  // namespace softmax

// Softmax cross-entropy, alone and with a dense head, against plain loops in f64.

#pragma once

#include "check.hpp"
#include "tensors.hpp"

struct LossProblem {
    int rows = 1, features = 0, classes = 1, steps = 1;
    Vec h, w, bias;  // of a head; empty without one
    Vec logits;      // without a head
    std::vector<int> labels;
    Vec weights, class_weights;  // or empty
    double weight = 1, smoothing = 0, grad = 1;

    double row_weight(int row) const { return weights.empty() ? weight : weights[row]; }
    double class_weight(int c) const { return class_weights.empty() ? 1. : class_weights[c]; }
};

struct LossSolution {
    double loss = 0;
    Vec deltas, grad_h, grad_w, grad_bias;
};

inline Vec logits_of(const LossProblem& p) {
    if (p.h.empty()) {
        return p.logits;
    }
    Vec logits(static_cast<size_t>(p.rows) * p.classes);
    for (int row = 0; row < p.rows; row++) {
        for (int c = 0; c < p.classes; c++) {
            double sum = p.bias.empty() ? 0. : p.bias[c];
            for (int f = 0; f < p.features; f++) {
                sum += p.h[row * p.features + f] * p.w[c * p.features + f];
            }
            logits[row * p.classes + c] = sum;
        }
    }
    return logits;
}

// The loss by its definition, log softmax by log softmax.
inline double loss_of(const LossProblem& p) {
    const Vec logits = logits_of(p);
    double loss = 0;
    for (int row = 0; row < p.rows; row++) {
        if (p.row_weight(row) == 0.) {
            continue;
        }
        const double* z = &logits[row * p.classes];
        const double max = *std::max_element(z, z + p.classes);
        double total = 0;
        for (int c = 0; c < p.classes; c++) {
            total += std::exp(z[c] - max);
        }
        for (int c = 0; c < p.classes; c++) {
            const double own = c == p.labels[row / p.steps] ? 1. - p.smoothing : 0.;
            const double target = (own + p.smoothing / p.classes) * p.class_weight(c);
            loss -= p.row_weight(row) * target * (z[c] - max - std::log(total));
        }
    }
    return loss;
}

inline LossSolution solve_loss(const LossProblem& p) {
    LossSolution s;
    s.loss = loss_of(p);
    const Vec logits = logits_of(p);
    s.deltas = Vec(logits.size());
    for (int row = 0; row < p.rows; row++) {
        if (p.row_weight(row) == 0.) {
            continue;
        }
        const double* z = &logits[row * p.classes];
        const double max = *std::max_element(z, z + p.classes);
        double total = 0, mass = 0;
        Vec target(p.classes);
        for (int c = 0; c < p.classes; c++) {
            total += std::exp(z[c] - max);
            const double own = c == p.labels[row / p.steps] ? 1. - p.smoothing : 0.;
            target[c] = (own + p.smoothing / p.classes) * p.class_weight(c);
            mass += target[c];
        }
        for (int c = 0; c < p.classes; c++) {
            s.deltas[row * p.classes + c] =
                p.row_weight(row) * (mass * std::exp(z[c] - max) / total - target[c]);
        }
    }
    if (p.h.empty()) {
        return s;
    }
    s.grad_h = Vec(p.h.size());
    s.grad_w = Vec(p.w.size());
    s.grad_bias = Vec(p.classes);
    for (int row = 0; row < p.rows; row++) {
        for (int c = 0; c < p.classes; c++) {
            const double delta = p.grad * s.deltas[row * p.classes + c];
            s.grad_bias[c] += delta;
            for (int f = 0; f < p.features; f++) {
                s.grad_h[row * p.features + f] += delta * p.w[c * p.features + f];
                s.grad_w[c * p.features + f] += delta * p.h[row * p.features + f];
            }
        }
    }
    return s;
}

// A seeded problem; rows of weight 0 hold NaN, which nobody may read.
inline LossProblem draw_loss(Random& random, int rows, int classes, int features, bool is_full) {
    LossProblem p;
    p.rows = rows;
    p.classes = classes;
    p.features = features;
    p.weight = 1. / rows;
    p.grad = 0.5;
    auto coin = [&] { return is_full || random.coin(); };
    p.smoothing = coin() ? 0.1 : 0.;
    if (features > 0) {
        p.h = random.vector(static_cast<size_t>(rows) * features, 1.);
        p.w = random.vector(static_cast<size_t>(classes) * features, 1.);
        if (coin()) {
            p.bias = random.vector(classes, 1.);
        }
    } else {
        p.logits = random.vector(static_cast<size_t>(rows) * classes, 5.);
        p.steps = coin() && rows % 2 == 0 ? 2 : 1;
        if (coin()) {
            p.class_weights = random.vector(classes, 1.);
            for (double& weight : p.class_weights) {
                weight = std::abs(weight);
            }
        }
        if (coin()) {
            p.weights = random.vector(rows, 1.);
            for (int row = 0; row < rows; row++) {
                p.weights[row] = row % 3 == 1 ? 0. : std::abs(p.weights[row]);
                for (int c = 0; p.weights[row] == 0. && c < classes; c++) {
                    p.logits[row * classes + c] = std::numeric_limits<double>::quiet_NaN();
                }
            }
        }
    }
    for (int i = 0; i < rows / p.steps; i++) {
        p.labels.push_back(random.below(classes));
    }
    return p;
}

inline void put_labels(Case& c, const LossProblem& p) {
    Tensor labels(DType::I32, Direction::In, {p.labels.size()});
    std::copy(p.labels.begin(), p.labels.end(), labels.as<int>());
    c.tensors["labels"] = labels;
}

// How the launches of a problem are cut.
struct LossPlan {
    int tile = 1, lanes = 1;
    unsigned block = 32;
};

// Runs the launches that src/train/loss/gpu_loss.rs makes.
inline LossSolution run_loss(const LossProblem& p, const LossPlan& plan) {
    const bool has_head = !p.h.empty();
    const auto rows = static_cast<uint64_t>(p.rows), classes = static_cast<uint64_t>(p.classes);
    const auto features = static_cast<uint64_t>(p.features);
    const unsigned grid = (p.rows + plan.tile - 1) / plan.tile;
    auto f = [](double value) { return static_cast<float>(value); };
    Case forward;
    forward.kernel = has_head ? "loss_head_forward_f32" : "loss_forward_f32";
    forward.grid = grid;
    forward.block = plan.block;
    forward.floats = {{"weight", f(p.weight)}, {"smoothing", f(p.smoothing)}};
    forward.ints = {{"rows", p.rows}, {"classes", p.classes}, {"tile", plan.tile}};
    put_labels(forward, p);
    if (has_head) {
        forward.shared_bytes = 4 * (32 * padded(p.classes) + plan.tile * (padded(p.classes) + 35));
        forward.ints["features"] = p.features;
        put(forward, "h", p.h, {rows, features});
        put(forward, "w", p.w, {classes, features});
        put(forward, "bias", p.bias, {classes});
    } else {
        forward.shared_bytes = 4 * (plan.block + plan.tile);
        forward.ints["steps"] = p.steps;
        forward.ints["lanes"] = plan.lanes;
        put(forward, "logits", p.logits, {rows, classes});
        put(forward, "weights", p.weights, {rows});
        put(forward, "class_weights", p.class_weights, {classes});
    }
    add_out(forward, "losses", {grid});
    add_out(forward, "deltas", {rows, classes});
    run(forward);
    LossSolution s;
    s.deltas = take(forward, "deltas");
    const Vec losses = take(forward, "losses");
    Case sum;
    sum.kernel = "loss_sum_f32";
    sum.block = 32;
    sum.shared_bytes = 4 * sum.block;
    sum.ints["count"] = static_cast<int>(grid);
    put(sum, "losses", losses, {grid});
    add_out(sum, "loss", {1});
    run(sum);
    s.loss = take(sum, "loss")[0];
    Case backward;
    backward.kernel = has_head ? "loss_head_backward_f32" : "loss_backward_f32";
    backward.block = 32;
    put(backward, "deltas", s.deltas, {rows, classes});
    put(backward, "grad", {p.grad}, {1});
    if (!has_head) {
        const int count = p.rows * p.classes;
        backward.grid = (count + 31) / 32;
        backward.ints["count"] = count;
        add_out(backward, "grad_logits", {rows, classes});
        run(backward);
        s.grad_h = take(backward, "grad_logits");
        return s;
    }
    const int numbers = p.classes * p.features + p.classes + p.rows * p.features;
    backward.grid = (numbers + 31) / 32;
    backward.ints = {{"rows", p.rows}, {"features", p.features}, {"classes", p.classes}};
    put(backward, "h", p.h, {rows, features});
    put(backward, "w", p.w, {classes, features});
    add_out(backward, "grad_h", {rows, features});
    add_out(backward, "grad_w", {classes, features});
    add_out(backward, "grad_bias", {classes});
    run(backward);
    s.grad_h = take(backward, "grad_h");
    s.grad_w = take(backward, "grad_w");
    s.grad_bias = take(backward, "grad_bias");
    return s;
}

// The definition's gradients are the slopes of its loss.
inline void check_loss_slopes(Tally& tally, LossProblem p) {
    p.grad = 1;
    const LossSolution s = solve_loss(p);
    auto check = [&](const char* what, Vec& values, const Vec& gradient) {
        Vec slopes;
        for (double& value : values) {
            const double before = value, step = 1e-6;
            value = before + step;
            const double above = loss_of(p);
            value = before - step;
            slopes.push_back((above - loss_of(p)) / (2 * step));
            value = before;
        }
        compare(tally, std::string("loss slopes of ") + what, gradient, slopes, [](size_t) { return true; });
    };
    check("logits", p.logits, p.h.empty() ? s.deltas : Vec());
    check("h", p.h, s.grad_h);
    check("w", p.w, s.grad_w);
    check("bias", p.bias, p.bias.empty() ? Vec() : s.grad_bias);
}

inline void check_loss_case(Tally& tally, const LossProblem& p, const LossPlan& plan) {
    const LossSolution expected = solve_loss(p), found = run_loss(p, plan);
    const std::string text = " of loss " + std::to_string(p.rows) + " x " + std::to_string(p.classes) + " of " +
                             std::to_string(p.features) + ", tile " + std::to_string(plan.tile) + ", block " +
                             std::to_string(plan.block) + ", lanes " + std::to_string(plan.lanes);
    auto check = [&](const char* what, const Vec& a, const Vec& b) {
        compare(tally, what + text, a, b, [](size_t) { return true; });
    };
    check("loss", {found.loss}, {expected.loss});
    check("deltas", found.deltas, expected.deltas);
    if (p.h.empty()) {
        Vec grad = expected.deltas;
        for (double& value : grad) {
            value *= p.grad;
        }
        check("grad_logits", found.grad_h, grad);
    } else {
        check("grad_h", found.grad_h, expected.grad_h);
        check("grad_w", found.grad_w, expected.grad_w);
        check("grad_bias", found.grad_bias, expected.grad_bias);
    }
    tally.cases++;
}

// A label that is no class, and a NaN that is read, make the loss NaN; a NaN of another row's deltas stays there.
inline void check_loss_nan(Tally& tally, Random& random) {
    for (int features : {0, 3}) {
        // Without rows of weight 0, and so without a NaN yet.
        auto draw = [&](int rows) {
            LossProblem p = draw_loss(random, rows, 4, features, false);
            p.steps = 1;
            p.weights.clear();
            for (double& z : p.logits) {
                z = std::isnan(z) ? 0. : z;
            }
            return p;
        };
        for (int wrong : {-1, 4, 1 << 30}) {
            LossProblem p = draw(3);
            p.labels = {0, wrong, 3};
            LossPlan plan;
            plan.tile = 3;
            const LossSolution s = run_loss(p, plan);
            tally.checks++;
            tally.failures += !std::isnan(s.loss) || std::isnan(s.deltas[0]) || std::isnan(s.deltas[11]);
        }
        LossProblem p = draw(2);
        p.labels = {1, 2};
        (features > 0 ? p.h : p.logits)[0] = std::numeric_limits<double>::quiet_NaN();
        LossPlan plan;
        plan.tile = 2;
        const LossSolution s = run_loss(p, plan);
        tally.checks++;
        tally.failures += !std::isnan(s.loss) || !std::isnan(s.deltas[0]) || std::isnan(s.deltas[4]);
    }
    tally.cases++;
}

inline Tally check_loss(bool has_head, bool is_quick) {
    Tally tally;
    Random random(17 + has_head);
    // At the edges of four classes, of a chunk of 32 features, of tiles and of what a block takes at a time.
    const std::vector<int> rows = is_quick ? std::vector<int>{1, 5} : std::vector<int>{1, 2, 5, 16, 33};
    const std::vector<int> classes = is_quick ? std::vector<int>{1, 5, 10} : std::vector<int>{1, 2, 4, 5, 10, 33, 64};
    for (int B : rows) {
        for (int C : classes) {
            for (int F : has_head ? std::vector<int>{1, 31, 33} : std::vector<int>{0}) {
                const LossProblem p = draw_loss(random, B, C, F, random.below(3) == 0);
                for (int i = 0; i < 2; i++) {
                    LossPlan plan;
                    plan.tile = 1 + random.below(B);
                    plan.lanes = has_head ? 1 : 1 << random.below(4);
                    plan.block = 32 << random.below(2);
                    check_loss_case(tally, p, plan);
                }
                if (B <= 2 && C <= 5) {
                    check_loss_slopes(tally, p);
                }
            }
        }
    }
    if (!has_head) {
        check_loss_nan(tally, random);
    }
    return tally;
}

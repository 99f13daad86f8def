// The recurrence in plain loops over f64: what the kernels are measured by. It shares no code with
// them; src/recurrence/tests/reference is the same definition in Rust, with the input projection.

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

using Vec = std::vector<double>;

enum class Kind { Tanh, Relu, Gru, Lstm };

inline int gates_of(Kind kind) { return kind == Kind::Gru ? 3 : kind == Kind::Lstm ? 4 : 1; }

// Tensors that are not there are empty; shapes as in ../README.md, outputs (B, T, H) dense.
struct Problem {
    Kind kind;
    int batch_size, seq_len, units;
    bool reverse = false;
    int segment = 0;
    Vec gx = {}, w_hh = {}, b_hh = {}, h_0 = {}, c_0 = {}, mask = {};
    std::vector<int> lengths = {};
    Vec grad_outputs = {}, grad_h_n = {}, grad_c_n = {};

    int length(int row) const { return lengths.empty() ? seq_len : lengths[row]; }
};

struct Solution {
    Vec outputs, h_in, gates, c, h_n, c_n;
    Vec delta_x, delta_h, grad_h_0, grad_c_0;
};

namespace reference {

inline double sigmoid(double z) { return 1. / (1. + std::exp(-z)); }

// One row, there and back.
inline void solve_row(const Problem& p, int row, Solution& s) {
    const int H = p.units, G = gates_of(p.kind), T = p.seq_len, length = p.length(row);
    const bool is_gru = p.kind == Kind::Gru, is_lstm = p.kind == Kind::Lstm;
    auto initial = [&](const Vec& tensor, int j) { return tensor.empty() ? 0. : tensor[row * H + j]; };
    auto time_of = [&](int step) { return p.reverse ? length - 1 - step : step; };
    Vec h(H), c(H);
    for (int j = 0; j < H; j++) {
        h[j] = initial(p.h_0, j);
        c[j] = initial(p.c_0, j);
    }
    std::vector<Vec> hs{h}, cs{c};
    for (int step = 0; step < length; step++) {
        const int at = row * T + time_of(step);
        Vec h_in(H), z(G * H);
        for (int j = 0; j < H; j++) {
            h_in[j] = h[j] * (p.mask.empty() ? 1. : p.mask[row * H + j]);
            s.h_in[at * H + j] = h_in[j];
        }
        for (int i = 0; i < G * H; i++) {
            z[i] = p.b_hh.empty() ? 0. : p.b_hh[i];
            for (int k = 0; k < H; k++) {
                z[i] += p.w_hh[i * H + k] * h_in[k];
            }
        }
        for (int j = 0; j < H; j++) {
            auto x = [&](int gate) { return p.gx[(at * G + gate) * H + j]; };
            auto sum = [&](int gate) { return x(gate) + z[gate * H + j]; };
            auto keep = [&](int index, double value) { s.gates[(at * 4 + index) * H + j] = value; };
            if (is_lstm) {
                const double i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = std::tanh(sum(2)),
                             o = sigmoid(sum(3));
                c[j] = f * c[j] + i * g;
                h[j] = o * std::tanh(c[j]);
                keep(0, i), keep(1, f), keep(2, g), keep(3, o);
                s.c[at * H + j] = c[j];
            } else if (is_gru) {
                const double r = sigmoid(sum(0)), u = sigmoid(sum(1)), q = z[2 * H + j];
                const double n = std::tanh(x(2) + r * q);
                h[j] = (1. - u) * n + u * h[j];
                keep(0, r), keep(1, u), keep(2, n), keep(3, q);
            } else {
                h[j] = p.kind == Kind::Tanh ? std::tanh(sum(0)) : std::max(sum(0), 0.);
            }
            s.outputs[at * H + j] = h[j];
        }
        hs.push_back(h);
        cs.push_back(c);
    }
    for (int j = 0; j < H; j++) {
        s.h_n[row * H + j] = h[j];
        s.c_n[row * H + j] = c[j];
    }

    Vec grad_h(H), grad_c(H);
    for (int j = 0; j < H; j++) {
        grad_h[j] = initial(p.grad_h_n, j);
        grad_c[j] = initial(p.grad_c_n, j);
    }
    const int entered = p.reverse ? T - length : 0;
    for (int step = length - 1; step >= 0; step--) {
        const int at = row * T + time_of(step);
        Vec delta(G * H), before(H);
        for (int j = 0; j < H; j++) {
            if (!p.grad_outputs.empty()) {
                grad_h[j] += p.grad_outputs[at * H + j];
            }
            auto kept = [&](int index) { return s.gates[(at * 4 + index) * H + j]; };
            auto set = [&](int gate, double of_x, double of_h) {
                s.delta_x[(at * G + gate) * H + j] = of_x;
                s.delta_h[(at * G + gate) * H + j] = delta[gate * H + j] = of_h;
            };
            if (is_lstm) {
                const double i = kept(0), f = kept(1), g = kept(2), o = kept(3);
                const double tanh_c = std::tanh(cs[step + 1][j]);
                const double d = grad_c[j] + grad_h[j] * o * (1. - tanh_c * tanh_c);
                const double deltas[] = {d * g * i * (1. - i), d * cs[step][j] * f * (1. - f),
                                         d * i * (1. - g * g), grad_h[j] * tanh_c * o * (1. - o)};
                for (int gate = 0; gate < 4; gate++) {
                    set(gate, deltas[gate], deltas[gate]);
                }
                grad_c[j] = d * f;
            } else if (is_gru) {
                const double r = kept(0), u = kept(1), n = kept(2), q = kept(3);
                const double d_n = grad_h[j] * (1. - u) * (1. - n * n);
                const double d_r = d_n * q * r * (1. - r);
                const double d_u = grad_h[j] * (hs[step][j] - n) * u * (1. - u);
                set(0, d_r, d_r), set(1, d_u, d_u), set(2, d_n, d_n * r);
                before[j] = grad_h[j] * u;
            } else {
                const double h_t = hs[step + 1][j];
                const double slope = p.kind == Kind::Tanh ? 1. - h_t * h_t : h_t > 0. ? 1. : 0.;
                set(0, grad_h[j] * slope, grad_h[j] * slope);
            }
        }
        for (int k = 0; k < H; k++) {
            double sum = 0.;
            for (int i = 0; i < G * H; i++) {
                sum += p.w_hh[i * H + k] * delta[i];
            }
            before[k] += sum * (p.mask.empty() ? 1. : p.mask[row * H + k]);
        }
        grad_h = before;
        const bool is_cut = step > 0 && p.segment > 0 && (entered + step) % p.segment == 0;
        if (is_cut) {
            grad_h.assign(H, 0.);
            grad_c.assign(H, 0.);
        }
    }
    for (int j = 0; j < H; j++) {
        s.grad_h_0[row * H + j] = grad_h[j];
        s.grad_c_0[row * H + j] = grad_c[j];
    }
}

}  // namespace reference

inline Solution solve(const Problem& p) {
    const size_t cells = static_cast<size_t>(p.batch_size) * p.seq_len * p.units;
    const size_t states = static_cast<size_t>(p.batch_size) * p.units;
    const size_t G = gates_of(p.kind);
    Solution s{Vec(cells),     Vec(cells),     Vec(cells * 4), Vec(cells),  Vec(states),
               Vec(states),    Vec(cells * G), Vec(cells * G), Vec(states), Vec(states)};
    for (int row = 0; row < p.batch_size; row++) {
        reference::solve_row(p, row, s);
    }
    return s;
}

// Takes a Problem through the kernels, as the caller on a device will: persistent in one launch a
// direction, or stepwise with a GEMM between launches.

#pragma once

#include "tensors.hpp"

// How a problem is laid out and launched.
struct Plan {
    bool is_bf16 = false;
    int rows = 1;       // of a tile
    unsigned block = 32;
    int directions = 1;  // that share the outputs; this one is the last of them
    bool is_time_major = false;  // the outputs
    bool keeps = true;   // outputs, h_in, gates and c are asked for
};

inline const char* name_of(Kind kind) {
    return kind == Kind::Gru ? "gru" : kind == Kind::Lstm ? "lstm" : "rnn";
}

inline unsigned blocks(size_t count, size_t size) {
    return static_cast<unsigned>((count + size - 1) / size);
}

// The kernels' own bytes of shared memory, forward or backward.
inline size_t shared_bytes_of(const Problem& p, const Plan& plan, bool is_backward) {
    const int n = gates_of(p.kind) * p.units;
    const int word = plan.is_bf16 ? 2 : 4;
    const bool has_state = gates_of(p.kind) > 1;
    return is_backward ? shared_bytes(word, p.units, n, plan.rows, has_state, p.units)
                       : shared_bytes(word, n, p.units, plan.rows, has_state, p.units);
}

class Driver {
   public:
    Driver(const Problem& problem, const Plan& plan) : p(problem), plan(plan) {
        const uint64_t B = p.batch_size, T = p.seq_len, H = p.units, D = plan.directions;
        G = gates_of(p.kind);
        states = {B, H};
        steps = {B, T, H};
        deltas = {B, T, G * H};
        outputs = plan.is_time_major ? Shape{T, B, D * H} : Shape{B, T, D * H};
        row_stride = static_cast<int>(plan.is_time_major ? D * H : T * D * H);
        step_stride = static_cast<int>(plan.is_time_major ? B * D * H : D * H);
        offset = static_cast<int>((D - 1) * H);
    }

    Solution persistent() {
        Case f = common("_forward", blocks(p.batch_size, plan.rows));
        f.shared_bytes = shared_bytes_of(p, plan, false);
        f.ints["rows"] = plan.rows;
        add_forward_inputs(f);
        put_words(f, "w_hh", STREAMS_WEIGHTS ? transposed(p.w_hh, states[1]) : p.w_hh,
                  {G * states[1], states[1]});
        put(f, "h_0", p.h_0, states);
        put(f, "c_0", p.c_0, states);
        add_out(f, "h_n", states);
        add_out(f, "c_n", states);
        run(f);
        Solution s;
        s.h_n = take(f, "h_n");
        s.c_n = take(f, "c_n");
        take_steps(f, s);
        if (!plan.keeps) {
            return s;
        }
        Case b = common("_backward", f.grid);
        b.shared_bytes = shared_bytes_of(p, plan, true);
        b.ints["rows"] = plan.rows;
        add_backward_inputs(b, f);
        put_words(b, "w_hh", p.w_hh, {G * states[1], states[1]});
        add_out(b, "grad_h_0", states);
        add_out(b, "grad_c_0", states);
        run(b);
        s.grad_h_0 = take(b, "grad_h_0");
        s.grad_c_0 = take(b, "grad_c_0");
        take_deltas(b, s);
        return s;
    }

    // Products are made of the numbers before they are rounded to the operand's words, so that the
    // result can be held against the reference; the words are compared by themselves.
    Solution stepwise() {
        const size_t count = states[0] * states[1];
        const unsigned grid = blocks(count, plan.block);
        Case begin = sized("step_begin", grid);
        put(begin, "h_0", p.h_0, states);
        put(begin, "mask", p.mask, states);
        add_out(begin, "h", states);
        add_words_out(begin, "operand", states);
        run(begin);

        Case f = common("_step_forward", grid);
        add_forward_inputs(f);
        f.tensors["h"] = begin.tensors["h"];
        f.tensors["operand"] = begin.tensors["operand"];
        put(f, "c_now", p.c_0.empty() ? Vec(count) : p.c_0, states);
        f.tensors["h"].direction = f.tensors["operand"].direction = Direction::InOut;
        f.tensors["c_now"].direction = Direction::InOut;
        for (int step = 0; step < p.seq_len; step++) {
            Vec h_in = take(f, "h");
            for (size_t i = 0; i < count; i++) {
                h_in[i] = static_cast<float>(h_in[i]) * static_cast<float>(p.mask.empty() ? 1. : p.mask[i]);
            }
            check_operand(f, h_in);
            put(f, "z_hh", product(h_in, false), {states[0], G * states[1]});
            f.ints["step"] = step;
            run(f);
        }
        Solution s;
        s.h_n = take(f, "h");
        s.c_n = take(f, "c_now");
        take_steps(f, s);
        if (!plan.keeps) {
            return s;
        }
        Case b = common("_step_backward", grid);
        add_backward_inputs(b, f);
        add_words_out(b, "operand", {states[0], G * states[1]});
        add_out(b, "state", states);
        for (int step = p.seq_len - 1; step >= 0; step--) {
            b.ints["step"] = step;
            run(b);
            const Vec delta = deltas_at(b, step);
            check_operand(b, delta);
            put(b, "z", product(delta, true), states);
        }
        take_deltas(b, s);
        s.grad_h_0 = end(b.tensors["z"], p.kind == Kind::Gru ? &b.tensors["state"] : nullptr,
                         p.grad_h_n, p.mask);
        if (p.kind == Kind::Lstm) {
            s.grad_c_0 = end(b.tensors["state"], nullptr, p.grad_c_n, {});
        }
        return s;
    }

   private:
    const Problem& p;
    const Plan& plan;
    uint64_t G;
    Shape states, steps, deltas, outputs;
    int row_stride, step_stride, offset;

    Case sized(const std::string& kernel, unsigned grid) {
        Case c;
        c.kernel = kernel + (plan.is_bf16 ? "_bf16" : "_f32");
        c.grid = grid;
        c.block = plan.block;
        c.ints = {{"batch_size", p.batch_size}, {"hidden_size", p.units}};
        return c;
    }

    Case common(const char* pass, unsigned grid) {
        Case c = sized(name_of(p.kind) + std::string(pass), grid);
        c.ints["seq_len"] = p.seq_len;
        c.ints["outputs_row_stride"] = row_stride;
        c.ints["outputs_step_stride"] = step_stride;
        c.ints["outputs_offset"] = c.ints["grad_outputs_offset"] = offset;
        c.ints["reverse"] = p.reverse;
        c.ints["function"] = p.kind == Kind::Relu;
        c.ints["segment"] = p.segment;
        put(c, "mask", p.mask, states);
        put_lengths(c, p);
        return c;
    }

    void add_forward_inputs(Case& c) {
        put(c, "gx", behind_the_end(p, p.gx, G * states[1]), deltas);
        put(c, "b_hh", p.b_hh, {G * states[1]});
        if (plan.keeps) {
            add_out(c, "outputs", outputs);
            add_out(c, "h_in", steps);
            add_out(c, "gates", {states[0], steps[1], 4 * states[1]});
            add_out(c, "c", steps);
        }
    }

    void add_backward_inputs(Case& b, Case& f) {
        for (const char* name : {"outputs", "gates", "c"}) {
            b.tensors[name] = f.tensors[name];
            b.tensors[name].direction = Direction::In;
        }
        put(b, "h_0", p.h_0, states);
        put(b, "c_0", p.c_0, states);
        put(b, "grad_h_n", p.grad_h_n, states);
        put(b, "grad_c_n", p.grad_c_n, states);
        if (!p.grad_outputs.empty()) {
            Tensor grad(DType::F32, Direction::In, outputs);
            each_output([&](size_t dense, size_t strided, bool exists) {
                if (exists) {
                    grad.as<float>()[strided] = static_cast<float>(p.grad_outputs[dense]);
                }
            });
            b.tensors["grad_outputs"] = grad;
        }
        add_out(b, "delta_x", deltas);
        add_out(b, "delta_h", deltas);
    }

    // Places of the outputs: in (B, T, H), in the tensor, and whether the row has them.
    template <typename F>
    void each_output(F f) {
        for (int row = 0; row < p.batch_size; row++) {
            for (int t = 0; t < p.seq_len; t++) {
                for (int unit = 0; unit < p.units; unit++) {
                    const size_t dense = (static_cast<size_t>(row) * p.seq_len + t) * p.units + unit;
                    const size_t strided = static_cast<size_t>(row) * row_stride +
                                           static_cast<size_t>(t) * step_stride + offset + unit;
                    f(dense, strided, t < p.length(row));
                }
            }
        }
    }

    // The transpose of a matrix with so many columns.
    static Vec transposed(const Vec& matrix, size_t columns) {
        const size_t rows = matrix.size() / columns;
        Vec out(matrix.size());
        for (size_t i = 0; i < rows; i++) {
            for (size_t j = 0; j < columns; j++) {
                out[j * rows + i] = matrix[i * columns + j];
            }
        }
        return out;
    }

    void put_words(Case& c, const char* name, const Vec& values, Shape shape) {
        Tensor tensor(plan.is_bf16 ? DType::BF16 : DType::F32, Direction::In, std::move(shape));
        for (size_t i = 0; i < values.size(); i++) {
            if (plan.is_bf16) {
                tensor.as<unsigned short>()[i] = narrow<unsigned short>(static_cast<float>(values[i]));
            } else {
                tensor.as<float>()[i] = static_cast<float>(values[i]);
            }
        }
        c.tensors[name] = tensor;
    }

    void add_words_out(Case& c, const char* name, Shape shape) {
        const DType words = plan.is_bf16 ? DType::BF16 : DType::F32;
        c.tensors[name] = Tensor(words, Direction::Out, std::move(shape));
    }

    void take_steps(Case& f, Solution& s) {
        if (!plan.keeps) {
            return;
        }
        s.h_in = take(f, "h_in");
        s.gates = take(f, "gates");
        s.c = take(f, "c");
        s.outputs.resize(s.h_in.size());
        float* values = f.tensors.at("outputs").as<float>();
        std::vector<bool> is_ours(f.tensors.at("outputs").count());
        each_output([&](size_t dense, size_t strided, bool) {
            s.outputs[dense] = values[strided];
            is_ours[strided] = true;
        });
        for (size_t i = 0; i < is_ours.size(); i++) {
            if (!is_ours[i] && !std::isnan(values[i])) {
                throw std::runtime_error(f.kernel + " wrote the outputs of another direction");
            }
        }
    }

    void take_deltas(Case& b, Solution& s) {
        s.delta_x = take(b, "delta_x");
        s.delta_h = p.kind == Kind::Gru ? take(b, "delta_h") : s.delta_x;
    }

    // The deltas of the hidden side that a step has just written, zero where a row has ended.
    Vec deltas_at(Case& b, int step) {
        const size_t size = G * states[1];
        const float* values = b.tensors.at(p.kind == Kind::Gru ? "delta_h" : "delta_x").as<float>();
        Vec out(states[0] * size);
        for (int row = 0; row < p.batch_size; row++) {
            if (step >= p.length(row)) {
                continue;
            }
            const int t = p.reverse ? p.length(row) - 1 - step : step;
            const float* from = values + (static_cast<size_t>(row) * p.seq_len + t) * size;
            std::copy(from, from + size, out.begin() + row * size);
        }
        return out;
    }

    // v W_hhᵀ, or v W_hh.
    Vec product(const Vec& v, bool is_backward) {
        const size_t rows = states[0], n = G * states[1], k = states[1];
        Vec out(rows * (is_backward ? k : n));
        for (size_t row = 0; row < rows; row++) {
            for (size_t i = 0; i < n; i++) {
                for (size_t j = 0; j < k; j++) {
                    if (is_backward) {
                        out[row * k + j] += v[row * n + i] * p.w_hh[i * k + j];
                    } else {
                        out[row * n + i] += v[row * k + j] * p.w_hh[i * k + j];
                    }
                }
            }
        }
        return out;
    }

    // The operand is exactly those numbers in its words.
    void check_operand(Case& c, const Vec& values) {
        Tensor& operand = c.tensors.at("operand");
        for (size_t i = 0; i < values.size(); i++) {
            const float value = static_cast<float>(values[i]);
            const float word = plan.is_bf16 ? widen(operand.as<unsigned short>()[i])
                                            : operand.as<float>()[i];
            const float expected = plan.is_bf16 ? rounded_to_bf16(value) : value;
            const bool is_right = std::isnan(value) ? std::isnan(word) : word == expected;
            if (!is_right) {
                throw std::runtime_error(c.kernel + " gives the wrong operand");
            }
        }
    }

    // To nearest, ties to even, by arithmetic: bf16 has 8 significant bits, and fewer below 2^-126.
    static float rounded_to_bf16(float value) {
        int exponent;
        std::frexp(value, &exponent);
        const int last = std::max(exponent - 8, -133);
        return std::ldexp(std::nearbyint(std::ldexp(value, -last)), last);
    }

    Vec end(const Tensor& z, const Tensor* state, const Vec& grad_n, const Vec& mask) {
        Case c;
        c.kernel = "step_end_f32";
        c.grid = blocks(states[0] * states[1], plan.block);
        c.block = plan.block;
        c.ints = {{"batch_size", p.batch_size}, {"hidden_size", p.units}};
        c.tensors["z"] = z;
        if (state) {
            c.tensors["state"] = *state;
        }
        put(c, "grad_n", grad_n, states);
        put(c, "mask", mask, states);
        put_lengths(c, p);
        add_out(c, "grad_0", states);
        run(c);
        return take(c, "grad_0");
    }
};

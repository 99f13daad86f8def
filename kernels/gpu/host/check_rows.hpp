// Copies and biases of rows against plain loops: the same numbers, so the same bits.

#pragma once

#include <array>

#include "check.hpp"
#include "tensors.hpp"

namespace rows_check {

inline Tensor filled(Random& random, size_t count, Direction direction) {
    Tensor tensor(DType::F32, direction, {count});
    const Vec values = random.vector(count, 1.);
    std::copy(values.begin(), values.end(), tensor.as<float>());
    return tensor;
}

inline void expect(Tally& tally, const char* what, Case& c, const char* name, const std::vector<float>& expected) {
    const float* found = c.tensors[name].as<float>();
    tally.checks++;
    // NaN is what nobody wrote.
    for (size_t i = 0; i < expected.size(); i++) {
        if (found[i] != expected[i] && !(std::isnan(found[i]) && std::isnan(expected[i]))) {
            tally.failures++;
            std::printf("FAILED rows: %s: number %zu is %g, not %g\n", what, i, found[i], expected[i]);
            return;
        }
    }
}

// From any order into a wider tensor, with and without ends, copied and added.
inline void check_copy(Tally& tally, Random& random, int B, int T, int W) {
    // Batch-first, time-major, and the columns of a matrix.
    const std::array<std::array<int, 3>, 3> orders = {{{T * W, W, 1}, {W, B * W, 1}, {1, B, B * T}}};
    for (const auto& order : orders) {
        for (const bool has_ends : {false, true}) {
            for (const bool adds : {false, true}) {
                const int step = W + 2, row = T * step + 1;
                Case c;
                c.kernel = "rows_copy_f32";
                c.grid = 2;
                c.tensors["from"] = filled(random, static_cast<size_t>(B) * T * W, Direction::In);
                c.tensors["to"] = filled(random, static_cast<size_t>(B) * row, Direction::InOut);
                c.ints = {{"batch_size", B}, {"seq_len", T}, {"width", W},
                          {"from_row_stride", order[0]}, {"from_step_stride", order[1]},
                          {"from_unit_stride", order[2]}, {"to_row_stride", row},
                          {"to_step_stride", step}, {"adds", adds}};
                std::vector<int> ends(B, T);
                if (has_ends) {
                    Tensor lengths(DType::I32, Direction::In, {static_cast<uint64_t>(B)});
                    for (int b = 0; b < B; b++) {
                        lengths.as<int>()[b] = ends[b] = static_cast<int>(random.below(T + 1));
                    }
                    c.tensors["lengths"] = lengths;
                }
                const float* from = c.tensors["from"].as<float>();
                const float* to = c.tensors["to"].as<float>();
                std::vector<float> expected(to, to + static_cast<size_t>(B) * row);
                for (int b = 0; b < B; b++) {
                    for (int t = 0; t < T; t++) {
                        for (int w = 0; w < W; w++) {
                            const float value =
                                t < ends[b] ? from[b * order[0] + t * order[1] + w * order[2]] : 0.f;
                            float& place = expected[b * row + t * step + w];
                            place = adds ? place + value : value;
                        }
                    }
                }
                run(c);
                expect(tally, "copy", c, "to", expected);
                tally.cases++;
            }
        }
    }
}

inline void check_bias(Tally& tally, Random& random, int rows, int width) {
    for (const bool has_other : {false, true}) {
        for (const int ones : {0, 1, rows * 2}) {
            // More than there are biases, too.
            const int copied = ones == 1 ? 0 : rows * width + 5;
            const int stride = width + 3;
            Case c;
            c.kernel = "rows_bias_f32";
            c.grid = 3;
            c.tensors["bias"] = filled(random, width, Direction::In);
            if (has_other) {
                c.tensors["other"] = filled(random, width, Direction::In);
            }
            c.tensors["to"] = filled(random, static_cast<size_t>(rows) * stride, Direction::InOut);
            if (ones > 0) {
                add_out(c, "ones", {static_cast<uint64_t>(ones)});
            }
            if (copied > 0) {
                c.tensors["from"] = filled(random, copied, Direction::In);
                add_out(c, "copy", {static_cast<uint64_t>(copied)});
            }
            c.ints = {{"row_count", rows}, {"width", width}, {"row_stride", stride},
                      {"ones_count", ones}, {"copy_count", copied}};
            const float* bias = c.tensors["bias"].as<float>();
            const float* to = c.tensors["to"].as<float>();
            std::vector<float> expected(to, to + static_cast<size_t>(rows) * stride);
            for (int row = 0; row < rows; row++) {
                for (int i = 0; i < width; i++) {
                    const float more = has_other ? c.tensors["other"].as<float>()[i] : 0.f;
                    expected[row * stride + i] = has_other ? bias[i] + more : bias[i];
                }
            }
            run(c);
            expect(tally, "biases", c, "to", expected);
            if (ones > 0) {
                expect(tally, "ones", c, "ones", std::vector<float>(ones, 1.f));
            }
            if (copied > 0) {
                const float* from = c.tensors["from"].as<float>();
                expect(tally, "weights", c, "copy", std::vector<float>(from, from + copied));
            }
            tally.cases++;
        }
    }
}

}  // namespace rows_check

inline Tally check_rows() {
    Tally tally;
    Random random(17);
    for (const auto& [B, T, W] : {std::array{1, 1, 1}, {3, 4, 5}, {7, 1, 33}, {2, 9, 1}, {5, 6, 16}}) {
        rows_check::check_copy(tally, random, B, T, W);
        rows_check::check_bias(tally, random, B * T, W);
    }
    return tally;
}

// Every kernel and variant against plain loops in f64: selftest [--quick] [--only NAME] [--verbose]
//
// Built by: g++ -std=c++20 -O2 -pthread selftest.cpp -o selftest
//
// --quick takes few small cases, for sanitizers; --only those whose name begins so: tanh, relu, gru,
// lstm, with /f32 or /bf16, or reference, team/tanh, .., team/nan, team/end, mma_tf32/tanh, .., mma_bf16/rounding, words,
// nan, blocks, rows, loss/head, loss/logits, adam. Exit codes: 0 all passed, 1 some did not, 2 usage.

#include <chrono>

#include "check.hpp"
#include "check_loss.hpp"
#include "check_rows.hpp"
#if !defined(METAL)
#include "check_team.hpp"
#endif

namespace {

constexpr int SIZES[] = {1, 2, 3, 5, 16, 17, 31, 32, 33, 64, 150};

void check_case(Tally& tally, Random& random, Kind kind, bool is_bf16, int B, int T, int H) {
    const Problem p = draw_problem(random, kind, B, T, H, is_bf16);
    Plan plan = draw_plan(random, p, is_bf16);
    tally.cases++;
    if (is_verbose) {
        std::printf("%s\n", describe(p, plan).c_str());
    }
    while (shared_bytes_of(p, plan, true) > SHARED_CAPACITY && plan.rows > 1) {
        plan.rows--;
    }
    try {
        if (shared_bytes_of(p, plan, true) > SHARED_CAPACITY) {
            tally.skipped++;
        } else {
            const Solution found = Driver(p, plan).persistent();
            check_solution(tally, "persistent", p, plan, found);
            // A row's sums depend neither on what else is in its tile nor on the block.
            Plan other = plan;
            other.rows = plan.rows % 4 + 1;
            other.block = plan.block == 32 ? 64 : 32;
            if (H <= 33 && T <= 33 && !has_same_bits(found, Driver(p, other).persistent())) {
                throw std::runtime_error("another tile and block give other bits");
            }
        }
        check_solution(tally, "stepwise", p, plan, Driver(p, plan).stepwise());
    } catch (const std::exception& error) {
        tally.failures++;
        std::printf("FAILED %s (%s)\n", error.what(), describe(p, plan).c_str());
    }
}

Tally check_kind(Kind kind, bool is_bf16, bool is_quick) {
    Tally tally;
    Random random(42 + static_cast<int>(kind) * 2 + is_bf16);
    auto check = [&](int B, int T, int H) { check_case(tally, random, kind, is_bf16, B, T, H); };
    // With everything at once, since what coins draw rarely meets.
    random.is_all_heads = true;
    for (int i = 0; i < 4; i++) {
        check(5, 7, 5);
    }
    random.is_all_heads = false;
    if (is_quick) {
        for (int H : {1, 3, 17, 33}) {
            for (int i = 0; i < 4; i++) {
                check(1 + random.below(6), 1 + random.below(6), H);
            }
        }
        return tally;
    }
    for (int size : SIZES) {
        for (int i = 0; i < 2; i++) {
            check(3, 4, size);
            check(size, 3, 5);
            check(2, size, 5);
        }
    }
    for (int i = 0; i < 60; i++) {
        check(SIZES[random.below(9)], SIZES[random.below(9)], SIZES[random.below(9)]);
    }
    return tally;
}

// The reference's gradients are the slopes of its loss.
Tally check_reference() {
    Tally tally;
    Random random(7);
    for (Kind kind : KINDS) {
        for (int i = 0; i < 12; i++) {
            Problem p = draw_problem(random, kind, 3, 4, 3, false);
            p.segment = 0;
            p.h_0 = random.vector(9, 1.);
            p.c_0 = random.vector(9, 1.);
            auto loss = [&] {
                const Solution s = solve(p);
                auto dot = [](const Vec& a, const Vec& b) {
                    double sum = 0;
                    for (size_t j = 0; j < a.size(); j++) {
                        sum += a[j] * b[j];
                    }
                    return sum;
                };
                return dot(p.grad_outputs, s.outputs) + dot(p.grad_h_n, s.h_n) + dot(p.grad_c_n, s.c_n);
            };
            const Solution s = solve(p);
            auto check = [&](const char* what, Vec& values, const Vec& gradient) {
                Vec slopes;
                for (double& value : values) {
                    const double before = value, step = 1e-6;
                    value = before + step;
                    const double above = loss();
                    value = before - step;
                    slopes.push_back((above - loss()) / (2 * step));
                    value = before;
                }
                compare(tally, std::string("reference ") + what, gradient, slopes,
                        [](size_t) { return true; });
            };
            check("gx", p.gx, s.delta_x);
            check("h_0", p.h_0, s.grad_h_0);
            if (kind == Kind::Lstm) {
                check("c_0", p.c_0, s.grad_c_0);
            }
            if (!p.b_hh.empty()) {
                Vec sums(p.b_hh.size());
                for (size_t j = 0; j < s.delta_h.size(); j++) {
                    sums[j % sums.size()] += s.delta_h[j];
                }
                check("b_hh", p.b_hh, sums);
            }
            tally.cases++;
        }
    }
    return tally;
}

// bf16 by the standard's rule, at all its values and between them.
Tally check_words() {
    Tally tally;
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        const float value = widen(static_cast<unsigned short>(bits));
        const bool is_nan = std::isnan(value);
        const unsigned back = narrow<unsigned short>(value);
        tally.checks++;
        tally.failures += is_nan ? !std::isnan(widen(static_cast<unsigned short>(back))) : back != bits;
        if (is_nan || std::isinf(value)) {
            continue;
        }
        // A little below the middle, the middle, a little above: down, to even, up.
        const unsigned expected[] = {bits, bits + (bits & 1), bits + 1};
        for (unsigned i = 0; i < 3; i++) {
            const float between = __uint_as_float((bits << 16) + 0x7fffu + i);
            tally.checks++;
            tally.failures += narrow<unsigned short>(between) != expected[i];
        }
    }
    // A NaN whose payload is all in the bits that are lost.
    tally.failures += !std::isnan(widen(narrow<unsigned short>(__uint_as_float(0x7f800001u))));
    return tally;
}

// NaN in a row is NaN behind it in the recurrence, and nowhere else.
Tally check_nan() {
    Tally tally;
    Random random(5);
    for (Kind kind : KINDS) {
        Problem p = draw_problem(random, kind, 3, 4, 5, false);
        p.reverse = false;
        p.lengths.clear();
        p.mask.clear();
        const int size = gates_of(kind) * p.units;
        std::fill_n(p.gx.begin() + (1 * p.seq_len + 2) * size, size,
                    std::numeric_limits<double>::quiet_NaN());
        Plan plan;
        plan.rows = 3;
        for (bool is_stepwise : {false, true}) {
            Driver driver(p, plan);
            const Vec outputs = (is_stepwise ? driver.stepwise() : driver.persistent()).outputs;
            for (size_t i = 0; i < outputs.size(); i++) {
                const size_t step = i / p.units;
                const bool is_behind = step / p.seq_len == 1 && step % p.seq_len >= 2;
                tally.checks++;
                tally.failures += std::isnan(outputs[i]) != is_behind;
            }
            tally.cases++;
        }
    }
    return tally;
}

// The bits are the same for every number of threads, up to the most that a device has.
Tally check_blocks(bool is_quick) {
    Tally tally;
    Random random(13);
    random.is_all_heads = true;
    // Hundreds of threads are slow under a sanitizer, which has nothing to see in idle ones.
    const unsigned most = is_quick ? 96 : STREAMS_WEIGHTS ? 1024 : MAX_BLOCK;
    for (Kind kind : KINDS) {
        const Problem p = draw_problem(random, kind, 5, 4, 37, false);
        Plan plan;
        plan.rows = 3;
        const Solution expected = Driver(p, plan).persistent();
        check_solution(tally, "blocks", p, plan, expected);
        for (unsigned block : {1u, 7u, most - 1, most}) {
            plan.block = block;
            const bool is_same = has_same_bits(expected, Driver(p, plan).persistent());
            tally.checks++;
            tally.failures += !is_same;
            if (!is_same) {
                std::printf("FAILED blocks: other bits (%s)\n", describe(p, plan).c_str());
            }
        }
        tally.cases++;
    }
    return tally;
}

// One to five parameters a launch, with empty slots between them, at the edges of every count.
Tally check_adam() {
    Tally tally;
    Random random(11);
    constexpr int SLOTS = 5;
    constexpr int NUMBER_OF_SIZES = std::size(SIZES);
    for (int index = 0; index < NUMBER_OF_SIZES; index++) {
        for (int used = 1; used < 1 << SLOTS; used += 3) {
            const double decay = used % 2 ? 0. : 0.01;
            const double lr = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
            const double keep = 1 - lr * decay;
            Case c;
            c.kernel = "adam_f32";
            c.block = 32;
            // Fewer threads than numbers at the larger counts, so that some do several.
            c.grid = 2;
            Vec params[SLOTS], moments[SLOTS];
            auto name = [](const char* of, int slot) { return of + std::to_string(slot); };
            auto put = [](Tensor& tensor, const Vec& values) {
                std::copy(values.begin(), values.end(), tensor.as<float>());
            };
            for (int slot = 0; slot < SLOTS; slot++) {
                const int count = used >> slot & 1 ? SIZES[(index + slot) % NUMBER_OF_SIZES] : 0;
                c.ints[name("count_", slot)] = count;
                if (count == 0) {
                    continue;
                }
                params[slot] = random.vector(count, 1.);
                moments[slot] = Vec(2 * count);
                const auto size = static_cast<uint64_t>(count);
                c.tensors[name("param_", slot)] = Tensor(DType::F32, Direction::InOut, {size});
                c.tensors[name("grad_", slot)] = Tensor(DType::F32, Direction::In, {size});
                c.tensors[name("moments_", slot)] = Tensor(DType::F32, Direction::InOut, {2, size});
                put(c.tensors[name("param_", slot)], params[slot]);
                put(c.tensors[name("moments_", slot)], moments[slot]);
            }
            for (int t = 1; t <= 3; t++) {
                const double step_size = lr / (1 - std::pow(beta1, t));
                const double correction = std::sqrt(1 - std::pow(beta2, t));
                for (int slot = 0; slot < SLOTS; slot++) {
                    const int count = static_cast<int>(params[slot].size());
                    if (count == 0) {
                        continue;
                    }
                    const Vec grad = random.vector(count, 1.);
                    put(c.tensors[name("grad_", slot)], grad);
                    double* m = moments[slot].data();
                    double* v = m + count;
                    for (int i = 0; i < count; i++) {
                        m[i] = beta1 * m[i] + (1 - beta1) * grad[i];
                        v[i] = beta2 * v[i] + (1 - beta2) * grad[i] * grad[i];
                        params[slot][i] = keep * params[slot][i] -
                                          step_size * m[i] / (std::sqrt(v[i]) / correction + eps);
                    }
                }
                auto f = [](double value) { return static_cast<float>(value); };
                c.tensors["coefficients"] = Tensor(DType::F32, Direction::In, {8});
                const std::array coefficients = {f(beta1), f(1 - beta1), f(beta2), f(1 - beta2),
                                                 f(step_size), f(correction), f(eps), f(keep)};
                std::copy(coefficients.begin(), coefficients.end(), c.tensors["coefficients"].as<float>());
                run(c);
            }
            for (int slot = 0; slot < SLOTS; slot++) {
                const size_t count = params[slot].size();
                auto check = [&](const char* what, const float* found, const Vec& expected) {
                    compare(tally, std::string("adam ") + what,
                            Vec(found, found + expected.size()), expected, [](size_t) { return true; });
                };
                if (count > 0) {
                    const float* m = c.tensors[name("moments_", slot)].as<float>();
                    check("param", c.tensors[name("param_", slot)].as<float>(), params[slot]);
                    check("m", m, Vec(moments[slot].begin(), moments[slot].begin() + count));
                    check("v", m + count, Vec(moments[slot].begin() + count, moments[slot].end()));
                }
            }
            tally.cases++;
        }
    }
    return tally;
}

}  // namespace

int main(int count, char** arguments) {
    bool is_quick = false;
    std::string only;
    for (int i = 1; i < count; i++) {
        const std::string argument = arguments[i];
        if (argument == "--quick") {
            is_quick = true;
        } else if (argument == "--verbose") {
            is_verbose = true;
        } else if (argument == "--only" && i + 1 < count) {
            only = arguments[++i];
        } else {
            std::fprintf(stderr, "usage: selftest [--quick] [--only NAME] [--verbose]\n");
            return 2;
        }
    }
    int failures = 0, groups = 0;
    auto group = [&](const std::string& name, auto body) {
        if (name.rfind(only, 0) != 0) {
            return;
        }
        const auto start = std::chrono::steady_clock::now();
        const Tally tally = body();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        std::printf("%-10s %4d cases %5d checks  worst %.2g  %d not persistent  %.1f s  %s\n",
                    name.c_str(), tally.cases, tally.checks, tally.worst, tally.skipped,
                    seconds.count(), tally.failures ? "FAILED" : "ok");
        std::fflush(stdout);
        failures += tally.failures;
        groups++;
    };
    group("reference", check_reference);
    for (size_t i = 0; i < std::size(KINDS); i++) {
        for (bool is_bf16 : {false, true}) {
            group(std::string(NAMES[i]) + (is_bf16 ? "/bf16" : "/f32"),
                  [&] { return check_kind(KINDS[i], is_bf16, is_quick); });
        }
    }
#if !defined(METAL)
    for (size_t i = 0; i < std::size(KINDS); i++) {
        group(std::string("team/") + NAMES[i], [&] { return check_team(KINDS[i], Products::F32, is_quick); });
    }
    for (Products products : {Products::Tf32, Products::Bf16}) {
        const std::string prefix = std::string("mma") + form_of(products).suffix + "/";
        for (size_t i = 0; i < std::size(KINDS); i++) {
            group(prefix + NAMES[i], [&] { return check_team(KINDS[i], products, is_quick); });
        }
        group(prefix + "rounding", [&] { return check_team_rounding(products); });
    }
    group("team/nan", check_team_nan);
    group("team/end", [&] { return check_team_end(is_quick); });
#endif
    group("words", check_words);
    group("nan", check_nan);
    group("blocks", [&] { return check_blocks(is_quick); });
    group("rows", check_rows);
    group("loss/head", [&] { return check_loss(true, is_quick); });
    group("loss/logits", [&] { return check_loss(false, is_quick); });
    group("adam", check_adam);
    if (groups == 0) {
        std::fprintf(stderr, "selftest: nothing is named %s\n", only.c_str());
        return 2;
    }
    return failures ? 1 : 0;
}

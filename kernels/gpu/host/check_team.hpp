// The kernels of teams against the definition: all blocks at once.

#pragma once

#include "check.hpp"
#include "drive_team.hpp"

// A problem whose relus stay on their side of 0, whatever is rounded: no slope depends on it.
inline Problem draw_team_problem(Random& random, Kind kind, int B, int T, int H, Products products) {
    Problem p = draw_problem(random, kind, B, T, H, false);
    p.reverse = false;
    if (kind == Kind::Relu && products != Products::F32) {
        for (double& x : p.gx) {
            x = static_cast<float>(x < 0. ? x - 2. : x + 2.);
        }
        for (double& w : p.w_hh) {
            w = static_cast<float>(w / 4.);
        }
    }
    return p;
}

// The problem of the second direction: other numbers, the same tensors.
inline Problem other_direction(Random& random, const Problem& p) {
    Problem other = p;
    other.reverse = true;
    for (Vec Problem::*part : {&Problem::gx, &Problem::w_hh, &Problem::b_hh, &Problem::h_0, &Problem::c_0,
                               &Problem::grad_outputs, &Problem::grad_h_n, &Problem::grad_c_n}) {
        std::shuffle((other.*part).begin(), (other.*part).end(), random.bits);
    }
    std::reverse(other.mask.begin(), other.mask.end());
    return other;
}

inline TeamPlan draw_team_plan(Random& random, const Problem& p, Products products) {
    TeamPlan plan;
    plan.products = products;
    const int multiple = form_of(products).rows;
    plan.members = random.is_all_heads ? std::min(2, p.units) : 1 + random.below(std::min(p.units, 3));
    plan.rows = random.is_all_heads ? (p.batch_size + 1) / 2 : 1 + random.below(p.batch_size);
    plan.group = random.is_all_heads ? multiple : multiple * (1 + random.below(2));
    // As many as the threads need that a block has.
    while ((plan.block = team_threads(p, plan)) > TEAM_BLOCK) {
        plan.members++;
    }
    plan.is_time_major = random.coin();
    plan.keeps = random.below(8) != 0 || random.is_all_heads;
    plan.wants_states = random.below(4) != 0 || random.is_all_heads;
    return plan;
}

inline std::string describe(const std::vector<Problem>& all, const TeamPlan& plan) {
    const Problem& p = all.front();
    char text[256];
    std::snprintf(text, sizeof text, "B %d T %d H %d members %d rows %d group %d block %u%s%s%s%s segment %d directions %zu%s",
                  p.batch_size, p.seq_len, p.units, plan.members, plan.rows, plan.group, plan.block,
                  p.lengths.empty() ? "" : " ragged", p.mask.empty() ? "" : " mask", p.h_0.empty() ? "" : " h_0",
                  p.c_0.empty() ? "" : " c_0", p.segment, all.size(), plan.is_time_major ? " time-major" : "");
    return text;
}

inline void check_team_problem(Tally& tally, const std::vector<Problem>& all, const TeamPlan& plan, const TeamPlan* other) {
    const std::string text = describe(all, plan);
    tally.cases++;
    if (is_verbose) {
        std::printf("%s\n", text.c_str());
        std::fflush(stdout);
    }
    try {
        const TeamResult found = TeamDriver(all, plan).solve();
        tally.checks++;
        if (found.gave_up) {
            throw std::runtime_error("a block gave up waiting");
        }
        for (size_t d = 0; d < all.size(); d++) {
            Solution solution = found.solutions[d];
            if (!plan.wants_states) {
                const Solution expected = solve(all[d]);
                solution.grad_h_0 = expected.grad_h_0;
                solution.grad_c_0 = expected.grad_c_0;
            }
            const TeamForm& form = form_of(plan.products);
            check_solution(tally, form.prefix + (form.suffix + (" (" + text + ")")), all[d], plan.keeps, solution,
                           form.tolerance);
        }
        if (!other) {
            return;
        }
        const TeamResult again = TeamDriver(all, *other).solve();
        for (size_t d = 0; d < all.size(); d++) {
            if (!has_same_bits(found.solutions[d], again.solutions[d])) {
                throw std::runtime_error("another team gives other bits");
            }
        }
    } catch (const std::exception& error) {
        tally.failures++;
        std::printf("FAILED %s (%s)\n", error.what(), text.c_str());
    }
}

inline void check_team_case(Tally& tally, Random& random, Kind kind, Products products, int B, int T, int H) {
    std::vector<Problem> all{draw_team_problem(random, kind, B, T, H, products)};
    if (random.coin()) {
        all.push_back(other_direction(random, all.front()));
    }
    const TeamPlan plan = draw_team_plan(random, all.front(), products);
    // A row's sums depend neither on the team nor on what else it takes.
    TeamPlan other = plan;
    other.members = plan.members == 1 ? std::min(2, H) : plan.members - 1;
    other.rows = plan.rows % B + 1;
    other.group = 3 * form_of(products).rows - plan.group;
    other.block = team_threads(all.front(), other);
    const bool has_other = random.coin() && other.block <= TEAM_BLOCK;
    check_team_problem(tally, all, plan, has_other ? &other : nullptr);
}

// Two parts of K, the second of which is not whole: backward, or of the simple cells forward, too.
inline void check_team_parts(Tally& tally, Random& random, Kind kind, Products products) {
    random.is_all_heads = true;
    const int depth = form_of(products).depth;
    std::vector<Problem> all{draw_team_problem(random, kind, 1, 2, depth / gates_of(kind) + 4, products)};
    all.front().segment = 0;
    all.front().lengths.clear();
    check_team_problem(tally, all, draw_team_plan(random, all.front(), products), nullptr);
    random.is_all_heads = false;
}

inline Tally check_team(Kind kind, Products products, bool is_quick) {
    Tally tally;
    Random random(97 + static_cast<int>(kind));
    auto check = [&](int B, int T, int H) { check_team_case(tally, random, kind, products, B, T, H); };
    random.is_all_heads = true;
    // Teams of five and four rows, in two groups and in one.
    check(9, 5, 10);
    random.is_all_heads = false;
    if (kind == Kind::Lstm || !is_quick) {
        check_team_parts(tally, random, kind, products);
    }
    if (is_quick) {
        check(2, 3, 19);
        return tally;
    }
    for (int H : {1, 2, 5, 17, 32, 50}) {
        for (int i = 0; i < 4; i++) {
            check(1 + random.below(9), 1 + random.below(6), H);
        }
    }
    return tally;
}

// A word that comes out as an armed one does not make anyone wait, and is NaN for everyone.
inline Tally check_team_nan() {
    Tally tally;
    Random random(3);
    for (Kind kind : KINDS) {
        std::vector<Problem> all{draw_problem(random, kind, 2, 4, 9, false)};
        Problem& p = all.front();
        p.reverse = false;
        p.lengths.clear();
        p.mask.clear();
        p.segment = 0;
        const int size = gates_of(kind) * p.units;
        const double armed = __uint_as_float(0xffffffffu);
        std::fill_n(p.gx.begin() + (p.seq_len + 2) * size, size, armed);
        p.grad_outputs.assign(p.batch_size * p.seq_len * p.units, armed);
        TeamPlan plan;
        plan.members = 3;
        plan.rows = 2;
        plan.block = team_threads(p, plan);
        const TeamResult found = TeamDriver(all, plan).solve();
        tally.checks++;
        tally.failures += found.gave_up;
        const Vec& outputs = found.solutions[0].outputs;
        for (size_t i = 0; i < outputs.size(); i++) {
            const size_t step = i / p.units;
            const bool is_behind = step / p.seq_len == 1 && step % p.seq_len >= 2;
            tally.checks++;
            tally.failures += std::isnan(outputs[i]) != is_behind;
        }
        // relu's slope is zero at zero.
        for (double delta : found.solutions[0].delta_x) {
            tally.failures += !std::isnan(delta) && (kind != Kind::Relu || delta != 0.);
        }
        tally.cases++;
    }
    return tally;
}

// Where a word never comes, a launch ends all the same, with the alarm and NaN.
inline void check_team_end_of(Tally& tally, Kind kind, Products products, const char* pass) {
    Random random(4);
    Problem p = draw_team_problem(random, kind, 2, 3, 9, products);
    p.lengths.clear();
    p.segment = 0;
    TeamPlan plan;
    plan.products = products;
    plan.members = 3;
    plan.rows = 2;
    plan.group = form_of(products).rows;
    plan.block = team_threads(p, plan);
    // Between two polls of a fiber all others run; a thread pauses longer and longer.
    plan.polls = HAS_FIBERS ? 200 : 50;
    // Of a team of three, one block is not there.
    plan.lacks = pass;
    const TeamResult found = TeamDriver({p}, plan).solve();
    const Solution& of = found.solutions[0];
    const Vec& numbers = std::strcmp(pass, "_forward") == 0 ? of.h_n : of.delta_h;
    tally.checks += 2;
    tally.failures += !found.gave_up;
    // Of the first unit, whose block is there.
    tally.failures += numbers.empty() || !std::isnan(numbers[0]);
    tally.cases++;
}

inline Tally check_team_end(bool is_quick) {
    Tally tally;
    for (const char* pass : {"_forward", "_backward"}) {
        check_team_end_of(tally, Kind::Tanh, Products::F32, pass);
        check_team_end_of(tally, Kind::Lstm, Products::Tf32, pass);
        for (Products products : {Products::F32, Products::Tf32, Products::Bf16}) {
            // A relu's slope may be zero.
            for (Kind kind : {Kind::Tanh, Kind::Gru, Kind::Lstm}) {
                if (!is_quick) {
                    check_team_end_of(tally, kind, products, pass);
                }
            }
        }
    }
    return tally;
}

// What is rounded to a format: to the nearest, ties away from zero in tf32 and to even in bf16.
inline double rounded_to(Products products, double value) {
    const double ulp = std::ldexp(1., std::ilogb(value) - (products == Products::Tf32 ? 10 : 7));
    return ulp * (products == Products::Tf32 ? std::round(value / ulp) : std::nearbyint(value / ulp));
}

// Both sides of a product are rounded, and nothing else: sums of numbers that fp32 holds whole.
inline Tally check_team_rounding(Products products) {
    Tally tally;
    const int H = 20;
    const double ulp = products == Products::Tf32 ? 0x1p-10 : 0x1p-7;
    Problem p{Kind::Relu, 1, 1, H};
    p.gx = Vec(H);
    for (int i = 0; i < H * H; i++) {
        // A quarter, a half and three quarters of what can be told apart.
        p.w_hh.push_back((1. + ulp * (i % 3) + ulp / 4 * (i % 4)) / 32.);
    }
    for (int k = 0; k < H; k++) {
        p.h_0.push_back(1. + ulp * (k % 5) + ulp / 4 * (k % 7 % 4));
    }
    TeamPlan plan;
    plan.products = products;
    plan.members = 2;
    plan.group = form_of(products).rows;
    plan.block = team_threads(p, plan);
    const TeamResult found = TeamDriver({p}, plan).solve();
    for (int i = 0; i < H; i++) {
        double sum = 0.;
        for (int k = 0; k < H; k++) {
            sum += rounded_to(products, p.w_hh[i * H + k]) * rounded_to(products, p.h_0[k]);
        }
        tally.checks++;
        tally.failures += !(std::abs(found.solutions[0].outputs[i] - sum) <= 1e-6 * sum);
    }
    tally.cases++;
    return tally;
}

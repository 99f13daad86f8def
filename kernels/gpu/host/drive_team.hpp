// Takes a Problem of each direction through the kernels of teams, all in one launch a sweep.

#pragma once

#include "tensors.hpp"

// What a team multiplies with.
enum class Products { F32, Tf32, Bf16 };

// The kernels of one of them.
struct TeamForm {
    const char* prefix;
    const char* suffix;
    int columns, depth;  // of K: of a warp
    int rows;            // that a group is a multiple of
    double tolerance;
    size_t (*shared_bytes)(int n, int k, int width, int rows, int group);
};

template <class P>
TeamForm team_form(const char* prefix, const char* suffix, double tolerance) {
    return {prefix, suffix, P::COLUMNS, P::WARP_DEPTH, P::ROWS, tolerance, team::shared_bytes<P>};
}

inline const TeamForm& form_of(Products products) {
    static const TeamForm forms[] = {team_form<team::Exact>("team_", "_f32", 1e-5),
                                     team_form<team::Tf32>("mma_", "_tf32", 3e-3),
                                     team_form<team::Bf16>("mma_", "_bf16", 2e-2)};
    return forms[static_cast<int>(products)];
}

// How a launch is cut, see ../team.h.
struct TeamPlan {
    Products products = Products::F32;
    int members = 1, rows = 1, group = 4;
    unsigned block = TEAM_BLOCK;
    bool is_time_major = false;  // the outputs
    bool keeps = true;           // outputs, gates and c are asked for, and a backward pass
    bool wants_states = true;    // gradients of the initial states are asked for
    int polls = 1 << 10;
    const char* lacks = "";  // the pass, "_forward" or "_backward", whose launch is without its last block
};

// What a launch of all directions gave.
struct TeamResult {
    std::vector<Solution> solutions;
    bool gave_up = false;
};

inline int team_width(int units, int members) { return (units + members - 1) / members; }

// The fewest threads that a plan may have: warps for all columns, and for every unit of a group's rows a thread.
// Forward and backward at once.
inline unsigned team_threads(const Problem& p, const TeamPlan& plan) {
    const int G = gates_of(p.kind), width = team_width(p.units, plan.members);
    const TeamForm& form = form_of(plan.products);
    auto warps = [&](int n, int k) {
        return (n + form.columns - 1) / form.columns * ((k + form.depth - 1) / form.depth);
    };
    const int products = 32 * std::max(warps(G * width, p.units), warps(width, G * p.units));
    return static_cast<unsigned>(std::max(products, (plan.group * width + 31) / 32 * 32));
}

class TeamDriver {
   public:
    // All have the same sizes, lengths and tensors; the second runs backwards.
    TeamDriver(const std::vector<Problem>& problems, const TeamPlan& plan)
        : all(problems), p(problems.front()), plan(plan), form(form_of(plan.products)) {
        D = all.size();
        B = p.batch_size;
        T = p.seq_len;
        H = p.units;
        G = gates_of(p.kind);
    }

    TeamResult solve() {
        TeamResult result;
        result.solutions.resize(D);
        Case f = common("_forward");
        f.shared_bytes = form.shared_bytes(G * width(), H, width(), plan.rows, plan.group);
        put(f, "gx", gx(), {B, T, D * G * H});
        put_weights(f);
        put(f, "b_hh", stacked(&Problem::b_hh), {D, G * H});
        put(f, "h_0", stacked(&Problem::h_0), {D, B, H});
        put(f, "c_0", stacked(&Problem::c_0), {D, B, H});
        add_armed(f, "h_in", {D, B, T, H});
        if (plan.keeps) {
            add_out(f, "outputs", outputs());
            add_out(f, "gates", {D, B, T, 4 * H});
            add_out(f, "c", {D, B, T, H});
        }
        add_out(f, "h_n", {D, B, H});
        add_out(f, "c_n", {D, B, H});
        launch(f, result);
        hand_out(f, "h_n", result, &Solution::h_n);
        hand_out(f, "c_n", result, &Solution::c_n);
        if (!plan.keeps || result.gave_up) {
            return result;
        }
        hand_out(f, "h_in", result, &Solution::h_in);
        hand_out(f, "gates", result, &Solution::gates);
        hand_out(f, "c", result, &Solution::c);
        for (uint64_t d = 0; d < D; d++) {
            Vec& found = result.solutions[d].outputs;
            found.resize(B * T * H);
            each_output(d, [&](size_t dense, size_t strided, bool) {
                found[dense] = f.tensors.at("outputs").as<float>()[strided];
            });
        }

        Case b = common("_backward");
        b.shared_bytes = form.shared_bytes(width(), G * H, width(), plan.rows, plan.group);
        for (const char* name : {"outputs", "gates", "c"}) {
            b.tensors[name] = f.tensors[name];
            b.tensors[name].direction = Direction::In;
        }
        for (const char* name : {"w_hh", "h_0", "c_0"}) {
            if (f.tensors.count(name)) {
                b.tensors[name] = f.tensors[name];
            }
        }
        put(b, "grad_h_n", stacked(&Problem::grad_h_n), {D, B, H});
        put(b, "grad_c_n", stacked(&Problem::grad_c_n), {D, B, H});
        if (!p.grad_outputs.empty()) {
            Tensor grad(DType::F32, Direction::In, outputs());
            for (uint64_t d = 0; d < D; d++) {
                each_output(d, [&](size_t dense, size_t strided, bool exists) {
                    if (exists) {
                        grad.as<float>()[strided] = static_cast<float>(all[d].grad_outputs[dense]);
                    }
                });
            }
            b.tensors["grad_outputs"] = grad;
        }
        const bool is_gru = p.kind == Kind::Gru;
        add_armed(b, is_gru ? "delta_h" : "delta_x", {D, B, T, G * H});
        if (is_gru) {
            add_out(b, "delta_x", {D, B, T, G * H});
        }
        if (plan.wants_states) {
            add_out(b, "grad_h_0", {D, B, H});
            add_out(b, "grad_c_0", {D, B, H});
        }
        launch(b, result);
        hand_out(b, "delta_x", result, &Solution::delta_x);
        hand_out(b, is_gru ? "delta_h" : "delta_x", result, &Solution::delta_h);
        if (plan.wants_states) {
            hand_out(b, "grad_h_0", result, &Solution::grad_h_0);
            hand_out(b, "grad_c_0", result, &Solution::grad_c_0);
        }
        return result;
    }

   private:
    const std::vector<Problem>& all;
    const Problem& p;
    const TeamPlan& plan;
    const TeamForm& form;
    uint64_t D, B, T, H, G;

    int width() const { return team_width(p.units, plan.members); }

    Shape outputs() const { return plan.is_time_major ? Shape{T, B, D * H} : Shape{B, T, D * H}; }

    Case common(const char* pass) {
        Case c;
        c.kernel = form.prefix + std::string(G == 1 ? "rnn" : G == 3 ? "gru" : "lstm") + pass + form.suffix;
        c.grid = static_cast<unsigned>(D * ((B + plan.rows - 1) / plan.rows) * plan.members);
        if (std::strcmp(plan.lacks, pass) == 0) {
            c.grid--;
        }
        c.block = plan.block;
        c.ints = {{"batch_size", p.batch_size},
                  {"seq_len", p.seq_len},
                  {"hidden_size", p.units},
                  {"outputs_row_stride", static_cast<int>(plan.is_time_major ? D * H : T * D * H)},
                  {"outputs_step_stride", static_cast<int>(plan.is_time_major ? B * D * H : D * H)},
                  {"directions", static_cast<int>(D)},
                  {"function", p.kind == Kind::Relu},
                  {"segment", p.segment},
                  {"members", plan.members},
                  {"rows", plan.rows},
                  {"group", plan.group},
                  {"polls", plan.polls}};
        put(c, "mask", stacked(&Problem::mask), {D, B, H});
        put_lengths(c, p);
        Tensor alarm(DType::I32, Direction::InOut, {1});
        *alarm.as<int>() = 0;
        c.tensors["alarm"] = alarm;
        return c;
    }

    void put_weights(Case& c) {
        const Vec values = stacked(&Problem::w_hh);
        if (plan.products != Products::Bf16) {
            put(c, "w_hh", values, {D, G * H, H});
            return;
        }
        Tensor words(DType::BF16, Direction::In, {D, G * H, H});
        std::transform(values.begin(), values.end(), words.as<unsigned short>(),
                       [](double value) { return narrow<unsigned short>(static_cast<float>(value)); });
        c.tensors["w_hh"] = words;
    }

    // As the caller does: the words are armed by a launch before.
    void add_armed(Case& c, const char* name, Shape shape) {
        Case arm;
        arm.kernel = "team_arm_f32";
        arm.grid = 3;
        Tensor words(DType::F32, Direction::InOut, shape);
        std::fill_n(words.as<float>(), words.count(), 7.f);
        arm.tensors["words"] = words;
        arm.ints = {{"rows", static_cast<int>(D * B * T)}, {"width", static_cast<int>(words.count() / (D * B * T))}};
        run(arm);
        c.tensors[name] = arm.tensors["words"];
    }

    void launch(Case& c, TeamResult& result) {
        run(c);
        result.gave_up = result.gave_up || *c.tensors.at("alarm").as<int>() != 0;
    }

    // (B, T, D*G*H), with NaN behind the rows' ends.
    Vec gx() {
        Vec out(B * T * D * G * H);
        for (uint64_t d = 0; d < D; d++) {
            const Vec of = behind_the_end(p, all[d].gx, G * H);
            for (size_t i = 0; i < of.size(); i++) {
                out[(i / (G * H) * D + d) * G * H + i % (G * H)] = of[i];
            }
        }
        return out;
    }

    Vec stacked(Vec Problem::*part) {
        Vec out;
        for (const Problem& problem : all) {
            out.insert(out.end(), (problem.*part).begin(), (problem.*part).end());
        }
        return out;
    }

    // A tensor's directions, one behind the other.
    void hand_out(Case& c, const char* name, TeamResult& result, Vec Solution::*part) {
        const Vec values = take(c, name);
        const size_t size = values.size() / D;
        for (uint64_t d = 0; d < D; d++) {
            result.solutions[d].*part = Vec(values.begin() + d * size, values.begin() + (d + 1) * size);
        }
    }

    // Places of the outputs: in (B, T, H), in the tensor, and whether the row has them.
    template <typename F>
    void each_output(uint64_t d, F f) {
        for (uint64_t i = 0; i < B * T * H; i++) {
            const uint64_t row = i / H / T, t = i / H % T;
            const uint64_t step = plan.is_time_major ? t * B + row : row * T + t;
            f(i, (step * D + d) * H + i % H, t < static_cast<uint64_t>(p.length(static_cast<int>(row))));
        }
    }
};

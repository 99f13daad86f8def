// All kernels, unchanged, and the table by which a case finds its own.

#pragma once

#include "case.hpp"

#if defined(METAL)
#include "../adam.metal"
#include "../gru.metal"
#include "../loss.metal"
#include "../lstm.metal"
#include "../rnn.metal"
#include "../rows.metal"
#include "../step.metal"
#undef device
#undef constant
#undef threadgroup
#undef thread
#undef kernel
#else
#include "../adam.cu"
#include "../gru.cu"
#include "../loss.cu"
#include "../lstm.cu"
#include "../mma.cu"
#include "../rnn.cu"
#include "../rows.cu"
#include "../step.cu"
#include "../team.cu"
#endif

// Both words of W_hh.
#define BOTH(NAME, ARGUMENTS)                                   \
    {#NAME "_f32", by_name(NAME##_f32, ARGUMENTS)}, {           \
#NAME "_bf16", by_name(NAME##_bf16, ARGUMENTS)              \
    }

// Blocks wait for each other.
#define TEAM(NAME, ARGUMENTS)                                                                       \
    {"team_" #NAME "_f32", by_name(team_##NAME##_f32, ARGUMENTS, on_cpu::Schedule::AllAtOnce)},     \
        {"mma_" #NAME "_tf32", by_name(mma_##NAME##_tf32, ARGUMENTS, on_cpu::Schedule::AllAtOnce)}, \
        {"mma_" #NAME "_bf16", by_name(mma_##NAME##_bf16, ARGUMENTS, on_cpu::Schedule::AllAtOnce)}

inline const std::map<std::string, Launcher>& kernels() {
    static const std::map<std::string, Launcher> table = {
        BOTH(rnn_forward,
             "gx w_hh h_0 lengths mask outputs h_in h_n batch_size seq_len hidden_size "
             "outputs_row_stride outputs_step_stride reverse function rows"),
        BOTH(rnn_backward,
             "w_hh outputs lengths mask grad_outputs grad_h_n delta_x grad_h_0 batch_size "
             "seq_len hidden_size outputs_row_stride outputs_step_stride reverse function "
             "segment rows"),
        BOTH(rnn_step_forward,
             "gx z_hh lengths mask h operand outputs h_in batch_size seq_len hidden_size "
             "outputs_row_stride outputs_step_stride reverse function step"),
        BOTH(rnn_step_backward,
             "z outputs lengths mask grad_outputs grad_h_n delta_x operand batch_size seq_len "
             "hidden_size outputs_row_stride outputs_step_stride reverse function segment step"),
        BOTH(gru_forward,
             "gx w_hh b_hh h_0 lengths mask outputs h_in gates h_n batch_size seq_len "
             "hidden_size outputs_row_stride outputs_step_stride reverse rows"),
        BOTH(gru_backward,
             "w_hh outputs gates h_0 lengths mask grad_outputs grad_h_n delta_x delta_h "
             "grad_h_0 batch_size seq_len hidden_size outputs_row_stride outputs_step_stride "
             "reverse segment rows"),
        BOTH(gru_step_forward,
             "gx z_hh b_hh lengths mask h operand outputs h_in gates batch_size seq_len "
             "hidden_size outputs_row_stride outputs_step_stride reverse step"),
        BOTH(gru_step_backward,
             "z outputs gates h_0 lengths mask grad_outputs grad_h_n delta_x delta_h state "
             "operand batch_size seq_len hidden_size outputs_row_stride outputs_step_stride "
             "reverse segment step"),
        BOTH(lstm_forward,
             "gx w_hh b_hh h_0 c_0 lengths mask outputs h_in gates c h_n c_n batch_size "
             "seq_len hidden_size outputs_row_stride outputs_step_stride reverse rows"),
        BOTH(lstm_backward,
             "w_hh gates c c_0 lengths mask grad_outputs grad_h_n grad_c_n delta_x grad_h_0 "
             "grad_c_0 batch_size seq_len hidden_size outputs_row_stride outputs_step_stride "
             "reverse segment rows"),
        BOTH(lstm_step_forward,
             "gx z_hh b_hh lengths mask h c_now operand outputs h_in gates c batch_size "
             "seq_len hidden_size outputs_row_stride outputs_step_stride reverse step"),
        BOTH(lstm_step_backward,
             "z gates c c_0 lengths mask grad_outputs grad_h_n grad_c_n delta_x state operand "
             "batch_size seq_len hidden_size outputs_row_stride outputs_step_stride reverse "
             "segment step"),
        BOTH(step_begin,
             "h_0 mask h operand batch_size hidden_size"),
        {"step_end_f32",
         by_name(step_end_f32, "z state grad_n lengths mask grad_0 batch_size hidden_size")},
        {"rows_copy_f32",
         by_name(rows_copy_f32,
                 "from lengths to batch_size seq_len width from_row_stride from_step_stride "
                 "from_unit_stride to_row_stride to_step_stride adds")},
        {"rows_bias_f32",
         by_name(rows_bias_f32,
                 "bias other to ones from copy row_count width row_stride ones_count copy_count")},
        {"adam_f32",
         by_name(adam_f32,
                 "param_0 grad_0 moments_0 count_0 param_1 grad_1 moments_1 count_1 "
                 "param_2 grad_2 moments_2 count_2 param_3 grad_3 moments_3 count_3 "
                 "param_4 grad_4 moments_4 count_4 "
                 "coefficients")},
        {"loss_head_forward_f32",
         by_name(loss_head_forward_f32,
                 "h w bias labels losses deltas rows features classes tile weight smoothing")},
        {"loss_head_backward_f32",
         by_name(loss_head_backward_f32,
                 "h w deltas grad grad_h grad_w grad_bias rows features classes")},
        {"loss_forward_f32",
         by_name(loss_forward_f32,
                 "logits labels weights class_weights losses deltas rows classes steps tile lanes "
                 "weight smoothing")},
        {"loss_backward_f32", by_name(loss_backward_f32, "deltas grad grad_logits count")},
        {"loss_sum_f32", by_name(loss_sum_f32, "losses loss count")},
#if !defined(METAL)
        {"team_arm_f32", by_name(team_arm_f32, "words rows width")},
        TEAM(rnn_forward,
             "gx w_hh h_0 lengths mask outputs h_in h_n alarm batch_size seq_len hidden_size "
             "outputs_row_stride outputs_step_stride directions function members rows group "
             "polls"),
        TEAM(rnn_backward,
             "w_hh outputs lengths mask grad_outputs grad_h_n delta_x grad_h_0 alarm "
             "batch_size seq_len hidden_size outputs_row_stride outputs_step_stride "
             "directions function segment members rows group polls"),
        TEAM(gru_forward,
             "gx w_hh b_hh h_0 lengths mask outputs h_in gates h_n alarm batch_size seq_len "
             "hidden_size outputs_row_stride outputs_step_stride directions members rows "
             "group polls"),
        TEAM(gru_backward,
             "w_hh outputs gates h_0 lengths mask grad_outputs grad_h_n delta_x delta_h "
             "grad_h_0 alarm batch_size seq_len hidden_size outputs_row_stride "
             "outputs_step_stride directions segment members rows group polls"),
        TEAM(lstm_forward,
             "gx w_hh b_hh h_0 c_0 lengths mask outputs h_in gates c h_n c_n alarm "
             "batch_size seq_len hidden_size outputs_row_stride outputs_step_stride "
             "directions members rows group polls"),
        TEAM(lstm_backward,
             "w_hh gates c c_0 lengths mask grad_outputs grad_h_n grad_c_n delta_x grad_h_0 "
             "grad_c_0 alarm batch_size seq_len hidden_size outputs_row_stride "
             "outputs_step_stride directions segment members rows group polls"),
#endif
    };
    return table;
}

inline void run(Case& c) {
    const auto found = kernels().find(c.kernel);
    if (found == kernels().end()) {
        throw std::runtime_error("there is no kernel " + c.kernel);
    }
    found->second(c);
    for (const auto& [name, tensor] : c.tensors) {
        if (!tensor.is_margin_intact()) {
            throw std::runtime_error(c.kernel + " wrote outside of " + name);
        }
    }
}

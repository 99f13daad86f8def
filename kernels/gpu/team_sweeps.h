// The sweeps of a team's block over all steps, forward and backward; team.h has what they are made of.

#pragma once

#include "team.h"

namespace team {

// A tensor's part of a direction; null stays null.
template <typename T>
FUNCTION GLOBAL T* part_of(GLOBAL T* tensor, int direction, size_t size) {
    return tensor ? tensor + direction * size : nullptr;
}

// The batch as a direction sees it. Outputs of both lie beside each other in a step.
FUNCTION Batch batch_of(LOCAL const Batch& all, int direction) {
    Batch batch = all;
    batch.mask = part_of(all.mask, direction, static_cast<size_t>(all.batch_size) * all.hidden_size);
    batch.reverse = direction;
    return batch;
}

// A pass as a direction sees it: tensors hold one direction behind the other, but for outputs and gx.
template <class Cell>
FUNCTION Forward pass_of(LOCAL const Forward& all, int direction) {
    const size_t units = all.batch.hidden_size;
    const size_t states = all.batch.batch_size * units;
    const size_t steps = states * all.batch.seq_len;
    Forward pass = all;
    pass.batch = batch_of(all.batch, direction);
    pass.gx = all.gx + direction * Cell::GATES * units;
    pass.b_hh = part_of(all.b_hh, direction, Cell::GATES * units);
    pass.h_0 = part_of(all.h_0, direction, states);
    pass.c_0 = part_of(all.c_0, direction, states);
    pass.outputs = part_of(all.outputs, direction, units);
    pass.h_in = all.h_in + direction * steps;
    pass.gates = part_of(all.gates, direction, Cell::SAVED * steps);
    pass.c = part_of(all.c, direction, steps);
    pass.h_n = all.h_n + direction * states;
    pass.c_n = part_of(all.c_n, direction, states);
    return pass;
}

template <class Cell>
FUNCTION Backward pass_of(LOCAL const Backward& all, int direction) {
    const size_t units = all.batch.hidden_size;
    const size_t states = all.batch.batch_size * units;
    const size_t steps = states * all.batch.seq_len;
    Backward pass = all;
    pass.batch = batch_of(all.batch, direction);
    pass.outputs = part_of(all.outputs, direction, units);
    pass.gates = part_of(all.gates, direction, Cell::SAVED * steps);
    pass.c = part_of(all.c, direction, steps);
    pass.h_0 = part_of(all.h_0, direction, states);
    pass.c_0 = part_of(all.c_0, direction, states);
    pass.grad_outputs = part_of(all.grad_outputs, direction, units);
    pass.grad_h_n = part_of(all.grad_h_n, direction, states);
    pass.grad_c_n = part_of(all.grad_c_n, direction, states);
    pass.delta_x = all.delta_x + direction * Cell::GATES * steps;
    pass.delta_h = part_of(all.delta_h, direction, Cell::GATES * steps);
    pass.grad_h_0 = part_of(all.grad_h_0, direction, states);
    pass.grad_c_0 = part_of(all.grad_c_0, direction, states);
    return pass;
}

// The rows of a group that the batch has.
FUNCTION int rows_left(LOCAL const Member& member, int first, int group) {
    return member.rows - first < group ? member.rows - first : group;
}

// What W_hh is multiplied by at the first step, which everyone knows; zeros behind the units.
struct Initial {
    LOCAL const Forward& pass;
    int first_row;

    METHOD float at(int r, int unit) const {
        const int row = first_row + r, units = pass.batch.hidden_size;
        return unit < units ? at_or_zero(pass.h_0, row, unit, units) * pass.batch.mask_of(row, unit) : 0.f;
    }
};

// One step of one unit: `x` and `z` are the parts of its gates' sums.
template <class Cell>
FUNCTION void step_forward(LOCAL const Forward& pass,
                           LOCAL const Place& place,
                           int row,
                           int unit,
                           int step,
                           LOCAL const float (&x)[Cell::GATES],
                           LOCAL const float (&z)[Cell::GATES],
                           SHARED float* own) {
    const int units = pass.batch.hidden_size;
    const float mask = pass.batch.mask_of(row, unit);
    // h_in is published, or written here where nobody waits for it: at the first step, which everyone
    // knows, and behind a row's end.
    Forward written = pass;
    written.h_in = nullptr;
    if (step == 0 || !place.is_active) {
        pass.h_in[place.at * units + unit] =
            place.is_active ? at_or_zero(pass.h_0, row, unit, units) * mask : 0.f;
    }
    float saved[Cell::SAVED + 1];
    if (!place.is_active) {
        write_step<Cell>(written, place, unit, 0.f, 0.f, 0.f, saved);
        return;
    }
    float state = Cell::HAS_STATE ? *own : 0.f;
    const float h_t = Cell::forward(x, z, pass.function, state, saved);
    if (!place.is_last) {
        const Place next(pass.batch, row, step + 1, 0);
        publish(pass.h_in + next.at * units + unit, h_t * mask);
    }
    if (Cell::HAS_STATE) {
        *own = state;
    }
    write_step<Cell>(written, place, unit, 0.f, h_t, state, saved);
    if (place.is_last) {
        write_final<Cell>(pass, row, unit, h_t, state);
    }
}

// Share: what holds W_hh and multiplies by it, in fp32 `Share`, else one of team_mma.h.
template <class Cell, class Share>
FUNCTION void forward_sweep(LOCAL const Threads& threads,
                            SHARED unsigned char* memory,
                            LOCAL const Forward& all,
                            GLOBAL const typename Share::Weight* w_hh,
                            LOCAL const Size& size,
                            GLOBAL int* alarm) {
    constexpr int G = Cell::GATES;
    const int units = all.batch.hidden_size;
    const Member member(threads, size, all.batch.batch_size, units);
    const Owner owner(threads, member, size.group);
    const Forward pass = pass_of<Cell>(all, member.direction);
    Patience patience{size.polls, alarm};
    Share share(threads, memory, G * member.width, units, size.group);
    share.template fill<false>(w_hh + static_cast<size_t>(member.direction) * G * units * units, member, units);

    float bias[G];
#pragma unroll
    for (int g = 0; g < G; g++) {
        bias[g] = pass.b_hh && owner.exists ? pass.b_hh[g * units + owner.unit] : 0.f;
    }
    for (int row = owner.row; owner.exists && row < member.rows; row += size.group) {
        begin_row<Cell>(pass, member.first_row + row, owner.unit,
                        share.state + row * member.width + owner.own);
    }
    for (int step = 0; step < pass.batch.seq_len; step++) {
        for (int first = 0; first < member.rows; first += size.group) {
            const int rows = rows_left(member, first, size.group);
            const bool is_own = owner.exists && owner.row < rows;
            const int row = member.first_row + first + (is_own ? owner.row : 0);
            const Place place(pass.batch, row, step, 0);
            float x[G], z[G];
#pragma unroll
            for (int g = 0; g < G; g++) {
                const size_t at = (place.at * size.directions * G + g) * units + owner.unit;
                x[g] = is_own && place.is_active ? pass.gx[at] : 0.f;
            }
            if (step == 0) {
                const Initial initial{pass, member.first_row + first};
                const int quads = share.quads();
                for (int i = threads.index; i < rows * quads; i += threads.count) {
                    const int unit = 4 * (i % quads);
                    share.store(i / quads, i % quads,
                                float4{initial.at(i / quads, unit), initial.at(i / quads, unit + 1),
                                       initial.at(i / quads, unit + 2), initial.at(i / quads, unit + 3)});
                }
            } else {
                const Inputs inputs{pass.batch, pass.h_in, member.first_row + first, step};
                share.gather(threads, inputs, rows, patience);
            }
            BARRIER();
            share.multiply(rows);
            BARRIER();
            if (is_own) {
#pragma unroll
                for (int g = 0; g < G; g++) {
                    z[g] = bias[g] + share.sum(g * member.width + owner.own, owner.row);
                }
                step_forward<Cell>(pass, place, row, owner.unit, step, x, z,
                                   share.state + (first + owner.row) * member.width + owner.own);
            }
        }
    }
}

// The reverse of one step of one unit. `sum` is that of the deltas behind it times W_hh.
template <class Cell>
FUNCTION void step_backward(LOCAL const Backward& pass,
                            LOCAL const Place& place,
                            int row,
                            int unit,
                            LOCAL const typename Cell::Kept& kept,
                            float grad_output,
                            float sum,
                            SHARED float* own) {
    const int units = pass.batch.hidden_size;
    float state = Cell::HAS_STATE ? *own : 0.f;
    float delta_x[Cell::GATES], delta_h[Cell::GATES];
    reverse_cell<Cell>(pass, place, row, unit, kept, grad_output, sum, state, delta_x, delta_h);
    GLOBAL float* published = Cell::TWO_DELTAS ? pass.delta_h : pass.delta_x;
#pragma unroll
    for (int g = 0; g < Cell::GATES; g++) {
        const size_t at = (place.at * Cell::GATES + g) * units + unit;
        publish(published + at, delta_h[g]);
        if (Cell::TWO_DELTAS) {
            pass.delta_x[at] = delta_x[g];
        }
    }
    if (Cell::HAS_STATE) {
        *own = state;
    }
}

template <class Cell, class Share>
FUNCTION void backward_sweep(LOCAL const Threads& threads,
                             SHARED unsigned char* memory,
                             LOCAL const Backward& all,
                             GLOBAL const typename Share::Weight* w_hh,
                             LOCAL const Size& size,
                             GLOBAL int* alarm) {
    const int units = all.batch.hidden_size;
    const int k = Cell::GATES * units;
    const Member member(threads, size, all.batch.batch_size, units);
    const Owner owner(threads, member, size.group);
    const Backward pass = pass_of<Cell>(all, member.direction);
    Patience patience{size.polls, alarm};
    Share share(threads, memory, member.width, k, size.group);
    share.template fill<true>(w_hh + static_cast<size_t>(member.direction) * k * units, member, units);

    if (Cell::HAS_STATE) {
        for (int row = owner.row; owner.exists && row < member.rows; row += size.group) {
            share.state[row * member.width + owner.own] = 0.f;
        }
    }
    // Step -1 stands for what is before the first, whose gradients not everyone asks for.
    const int last = pass.grad_h_0 ? -1 : 0;
    for (int step = pass.batch.seq_len - 1; step >= last; step--) {
        for (int first = 0; first < member.rows; first += size.group) {
            const int rows = rows_left(member, first, size.group);
            const bool is_own = owner.exists && owner.row < rows;
            const int row = member.first_row + first + (is_own ? owner.row : 0);
            const Place place(pass.batch, row, step < 0 ? 0 : step, pass.segment);
            typename Cell::Kept kept = {};
            float grad_output = 0.f;
            if (is_own && place.is_active && step >= 0) {
                kept.load(pass, place, row, owner.unit);
                if (pass.grad_outputs) {
                    grad_output = pass.grad_outputs[place.output + owner.unit];
                }
            }
            // Nothing is carried into the last step.
            const bool is_first_reversed = step == pass.batch.seq_len - 1;
            if (!is_first_reversed) {
                const Deltas deltas{pass.batch, Cell::TWO_DELTAS ? pass.delta_h : pass.delta_x, k,
                                    member.first_row + first, step, pass.segment};
                share.gather(threads, deltas, rows, patience);
                BARRIER();
                share.multiply(rows);
                BARRIER();
            }
            if (is_own) {
                const float sum = is_first_reversed ? 0.f : share.sum(owner.own, owner.row);
                SHARED float* own = share.state + (first + owner.row) * member.width + owner.own;
                if (step >= 0) {
                    step_backward<Cell>(pass, place, row, owner.unit, kept, grad_output, sum, own);
                } else {
                    end_backward<Cell>(pass, row, owner.unit, sum, own);
                }
            }
        }
    }
}

}  // namespace team

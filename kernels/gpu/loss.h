// Softmax cross-entropy: of logits, and of a dense head whose logits nobody else reads.
//
// The sum over all rows of the losses of softmax.h. A block adds up its rows' losses; where there is more than one,
// loss_sum_f32 adds up what the blocks have. Forward keeps `deltas`, the gradient by the logits; backward multiplies them by
// the gradient of the sum. No atomics: the bits are the same every time.

#pragma once

#include "softmax.h"

namespace loss {

// Features of a chunk that a block holds at a time, and classes of a thread.
enum { CHUNK = 32, CLASSES = 4 };

// A dense layer, and what it reads.
struct Head {
    GLOBAL const float* h;     // (N, F) in
    GLOBAL const float* w;     // (C, F) in
    GLOBAL const float* bias;  // (C,)   in   or null: zeros
    int rows;
    int features;
    int classes;

    METHOD float input(int row, int feature) const {
        const bool exists = row < rows && feature < features;
        return exists ? h[static_cast<size_t>(row) * features + feature] : 0.f;
    }

    METHOD float weight(int c, int feature) const {
        const bool exists = c < classes && feature < features;
        return exists ? w[static_cast<size_t>(c) * features + feature] : 0.f;
    }

    METHOD float bias_of(int c) const { return bias && c < classes ? bias[c] : 0.f; }
};

// Shared memory of loss_head_forward_f32, for a tile of rows.
struct HeadTile {
    SHARED float* panel;   // (CHUNK, width): a chunk of W, transposed, zero behind the classes
    SHARED float* inputs;  // (tile, CHUNK + 1): a chunk of h; one number further, so that rows are in different banks
    SHARED float* logits;  // (tile, width + 1)
    SHARED float* losses;  // (tile,)
    int width;             // padded(C)

    METHOD HeadTile(SHARED float* memory, int tile, int classes) : width(padded(classes)) {
        panel = memory;
        inputs = panel + CHUNK * width;
        logits = inputs + tile * (CHUNK + 1);
        losses = logits + tile * (width + 1);
    }
};

// The logits of up to `count` rows from `first` on, in tile.logits: a thread has four classes of a row, and the sums are over
// the features in ascending order.
FUNCTION void head_logits(LOCAL const Threads& threads,
                          LOCAL const Head& head,
                          LOCAL const HeadTile& tile,
                          int first,
                          int count) {
    // Neighbouring threads have neighbouring rows, and read the same numbers of W.
    const int row = threads.index % count, part = threads.index / count;
    const bool has_part = part * CLASSES < tile.width;
    float z[CLASSES] = {0.f, 0.f, 0.f, 0.f};
    for (int chunk = 0; chunk < head.features; chunk += CHUNK) {
        // The chunk before, and the logits of the rows before, are read no more.
        BARRIER();
        for (int i = threads.index; i < count * CHUNK; i += threads.count) {
            const int k = i % CHUNK, r = i / CHUNK;
            tile.inputs[r * (CHUNK + 1) + k] = head.input(first + r, chunk + k);
        }
        for (int i = threads.index; i < tile.width * CHUNK; i += threads.count) {
            const int k = i % CHUNK, c = i / CHUNK;
            tile.panel[k * tile.width + c] = head.weight(c, chunk + k);
        }
        BARRIER();
        if (has_part) {
            SHARED const float* x = tile.inputs + row * (CHUNK + 1);
            SHARED const float4* w = reinterpret_cast<SHARED const float4*>(tile.panel) + part;
#pragma unroll 8
            for (int k = 0; k < CHUNK; k++, w += tile.width / 4) {
                const float4 four = *w;
                z[0] = multiply_add(x[k], four.x, z[0]);
                z[1] = multiply_add(x[k], four.y, z[1]);
                z[2] = multiply_add(x[k], four.z, z[2]);
                z[3] = multiply_add(x[k], four.w, z[3]);
            }
        }
    }
    if (has_part) {
#pragma unroll
        for (int j = 0; j < CLASSES; j++) {
            const int c = part * CLASSES + j;
            tile.logits[row * (tile.width + 1) + c] = z[j] + head.bias_of(c);
        }
    }
    BARRIER();
}

}  // namespace loss

// A dense layer and the loss of its logits. Grid: ceil(N / tile). Threads: at least padded(C) / 4, from which a block takes as
// many rows at a time as it has threads for. Shared memory: 4 (32 padded(C) + tile (padded(C) + 35)) bytes.
TILE_KERNEL
loss_head_forward_f32(
    IN(0, float, h),          // (N, F) in
    IN(1, float, w),          // (C, F) in
    IN(2, float, bias),       // (C,)   in   or null: zeros
    IN(3, int, labels),       // (N,)   in   below C; any other makes the loss NaN
    OUT(4, float, losses),    // (ceil(N / tile),) out  the sums of the blocks' rows
    OUT(5, float, deltas),    // (N, C) out  gradient of the logits; or null
    INT(6, rows),             // N
    INT(7, features),         // F
    INT(8, classes),          // C
    INT(9, tile),             // rows of a block
    FLOAT(10, weight),        // of each row's loss
    FLOAT(11, smoothing)      // of the labels
    TILE_END(12)
) {
    TILE_BEGIN;
    const loss::Head head{h, w, GIVEN(2, bias), rows, features, classes};
    const loss::HeadTile shared(reinterpret_cast<SHARED float*>(memory), tile, classes);
    const softmax::Targets targets{nullptr, smoothing, classes};
    GLOBAL float* const kept = GIVEN(5, deltas);
    int at_once = threads.count / (shared.width / loss::CLASSES);
    at_once = at_once < tile ? at_once : tile;
    for (int done = 0; done < tile; done += at_once) {
        const int first = threads.block * tile + done;
        const int count = at_once < tile - done ? at_once : tile - done;
        loss::head_logits(threads, head, shared, first, count);
        if (threads.index < count) {
            const int row = first + threads.index;
            float own = 0.f;
            if (row < rows) {
                SHARED const float* z = shared.logits + threads.index * (shared.width + 1);
                const int label = labels[row];
                const float of_row = targets.weight(weight, label);
                const float max = softmax::largest(z, classes, 0, 1);
                const softmax::Sums sums = softmax::sums_of(targets, z, max, label, 0, 1);
                own = softmax::loss_of(targets, sums, of_row);
                if (kept) {
                    softmax::write_deltas(targets, z, max, sums, label, of_row,
                                          kept + static_cast<size_t>(row) * classes, 0, 1);
                }
            }
            shared.losses[done + threads.index] = own;
        }
    }
    BARRIER();
    softmax::add_up(threads, shared.losses, tile);
    if (threads.index == 0) {
        losses[threads.block] = shared.losses[0];
    }
}

// The gradients of a head, a number a thread. Grid: ceil((C F + C + N F) / block).
STEP_KERNEL
loss_head_backward_f32(
    IN(0, float, h),           // (N, F) in
    IN(1, float, w),           // (C, F) in
    IN(2, float, deltas),      // (N, C) in   of the forward pass
    IN(3, float, grad),        // (1,)   in   of the loss
    OUT(4, float, grad_h),     // (N, F) out  or null: not asked for
    OUT(5, float, grad_w),     // (C, F) out
    OUT(6, float, grad_bias),  // (C,)   out  or null: not asked for
    INT(7, rows),              // N
    INT(8, features),          // F
    INT(9, classes)            // C
    STEP_END(10)
) {
    STEP_BEGIN;
    // The longest sums first.
    const size_t of_w = static_cast<size_t>(classes) * features;
    size_t at = static_cast<size_t>(threads.block) * threads.count + threads.index;
    float sum = 0.f;
    if (at < of_w) {
        const int c = static_cast<int>(at / features), feature = static_cast<int>(at % features);
        GLOBAL const float* delta = deltas + c;
        GLOBAL const float* x = h + feature;
#pragma unroll 4
        for (int row = 0; row < rows; row++, delta += classes, x += features) {
            sum = multiply_add(*delta, *x, sum);
        }
        grad_w[at] = grad[0] * sum;
        return;
    }
    at -= of_w;
    if (at < static_cast<size_t>(classes)) {
        GLOBAL float* const of_bias = GIVEN(6, grad_bias);
        if (of_bias) {
            GLOBAL const float* delta = deltas + at;
#pragma unroll 4
            for (int row = 0; row < rows; row++, delta += classes) {
                sum += *delta;
            }
            of_bias[at] = grad[0] * sum;
        }
        return;
    }
    at -= classes;
    GLOBAL float* const of_h = GIVEN(4, grad_h);
    if (of_h && at < static_cast<size_t>(rows) * features) {
        const size_t row = at / features, feature = at % features;
        GLOBAL const float* delta = deltas + row * classes;
        GLOBAL const float* weight = w + feature;
#pragma unroll 2
        for (int c = 0; c < classes; c++, weight += features) {
            sum = multiply_add(delta[c], *weight, sum);
        }
        of_h[at] = grad[0] * sum;
    }
}

// The loss of logits. Grid: ceil(N / tile). Threads: a multiple of `lanes`. Shared memory: 4 (block + tile) bytes.
TILE_KERNEL
loss_forward_f32(
    IN(0, float, logits),         // (N, C) in
    IN(1, int, labels),           // (N / steps,) in  below C, or of rows of weight 0; any other makes the loss NaN
    IN(2, float, weights),        // (N,)   in   of each row's loss, which is not read where they are 0; or null: all `weight`
    IN(3, float, class_weights),  // (C,)   in   or null: ones
    OUT(4, float, losses),        // (ceil(N / tile),) out  the sums of the blocks' rows
    OUT(5, float, deltas),        // (N, C) out  gradient of the logits; or null
    INT(6, rows),                 // N
    INT(7, classes),              // C
    INT(8, steps),                // rows that have a label together
    INT(9, tile),                 // rows of a block
    INT(10, lanes),               // threads of a row, a power of two
    FLOAT(11, weight),            // of each row's loss, unless they have their own
    FLOAT(12, smoothing)          // of the labels
    TILE_END(13)
) {
    TILE_BEGIN;
    const softmax::Targets targets{GIVEN(3, class_weights), smoothing, classes};
    GLOBAL const float* const of_rows = GIVEN(2, weights);
    GLOBAL float* const kept = GIVEN(5, deltas);
    const int lane = threads.index % lanes, at_once = threads.count / lanes;
    SHARED float* const scratch = reinterpret_cast<SHARED float*>(memory);
    SHARED float* const own = scratch + (threads.index - lane);
    SHARED float* const sums_of_rows = scratch + threads.count;
    for (int done = 0; done < tile; done += at_once) {
        const int place = done + threads.index / lanes;
        const int row = threads.block * tile + place;
        const bool exists = place < tile && row < rows;
        const float own_weight = !exists ? 0.f : of_rows ? of_rows[row] : weight;
        const int label = exists ? labels[row / steps] : 0;
        // The threads of other rows come to the barriers all the same.
        const int count = own_weight != 0.f ? classes : 0;
        GLOBAL const float* z = logits + static_cast<size_t>(exists ? row : 0) * classes;
        const float max = softmax::over_lanes(own, lane, lanes, softmax::largest(z, count, lane, lanes), true);
        softmax::Sums sums = {0.f, 0.f, 0.f};
        if (count > 0) {
            sums = softmax::sums_of(targets, z, max, label, lane, lanes);
        }
        sums.exps = softmax::over_lanes(own, lane, lanes, sums.exps, false);
        sums.own = softmax::over_lanes(own, lane, lanes, sums.own, false);
        sums.mass = softmax::over_lanes(own, lane, lanes, sums.mass, false);
        const float of_row = targets.weight(own_weight, label);
        if (exists && kept) {
            GLOBAL float* const delta = kept + static_cast<size_t>(row) * classes;
            if (count > 0) {
                softmax::write_deltas(targets, z, max, sums, label, of_row, delta, lane, lanes);
            } else {
                for (int c = lane; c < classes; c += lanes) {
                    delta[c] = 0.f;
                }
            }
        }
        if (lane == 0 && place < tile) {
            sums_of_rows[place] = count > 0 ? softmax::loss_of(targets, sums, of_row) : 0.f;
        }
    }
    BARRIER();
    softmax::add_up(threads, sums_of_rows, tile);
    if (threads.index == 0) {
        losses[threads.block] = sums_of_rows[0];
    }
}

// The gradient of logits. Grid: ceil(count / block).
STEP_KERNEL
loss_backward_f32(
    IN(0, float, deltas),       // (N, C) in   of the forward pass
    IN(1, float, grad),         // (1,)   in   of the loss
    OUT(2, float, grad_logits),  // (N, C) out
    INT(3, count)               // N C
    STEP_END(4)
) {
    STEP_BEGIN;
    const size_t at = static_cast<size_t>(threads.block) * threads.count + threads.index;
    if (at < static_cast<size_t>(count)) {
        grad_logits[at] = grad[0] * deltas[at];
    }
}

// What the blocks of a forward pass have, added up. Grid: 1. Shared memory: 4 block bytes.
TILE_KERNEL
loss_sum_f32(
    IN(0, float, losses),  // (count,) in
    OUT(1, float, loss),   // (1,)     out
    INT(2, count)
    TILE_END(3)
) {
    TILE_BEGIN;
    SHARED float* const sums = reinterpret_cast<SHARED float*>(memory);
    float own = 0.f;
    for (int i = threads.index; i < count; i += threads.count) {
        own += losses[i];
    }
    sums[threads.index] = own;
    BARRIER();
    softmax::add_up(threads, sums, threads.count);
    if (threads.index == 0) {
        loss[0] = sums[0];
    }
}

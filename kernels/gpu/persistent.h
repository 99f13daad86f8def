// The sweeps in which a block takes a tile of batch rows through all T steps.
//
// Rows are independent, so blocks never wait for each other: no grid-wide barrier, no atomics, and
// the same bits every time. W_hh is where weights.h says. A thread owns the units with its own index,
// and every so many behind it as the block has threads, with all their gates, for all rows of the
// tile: gates never travel between threads. One step, forward:
//
//     fetch gx of the step (its latency hides behind the product)
//     z = W_hh h_in         h_in read from one of two tiles
//     the cell              c, or h without the mask, in memory that only this thread touches
//     h_in of the next step into the other tile
//     barrier
//
// With two tiles, one barrier a step is enough: who is past it writes the tile that nobody reads
// any more. Backward is the same shape: the tiles hold deltas, the matrix is W_hh transposed.
//
// Known limits: what shared_bytes counts must fit in shared memory; above that, stepwise.h.

#pragma once

#include "cell.h"
#include "weights.h"

// Bytes of dynamic shared memory: two tiles of vectors, W_hh unless it is streamed, and the units'
// own numbers.
// Forward: n = G*H, k = H. Backward: n = H, k = G*H.
HOST_FUNCTION size_t
shared_bytes(int word_bytes, int n, int k, int rows, bool has_state, int units) {
    const size_t depth = padded(k);
    const size_t weights = STREAMS_WEIGHTS ? 0 : word_bytes * n * depth;
    return 4 * 2 * rows * depth + weights + (has_state ? 4 * rows * units : 0);
}

// The parts of a block's shared memory, in an order that keeps each aligned.
template <typename Word>
struct Shared {
    int depth;
    int tile;             // numbers of a tile
    SHARED float* tiles;  // (2, rows, depth)
    Weights<Word> weights;
    SHARED float* state;  // (rows, H)

    METHOD Shared(SHARED unsigned char* memory, GLOBAL const Word* matrix, int n, int k, int rows)
        : depth(padded(k)),
          tile(rows * depth),
          tiles(reinterpret_cast<SHARED float*>(memory)),
          weights(tiles + 2 * tile, matrix, n, k),
          state(tiles + 2 * tile + Weights<Word>::floats(n, k)) {}

    METHOD SHARED float* tile_of(int step) const { return tiles + (step & 1) * tile; }
};

// Calls `body` with a compile-time number of rows until `count` rows are done: sums stay in
// registers, and W_hh is read once per four rows.
template <class Body>
FUNCTION void for_row_groups(int count, LOCAL const Body& body) {
    int row = 0;
    for (; row + 4 <= count; row += 4) {
        body.template run<4>(row);
    }
    if (row + 2 <= count) {
        body.template run<2>(row);
        row += 2;
    }
    if (row < count) {
        body.template run<1>(row);
    }
}

// One step of one unit, forward.
template <class Cell, typename Word>
struct ForwardStep {
    LOCAL const Forward& pass;
    LOCAL const Shared<Word>& shared;
    int first_row;  // of the tile, in the batch
    int step;
    int unit;

    template <int ROWS>
    METHOD void run(int row) const {
        constexpr int G = Cell::GATES;
        const int units = pass.batch.hidden_size;
        SHARED const float* now = shared.tile_of(step) + row * shared.depth;
        SHARED float* next = shared.tile_of(step + 1) + row * shared.depth;
        float x[G][ROWS], z[G][ROWS];
        bool is_any_active = false;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const Place place(pass.batch, first_row + row + r, step, 0);
            is_any_active |= place.is_active;
#pragma unroll
            for (int g = 0; g < G; g++) {
                x[g][r] = place.is_active ? pass.gx[(place.at * G + g) * units + unit] : 0.f;
                z[g][r] = pass.b_hh ? pass.b_hh[g * units + unit] : 0.f;
            }
        }
        if (is_any_active) {
            shared.weights.add_products(z, now, shared.depth, unit, units);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int batch_row = first_row + row + r;
            const Place place(pass.batch, batch_row, step, 0);
            float saved[Cell::SAVED + 1];
            if (!place.is_active) {
                write_step<Cell>(pass, place, unit, 0.f, 0.f, 0.f, saved);
                continue;
            }
            float x_r[G], z_r[G];
#pragma unroll
            for (int g = 0; g < G; g++) {
                x_r[g] = x[g][r];
                z_r[g] = z[g][r];
            }
            SHARED float* own = shared.state + (row + r) * units + unit;
            float state = Cell::HAS_STATE ? *own : 0.f;
            const float h_t = Cell::forward(x_r, z_r, pass.function, state, saved);
            if (Cell::HAS_STATE) {
                *own = state;
            }
            const float h_in = now[r * shared.depth + unit];
            write_step<Cell>(pass, place, unit, h_in, h_t, state, saved);
            next[r * shared.depth + unit] = h_t * pass.batch.mask_of(batch_row, unit);
            if (place.is_last) {
                write_final<Cell>(pass, batch_row, unit, h_t, state);
            }
        }
    }
};

// A block's rows: those of its tile that the batch has.
FUNCTION int rows_of_block(LOCAL const Threads& threads, LOCAL const Batch& batch, int rows) {
    const int left = batch.batch_size - threads.block * rows;
    return left < rows ? left : rows;
}

template <class Cell, typename Word>
FUNCTION void forward_sweep(LOCAL const Threads& threads,
                            SHARED unsigned char* memory,
                            LOCAL const Forward& pass,
                            GLOBAL const Word* w_hh,
                            int rows) {
    const int units = pass.batch.hidden_size;
    const int n = Cell::GATES * units;
    const int count = rows_of_block(threads, pass.batch, rows);
    const int first_row = threads.block * rows;
    const Shared<Word> shared(memory, w_hh, n, units, rows);

    shared.weights.template fill<false>(threads);
    // Both tiles: the second so that what a row without steps leaves there is a number.
    for (int i = threads.index; i < count * shared.depth; i += threads.count) {
        const int row = first_row + i / shared.depth;
        const int unit = i % shared.depth;
        const bool is_padding = unit >= units;
        const float h = is_padding ? 0.f : at_or_zero(pass.h_0, row, unit, units);
        const float h_in = is_padding ? 0.f : h * pass.batch.mask_of(row, unit);
        shared.tile_of(0)[i] = h_in;
        shared.tile_of(1)[i] = h_in;
    }
    for (int unit = threads.index; unit < units; unit += threads.count) {
        for (int r = 0; r < count; r++) {
            begin_row<Cell>(pass, first_row + r, unit, shared.state + r * units + unit);
        }
    }
    BARRIER();

    for (int step = 0; step < pass.batch.seq_len; step++) {
        for (int unit = threads.index; unit < units; unit += threads.count) {
            for_row_groups(count, ForwardStep<Cell, Word>{pass, shared, first_row, step, unit});
        }
        BARRIER();
    }
}

// One step of one unit, backward. The tiles hold the deltas of the hidden side.
template <class Cell, typename Word>
struct BackwardStep {
    LOCAL const Backward& pass;
    LOCAL const Shared<Word>& shared;
    int first_row;
    int step;
    int unit;

    template <int ROWS>
    METHOD void run(int row) const {
        constexpr int G = Cell::GATES;
        const int units = pass.batch.hidden_size;
        typename Cell::Kept kept[ROWS] = {};
        float grad_output[ROWS];
        float sums[1][ROWS];
        bool is_any_carrying = false;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int batch_row = first_row + row + r;
            const Place place(pass.batch, batch_row, step, pass.segment);
            grad_output[r] = sums[0][r] = 0.f;
            is_any_carrying |= place.carries;
            if (place.is_active) {
                kept[r].load(pass, place, batch_row, unit);
                if (pass.grad_outputs) {
                    grad_output[r] = pass.grad_outputs[place.output + unit];
                }
            }
        }
        if (is_any_carrying) {
            SHARED const float* now = shared.tile_of(step + 1) + row * shared.depth;
            shared.weights.add_products(sums, now, shared.depth, unit, 0);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int batch_row = first_row + row + r;
            const Place place(pass.batch, batch_row, step, pass.segment);
            SHARED float* own = shared.state + (row + r) * units + unit;
            float state = Cell::HAS_STATE ? *own : 0.f;
            float delta_h[G];
            reverse_step<Cell>(pass, place, batch_row, unit, kept[r], grad_output[r], sums[0][r],
                               state, delta_h);
            if (Cell::HAS_STATE) {
                *own = state;
            }
            SHARED float* next = shared.tile_of(step) + (row + r) * shared.depth;
#pragma unroll
            for (int g = 0; g < G; g++) {
                next[g * units + unit] = delta_h[g];
            }
        }
    }
};

// Behind the first step: what arrives at the initial state.
template <class Cell, typename Word>
struct BackwardEnd {
    LOCAL const Backward& pass;
    LOCAL const Shared<Word>& shared;
    int first_row;
    int unit;

    template <int ROWS>
    METHOD void run(int row) const {
        const int units = pass.batch.hidden_size;
        float sums[1][ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            sums[0][r] = 0.f;
        }
        SHARED const float* now = shared.tile_of(0) + row * shared.depth;
        shared.weights.add_products(sums, now, shared.depth, unit, 0);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            end_backward<Cell>(pass, first_row + row + r, unit, sums[0][r], shared.state + (row + r) * units + unit);
        }
    }
};

template <class Cell, typename Word>
FUNCTION void backward_sweep(LOCAL const Threads& threads,
                             SHARED unsigned char* memory,
                             LOCAL const Backward& pass,
                             GLOBAL const Word* w_hh,
                             int rows) {
    const int units = pass.batch.hidden_size;
    const int k = Cell::GATES * units;
    const int count = rows_of_block(threads, pass.batch, rows);
    const int first_row = threads.block * rows;
    const Shared<Word> shared(memory, w_hh, units, k, rows);

    shared.weights.template fill<true>(threads);
    // The padding counts in products; the rest is written before it is read.
    for (int i = threads.index; i < 2 * shared.tile; i += threads.count) {
        if (i % shared.depth >= k) {
            shared.tiles[i] = 0.f;
        }
    }
    if (Cell::HAS_STATE) {
        for (int unit = threads.index; unit < units; unit += threads.count) {
            for (int r = 0; r < count; r++) {
                shared.state[r * units + unit] = 0.f;
            }
        }
    }

    // No barrier yet: nothing is carried into the last step, so its reverse makes no product, and
    // the barrier behind it stands before the first. That takes T >= 1.
    for (int step = pass.batch.seq_len - 1; step >= 0; step--) {
        for (int unit = threads.index; unit < units; unit += threads.count) {
            for_row_groups(count, BackwardStep<Cell, Word>{pass, shared, first_row, step, unit});
        }
        BARRIER();
    }
    for (int unit = threads.index; unit < units; unit += threads.count) {
        for_row_groups(count, BackwardEnd<Cell, Word>{pass, shared, first_row, unit});
    }
}

// The sweeps of teams: a few blocks of one launch hold one W_hh together, in registers, and take their rows
// of the batch through all steps. For an H whose W_hh one block cannot hold; rnn_cell.h, gru_cell.h and
// lstm_cell.h have the cells.
//
// A block owns `width` neighbouring units, and of W_hh the columns that their sums are made with: forward
// the rows of W_hh of all their gates, backward its columns. Teams share the batch; a launch has the teams of
// both directions. One step of `group` rows, forward:
//
//     fetch gx of the own units    its latency hides behind the rest
//     gather h_in of all units     published by their owners, see exchange.h, into shared memory
//     barrier
//     product                      a thread: 4 rows, 8 columns, 16 of K; a warp adds its lanes' parts up by shuffles;
//                                  or by tensor cores, see team_mma.h
//     barrier
//     the cell of the own units    a thread has one unit of one row; h_in of the next step is published
//
// Backward is the same shape: deltas are gathered and published. Groups of rows hide each other's waits.
// The order of each sum is fixed by K alone, so the bits do not depend on the team, its rows or the groups.
//
// Known limits: K up to 512 for each 32 threads of the block, in tf32 up to 256; the sizes of `Size` have to agree
// with each other, see README.md.

#pragma once

#include "cell.h"
#include "exchange.h"

namespace team {

enum {
    LANES = 32,
    TOGETHER = 4,  // quads that a thread loads before it waits
};

// fp32: what is gathered stays as it is.
struct Exact {
    enum {
        COLUMNS = 8,       // that a warp computes
        DEPTH = 16,        // of K in a thread
        WARP_DEPTH = 512,  // of K in a warp
        ROWS = 4,          // of a product; a group is a multiple of it
    };

    // Floats of a gathered row.
    HOST_FUNCTION static int floats(int k) { return padded(k); }

    // Quads of numbers in it, the padding included.
    METHOD static int quads(int floats) { return floats / 4; }

    METHOD static void store(SHARED float* row, int quad, LOCAL const float4& words) {
        *reinterpret_cast<SHARED float4*>(row + 4 * quad) = words;
    }
};

// How a launch is cut; see README.md.
struct Size {
    int directions;  // 1, or 2: the second runs backwards in time
    int members;     // blocks of a team
    int rows;        // of a team
    int group;       // rows at a time, a multiple of ROWS
    int polls;       // see exchange.h
};

// The members of `Size` but the directions as a kernel's arguments, each with its index.
#define TEAM_SIZES(member, row, at_a_time, poll) \
    INT(member, members), INT(row, rows), INT(at_a_time, group), INT(poll, polls)

// Bytes of dynamic shared memory: what is gathered of a group, the sums' parts, and the own units' states.
// Forward: n = G * width, k = H. Backward: n = width, k = G*H. Products: Exact, or one of team_mma.h.
template <class Products>
HOST_FUNCTION size_t shared_bytes(int n, int k, int width, int rows, int group) {
    const size_t parts = (k + Products::WARP_DEPTH - 1) / Products::WARP_DEPTH;
    const size_t gathered = static_cast<size_t>(group) * Products::floats(k);
    return 4 * (gathered + parts * n * group + static_cast<size_t>(rows) * width);
}

// Where a block stands.
struct Member {
    int direction;
    int first_row;   // of the team, in the batch
    int rows;        // of the team that the batch has
    int first_unit;
    int width;       // units of each member; the last may have fewer
    int units;       // own ones

    METHOD Member(LOCAL const Threads& threads, LOCAL const Size& size, int batch_size, int hidden_size) {
        const int teams = (batch_size + size.rows - 1) / size.rows;
        const int team = threads.block / size.members;
        direction = team / teams;
        first_row = team % teams * size.rows;
        rows = batch_size - first_row < size.rows ? batch_size - first_row : size.rows;
        width = (hidden_size + size.members - 1) / size.members;
        first_unit = threads.block % size.members * width;
        const int left = hidden_size - first_unit;
        units = left < width ? left : width;
    }
};

// One level of the sum over lanes: numbers come in pairs, and a lane keeps one of each.
template <int HALF>
FUNCTION void add_halves(LOCAL float (&sums)[LANES], int lane) {
    const bool is_upper = (lane & HALF) != 0;
    float given[HALF];
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        given[i] = is_upper ? sums[i] : sums[i + HALF];
    }
    exchange_lanes(given, HALF);
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        sums[i] = (is_upper ? sums[i + HALF] : sums[i]) + given[i];
    }
}

// The sum over all lanes of 32 numbers each: lane i gets number i. 31 shuffles, in a fixed order.
FUNCTION float sum_of_lanes(LOCAL float (&sums)[LANES], int lane) {
    add_halves<16>(sums, lane);
    add_halves<8>(sums, lane);
    add_halves<4>(sums, lane);
    add_halves<2>(sums, lane);
    add_halves<1>(sums, lane);
    return sums[0];
}

// A block's shared memory, and which columns a warp has and which part of K.
template <class Products>
struct Gathered {
    int k;
    int depth;    // floats of a gathered row
    int n;        // columns of the block
    int group;
    int lane;
    int parts;    // warps beside each other along K
    int part;     // the warp's
    int column;   // the first of the warp's
    bool is_working;
    SHARED float* tile;   // (group, depth)
    SHARED float* sums;   // (parts, n, group)
    SHARED float* state;  // (rows, width)

    METHOD Gathered(LOCAL const Threads& threads, SHARED unsigned char* memory, int n, int k, int group)
        : k(k), depth(Products::floats(k)), n(n), group(group), lane(threads.index % LANES) {
        const int warp = threads.index / LANES;
        parts = (k + Products::WARP_DEPTH - 1) / Products::WARP_DEPTH;
        part = warp % parts;
        column = warp / parts * Products::COLUMNS;
        // Warps that are left over have not all parts of K beside them.
        is_working = column < n && warp / parts < threads.count / LANES / parts;
        tile = reinterpret_cast<SHARED float*>(memory);
        sums = tile + static_cast<size_t>(group) * depth;
        state = sums + static_cast<size_t>(parts) * n * group;
    }

    METHOD int quads() const { return Products::quads(depth); }

    // Puts four numbers of a row into the tile.
    METHOD void store(int row, int quad, LOCAL const float4& words) const {
        Products::store(tile + row * depth, quad, words);
    }

    // Loads a group's vectors into the tile: from where `source` says, or zeros where it says null.
    template <class Source>
    METHOD void gather(LOCAL const Threads& threads,
                       LOCAL const Source& source,
                       int rows,
                       LOCAL Patience& patience) const {
        const int quads = this->quads();
        const bool is_aligned = k % 4 == 0;
        for (int first = threads.index; first < rows * quads; first += TOGETHER * threads.count) {
            GLOBAL const float* from[TOGETHER];
            float4 words[TOGETHER];
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                const int at = first + i * threads.count;
                const int quad = at % quads;
                // Behind K there is padding.
                from[i] = at < rows * quads && 4 * quad < k ? source.row(at / quads) : nullptr;
                words[i] = {};
                if (from[i]) {
                    from[i] += 4 * quad;
                    words[i] = load_words(from[i], k - 4 * quad, is_aligned);
                }
            }
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                const int at = first + i * threads.count;
                if (from[i]) {
                    patience.wait(words[i], from[i], k - 4 * (at % quads), is_aligned);
                }
                if (at < rows * quads) {
                    store(at / quads, at % quads, words[i]);
                }
            }
        }
    }

    // A row's sum of a column.
    METHOD float sum(int own, int row) const {
        float total = 0.f;
        for (int p = 0; p < parts; p++) {
            total += sums[(p * n + own) * group + row];
        }
        return total;
    }
};

// A block's part of W_hh in fp32: 8 columns of 16 numbers in each thread.
struct Share : Gathered<Exact> {
    using Weight = float;
    enum { COLUMNS = Exact::COLUMNS, DEPTH = Exact::DEPTH, ROWS = Exact::ROWS };

    float w[COLUMNS][DEPTH];

    METHOD Share(LOCAL const Threads& threads, SHARED unsigned char* memory, int n, int k, int group)
        : Gathered(threads, memory, n, k, group) {}

    // The first of four neighbouring k of a lane.
    METHOD int first_k(int quad) const { return part * Exact::WARP_DEPTH + 4 * (lane + LANES * quad); }

    // Column c is gate c / width of the own unit c % width.
    //
    // IS_TRANSPOSED false: the columns are rows of W_hh, (G*H, H); true: they are its columns.
    template <bool IS_TRANSPOSED>
    METHOD void fill(GLOBAL const float* w_hh, LOCAL const Member& member, int hidden_size) {
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const int gate = (column + c) / member.width;
            const int own = (column + c) % member.width;
            const int row = gate * hidden_size + member.first_unit + own;
            const bool exists = is_working && column + c < n && own < member.units;
#pragma unroll
            for (int i = 0; i < DEPTH; i++) {
                const int at = first_k(i / 4) + i % 4;
                const size_t source = IS_TRANSPOSED ? static_cast<size_t>(at) * hidden_size + row
                                                    : static_cast<size_t>(row) * k + at;
                w[c][i] = exists && at < k ? w_hh[source] : 0.f;
                // Without it, nvcc keeps the addresses of all loads, and spills.
                ORDER_OF_LOADS();
            }
        }
    }

    // The warp's columns times the tile's rows: what its part of K gives of each sum.
    METHOD void multiply(int rows) const {
        if (!is_working) {
            return;
        }
        for (int row = 0; row < rows; row += ROWS) {
            float products[LANES];
#pragma unroll
            for (int i = 0; i < LANES; i++) {
                products[i] = 0.f;
            }
#pragma unroll
            for (int quad = 0; quad < DEPTH / 4; quad++) {
                const int at = first_k(quad);
                if (at >= depth) {
                    continue;
                }
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    const float4 v = *reinterpret_cast<SHARED const float4*>(tile + (row + r) * depth + at);
#pragma unroll
                    for (int c = 0; c < COLUMNS; c++) {
                        LOCAL float& sum = products[c * ROWS + r];
                        sum = multiply_add(w[c][4 * quad], v.x, sum);
                        sum = multiply_add(w[c][4 * quad + 1], v.y, sum);
                        sum = multiply_add(w[c][4 * quad + 2], v.z, sum);
                        sum = multiply_add(w[c][4 * quad + 3], v.w, sum);
                    }
                }
            }
            const float sum = sum_of_lanes(products, lane);
            const int own = column + lane / ROWS;
            if (own < n) {
                sums[(part * n + own) * group + row + lane % ROWS] = sum;
            }
        }
    }
};

// A thread's own unit of its own row of each group.
struct Owner {
    int row;    // in the group
    int own;    // unit, of the block's
    int unit;   // of all
    bool exists;

    METHOD Owner(LOCAL const Threads& threads, LOCAL const Member& member, int group)
        : row(threads.index / member.width),
          own(threads.index % member.width),
          unit(member.first_unit + own),
          exists(row < group && own < member.units) {}
};

// What W_hh is multiplied by at a step: null where a row does not have it.
struct Inputs {
    LOCAL const Batch& batch;
    GLOBAL const float* h_in;
    int first_row;
    int step;

    METHOD GLOBAL const float* row(int r) const {
        const Place place(batch, first_row + r, step, 0);
        return place.is_active ? h_in + place.at * batch.hidden_size : nullptr;
    }
};

// The deltas behind a step, or at step -1 those of the first step: null where a row has none, or where a
// segment of truncation ends.
struct Deltas {
    LOCAL const Batch& batch;
    GLOBAL const float* deltas;  // (B, T, k)
    int k;
    int first_row;
    int step;
    int segment;

    METHOD GLOBAL const float* row(int r) const {
        const int batch_row = first_row + r;
        const bool arrives = step < 0 ? batch.length(batch_row) > 0
                                      : Place(batch, batch_row, step, segment).carries;
        const Place behind(batch, batch_row, step + 1, segment);
        return arrives ? deltas + behind.at * k : nullptr;
    }
};

}  // namespace team

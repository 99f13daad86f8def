// A block's part of W_hh for tensor cores: the same teams as team.h, with products in tf32 or bf16.
//
// W_hh is A, in registers: 32 fragments of 16 columns in each warp. What is gathered is B: it is rounded once, when it
// comes into shared memory. Sums are fp32, and so is everything else.
//
// A lane reads four neighbouring words of a gathered row at once, which serve two products: the words of K are dealt
// out so that products see them in another order, the same for A and B. 16 words of K are a chunk.

#pragma once

#include "team.h"
#include "tensor_cores.h"

namespace team {

// What both formats have in common. PER_WORD: numbers of a 32-bit word.
template <int PER_WORD>
struct Fragments {
    enum {
        COLUMNS = 16,                   // that a warp computes
        CHUNK = 16,                     // words of K
        CHUNKS = 16,                    // of a warp
        WARP_WORDS = CHUNK * CHUNKS,    // of K
        WARP_DEPTH = WARP_WORDS * PER_WORD,
        ROWS = 8,
    };

    // Floats of a gathered row: chunks, the first of 16 and then by 32, so that lanes of a phase, in two neighbouring
    // rows, meet in no bank.
    HOST_FUNCTION static int floats(int k) {
        const int words = (k + PER_WORD - 1) / PER_WORD;
        return (words + 15) / 32 * 32 + 16;
    }

    METHOD static int quads(int floats) { return floats * PER_WORD / 4; }
};

struct Tf32 : Fragments<1> {
    using Weight = float;

    // A word of a column of W_hh, whose numbers are `column(k)`.
    template <class Column>
    METHOD static unsigned word(LOCAL const Column& column, int at) {
        return tf32_of(column(at));
    }

    METHOD static void store(SHARED float* row, int quad, LOCAL const float4& words) {
        *reinterpret_cast<SHARED float4*>(row + 4 * quad) =
            float4{float_of_bits(tf32_of(words.x)), float_of_bits(tf32_of(words.y)),
                   float_of_bits(tf32_of(words.z)), float_of_bits(tf32_of(words.w))};
    }

    METHOD static void multiply(LOCAL float (&d)[4], LOCAL const unsigned (&a)[4], float b0, float b1) {
        mma_tf32(d, a, bits_of_float(b0), bits_of_float(b1));
    }
};

struct Bf16 : Fragments<2> {
    using Weight = unsigned short;

    template <class Column>
    METHOD static unsigned word(LOCAL const Column& column, int at) {
        return column(2 * at) | static_cast<unsigned>(column(2 * at + 1)) << 16;
    }

    METHOD static void store(SHARED float* row, int quad, LOCAL const float4& words) {
        *reinterpret_cast<SHARED float2*>(row + 2 * quad) =
            float2{float_of_bits(bf16_of(words.x, words.y)), float_of_bits(bf16_of(words.z, words.w))};
    }

    METHOD static void multiply(LOCAL float (&d)[4], LOCAL const unsigned (&a)[4], float b0, float b1) {
        mma_bf16(d, a, bits_of_float(b0), bits_of_float(b1));
    }
};

// A column of a block's part of W_hh; zeros where there is none, and behind K.
template <class Weight>
struct Column {
    GLOBAL const Weight* w_hh;
    int first;
    int stride;  // from one k to the next
    int count;   // of k

    METHOD Weight operator()(int k) const { return k < count ? w_hh[first + k * stride] : Weight(0); }
};

template <class Products>
struct MmaShare : Gathered<Products> {
    using Weight = typename Products::Weight;
    using Base = Gathered<Products>;
    using Base::column;
    using Base::depth;
    using Base::group;
    using Base::is_working;
    using Base::lane;
    using Base::n;
    using Base::part;
    using Base::sums;
    using Base::tile;
    enum { CHUNK = Products::CHUNK, CHUNKS = Products::CHUNKS, ROWS = Products::ROWS };

    // Of each chunk two products.
    unsigned w[2 * CHUNKS][4];

    METHOD MmaShare(LOCAL const Threads& threads, SHARED unsigned char* memory, int n, int k, int group)
        : Base(threads, memory, n, k, group) {}

    // The first of four neighbouring words of a lane.
    METHOD int first_word(int chunk) const {
        return part * Products::WARP_WORDS + chunk * CHUNK + 4 * (lane % 4);
    }

    // The columns are as in Share.
    template <bool IS_TRANSPOSED>
    METHOD Column<Weight> column_of(GLOBAL const Weight* w_hh,
                                    LOCAL const Member& member,
                                    int hidden_size,
                                    int at) const {
        const int own = at % member.width;
        const int row = at / member.width * hidden_size + member.first_unit + own;
        const bool exists = is_working && at < n && own < member.units;
        return {w_hh, IS_TRANSPOSED ? row : row * this->k, IS_TRANSPOSED ? hidden_size : 1, exists ? this->k : 0};
    }

    template <bool IS_TRANSPOSED>
    METHOD void fill(GLOBAL const Weight* w_hh, LOCAL const Member& member, int hidden_size) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int at = column + lane / 4 + 8 * half;
            const Column<Weight> own = column_of<IS_TRANSPOSED>(w_hh, member, hidden_size, at);
            unsigned before = 0;
#pragma unroll
            for (int chunk = 0; chunk < CHUNKS; chunk++) {
                // Nothing is added, but nvcc does not know that: a chunk waits for the one before. With more loads at
                // once it spills.
                const int word = first_word(chunk) + (static_cast<int>(before) & (own.count >> 31));
                before = 0;
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    // Two words of each product, see tensor_cores.h.
                    const unsigned found = Products::word(own, word + i);
                    w[2 * chunk + i / 2][half + 2 * (i % 2)] = found;
                    before |= found;
                }
            }
        }
    }

    // The warp's columns times the tile's rows: what its part of K gives of each sum.
    METHOD void multiply(int rows) const {
        if (!is_working) {
            return;
        }
        for (int row = 0; row < rows; row += ROWS) {
            // Two sums, so that products wait for each other half as long.
            float even[4] = {}, odd[4] = {};
            SHARED const float* from = tile + (row + lane / 4) * depth;
#pragma unroll
            for (int chunk = 0; chunk < CHUNKS; chunk++) {
                const int at = first_word(chunk);
                // The same for all lanes of a warp.
                if (at >= depth) {
                    continue;
                }
                const float4 v = *reinterpret_cast<SHARED const float4*>(from + at);
                Products::multiply(even, w[2 * chunk], v.x, v.y);
                Products::multiply(odd, w[2 * chunk + 1], v.z, v.w);
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int own = column + lane / 4 + 8 * (i / 2);
                if (own < n) {
                    sums[(part * n + own) * group + row + 2 * (lane % 4) + i % 2] = even[i] + odd[i];
                }
            }
        }
    }
};

}  // namespace team

// How the blocks of a team hand each other numbers while they run, without a barrier between them.
//
// Readiness is in the data. The tensor that a sweep writes anyway (forward h_in, backward the deltas of the
// hidden side) is armed before the launch: all bits of every word are set. Whoever owns a word publishes it
// once, with one store that is seen whole; whoever needs it polls until it is not armed. Each step has
// addresses of its own, so nothing is written twice, and no word says anything of another one: no fence,
// no flag, no atomic operation. A number that comes out with all bits set, a NaN, is published as another
// NaN.
//
// All blocks of a team have to run at once, which a cooperative launch promises. If a word does not come
// all the same, the thread gives up after so many polls, sets the alarm, goes on with NaN, and waits no
// more: a kernel ends in any case.

#pragma once

#include "common.h"

// A word that nobody has published yet.
FUNCTION bool is_armed(float word) { return bits_of_float(word) == 0xffffffffu; }

FUNCTION bool is_armed(LOCAL const float4& words) {
    return is_armed(words.x) || is_armed(words.y) || is_armed(words.z) || is_armed(words.w);
}

// Hands a number to the other blocks.
FUNCTION void publish(GLOBAL float* at, float value) {
    relaxed_store(at, is_armed(value) ? float_of_bits(0x7fffffffu) : value);
}

// Four words as they are now; those from `count` on are zeros, and not read.
FUNCTION float4 load_words(GLOBAL const float* from, int count, bool is_aligned) {
    if (is_aligned) {
        return relaxed_load4(from);
    }
    float4 words = {};
    words.x = relaxed_load(from);
    words.y = count > 1 ? relaxed_load(from + 1) : 0.f;
    words.z = count > 2 ? relaxed_load(from + 2) : 0.f;
    words.w = count > 3 ? relaxed_load(from + 3) : 0.f;
    return words;
}

// How often a thread polls for a word before it gives up.
struct Patience {
    int polls;
    GLOBAL int* alarm;  // (1,): set to 1 by threads that give up

    // Polls until none of the words, which were loaded before, is armed.
    METHOD void wait(LOCAL float4& words, GLOBAL const float* from, int count, bool is_aligned) {
        for (int left = polls; is_armed(words); left--) {
            if (left <= 0) {
                give_up();
                return;
            }
            pause_between_polls();
            words = load_words(from, count, is_aligned);
        }
    }

    METHOD void give_up() {
        polls = 0;
        raise_alarm(alarm);
    }
};

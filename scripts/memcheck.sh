#!/usr/bin/env bash
# Runs the kernels' tests under valgrind, which has no AVX-512: the AVX2 and the portable ones.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "valgrind knows AVX2 on Linux for x86-64 alone, this is $(uname -sm)"
require_debian valgrind "checks each read and write" valgrind
# An error, rather than a test of the portable kernels alone, where AVX2 is not found.
export CANDLE_RNN_ISA=avx2
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=1 --fair-sched=yes"
# With the bounds of every pointer checked too.
bounds=profile.dev.package.candle-rnn-kernels.debug-assertions=true
# Not the tests that compare results of up to 16 threads: valgrind runs one at a time, and they spin while they wait.
cargo test --locked --lib --tests --package candle-rnn-kernels --features model --config "$bounds" -- --test-threads 1 \
    --skip any_number_of_threads --skip by_any_thread
exec cargo test --locked --lib recurrence "$@" -- --test-threads 1 --skip the_number_of_threads

#!/usr/bin/env bash
# Runs the kernels' tests under AddressSanitizer, those of AVX-512 too.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_address_sanitizer '`just memcheck`'
host=$(rustc -vV | sed -n 's/^host: //p')
# The sanitizer is not stable yet; the variable lets a stable compiler use it.
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan
# More than a panel of registers between two tensors: a read past one must not fall into the next.
export ASAN_OPTIONS="redzone=512${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
tests=(cargo test --locked --target "$host" --config 'profile.dev.package."*".opt-level=1')
# With the bounds of every pointer checked too.
bounds=profile.dev.package.candle-rnn-kernels.debug-assertions=true
"${tests[@]}" --lib --tests --package candle-rnn-kernels --features model --config "$bounds"
exec "${tests[@]}" --lib --no-default-features recurrence "$@"

#!/usr/bin/env bash
# Runs the device kernels on the CPU against their definition.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_gpp
mkdir -p target/emulate
g++ -std=c++20 -O2 -pthread kernels/gpu/host/emulate.cpp -o target/emulate/emulate &
g++ -std=c++20 -O2 -pthread -DMETAL -Ikernels/gpu/host/metal -Wno-attributes kernels/gpu/host/emulate.cpp \
    -o target/emulate/emulate-metal
wait "$!"
export CANDLE_RNN_EMULATE=$PWD/target/emulate/emulate
export CANDLE_RNN_EMULATE_METAL=$PWD/target/emulate/emulate-metal
# Should no test bear the name any more, cargo would be content.
cargo test "${tested[@]}" --lib emulated -- --ignored "$@" | tee target/emulate/result
grep -q '^test result: ok. [1-9]' target/emulate/result || fail "no emulated test ran"

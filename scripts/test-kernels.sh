#!/usr/bin/env bash
# Runs the device kernels' own tests on the CPU in both languages, plain and under two sanitizers.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_gpp
mkdir -p target/emulate
for language in cuda metal; do
    for mode in plain thread address; do
        flags=(-O2) arguments=()
        [ "$mode" = plain ] || { flags=(-O1 "-fsanitize=$mode"); arguments=(--quick); }
        [ "$language" = cuda ] || flags+=(-DMETAL -Ikernels/gpu/host/metal -Wno-attributes)
        program=target/emulate/selftest-$language-$mode
        g++ -std=c++20 "${flags[@]}" -pthread kernels/gpu/host/selftest.cpp -o "$program"
        echo "$language, $mode"
        "$program" "${arguments[@]}"
    done
done

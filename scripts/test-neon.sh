#!/usr/bin/env bash
# Runs the kernels' tests on a 64-bit Arm CPU (NEON), emulated by qemu unless this is one.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
# An error, rather than a test of the portable kernels alone, where NEON is not found.
export CANDLE_RNN_ISA=neon
tests=(cargo test --locked)
case $(uname -m) in aarch64 | arm64)
    "${tests[@]}" --lib --tests --package candle-rnn-kernels --features model
    exec "${tests[@]}" --lib --no-default-features recurrence "$@"
    ;;
esac
# Debian's compiler, since Debian also has its standard library for Arm.
require_packages rustc-web libstd-rust-web-dev:arm64 libc6:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
# A folder of its own: another compiler would build everything in target anew.
export RUSTC=/usr/bin/rustc CARGO_TARGET_DIR=target/neon
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# No -L /usr/aarch64-linux-gnu: the loader there and the libc of libc6:arm64, which it would
# find first, are of different builds, and the first thread then hangs.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max"
# What gemm-f16, which Candle needs, is compiled with.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+fp16,+fhm"
tests+=(--target aarch64-unknown-linux-gnu)
"${tests[@]}" --lib --tests --package candle-rnn-kernels --features model
exec "${tests[@]}" --lib --no-default-features recurrence "$@"

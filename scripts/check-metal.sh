#!/usr/bin/env bash
# Checks what can be known of Metal without a Mac: the kernels' address spaces, and the Rust code's types.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_debian clang "checks the kernels' address spaces" clang
kernels/gpu/host/check-msl.sh
if [ "$(uname -s)" = Darwin ]; then
    exec cargo clippy --locked --all-targets --features metal -- -D warnings
fi
# Debian's Rust: it has the standard library's source, which is built for Apple's target.
require_packages rustc-web libstd-rust-web-dev rust-web-src
export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/metal
exec cargo check --locked -Zbuild-std=std,panic_abort --target aarch64-apple-darwin \
    --no-default-features --features metal,sample --lib --tests --benches

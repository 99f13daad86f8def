#!/usr/bin/env bash
# Clippy over all targets, over the library without its features, over the kernels without threads, and over the programs
# of exported pages.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cargo clippy --version >/dev/null 2>&1 || fail "no cargo clippy: \`rustup component add clippy\` installs it"
cargo clippy --locked --workspace --all-targets --features candle-rnn/serve -- -D warnings
cargo clippy --locked --all-targets --no-default-features -- -D warnings
cargo clippy --locked --package candle-rnn-kernels --all-targets --no-default-features -- -D warnings
for program in tanh drawing; do
    cargo clippy --locked --manifest-path kernels/web/Cargo.toml --features "$program" --target-dir target/web -- -D warnings
done

#!/usr/bin/env bash
# Builds the documentation of both libraries, and the first without its features; a broken link is an error.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
export RUSTDOCFLAGS="-D warnings"
cargo doc --locked --no-deps --lib --no-default-features
# It stays: what is opened is the whole.
cargo doc --locked --no-deps --lib --package candle-rnn --package candle-rnn-kernels --features candle-rnn/serve,candle-rnn-kernels/model "$@"

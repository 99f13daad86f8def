#!/usr/bin/env bash
# bench-serve.sh [SECONDS [PART...]]: times the server beside its load generator, with the reference network. Parts, each of
# so many seconds: raw, tensors, idle, bad, stop; by default all. `bench-serve.sh 600 raw stop` is ten minutes of full load.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[ "$(uname -s)" = Linux ] || fail "the load generator reads the server's memory from Linux's /proc, this is $(uname -s)"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo build --release --locked --features serve --bin candle-rnn --example serve-load
target=${CARGO_TARGET_DIR:-target}/release
"$target/candle-rnn" train --data sample --epochs 2 --quiet --out "$folder/digits"
"$target/examples/serve-load" "$target/candle-rnn" "$folder/digits" "$@"

#!/usr/bin/env bash
# test.sh [ARGUMENT...]: runs all tests, or those that `cargo test` runs with these arguments.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
# The benchmark of the op turns on other code in a crate that Candle's own products use. Fresh buffers are filled with
# NaN here; as a feature of the dev-dependency that would slow benches and examples too.
cargo test --locked --workspace --exclude candle-rnn-op-bench --features candle-rnn-kernels/poison,candle-rnn/serve "$@"
# Those that are ignored because not every user has what they need.
if [ $# = 0 ] && has_mount_namespace; then
    scripts/test-mounts.sh
fi

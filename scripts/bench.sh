#!/usr/bin/env bash
# Times the parts of a training step, then the op beside a large matrix product.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cargo bench --locked --bench step
cargo bench --locked --package candle-rnn-op-bench "$@"

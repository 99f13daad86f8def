#!/usr/bin/env bash
# Checks the order of the system calls in a save.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_strace
require_python "reads the trace" 3.9
cargo build --locked
exec python3 tests/save-order.py "${CARGO_TARGET_DIR:-target}/debug/candle-rnn"

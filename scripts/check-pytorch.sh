#!/usr/bin/env bash
# Compares exported weights in PyTorch with the program's own predictions.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-golden/bin/python
require_venv "$python" torch golden-venvs
cargo build --release --locked
"$python" scripts/check-pytorch.py "${CARGO_TARGET_DIR:-target}/release/candle-rnn"

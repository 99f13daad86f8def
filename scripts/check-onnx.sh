#!/usr/bin/env bash
# Compares exported ONNX files with the program's own predictions, in ONNX Runtime.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-onnx/bin/python
require_venv "$python" onnxruntime onnx
cargo build --release --locked
"$python" scripts/check-onnx.py "${CARGO_TARGET_DIR:-target}/release/candle-rnn"

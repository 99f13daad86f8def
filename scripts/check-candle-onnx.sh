#!/usr/bin/env bash
# Compares exported ONNX files with the program's own predictions, in candle-onnx.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_debian protoc "compiles ONNX's messages for candle-onnx" protobuf-compiler
python=.venv-onnx/bin/python
require_venv "$python" onnxruntime onnx
build_tested_program
cargo build --locked --manifest-path tests/candle-onnx/Cargo.toml --target-dir target/candle-onnx
"$python" scripts/check-candle-onnx.py "$program" target/candle-onnx/debug/candle-onnx-run

#!/usr/bin/env bash
# Installs ONNX Runtime and tract from PyPI into .venv-latency, unless they are there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "calls ONNX Runtime and tract" 3.11
python=.venv-latency/bin/python
! "$python" -c "import onnx, onnxruntime, tract" 2>/dev/null || exit 0
echo "installing ONNX Runtime and tract into .venv-latency"
python3 -m venv .venv-latency
"$python" -m pip install --quiet --disable-pip-version-check -r benches/peers/requirements-onnx.txt

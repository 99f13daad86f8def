#!/usr/bin/env bash
# Installs ONNX and ONNX Runtime from PyPI into .venv-onnx, unless they are there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs ONNX Runtime" 3.11
python=.venv-onnx/bin/python
! "$python" -c "import onnx, onnxruntime" 2>/dev/null || exit 0
echo "installing ONNX and ONNX Runtime into .venv-onnx"
python3 -m venv .venv-onnx
"$python" -m pip install --quiet --disable-pip-version-check -r scripts/requirements-onnx.txt

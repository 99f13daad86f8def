#!/usr/bin/env bash
# Makes the golden values of tests/voices.rs anew, with ONNX Runtime and g2p_en; with --time it times ONNX Runtime.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-onnx/bin/python
require_venv "$python" onnxruntime onnx
[ -d voices/packages ] || fail "no packages in voices: \`just voices\` fetches them"
"$python" tests/golden/voices.py "$@"

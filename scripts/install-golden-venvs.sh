#!/usr/bin/env bash
# Installs PyTorch into .venv-golden and Keras into .venv-golden-keras.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs PyTorch and Keras" 3.12 3.13
install() {
    local venv=$1
    shift
    echo "installing into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}
install .venv-golden -r tests/golden/requirements.txt
install .venv-golden-keras -r benches/peers/requirements-keras.txt safetensors==0.8.0

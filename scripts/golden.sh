#!/usr/bin/env bash
# Makes the golden values of tests/golden anew, with PyTorch and Keras.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
pytorch=.venv-golden/bin/python keras=.venv-golden-keras/bin/python
require_venv "$pytorch" torch golden-venvs
require_venv "$keras" keras golden-venvs
"$pytorch" tests/golden/make.py
"$pytorch" tests/golden/layers.py
"$keras" tests/golden/keras_layers.py

#!/usr/bin/env bash
# Installs TensorBoard from PyPI into .venv-tensorboard, unless it is there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs TensorBoard" 3.10
python=.venv-tensorboard/bin/python
! "$python" -c "import tensorboard" 2>/dev/null || exit 0
echo "installing TensorBoard into .venv-tensorboard"
python3 -m venv .venv-tensorboard
"$python" -m pip install --quiet --disable-pip-version-check 'tensorboard==2.21.*' 'setuptools<81'

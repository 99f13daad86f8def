#!/usr/bin/env bash
# Installs the clients of other projects from PyPI into .venv-clients, unless they are there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs the clients" 3.10
python=.venv-clients/bin/python
! "$python" -c "import huggingface_hub, tritonclient.http" 2>/dev/null || exit 0
echo "installing huggingface_hub and tritonclient into .venv-clients"
python3 -m venv .venv-clients
"$python" -m pip install --quiet --disable-pip-version-check 'huggingface_hub==1.*' 'tritonclient[http]==2.*'

#!/usr/bin/env bash
# Installs schemathesis from PyPI into .venv-openapi, unless it is there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs schemathesis" 3.10
python=.venv-openapi/bin/python
! "$python" -c "import schemathesis" 2>/dev/null || exit 0
echo "installing schemathesis into .venv-openapi"
python3 -m venv .venv-openapi
"$python" -m pip install --quiet --disable-pip-version-check 'schemathesis==4.*'

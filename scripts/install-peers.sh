#!/usr/bin/env bash
# Installs the frameworks that `just bench-peers` times.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs the peers" 3.12 3.13
exec python3 benches/peers/run.py --install

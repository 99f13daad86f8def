#!/usr/bin/env bash
# Times epochs and layers beside PyTorch, Keras, JAX and plain Candle.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "runs the peers" 3.12 3.13
exec python3 benches/peers/run.py "$@"

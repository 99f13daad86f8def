#!/usr/bin/env bash
# Breaks the device kernels in many ways, each of which their tests must notice.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_gpp
exec kernels/gpu/host/mutate.sh

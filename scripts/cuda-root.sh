#!/usr/bin/env bash
# Prints the folder of nvcc and its libraries; fails where there is none.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cuda_root

#!/usr/bin/env bash
# Checks what can be known of CUDA without a GPU: the kernels' registers and spills, and clippy over the features `cuda` and `nccl`.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
use_cuda_compiler
kernels/gpu/host/registers.sh 75 80 89 90 120
# There is no GPU to ask what it can; for the kernels of Candle, which clippy does not look at, an empty
# file will do.
export CUDA_COMPUTE_CAP=80 NVCC=$PWD/kernels/gpu/host/nvcc-for-clippy.sh CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda}
exec cargo clippy --locked --all-targets --features nccl -- -D warnings

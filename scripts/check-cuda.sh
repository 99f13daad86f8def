#!/usr/bin/env bash
# Checks what can be known of CUDA without a GPU: the kernels' registers and spills; clippy and documentation with the
# features `cuda` and `nccl`, and with `mpi` beside them.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
use_cuda_compiler
kernels/gpu/host/registers.sh 75 80 89 90 120
# There is no GPU to ask what it can; for the kernels of Candle, which clippy does not look at, an empty
# file will do.
export CUDA_COMPUTE_CAP=80 NVCC=$PWD/kernels/gpu/host/nvcc-for-clippy.sh CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda}
export RUSTDOCFLAGS="-D warnings"
missing=$(missing_for_mpi)
if [ -z "$missing" ]; then
    # The two together, where there is an MPI library to build with.
    cargo clippy --locked --features nccl -- -D warnings
    features=mpi,nccl
else
    echo "skipped: clippy over the features mpi and nccl together needs $missing"
    features=nccl
fi
cargo clippy --locked --all-targets --features "$features" -- -D warnings
cargo doc --locked --no-deps --lib --features "$features"

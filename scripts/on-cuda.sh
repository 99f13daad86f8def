#!/usr/bin/env bash
# on-cuda.sh COMMAND...: runs a command where an NVIDIA GPU and nvcc are, or says which is missing.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
nvidia-smi -L >/dev/null 2>&1 || fail "no NVIDIA GPU answers (nvidia-smi -L): install its driver, or train with \`just train-cpu\`"
use_cuda_compiler
case $CUDA_HOME in "$cuda_venv"/*)
    export LD_LIBRARY_PATH=$CUDA_HOME/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # The linker asks for libcuda.so, of which a driver alone brings libcuda.so.1.
    driver=$(ldconfig -p 2>/dev/null | sed -n 's/.*=> \(.*libcuda\.so\.1\)$/\1/p' | head -n 1) || true
    if [ -n "$driver" ]; then ln -sf "$driver" "$CUDA_HOME/lib/libcuda.so"; fi
    export LIBRARY_PATH=$CUDA_HOME/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
    ;;
esac
exec "$@"

#!/usr/bin/env bash
# Installs NVIDIA's CUDA compiler and libraries from PyPI into .venv-cuda.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_command python3 "fetches the compiler" "install Python 3, or the CUDA toolkit"
echo "installing nvcc and the CUDA 13.0 libraries into $cuda_venv"
python3 -m venv "$cuda_venv"
"$cuda_venv/bin/pip" install --quiet --disable-pip-version-check \
    'nvidia-cuda-nvcc==13.0.88' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' \
    'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cuda-cccl==13.0.*' \
    'nvidia-cublas==13.0.*' nvidia-curand
# The wheels hold libNAME.so.N alone; the linker asks for libNAME.so.
cd "$cuda_venv"/lib/python*/site-packages/nvidia/cu13/lib
for library in lib*.so.*; do ln -sf "$library" "${library%%.so.*}.so"; done

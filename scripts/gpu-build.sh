#!/usr/bin/env bash
# gpu-build.sh [ARCH...]: builds the programs that `just gpu-report` runs into target/gpu/sm_ARCH, for NVIDIA cards of
# compute capability 8.0, 9.0 and 12.0 if none is named. Needs nvcc, and no card.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
use_cuda_compiler
require_python "reads what cargo built" 3.0
require_command cc "links the stand-in for the driver" "install a C compiler"
[ $# -gt 0 ] || set -- 80 90 120
export CARGO_TARGET_DIR=$PWD/target/gpu/build
# Programs ask for the driver's libcuda, which is where a card is: here, a library of its functions' names stands for it.
stub=$PWD/target/gpu/stub
mkdir -p "$stub"
cudarc=$(cargo metadata --locked --format-version 1 --features cuda |
    python3 -c 'import json, sys; print(*{p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"})')
grep -rhoE 'fn cu[A-Z][A-Za-z0-9_]*' "$(dirname "$cudarc")/src/driver/sys" | sort -u |
    sed 's/^fn \(.*\)/void \1(void) {}/' >"$stub/cuda.c"
cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$stub/libcuda.so" "$stub/cuda.c"
export LIBRARY_PATH=$stub:$CUDA_HOME/lib:$CUDA_HOME/lib64${LIBRARY_PATH:+:$LIBRARY_PATH}

# built ARGUMENT...: the path of the program that cargo builds with these arguments.
built() {
    cargo "$@" --locked --features cuda --no-run --message-format json-render-diagnostics | python3 -c '
import json, sys
found = [m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")]
print(found[-1])'
}
for arch in "$@"; do
    export CUDA_COMPUTE_CAP=$arch
    folder=target/gpu/sm_$arch
    mkdir -p "$folder"
    cp "$(built test --release --lib)" "$folder/tests"
    cp "$(built bench --bench device)" "$folder/bench"
    nvcc -std=c++20 -O2 -arch="sm_$arch" -L"$CUDA_HOME/lib" -o "$folder/latency" kernels/gpu/host/latency.cu
    echo "built $folder"
done

# Every habit is a recipe; a bare `just` lists them.

set positional-arguments

# NVIDIA's CUDA compiler and libraries, as `just cuda-compiler` installs them.
cuda_venv := justfile_directory() / ".venv-cuda"

[private]
default:
    @just --justfile "{{justfile()}}" --list --unsorted

# Shapes of the splits, fetching MNIST first if need be; `just data --show 3` draws digits
[group('use')]
data *ARGS:
    cargo run --release --locked -- data "$@"

# Train the reference job on the CPU; arguments are those of `candle-rnn train`
[group('use')]
train-cpu *ARGS:
    cargo run --release --locked -- train --device cpu "$@"

# The same on an NVIDIA GPU: needs its driver, and a CUDA compiler (`just cuda-compiler`)
[group('use')]
[no-exit-message]
train-cuda *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    nvidia-smi -L >/dev/null 2>&1 || fail "no NVIDIA GPU answers (nvidia-smi -L): install its driver, or train with \`just train-cpu\`"
    own=("{{cuda_venv}}"/lib/python*/site-packages/nvidia/cu13)
    if [ -x "${own[0]}/bin/nvcc" ]; then
        root=${own[0]}
        export CUDA_HOME=$root CUDA_PATH=$root CUDA_ROOT=$root CUDA_TOOLKIT_ROOT_DIR=$root
        export PATH=$root/bin:$PATH LD_LIBRARY_PATH=$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        # The linker asks for libcuda.so, of which a driver alone brings libcuda.so.1.
        driver=$(ldconfig -p 2>/dev/null | sed -n 's/.*=> \(.*libcuda\.so\.1\)$/\1/p' | head -n 1) || true
        if [ -n "$driver" ]; then ln -sf "$driver" "$root/lib/libcuda.so"; fi
        export LIBRARY_PATH=$root/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
    elif [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
        export PATH=${CUDA_HOME:-/usr/local/cuda}/bin:$PATH
    fi
    command -v nvcc >/dev/null || fail "no CUDA compiler (nvcc): \`just cuda-compiler\` installs NVIDIA's into .venv-cuda, as an installed CUDA toolkit with its bin on PATH also would"
    exec cargo run --release --locked --features cuda -- train --device cuda "$@"

# The same on a Mac's GPU
[group('use')]
[no-exit-message]
train-metal *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    [ "$(uname -s)" = Darwin ] || fail "Metal needs a Mac, this is $(uname -s): train with \`just train-cpu\`, or with \`just train-cuda\` on an NVIDIA GPU"
    xcrun --find cc >/dev/null 2>&1 || fail "no linker: \`xcode-select --install\` installs Apple's command line tools"
    exec cargo run --release --locked --features metal -- train --device metal "$@"

# Accuracy and loss of a run on the test set, or on `--split valid`
[group('use')]
eval RUN *ARGS:
    cargo run --release --locked -- eval "$@"

# Which digits PNG or JPEG files show; `test:17` is an image of the test set
[group('use')]
predict RUN *IMAGES:
    cargo run --release --locked -- predict "$@"

# Configuration, parameters and history of a run
[group('use')]
info RUN *ARGS:
    cargo run --release --locked -- info "$@"

# All tests; needs Rust and its linker alone
[group('work')]
test *ARGS:
    cargo test --locked "$@"

# Everything that must hold before a commit, cheapest first
[group('work')]
check: fmt-check lint doc test

# Clippy over all targets, and over the library without its features
[group('work')]
lint: (component "clippy")
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings

# Format the sources
[group('work')]
fmt: (component "fmt")
    cargo fmt

# Whether the sources are formatted
[group('work')]
fmt-check: (component "fmt")
    cargo fmt --check

# The library's documentation, where a broken link is an error
[group('work')]
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib "$@"

# Epochs and layers timed beside PyTorch, Keras, JAX and plain Candle, each installed into .venv-peers (about 8 GB)
[group('work')]
[no-exit-message]
bench-peers *ARGS:
    @command -v python3 >/dev/null || { echo "error: no python3, which runs the peers: install Python 3.12 or 3.13" >&2; exit 1; }
    python3 benches/peers/run.py "$@"

# Make the golden values of tests/golden anew, with PyTorch in .venv-golden (about 1 GB)
[group('work')]
golden:
    @command -v python3 >/dev/null || { echo "error: no python3, which runs PyTorch: install Python 3" >&2; exit 1; }
    @echo "installing PyTorch into .venv-golden"
    python3 -m venv .venv-golden
    .venv-golden/bin/pip install --quiet --disable-pip-version-check -r tests/golden/requirements.txt
    .venv-golden/bin/python tests/golden/make.py

# Install NVIDIA's CUDA compiler from PyPI into .venv-cuda (about 1.2 GB), for `just train-cuda`
[group('work')]
[no-exit-message]
cuda-compiler:
    #!/usr/bin/env bash
    set -euo pipefail
    command -v python3 >/dev/null || { echo "error: no python3, which fetches the compiler: install Python 3, or the CUDA toolkit" >&2; exit 1; }
    echo "installing nvcc and the CUDA 13.0 libraries into {{cuda_venv}}"
    python3 -m venv "{{cuda_venv}}"
    "{{cuda_venv}}/bin/pip" install --quiet --disable-pip-version-check \
        'nvidia-cuda-nvcc==13.0.88' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' \
        'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cuda-cccl==13.0.*' \
        'nvidia-cublas==13.0.*' nvidia-curand
    # The wheels hold libNAME.so.N alone; the linker asks for libNAME.so.
    cd "{{cuda_venv}}"/lib/python*/site-packages/nvidia/cu13/lib
    for library in lib*.so.*; do ln -sf "$library" "${library%%.so.*}.so"; done

# Says how to get a component of the Rust toolchain where it is missing.
[private]
[no-exit-message]
component NAME:
    @cargo {{NAME}} --version >/dev/null 2>&1 || { echo "error: no cargo {{NAME}}: \`rustup component add {{ if NAME == 'fmt' { 'rustfmt' } else { NAME } }}\` installs it" >&2; exit 1; }

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
    @just --justfile "{{justfile()}}" on-cuda cargo run --release --locked --features cuda -- train --device cuda "$@"

# The same on a Mac's GPU
[group('use')]
[no-exit-message]
train-metal *ARGS:
    @just --justfile "{{justfile()}}" on-metal cargo run --release --locked --features metal -- train --device metal "$@"

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
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings

# Format the sources
[group('work')]
fmt: (component "fmt")
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml

# Whether the sources are formatted
[group('work')]
fmt-check: (component "fmt")
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check

# The library's documentation, where a broken link is an error
[group('work')]
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib "$@"

# Where a training step's time goes; then the op beside a large matrix product (CANDLE_RNN_ISA=avx2: with AVX2 alone)
[group('work')]
bench *ARGS:
    cargo bench --locked --bench step
    cargo bench --locked --package candle-rnn-op-bench "$@"

# Epochs and layers timed beside PyTorch, Keras, JAX and plain Candle, each installed into .venv-peers (about 8 GB)
[group('work')]
[no-exit-message]
bench-peers *ARGS:
    @command -v python3 >/dev/null || { echo "error: no python3, which runs the peers: install Python 3.12 or 3.13" >&2; exit 1; }
    python3 benches/peers/run.py "$@"

# The kernels' tests on a 64-bit Arm CPU (NEON) as qemu emulates it; Debian's packages, installed if need be
[group('work')]
[no-exit-message]
test-neon *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    # An error, rather than a test of the portable kernels alone, where NEON is not found.
    export CANDLE_RNN_ISA=neon
    tests=(cargo test --locked --lib --no-default-features)
    case $(uname -m) in aarch64 | arm64) exec "${tests[@]}" recurrence "$@" ;; esac
    # Debian's compiler, since Debian also has its standard library for Arm.
    just --justfile "{{justfile()}}" debian-packages rustc-web libstd-rust-web-dev:arm64 libc6:arm64 \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
    # A folder of its own: another compiler would build everything in target anew.
    export RUSTC=/usr/bin/rustc CARGO_TARGET_DIR=target/neon
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    # No -L /usr/aarch64-linux-gnu: the loader there and the libc of libc6:arm64, which it would
    # find first, are of different builds, and the first thread then hangs.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max"
    # What gemm-f16, which Candle needs, is compiled with.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+fp16,+fhm"
    exec "${tests[@]}" --target aarch64-unknown-linux-gnu recurrence "$@"

# The kernels' tests under AddressSanitizer, those of AVX-512 too: no read or write outside a tensor
[group('work')]
[no-exit-message]
asan *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    host=$(rustc -vV | sed -n 's/^host: //p')
    ls "$(rustc --print target-libdir)"/librustc*_rt.asan.a >/dev/null 2>&1 ||
        fail "this Rust for $host has no AddressSanitizer, as rustup's for x86_64-unknown-linux-gnu has: use that, or \`just memcheck\`"
    # The sanitizer is not stable yet; the variable lets a stable compiler use it.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan
    # More than a panel of registers between two tensors: a read past one must not fall into the next.
    export ASAN_OPTIONS="redzone=512${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
    exec cargo test --locked --lib --no-default-features --target "$host" \
        --config 'profile.dev.package."*".opt-level=1' recurrence "$@"

# The kernels' tests under valgrind, which has no AVX-512: the AVX2 and the portable ones; installed if need be
[group('work')]
[no-exit-message]
memcheck *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "valgrind knows AVX2 on Linux for x86-64 alone, this is $(uname -sm)"
    command -v valgrind >/dev/null || just --justfile "{{justfile()}}" debian-packages valgrind
    # An error, rather than a test of the portable kernels alone, where AVX2 is not found.
    export CANDLE_RNN_ISA=avx2
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=1"
    # The bits for several threads: large sizes, and threads that wait at valgrind's pace.
    exec cargo test --locked --lib recurrence "$@" -- --test-threads 1 --skip the_number_of_threads

# A run's event files, read back by TensorBoard's own reader, which PyPI has: into .venv-tensorboard
[group('work')]
[no-exit-message]
check-tensorboard:
    #!/usr/bin/env bash
    set -euo pipefail
    command -v python3 >/dev/null || { echo "error: no python3, which TensorBoard is written in: install Python 3.10 or newer" >&2; exit 1; }
    python=.venv-tensorboard/bin/python
    if ! "$python" -c "import tensorboard" 2>/dev/null; then
        echo "installing TensorBoard into .venv-tensorboard"
        python3 -m venv .venv-tensorboard
        "$python" -m pip install --quiet --disable-pip-version-check 'tensorboard==2.21.*' 'setuptools<81'
    fi
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    # Its time is up again and again, and it is killed again and again, at times between the last step of an epoch,
    # which is saved, and the epoch's end: each time leaves a file of events, some of what another one makes anew.
    cargo build --release --locked
    train="${CARGO_TARGET_DIR:-target}/release/candle-rnn train --quiet --data sample --epochs 60 --hidden 100 --shift 1 --save-every 10 --out $folder/run --resume"
    for _ in 1 2; do $train --max-minutes 0.005; done
    for seconds in 0.4 0.6 0.8; do timeout --signal KILL $seconds $train || true; done
    $train
    "$python" tests/event_files.py "$folder/run"

# A target of fuzz/ (idx, weights, checkpoint, config or toml) for so many seconds, under AddressSanitizer; cargo-fuzz, installed if need be
[group('work')]
[no-exit-message]
fuzz TARGET SECONDS="600": gpp
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    target=$1 seconds=${2:-600}
    [ -f "fuzz/fuzz_targets/$target.rs" ] || fail "no fuzz target $target: there are $(basename -s .rs fuzz/fuzz_targets/*.rs | xargs)"
    [[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "a time is a number of seconds, got $seconds"
    ls "$(rustc --print target-libdir)"/librustc*_rt.asan.a >/dev/null 2>&1 ||
        fail "this Rust has no AddressSanitizer, as rustup's for x86_64-unknown-linux-gnu has: use that, or \`just test --test properties\`"
    if ! cargo fuzz --version >/dev/null 2>&1; then
        echo "installing cargo-fuzz"
        cargo install --locked cargo-fuzz
    fi
    # Sanitizer and coverage are not stable yet; the variable lets a stable compiler use them.
    export RUSTC_BOOTSTRAP=1
    # What is found goes to a folder of its own, so that a file joins the corpus only when it is put there.
    mkdir -p "fuzz/found/$target"
    dictionary=()
    [ ! -f "fuzz/$target.dict" ] || dictionary=("-dict=fuzz/$target.dict")
    exec cargo fuzz run --sanitizer address "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 "${dictionary[@]}"

# Every fuzz target, one after the other, for so many seconds each
[group('work')]
[no-exit-message]
fuzz-all SECONDS="600":
    #!/usr/bin/env bash
    set -euo pipefail
    for target in fuzz/fuzz_targets/*.rs; do
        just --justfile "{{justfile()}}" fuzz "$(basename -s .rs "$target")" "${1:-600}"
    done

# The files that fuzzing begins with, in fuzz/corpus, made anew
[group('work')]
fuzz-seeds:
    cargo test --locked --test properties -- --ignored --exact the_seeds_of_the_corpus_are_written

# Kills and fails a training at every system call (a minute); strace, installed if need be
[group('work')]
[no-exit-message]
kill-test *ARGS: strace
    cargo test --locked --test cli kills:: "$@" -- --ignored --nocapture

# The order of the system calls in a save, shown and checked: written, synced, renamed, the folder synced; strace, installed if need be
[group('work')]
[no-exit-message]
save-order: strace
    @command -v python3 >/dev/null || { echo "error: no python3, which reads the trace: install Python 3.9 or later" >&2; exit 1; }
    cargo build --locked
    python3 tests/save-order.py "${CARGO_TARGET_DIR:-target}/debug/candle-rnn"

[private]
[no-exit-message]
strace:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    [ "$(uname -s)" = Linux ] || fail "strace is for Linux, this is $(uname -s)"
    command -v strace >/dev/null || just --justfile "{{justfile()}}" debian-packages strace
    strace -qq -o /dev/null true 2>/dev/null || fail "strace may not trace here: a container needs --cap-add SYS_PTRACE"

# The device kernels of kernels/, executed on the CPU against their definition; g++, installed if need be
[group('work')]
[no-exit-message]
emulate *ARGS: gpp
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p target/emulate
    g++ -std=c++20 -O2 -pthread kernels/gpu/host/emulate.cpp -o target/emulate/emulate
    g++ -std=c++20 -O2 -pthread -DMETAL -Ikernels/gpu/host/metal -Wno-attributes kernels/gpu/host/emulate.cpp \
        -o target/emulate/emulate-metal
    export CANDLE_RNN_EMULATE=$PWD/target/emulate/emulate
    export CANDLE_RNN_EMULATE_METAL=$PWD/target/emulate/emulate-metal
    # Should no test bear the name any more, cargo would be content.
    cargo test --locked --lib emulated -- --ignored "$@" | tee target/emulate/result
    grep -q '^test result: ok. [1-9]' target/emulate/result || { echo "error: no emulated test ran" >&2; exit 1; }

# The device kernels' own tests on the CPU in both languages, plain and under ThreadSanitizer and AddressSanitizer (about 8 minutes)
[group('work')]
[no-exit-message]
test-kernels: gpp
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p target/emulate
    for language in cuda metal; do
        for mode in plain thread address; do
            flags=(-O2) arguments=()
            [ "$mode" = plain ] || { flags=(-O1 "-fsanitize=$mode"); arguments=(--quick); }
            [ "$language" = cuda ] || flags+=(-DMETAL -Ikernels/gpu/host/metal -Wno-attributes)
            program=target/emulate/selftest-$language-$mode
            g++ -std=c++20 "${flags[@]}" -pthread kernels/gpu/host/selftest.cpp -o "$program"
            echo "$language, $mode"
            "$program" "${arguments[@]}"
        done
    done

# What the device kernels' tests are worth: breaks the kernels in 52 ways, each of which must be noticed (6 to 13 minutes)
[group('work')]
[no-exit-message]
mutate-kernels: gpp
    kernels/gpu/host/mutate.sh

[private]
[no-exit-message]
gpp:
    @command -v g++ >/dev/null || just --justfile "{{justfile()}}" debian-packages g++

# The device tests on an NVIDIA GPU, and all others of the library in the same build
[group('work')]
[no-exit-message]
test-cuda *ARGS:
    @just --justfile "{{justfile()}}" on-cuda cargo test --locked --features cuda --lib -- --test-threads 1 --include-ignored --skip emulated "$@"

# The same on a Mac's GPU
[group('work')]
[no-exit-message]
test-metal *ARGS:
    @just --justfile "{{justfile()}}" on-metal cargo test --locked --features metal --lib -- --test-threads 1 --include-ignored --skip emulated "$@"

# Layers and the reference job's step on an NVIDIA GPU, fused beside composed from Candle's ops
[group('work')]
[no-exit-message]
bench-cuda *ARGS:
    @just --justfile "{{justfile()}}" on-cuda cargo bench --locked --features cuda --bench device -- "$@"

# The same on a Mac's GPU
[group('work')]
[no-exit-message]
bench-metal *ARGS:
    @just --justfile "{{justfile()}}" on-metal cargo bench --locked --features metal --bench device -- "$@"

# What can be known of CUDA without a GPU: the kernels' registers on four architectures, no spills, and clippy over the feature
[group('work')]
[no-exit-message]
check-cuda:
    #!/usr/bin/env bash
    set -euo pipefail
    root=$(just --justfile "{{justfile()}}" cuda-root) || root=
    if [ -z "$root" ]; then
        just --justfile "{{justfile()}}" cuda-compiler
        root=$(just --justfile "{{justfile()}}" cuda-root)
    fi
    export CUDA_HOME=$root CUDA_PATH=$root CUDA_ROOT=$root CUDA_TOOLKIT_ROOT_DIR=$root PATH=$root/bin:$PATH
    kernels/gpu/host/registers.sh 75 80 90 120
    # There is no GPU to ask what it can; for the kernels of Candle, which clippy does not look at, an empty
    # file will do.
    export CUDA_COMPUTE_CAP=80 NVCC=$PWD/kernels/gpu/host/nvcc-for-clippy.sh CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda}
    cargo clippy --locked --all-targets --features cuda -- -D warnings

# What can be known of Metal without a Mac: clang's address spaces over the kernels, and the Rust code type-checked for Apple's target; Debian's packages, installed if need be
[group('work')]
[no-exit-message]
check-metal:
    #!/usr/bin/env bash
    set -euo pipefail
    command -v clang >/dev/null || just --justfile "{{justfile()}}" debian-packages clang
    kernels/gpu/host/check-msl.sh
    if [ "$(uname -s)" = Darwin ]; then
        exec cargo clippy --locked --all-targets --features metal -- -D warnings
    fi
    # Debian's Rust: it has the standard library's source, which is built for Apple's target.
    just --justfile "{{justfile()}}" debian-packages rustc-web libstd-rust-web-dev rust-web-src
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/metal
    exec cargo check --locked -Zbuild-std=std,panic_abort --target aarch64-apple-darwin \
        --no-default-features --features metal --lib --tests --benches

# Runs a command where an NVIDIA GPU and nvcc are; one line says which is missing.
[private]
[no-exit-message]
on-cuda +COMMAND:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    nvidia-smi -L >/dev/null 2>&1 || fail "no NVIDIA GPU answers (nvidia-smi -L): install its driver, or train with \`just train-cpu\`"
    root=$(just --justfile "{{justfile()}}" cuda-root) || fail "no CUDA compiler (nvcc): \`just cuda-compiler\` installs NVIDIA's into .venv-cuda, as an installed CUDA toolkit with its bin on PATH also would"
    export CUDA_HOME=$root CUDA_PATH=$root CUDA_ROOT=$root CUDA_TOOLKIT_ROOT_DIR=$root PATH=$root/bin:$PATH
    case $root in "{{cuda_venv}}"/*)
        export LD_LIBRARY_PATH=$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        # The linker asks for libcuda.so, of which a driver alone brings libcuda.so.1.
        driver=$(ldconfig -p 2>/dev/null | sed -n 's/.*=> \(.*libcuda\.so\.1\)$/\1/p' | head -n 1) || true
        if [ -n "$driver" ]; then ln -sf "$driver" "$root/lib/libcuda.so"; fi
        export LIBRARY_PATH=$root/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
    esac
    exec "$@"

# Runs a command on a Mac with a linker; one line says what is missing.
[private]
[no-exit-message]
on-metal +COMMAND:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    [ "$(uname -s)" = Darwin ] || fail "Metal needs a Mac, this is $(uname -s): train with \`just train-cpu\`, or with \`just train-cuda\` on an NVIDIA GPU"
    xcrun --find cc >/dev/null 2>&1 || fail "no linker: \`xcode-select --install\` installs Apple's command line tools"
    exec "$@"

# Where nvcc and its libraries are: of `just cuda-compiler`, of CUDA_HOME, or of the nvcc on the PATH.
[private]
[no-exit-message]
cuda-root:
    #!/usr/bin/env bash
    set -euo pipefail
    for root in "{{cuda_venv}}"/lib/python*/site-packages/nvidia/cu13 "${CUDA_HOME:-/usr/local/cuda}"; do
        if [ -x "$root/bin/nvcc" ]; then echo "$root"; exit; fi
    done
    nvcc=$(command -v nvcc) || exit 1
    dirname "$(dirname "$(readlink -f "$nvcc")")"

# Make the golden values of tests/golden anew, with PyTorch in .venv-golden and Keras in .venv-golden-keras (about 3 GB)
[group('work')]
golden:
    @command -v python3 >/dev/null || { echo "error: no python3, which runs PyTorch and Keras: install Python 3.12 or 3.13" >&2; exit 1; }
    @echo "installing PyTorch into .venv-golden"
    python3 -m venv .venv-golden
    .venv-golden/bin/pip install --quiet --disable-pip-version-check -r tests/golden/requirements.txt
    .venv-golden/bin/python tests/golden/make.py
    .venv-golden/bin/python tests/golden/layers.py
    @echo "installing Keras into .venv-golden-keras"
    python3 -m venv .venv-golden-keras
    .venv-golden-keras/bin/pip install --quiet --disable-pip-version-check -r benches/peers/requirements-keras.txt safetensors==0.8.0
    .venv-golden-keras/bin/python tests/golden/keras_layers.py

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

# Installs those of some packages that Debian has and this machine lacks.
[private]
[no-exit-message]
debian-packages +NAMES:
    #!/usr/bin/env bash
    set -euo pipefail
    fail() { echo "error: $*" >&2; exit 1; }
    command -v dpkg-query >/dev/null || fail "needs Debian's packages $*, but here is no dpkg"
    missing=()
    for name in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || true
        [ "$state" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || exit 0
    [ "$(id -u)" = 0 ] || fail "Debian's packages ${missing[*]} are missing: \`just debian-packages ${missing[*]}\` installs them, as root"
    echo "installing Debian's packages ${missing[*]}"
    case "${missing[*]}" in *:arm64*) dpkg --add-architecture arm64 ;; esac
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null

# Says how to get a component of the Rust toolchain where it is missing.
[private]
[no-exit-message]
component NAME:
    @cargo {{NAME}} --version >/dev/null 2>&1 || { echo "error: no cargo {{NAME}}: \`rustup component add {{ if NAME == 'fmt' { 'rustfmt' } else { NAME } }}\` installs it" >&2; exit 1; }

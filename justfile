# Every habit is a recipe; a bare `just` lists them. Whatever takes more than a line is in scripts/.

set positional-arguments

[private]
default:
    @just --justfile "{{justfile()}}" --list --unsorted

# Show the shapes of the splits, fetching MNIST first if need be; `just data --show 3` draws digits
[group('use')]
data *ARGS:
    cargo run --release --locked -- data "$@"

# Train the reference job on the CPU; arguments are those of `candle-rnn train`
[group('use')]
train-cpu *ARGS:
    cargo run --release --locked -- train --device cpu "$@"

# Train it on an NVIDIA GPU: needs its driver, and a CUDA compiler (`just cuda-compiler`)
[group('use')]
[no-exit-message]
train-cuda *ARGS:
    @scripts/on-cuda.sh cargo run --release --locked --features cuda -- train --device cuda "$@"

# Train it on a Mac's GPU
[group('use')]
[no-exit-message]
train-metal *ARGS:
    @scripts/on-metal.sh cargo run --release --locked --features metal -- train --device metal "$@"

# Train with several processes on this machine, over MPI: `just train-mpi 2 --epochs 1`
[group('use')]
[no-exit-message]
train-mpi N="2" *ARGS:
    @scripts/train-mpi.sh "$@"

# Measure a run's accuracy and loss on the test set, or on `--split valid`
[group('use')]
eval RUN *ARGS:
    cargo run --release --locked -- eval "$@"

# Classify PNG or JPEG files; `test:17` is an image of the test set
[group('use')]
predict RUN *IMAGES:
    cargo run --release --locked -- predict "$@"

# Serve runs over HTTP, with a page to watch them read; arguments are those of `candle-rnn serve`
[group('use')]
serve +RUNS:
    cargo run --release --locked --features serve -- serve "$@"

# Show a run's configuration, parameters and history
[group('use')]
info RUN *ARGS:
    cargo run --release --locked -- info "$@"

# Run all tests; needs Rust and its linker alone
[group('work')]
[no-exit-message]
test *ARGS:
    @scripts/test.sh "$@"

# Test the kernels with the bounds of every pointer checked (compiles for some minutes)
[group('work')]
check-bounds *ARGS:
    cargo test --locked -p candle-rnn-kernels --features model --config profile.dev.package.candle-rnn-kernels.debug-assertions=true "$@"

# Run the tests that mount disks of their own: full ones, read-only ones
[group('work')]
[no-exit-message]
test-mounts:
    @scripts/test-mounts.sh

# Check everything that must hold before a commit, cheapest first
[group('work')]
check: fmt-check lint doc test

# Run clippy over all targets, and over the library without its features
[group('work')]
[no-exit-message]
lint:
    @scripts/lint.sh

# Format the sources
[group('work')]
[no-exit-message]
fmt:
    @scripts/fmt.sh

# Check whether the sources are formatted
[group('work')]
[no-exit-message]
fmt-check:
    @scripts/fmt.sh --check

# Build the documentation of both libraries, where a broken link is an error
[group('work')]
doc *ARGS:
    @scripts/doc.sh "$@"

# Time the parts of a training step, then the op beside a large matrix product (CANDLE_RNN_ISA=avx2: with AVX2 alone)
[group('work')]
bench *ARGS:
    @scripts/bench.sh "$@"

# Time a sweep of 24 small runs with 2 jobs beside one after the other
[group('work')]
[no-exit-message]
bench-sweep *ARGS:
    @scripts/bench-sweep.sh "$@"

# Time epochs and layers beside PyTorch, Keras, JAX and plain Candle (`just peers` installs them)
[group('work')]
[no-exit-message]
bench-peers *ARGS:
    @scripts/bench-peers.sh "$@"

# Time the server beside its load generator, each part for so many seconds; `just bench-serve 600 raw stop` is ten minutes of full load
[group('work')]
[no-exit-message]
bench-serve *ARGS:
    @scripts/bench-serve.sh "$@"

# Time single sequences, steps and frames of Silero VAD beside ONNX Runtime and tract (`just latency-peers` installs them)
[group('work')]
[no-exit-message]
bench-latency *TURNS:
    @scripts/bench-latency.sh "$@"

# Time the start of `predict` and the test images of MNIST, and weigh programs and WebAssembly
[group('work')]
[no-exit-message]
bench-start *DATA:
    @scripts/bench-start.sh "$@"

# Run the kernels' tests on a 64-bit Arm CPU (NEON), which qemu emulates on other machines
[group('work')]
[no-exit-message]
test-neon *ARGS:
    @scripts/test-neon.sh "$@"

# Run the kernels' tests under AddressSanitizer, those of AVX-512 too: no read or write outside a tensor
[group('work')]
[no-exit-message]
asan *ARGS:
    @scripts/asan.sh "$@"

# Run the kernels' tests under valgrind, which has no AVX-512: the AVX2 and the portable ones
[group('work')]
[no-exit-message]
memcheck *ARGS:
    @scripts/memcheck.sh "$@"

# Test training by several processes: equal bits, errors, kills, resume; and clippy over that code (`just debian-packages libopenmpi-dev openmpi-bin libclang-dev` installs MPI)
[group('work')]
[no-exit-message]
check-mpi *ARGS:
    @scripts/check-mpi.sh "$@"

# Train over TCP between two network namespaces, then cut the network: as root, on Linux
[group('work')]
[no-exit-message]
check-mpi-network:
    @scripts/check-mpi-network.sh

# Kill processes of a training at 20 random moments: nobody hangs, no checkpoint is lost; `just kill-test-mpi 7` is seed 7
[group('work')]
[no-exit-message]
kill-test-mpi *SEED:
    @scripts/kill-test-mpi.sh "$@"

# Check that TensorBoard reads the event files of a run that was killed and resumed (`just tensorboard` installs it)
[group('work')]
[no-exit-message]
check-tensorboard:
    @scripts/check-tensorboard.sh

# Check that the clients of Hugging Face and Triton get right answers from the server (`just clients` installs them)
[group('work')]
[no-exit-message]
check-clients:
    @scripts/check-clients.sh

# Check that every answer of the server fits its OpenAPI document, with schemathesis (`just openapi` installs it)
[group('work')]
[no-exit-message]
check-openapi *ARGS:
    @scripts/check-openapi.sh "$@"

# Draw digits on the page in headless Chromium, and have axe-core look at it (`just web-tools` installs what drives it)
[group('work')]
[no-exit-message]
check-page:
    @scripts/check-page.sh

# Compare exported pages, opened from disk in Chromium, with the server and `predict` (`just web-tools` installs the rest)
[group('work')]
[no-exit-message]
check-html *ARGS:
    @scripts/check-html.sh "$@"

# Compile the programs of exported pages to WebAssembly, or with `--check` compare them with the committed files
[group('work')]
[no-exit-message]
wasm *ARGS:
    @scripts/wasm.sh "$@"

# Compare exported ONNX files with the program's own predictions, in ONNX Runtime (`just onnx` installs it)
[group('work')]
[no-exit-message]
check-onnx:
    @scripts/check-onnx.sh

# Compare exported ONNX files with the program's own predictions, in candle-onnx (needs `protoc`: `just debian-packages protobuf-compiler`; and `just onnx`)
[group('work')]
[no-exit-message]
check-candle-onnx:
    @scripts/check-candle-onnx.sh

# Compare exported weights in PyTorch with the program's own predictions (`just golden-venvs` installs it)
[group('work')]
[no-exit-message]
check-pytorch:
    @scripts/check-pytorch.sh

# Compare Silero VAD and g2p_en on this library's layers with ONNX Runtime and the original (`just voices` fetches their weights)
[group('work')]
[no-exit-message]
check-voices *ARGS:
    @scripts/check-voices.sh "$@"

# Fuzz a target of fuzz/fuzz_targets for so many seconds, under AddressSanitizer (`just cargo-fuzz` installs the fuzzer)
[group('work')]
[no-exit-message]
fuzz TARGET SECONDS="600":
    @scripts/fuzz.sh "$@"

# Fuzz every target, one after the other, for so many seconds each
[group('work')]
[no-exit-message]
fuzz-all SECONDS="600":
    @scripts/fuzz-all.sh "$@"

# Write the files that fuzzing begins with, in fuzz/corpus, anew
[group('work')]
fuzz-seeds:
    cargo test --locked --package candle-rnn-fuzz-targets -- --ignored --exact the_seeds_of_the_corpus_are_written

# Kill and fail a training at every system call (a minute); needs strace
[group('work')]
[no-exit-message]
kill-test *ARGS:
    @scripts/kill-test.sh "$@"

# Check the order of the system calls in a save (written, synced, renamed, the folder synced); needs strace
[group('work')]
[no-exit-message]
save-order:
    @scripts/save-order.sh

# Run the device kernels on the CPU against their definition; needs g++
[group('work')]
[no-exit-message]
emulate *ARGS:
    @scripts/emulate.sh "$@"

# Run the device kernels' own tests on the CPU in both languages, plain and under ThreadSanitizer and AddressSanitizer (about 8 minutes)
[group('work')]
[no-exit-message]
test-kernels:
    @scripts/test-kernels.sh

# Break the device kernels in more than 110 ways, each of which their tests must notice (up to an hour)
[group('work')]
[no-exit-message]
mutate-kernels:
    @scripts/mutate-kernels.sh

# Run the device tests on an NVIDIA GPU, and all others of the library in the same build
[group('work')]
[no-exit-message]
test-cuda *ARGS:
    @scripts/on-cuda.sh cargo test --locked --features cuda --lib -- --test-threads 1 --include-ignored --skip emulated "$@"

# Run the same tests on a Mac's GPU
[group('work')]
[no-exit-message]
test-metal *ARGS:
    @scripts/on-metal.sh cargo test --locked --features metal --lib -- --test-threads 1 --include-ignored --skip emulated "$@"

# Time layers and the reference job's step on an NVIDIA GPU, fused and composed from Candle's ops
[group('work')]
[no-exit-message]
bench-cuda *ARGS:
    @scripts/on-cuda.sh cargo bench --locked --features cuda --bench device -- "$@"

# Build what `just gpu-report` runs, for NVIDIA cards of compute capability 8.0, 9.0 and 12.0: needs nvcc (`just cuda-compiler`), no card
[group('work')]
[no-exit-message]
gpu-build *ARCHS:
    @scripts/gpu-build.sh "$@"

# Test and time everything on an NVIDIA card with these programs, and write target/gpu/report: 8 minutes at most, without network
[group('work')]
[no-exit-message]
gpu-report *ARGS:
    @scripts/gpu-report.sh "$@"

# Time the same on a Mac's GPU
[group('work')]
[no-exit-message]
bench-metal *ARGS:
    @scripts/on-metal.sh cargo bench --locked --features metal --bench device -- "$@"

# Check what can be known of CUDA without a GPU: registers and spills on five architectures; clippy and documentation with `cuda` and `nccl`, also beside `mpi`
[group('work')]
[no-exit-message]
check-cuda:
    @scripts/check-cuda.sh

# Check what can be known of Metal without a Mac: clang's address spaces over the kernels, and the Rust code's types for Apple's target
[group('work')]
[no-exit-message]
check-metal:
    @scripts/check-metal.sh

# Make the golden values of tests/golden anew, with PyTorch and Keras (`just golden-venvs` installs them)
[group('work')]
[no-exit-message]
golden:
    @scripts/golden.sh

# Make the golden values of `just check-voices` anew, or with `--time` time ONNX Runtime (`just onnx` installs it)
[group('work')]
[no-exit-message]
golden-voices *ARGS:
    @scripts/golden-voices.sh "$@"

# Install NVIDIA's CUDA compiler from PyPI into .venv-cuda (about 1.2 GB), for `just train-cuda`
[group('install')]
[no-exit-message]
cuda-compiler:
    @scripts/install-cuda-compiler.sh

# Install Debian packages that are missing, as root: `just debian-packages g++ strace valgrind clang`
[group('install')]
[no-exit-message]
debian-packages +NAMES:
    @scripts/install-debian-packages.sh "$@"

# Install cargo-fuzz, for `just fuzz`
[group('install')]
[no-exit-message]
cargo-fuzz:
    @scripts/install-cargo-fuzz.sh

# Install TensorBoard from PyPI into .venv-tensorboard, for `just check-tensorboard`
[group('install')]
[no-exit-message]
tensorboard:
    @scripts/install-tensorboard.sh

# Install the clients of Hugging Face and Triton from PyPI into .venv-clients, for `just check-clients`
[group('install')]
[no-exit-message]
clients:
    @scripts/install-clients.sh

# Install schemathesis from PyPI into .venv-openapi, for `just check-openapi`
[group('install')]
[no-exit-message]
openapi:
    @scripts/install-openapi.sh

# Install Binaryen, playwright-core and axe-core from npm into .npm-web, for `just wasm`, `check-html` and `check-page`
[group('install')]
[no-exit-message]
web-tools:
    @scripts/install-web-tools.sh

# Install ONNX and ONNX Runtime from PyPI into .venv-onnx, for `just check-onnx`
[group('install')]
[no-exit-message]
onnx:
    @scripts/install-onnx.sh

# Install ONNX Runtime and tract from PyPI into .venv-latency, for `just bench-latency`
[group('install')]
[no-exit-message]
latency-peers:
    @scripts/install-latency-peers.sh

# Install PyTorch, Keras and JAX from PyPI into .venv-peers (about 8 GB), for `just bench-peers`
[group('install')]
[no-exit-message]
peers:
    @scripts/install-peers.sh

# Install PyTorch and Keras from PyPI into .venv-golden and .venv-golden-keras (about 3 GB), for `just golden` and `just check-pytorch`
[group('install')]
[no-exit-message]
golden-venvs:
    @scripts/install-golden-venvs.sh

# Fetch the weights of Silero VAD and g2p_en from PyPI into voices (20 MB), for the examples `vad` and `pronounce`
[group('install')]
[no-exit-message]
voices:
    @scripts/fetch-voices.sh

# What the scripts share; `source` it. It leaves the script in the repository's root.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# NVIDIA's CUDA compiler and libraries, as `just cuda-compiler` installs them.
cuda_venv=$PWD/.venv-cuda
# Binaryen and Playwright's library, as `just web-tools` installs them.
web_tools=$PWD/.npm-web/node_modules

fail() {
    echo "error: $*" >&2
    exit 1
}

# What `just test` builds: no script builds it anew with other features.
# The benchmark of the op turns on other code in a crate that Candle's own products use. Fresh buffers are filled with
# NaN; as a feature of the dev-dependency that would slow benches and examples too.
tested=(--locked --workspace --exclude candle-rnn-op-bench --features candle-rnn-kernels/poison,candle-rnn/serve)

# Builds the program as `just test` does, and sets `program`. `cargo build` would leave out the features that tests add,
# and so build kernels and library anew.
build_tested_program() {
    cargo test "${tested[@]}" --no-run --test cli
    program="${CARGO_TARGET_DIR:-target}/debug/candle-rnn"
}

# require_command NAME PURPOSE REMEDY: fails unless the command is on the PATH.
require_command() {
    command -v "$1" >/dev/null || fail "no $1, which $2: $3"
}

# require_python PURPOSE OLDEST [NEWEST]: fails unless python3 is of one of these versions, such as 3.12.
require_python() {
    local needed="$2 or newer" found
    [ $# = 2 ] || needed="$2 to $3"
    require_command python3 "$1" "install Python $needed"
    found=$(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')
    printf '%s\n' "$2" "$found" "${3:-$found}" | sort --check=quiet --version-sort ||
        fail "python3, which $1, is version $found: install Python $needed"
}

# require_venv PYTHON MODULE RECIPE: fails unless a virtual environment has a module.
require_venv() {
    "$1" -c "import $2" 2>/dev/null || fail "no $2 in ${1%%/*}: \`just $3\` installs it"
}

# Fails unless a page can be opened in Debian's chromium and driven by Node.js; sets `chromium`.
require_browser() {
    require_debian node "drives the browser" nodejs
    [ -d "$web_tools/playwright-core" ] || fail "no playwright-core in $web_tools: \`just web-tools\` installs it"
    chromium=$(command -v "${CHROMIUM:-chromium}") ||
        fail "no chromium: \`just debian-packages chromium\` installs it on Debian, as root"
}

# Builds the program, and sets `folder` for the runs that a test serves. At the script's end the folder goes, and the
# server that `serve_runs` has started.
begin_serve_test() {
    folder=$(mktemp -d)
    server=
    trap '[ -z "$server" ] || kill "$server" || true; rm -rf "$folder"' EXIT
    build_tested_program
}

# serve_runs [ARGUMENT...]: serves the runs of `folder` that the array `runs` names, and sets `url`.
serve_runs() {
    "$program" serve "${runs[@]/#/$folder/}" --port 0 --json "$@" >"$folder/log" &
    server=$!
    url=$(served_url "$folder/log")
}

# served_url LOG: waits until a server that logs JSON there has begun, and prints its address.
served_url() {
    local url
    for _ in $(seq 100); do
        url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$1")
        [ -z "$url" ] || break
        sleep 0.1
    done
    [ -n "$url" ] || fail "the server has not begun: $(cat "$1")"
    echo "$url"
}

# missing_packages NAME...: the Debian packages of these that are not installed.
missing_packages() {
    local name state
    command -v dpkg-query >/dev/null || fail "needs Debian's packages $*, and this system has no dpkg"
    for name in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || true
        [ "$state" = installed ] || echo "$name"
    done
}

# require_packages NAME...: fails unless all of these Debian packages are installed.
require_packages() {
    local missing
    missing=$(missing_packages "$@") || exit 1
    missing=${missing//$'\n'/ }
    [ -z "$missing" ] || fail "Debian's packages $missing are missing: \`just debian-packages $missing\` installs them, as root"
}

# require_debian COMMAND PURPOSE PACKAGE: fails unless a command that Debian packages is on the PATH.
require_debian() {
    require_command "$1" "$2" "\`just debian-packages $3\` installs it on Debian, as root"
}

require_gpp() {
    require_debian g++ "compiles the device kernels for the CPU" g++
}

require_strace() {
    [ "$(uname -s)" = Linux ] || fail "strace is for Linux, this is $(uname -s)"
    require_debian strace "stops a run at its system calls" strace
    strace -qq -o /dev/null true 2>/dev/null || fail "strace may not trace here: a container needs --cap-add SYS_PTRACE"
}

# Whether this user may mount what nobody else sees.
has_mount_namespace() {
    local mount=(sh -c "mount -t tmpfs none /mnt")
    unshare --mount "${mount[@]}" 2>/dev/null || unshare --user --map-root-user --mount "${mount[@]}" 2>/dev/null
}

# require_address_sanitizer ALTERNATIVE
require_address_sanitizer() {
    ls "$(rustc --print target-libdir)"/librustc*_rt.asan.a >/dev/null 2>&1 ||
        fail "this Rust has no AddressSanitizer, as rustup's for x86_64-unknown-linux-gnu has: use that, or $1"
}

# The folder of nvcc and its libraries: of `just cuda-compiler`, of CUDA_HOME, or of the nvcc on the PATH.
cuda_root() {
    local root nvcc
    for root in "$cuda_venv"/lib/python*/site-packages/nvidia/cu13 "${CUDA_HOME:-/usr/local/cuda}"; do
        if [ -x "$root/bin/nvcc" ]; then
            echo "$root"
            return
        fi
    done
    nvcc=$(command -v nvcc) || return 1
    dirname "$(dirname "$(readlink -f "$nvcc")")"
}

# Sets what the builds of Candle and of this package read to find nvcc.
use_cuda_compiler() {
    local root
    root=$(cuda_root) || fail "no CUDA compiler (nvcc): \`just cuda-compiler\` installs NVIDIA's into .venv-cuda; an installed CUDA toolkit with its bin on the PATH will do too"
    export CUDA_HOME=$root CUDA_PATH=$root CUDA_ROOT=$root CUDA_TOOLKIT_ROOT_DIR=$root PATH=$root/bin:$PATH
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || command -v llvm-config >/dev/null ||
        compgen -G "/usr/lib/llvm-*/lib/libclang*.so*" >/dev/null || compgen -G "/usr/lib/*/libclang*.so*" >/dev/null
}

# The MPI library: that of MPICC, a compiler wrapper, which the crate `mpi` reads as well, and MPIRUN, which starts processes.
mpicc=${MPICC:-mpicc}
mpirun=${MPIRUN:-mpirun}

# The Debian packages of an MPI library, its mpirun and libclang, which reads its headers, that are missing.
missing_for_mpi() {
    local missing=() library=(libopenmpi-dev openmpi-bin)
    [[ $mpicc$mpirun != *mpich* ]] || library=(libmpich-dev mpich)
    command -v "$mpicc" >/dev/null || missing+=("${library[0]}")
    command -v "$mpirun" >/dev/null || missing+=("${library[1]}")
    has_libclang || missing+=(libclang-dev)
    echo "${missing[*]}"
}

# Fails unless there is an MPI library to build with. Has the crate `mpi-sys`, which does not notice it, compiled anew
# where the last build was for another one.
require_mpi() {
    local missing linked built=${CARGO_TARGET_DIR:-target}/mpi-library profile
    missing=$(missing_for_mpi)
    [ -z "$missing" ] || fail "training by several processes needs MPI: \`just debian-packages $missing\` installs what is missing on Debian, as root"
    linked=$("$mpicc" -show)
    if [ "$(cat "$built" 2>/dev/null)" != "$linked" ]; then
        for profile in dev release; do cargo clean --locked --quiet --profile "$profile" --package mpi-sys; done
        mkdir -p "${built%/*}"
        echo "$linked" >"$built"
    fi
}

#!/usr/bin/env bash
# bench-start.sh [DATA]: times the cold start of `predict` on one image and the test images of MNIST on 2 threads, and weighs
# the programs that only predict, without Candle and with it, and the WebAssembly of exported pages. DATA is a folder with
# MNIST's files; by default they are those of `just data`, in the user's cache folder, fetched if need be.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_debian strip "takes symbols out of programs" binutils
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
release=${CARGO_TARGET_DIR:-target}/release
data=()
[ $# = 0 ] || data=(--data "$1")
cargo build --release --locked --bin candle-rnn
program=$release/candle-rnn
"$program" train "${data[@]}" --epochs 1 --quiet --out "$folder/digits"

# seconds COMMAND...: how long a command takes, by the clock and of CPU time in the program and in the system.
seconds() {
    local TIMEFORMAT='%R %U %S'
    { time "$@" >"$folder/said" 2>"$folder/errors"; } 2>&1 || fail "$*: $(cat "$folder/errors")"
}

# timed NAME COMMAND...: the mean and the least of ten turns, after one that fills the caches.
timed() {
    local name=$1
    shift
    seconds "$@" >/dev/null
    for _ in $(seq 10); do seconds "$@"; done | awk -v name="$name" '
        { sum += $1; cpu += $2 + $3; if (NR == 1 || $1 < least) least = $1 }
        END {
            printf "%s: %.0f ms, the mean of %d; %.0f ms at least; %.0f ms of CPU time\n",
                name, 1000 * sum / NR, NR, 1000 * least, 1000 * cpu / NR
        }'
}

# base64 of a grey PNG of 28 x 28 pixels with a stroke down its middle.
base64 -d >"$folder/digit.png" <<'PNG'
iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAF0lEQVR42mNgGGDwHwhGJUclKZGkEwAAa65PsZyBXroAAAAASUVORK5CYII=
PNG
timed "predict on one image, the program's start included" "$program" predict "$folder/digits" "$folder/digit.png"
timed "eval on 2 threads, reading and hashing MNIST included" "$program" eval "$folder/digits" --threads 2 --json
echo "  of $(sed 's/.*"examples":\([0-9]*\).*/\1/' "$folder/said") images"

# stripped NAME FILE: the bytes of a program without its symbols.
stripped() {
    strip -o "$folder/stripped" "$2"
    echo "$1: $(wc -c <"$folder/stripped") bytes stripped"
}
# With fewer features the library and Candle are others: beside the other builds.
build=(cargo build --release --locked --target-dir target/start)
"${build[@]}" --package candle-rnn-kernels --features model --example predict_steps
stripped "predict_steps, a program without Candle that only predicts" target/start/release/examples/predict_steps
"${build[@]}" --no-default-features --features sample --example load_run
stripped "load_run, a program with Candle that only predicts" target/start/release/examples/load_run
stripped "candle-rnn" "$program"
for file in src/export/html/programs/*.wasm; do
    echo "$(basename "$file"): $(wc -c <"$file") bytes, $(gzip -9c "$file" | wc -c) compressed"
done

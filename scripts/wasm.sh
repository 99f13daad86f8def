#!/usr/bin/env bash
# wasm.sh [--check]: compiles kernels/web for the pages that `export --html` writes, once for each cell and once for
# drawings, or says whether the files that are there are what the sources give.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
place=src/export/html/programs
target=target/wasm
# Debian's Rust: it has the standard library's source, which is built for WebAssembly.
require_packages rustc-web libstd-rust-web-dev rust-web-src
wasm_opt=$web_tools/.bin/wasm-opt
[ -x "$wasm_opt" ] || fail "no wasm-opt in $web_tools: \`just web-tools\` installs it"
linker=$(ls "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-lld 2>/dev/null | head -n 1) || true
[ -n "$linker" ] || fail "no rust-lld beside $(command -v rustc): use the Rust of rustup, which has it"
# Not the standard library's optimize_for_size: its median of equal numbers takes time that grows with their square.
# Panics end the program without a text: their formatting would be a third of it.
compile() {
    RUSTFLAGS="-C target-feature=+simd128 -C panic=immediate-abort -Z unstable-options --remap-path-prefix=$PWD=." \
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$target \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        cargo build --quiet --locked --release --manifest-path kernels/web/Cargo.toml --features "$1" \
        -Z build-std=std,panic_abort --target wasm32-unknown-unknown
    "$wasm_opt" -Oz --strip-debug --strip-producers --strip-target-features --enable-simd --enable-bulk-memory \
        --enable-bulk-memory-opt --enable-sign-ext --enable-nontrapping-float-to-int --enable-mutable-globals \
        --enable-multivalue --enable-reference-types \
        "$target/wasm32-unknown-unknown/release/candle_rnn_web.wasm" -o "$target/$1.wasm"
}
mkdir -p "$place"
declare -A size
for program in tanh relu gru gru-reset-before lstm minimal-gru drawing; do
    compile "$program"
    if [ "${1-}" = --check ]; then
        cmp "$target/$program.wasm" "$place/$program.wasm" ||
            fail "$place/$program.wasm is not what kernels/web gives: \`just wasm\` compiles it anew"
    else
        cp "$target/$program.wasm" "$place"
    fi
    size[$program]=$(wc -c <"$target/$program.wasm")
    echo "$place/$program.wasm: $(wc -c <"$place/$program.wasm") bytes, $(gzip -9c "$place/$program.wasm" | wc -c) compressed"
done
# What a page of digits holds, before compression.
page=$((size[tanh] + size[drawing]))
[ "$page" -le 100000 ] || fail "the programs of the reference page have $page bytes, at most 100000 are allowed"
echo "the programs of the reference page: $page bytes"

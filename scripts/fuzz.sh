#!/usr/bin/env bash
# fuzz.sh TARGET [SECONDS]: fuzzes a target of fuzz/ under AddressSanitizer.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
target=$1 seconds=${2:-600}
[ -f "fuzz/fuzz_targets/$target.rs" ] || fail "no fuzz target $target: there are $(basename -s .rs fuzz/fuzz_targets/*.rs | xargs)"
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "a time is a number of seconds, got $seconds"
require_address_sanitizer '`just test --test properties`'
require_debian g++ "compiles libFuzzer" g++
cargo fuzz --version >/dev/null 2>&1 || fail "no cargo-fuzz: \`just cargo-fuzz\` installs it"
# Sanitizer and coverage are not stable yet; the variable lets a stable compiler use them.
export RUSTC_BOOTSTRAP=1
# What is found goes to a folder of its own, so that a file joins the corpus only when it is put there.
mkdir -p "fuzz/found/$target"
dictionary=()
[ ! -f "fuzz/$target.dict" ] || dictionary=("-dict=fuzz/$target.dict")
exec cargo fuzz run --sanitizer address "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 "${dictionary[@]}"

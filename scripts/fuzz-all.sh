#!/usr/bin/env bash
# fuzz-all.sh [SECONDS]: fuzzes every target, one after the other.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
for target in fuzz/fuzz_targets/*.rs; do
    scripts/fuzz.sh "$(basename -s .rs "$target")" "${1:-600}"
done

#!/usr/bin/env bash
# Kills and fails a training at every system call.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_strace
cargo test "${tested[@]}" --test cli kills:: "$@" -- --ignored --nocapture

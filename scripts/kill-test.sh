#!/usr/bin/env bash
# Kills and fails a training at every system call.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_strace
exec cargo test --locked --test cli kills:: "$@" -- --ignored --nocapture

#!/usr/bin/env bash
# test.sh [ARGUMENT...]: runs all tests, or those that `cargo test` runs with these arguments.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cargo test "${tested[@]}" "$@"
# Those that are ignored because not every user has what they need.
if [ $# = 0 ] && has_mount_namespace; then
    scripts/test-mounts.sh
fi

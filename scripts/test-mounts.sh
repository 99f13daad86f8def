#!/usr/bin/env bash
# Runs the tests that mount disks of their own, which are ignored otherwise.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
has_mount_namespace || fail "this user may not have a mount namespace (unshare --mount): run it as root, or in a container with --cap-add SYS_ADMIN"
cargo test "${tested[@]}" --test cli mounts:: -- --ignored

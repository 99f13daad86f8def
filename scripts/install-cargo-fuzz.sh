#!/usr/bin/env bash
# Installs cargo-fuzz, unless it is there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

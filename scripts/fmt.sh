#!/usr/bin/env bash
# Formats the sources, or with --check says whether they are formatted.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cargo fmt --version >/dev/null 2>&1 || fail "no cargo fmt: \`rustup component add rustfmt\` installs it"
cargo fmt --all "$@"
cargo fmt --manifest-path fuzz/Cargo.toml "$@"
cargo fmt --manifest-path kernels/web/Cargo.toml "$@"
cargo fmt --manifest-path tests/candle-onnx/Cargo.toml "$@"

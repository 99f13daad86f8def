#!/usr/bin/env bash
# Compares the examples vad and pronounce with what Silero VAD in ONNX Runtime and g2p_en say.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cargo build "${tested[@]}" --example vad --example pronounce
cargo test "${tested[@]}" --test voices -- --include-ignored "$@"

#!/usr/bin/env bash
# Compares the examples vad and pronounce with what Silero VAD in ONNX Runtime and g2p_en say.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[ -f voices/g2p_en.npz ] || fail "no weights in voices: \`just voices\` fetches them"
cargo build "${tested[@]}" --example vad --example pronounce
cargo test "${tested[@]}" --test voices -- --include-ignored "$@"

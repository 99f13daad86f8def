#!/usr/bin/env bash
# bench-latency.sh [TURNS]: times single sequences, steps and frames of Silero VAD on one thread beside ONNX Runtime and
# tract, in so many turns (5); the least of each counts (of Silero's frames here the least of medians). Silero needs `just voices`.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-latency/bin/python
require_venv "$python" tract latency-peers
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
lines=$folder/lines
package=voices/packages/silero_vad
bench=(cargo bench --quiet --locked --package candle-rnn-kernels --bench stream)
"${bench[@]}" --no-run
silero=()
if [ -d "$package" ]; then
    cargo build --quiet --release --locked --example vad
    silero=(--silero "$package/data/silero_vad_16k_op15.onnx")
    # 32 s of noise.
    "$python" -c 'import os, sys, wave
with wave.open(sys.argv[1], "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(os.urandom(1000 * 512 * 2))' "$folder/noise.wav"
else
    echo "no $package: \`just voices\` fetches Silero VAD, which is left out"
fi
for _ in $(seq "${1:-5}"); do
    "${bench[@]}" -- --json >>"$lines"
    "$python" benches/peers/onnx_latency.py --rounds 100 "${silero[@]}" >>"$lines"
    if [ ${#silero[@]} -gt 0 ]; then
        "${CARGO_TARGET_DIR:-target}/release/examples/vad" voices/silero_vad.safetensors "$folder/noise.wav" 2>&1 >/dev/null |
            sed -n 's/.* frames, \(.*\) µs each/{"program": "candle-rnn", "cell": "silero", "job": "frame", "least_us": \1}/p' >>"$lines"
    fi
done
"$python" benches/peers/latency_table.py <"$lines"

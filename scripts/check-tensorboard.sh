#!/usr/bin/env bash
# Has TensorBoard's own reader read the event files of a run that was killed and resumed.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-tensorboard/bin/python
require_venv "$python" tensorboard tensorboard
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Its time is up again and again, and it is killed again and again, at times between the last step of an epoch,
# which is saved, and the epoch's end: each time leaves a file of events, some of what another one makes anew.
cargo build --release --locked
train=("${CARGO_TARGET_DIR:-target}/release/candle-rnn" train --quiet --data sample --epochs 60 --hidden 100
    --shift 1 --save-every 10 --out "$folder/run" --resume)
for _ in 1 2; do "${train[@]}" --max-minutes 0.005; done
for seconds in 0.4 0.6 0.8; do timeout --signal KILL "$seconds" "${train[@]}" || true; done
"${train[@]}"
"$python" tests/event_files.py "$folder/run"

#!/usr/bin/env bash
# Opens exported pages from disk in Chromium, and compares what they show with the answers of the server and of
# `predict`. With a folder as argument, screenshots are put there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_browser
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; rm -rf "$folder"' EXIT
build_tested_program
python3 tests/page/exported_data.py "$folder"
train() {
    local name=$1
    shift
    "$program" train --epochs 2 --out "$folder/$name" "$@" >/dev/null
    "$program" export "$folder/$name" --html "$folder/$name.html" --json
}
# The reference job, then every cell, depth, direction, readout, target and preprocessing.
train tanh --data sample
train relu --data sample --cell relu --hidden 20 --view columns
train gru --data sample --cell gru --hidden 20
train lstm --data sample --cell lstm --hidden 20 --readout all
train both --data sample --cell gru --hidden 12 --bidirectional
train permuted --data sample --cell tanh --hidden 12 --view permuted
of=(--id id --time t --features a,b --label)
train stack "$folder/whole.csv" "${of[@]}" class --cell gru --layers 3 --bidirectional=false --readout last
train steps "$folder/gaps.csv" "${of[@]}" at_step --cell lstm --bidirectional --missing forward-fill --missing-mask
train numbers "$folder/gaps.csv" "${of[@]}" number --cell gru --bidirectional=false --scaling per-sequence --missing mean
train pooled "$folder/gaps.csv" "${of[@]}" class --cell relu --bidirectional --readout mean-max --scaling min-max --missing zero
runs=(tanh relu gru lstm both permuted stack steps numbers pooled)
"$program" serve "${runs[@]/#/$folder/}" --port 0 --json >"$folder/log" &
server=$!
served_url "$folder/log" >/dev/null
CHROMIUM=$chromium node tests/page/exported.mjs "$web_tools" "$program" "$folder" "${1:-}"

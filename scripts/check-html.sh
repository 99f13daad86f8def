#!/usr/bin/env bash
# Opens exported pages from disk in Chromium, and compares what they show with the answers of the server and of
# `predict`. With a folder as argument, screenshots are put there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_command node "runs the comparison" "install Node.js 18 or newer"
require_debian chromium "shows the pages" chromium
[ -d "$web_tools/playwright-core" ] || fail "no playwright-core in $web_tools: \`just web-tools\` installs it"
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; rm -rf "$folder"' EXIT
program=${CANDLE_RNN:-}
if [ -z "$program" ]; then
    cargo build --locked --features serve
    program="${CARGO_TARGET_DIR:-target}/debug/candle-rnn"
fi
python3 tests/html_data.py "$folder"
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
for _ in $(seq 100); do
    grep -q '"serving"' "$folder/log" && break
    sleep 0.1
done
WEB_TOOLS=$web_tools node tests/html_pages.mjs "$program" "$folder" "${1:-}"

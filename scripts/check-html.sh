#!/usr/bin/env bash
# Opens exported pages from disk in Chromium, compares what they show with the answers of the server and of `predict`,
# and has axe-core look at them, in light and dark, on a phone and on a desktop. Screenshots are in target/html.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_browser
begin_serve_test
python3 tests/page/tables.py "$folder"
runs=()
train() {
    local name=$1
    shift
    "$program" train --epochs 2 --out "$folder/$name" "$@" >/dev/null
    "$program" export "$folder/$name" --html "$folder/$name.html" --json
    runs+=("$name")
}
# The reference job, then every cell of the program, depth, direction, readout, target and preprocessing.
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
train series "$folder/series.csv" --horizon 8 --window 24 --hidden 8
train holes "$folder/holes.csv" --horizon 5 --window 20 --hidden 8 --cell lstm --bidirectional=false --readout last --missing forward-fill --missing-mask
serve_runs
CHROMIUM=$chromium node tests/page/exported.mjs "$web_tools" "$program" "$folder" "$url" target/html

#!/usr/bin/env bash
# Draws digits on the page in headless Chromium, moves through rows, erases some, reads sequences, forecasts a series,
# continues a text, and has axe-core look, in light and dark, on a phone and on a desktop. Screenshots are in target/page.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_browser
begin_serve_test
python3 tests/page/tables.py "$folder"
train() {
    local name=$1
    shift
    "$program" train "$@" --quiet --out "$folder/$name"
}
# Well enough to tell what somebody draws with a mouse.
train digits --data sample --cell gru --hidden 64 --epochs 30 --shift 2 --rotate 12 --schedule one-cycle --lr 0.01 --clip-norm 1
train lines "$folder/lines.csv" --cell gru --bidirectional=false --readout last --hidden 8 --epochs 20 --lr 0.01
train series "$folder/series.csv" --horizon 8 --window 24 --hidden 8 --epochs 20 --lr 0.01
train words "$folder/words.txt" --hidden 24 --epochs 4
runs=(digits lines series words)
serve_runs
CHROMIUM=$chromium node tests/page/served.mjs "$web_tools" "$url" target/page

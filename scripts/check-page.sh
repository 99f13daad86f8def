#!/usr/bin/env bash
# Draws digits on the page in headless Chromium, moves through rows, erases some, reads sequences, and has axe-core look,
# in light and dark, on a phone and on a desktop. Screenshots are in target/page.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_browser
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; rm -rf "$folder"' EXIT
build_tested_program
# Well enough to tell what somebody draws with a mouse.
"$program" train --data sample --epochs 80 --shift 2 --rotate 12 --schedule one-cycle --lr 0.004 --clip-norm 1 --quiet --out "$folder/digits"
awk 'BEGIN {
    printf "label"; for (t = 1; t <= 16; t++) printf ",t%d", t
    for (n = 0; n < 40; n++) {
        printf "\n%s", n % 2 ? "up" : "down"
        for (t = 0; t < 16; t++) printf ",%.4f", (n % 2 - 0.5) / 4 * t + 0.01 * ((n * 7 + t * 3) % 11)
    }
}' >"$folder/lines.csv"
"$program" train "$folder/lines.csv" --cell gru --bidirectional=false --readout last --hidden 8 --epochs 20 --lr 0.01 --quiet --out "$folder/lines"
"$program" serve "$folder/digits" "$folder/lines" --port 0 --json >"$folder/log" &
server=$!
url=$(served_url "$folder/log")
CHROMIUM=$chromium node tests/page/served.mjs "$web_tools" "$url" target/page

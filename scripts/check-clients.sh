#!/usr/bin/env bash
# Has the clients of other projects, unmodified, ask the server, and compares their answers with those of `predict`.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-clients/bin/python
require_venv "$python" tritonclient clients
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; rm -rf "$folder"' EXIT
build_tested_program
"$program" train --data sample --hidden 12 --epochs 2 --batch-size 160 --out "$folder/digits"
"$program" predict "$folder/digits" test:0 test:1 test:2 test:3 --json >"$folder/expected.jsonl"
CANDLE_RNN_KEY=s3cret "$program" serve "$folder/digits" --port 0 --json >"$folder/log" &
server=$!
served_url "$folder/log" >/dev/null
"$python" tests/serve_clients.py "$folder"

#!/usr/bin/env bash
# Has the clients of other projects, unmodified, ask the server, and compares their answers with those of `predict`.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
python=.venv-clients/bin/python
require_venv "$python" tritonclient clients
begin_serve_test
"$program" train --data sample --hidden 12 --epochs 2 --batch-size 160 --out "$folder/digits"
"$program" predict "$folder/digits" test:0 test:1 test:2 test:3 --json >"$folder/expected.jsonl"
export CANDLE_RNN_KEY=s3cret
runs=(digits)
serve_runs
"$python" tests/serve_clients.py "$folder"

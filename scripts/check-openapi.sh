#!/usr/bin/env bash
# Has schemathesis send the server requests that fit its OpenAPI document, and such that do not, and check every answer
# against it: no server error, no undocumented status or content type, nothing beside the schemas.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_venv .venv-openapi/bin/python schemathesis openapi
begin_serve_test
train() {
    "$program" train "$@" --quiet
}
train --data sample --hidden 12 --epochs 2 --batch-size 160 --out "$folder/digits"
{
    echo "label,t1,t2,t3,t4"
    for n in $(seq 20); do
        echo "up,0.$n,1.$n,2.$n,3.$n"
        echo "down,3.$n,2.$n,1.$n,0.$n"
    done
} >"$folder/lines.csv"
train "$folder/lines.csv" --cell gru --hidden 8 --epochs 5 --out "$folder/lines"
for _ in $(seq 200); do printf 'to be or not to be, '; done >"$folder/words.txt"
train "$folder/words.txt" --hidden 16 --epochs 2 --out "$folder/words"
export CANDLE_RNN_KEY=s3cret
runs=(digits lines words)
serve_runs --timeout 5
# Not every request that fits the document fits the model, such as one with another number of features.
.venv-openapi/bin/schemathesis --config-file tests/serve_openapi.toml run "${url}openapi.json" --url "$url" \
    --header "Authorization: Bearer s3cret" --checks all --exclude-checks positive_data_acceptance \
    --continue-on-failure --max-examples "${1:-50}" --seed 1 --warnings off --generation-database none

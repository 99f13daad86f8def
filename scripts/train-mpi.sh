#!/usr/bin/env bash
# train-mpi.sh N [ARGUMENT...]: trains with N processes on this machine; arguments are those of `candle-rnn train`.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
processes=${1#N=}
shift
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "the number of processes must be at least 1, got $processes"
require_mpi
cargo build --release --locked --features mpi
root=()
[ "$(id -u)" != 0 ] || root=(--allow-run-as-root)
# Unbound: each process takes its share of the cores.
exec mpirun "${root[@]}" --bind-to none -n "$processes" "${CARGO_TARGET_DIR:-target}/release/candle-rnn" train "$@"

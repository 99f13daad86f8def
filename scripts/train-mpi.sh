#!/usr/bin/env bash
# train-mpi.sh N [ARGUMENT...]: trains with N processes on this machine; arguments are those of `candle-rnn train`.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
usage="usage: train-mpi.sh N [ARGUMENT...], such as \`just train-mpi 2 --epochs 1\`"
[ $# != 0 ] || fail "the number of processes is missing; $usage"
processes=${1#N=}
shift
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "the number of processes comes first and is at least 1, got $processes; $usage"
require_mpi
cargo build --release --locked --features mpi
flags=()
if "$mpirun" --version 2>&1 | grep -q "Open MPI"; then
    # Unbound, so that each process takes its share of the cores; and more processes than cores, if asked for.
    flags=(--bind-to none --oversubscribe)
    [ "$(id -u)" != 0 ] || flags+=(--allow-run-as-root)
fi
exec "$mpirun" "${flags[@]}" -n "$processes" "${CARGO_TARGET_DIR:-target}/release/candle-rnn" train "$@"

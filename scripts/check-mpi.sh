#!/usr/bin/env bash
# check-mpi.sh [ARGUMENT...]: tests training by several processes that mpirun starts, up to four on any number of cores.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_mpi
# One after the other: each starts as many processes as a machine has cores, or more.
cargo test "${tested[@]},candle-rnn/mpi" --test mpi "$@" -- --test-threads 1

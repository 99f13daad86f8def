#!/usr/bin/env bash
# check-mpi.sh [ARGUMENT...]: clippy and documentation with the feature `mpi`; then tests training by several processes
# that mpirun starts, up to four on any number of cores. The library is that of `mpicc` and `mpirun`; beside another one
# `MPICC=mpicc.mpich MPIRUN=mpirun.mpich` name Debian's MPICH.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_mpi
# The code that the feature adds; `just lint` and `just doc` leave it out, since they need no MPI library.
cargo clippy --locked --all-targets --features serve,mpi -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --features serve,mpi
# One after the other: each starts as many processes as a machine has cores, or more. What differs from `just test` is
# compiled once and hardly run: not optimised.
CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo test "${tested[@]},candle-rnn/mpi" --test mpi "$@" -- --test-threads 1

#!/usr/bin/env bash
# kill-test-mpi.sh [SEED]: kills processes of a training by three at 20 random moments, which the seed draws, or at
# CANDLE_RNN_KILLS of them.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_mpi
seed=${1:-$RANDOM}
[[ $seed =~ ^[0-9]+$ ]] || fail "a seed is a number, got $seed"
CANDLE_RNN_KILL_SEED=$seed cargo test "${tested[@]},candle-rnn/mpi" --test mpi random_moments -- --ignored --nocapture

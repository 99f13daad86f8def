#!/usr/bin/env bash
# bench-sweep.sh [ROUNDS]: times a sweep of 24 small runs with 2 jobs beside one after the other, a thread each.
#
# In turns, so that what else the machine does is shared by both; the least time of each counts. With FIRST=1 before
# everything else on the machine (`chrt -f 50`, which needs root). The program is the release build, or the one that PROGRAM
# names. It fails if two jobs end less than 1.8 times as fast.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
rounds=${1:-3}
[ -n "${PROGRAM:-}" ] || cargo build --locked --release
program=$(realpath "${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/candle-rnn}")
echo "$program: $("$program" --version)"
first=()
if [ "${FIRST:-0}" = 1 ]; then
    require_command chrt "puts the sweeps before other programs" "it is part of util-linux"
    first=(chrt -f 50)
fi
# In memory where there is such a folder: how fast a disk syncs is not what is measured.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >speed.toml <<'END'
seeds = [1, 2, 3, 4]
[settings]
source = "sample"
epochs = 30
batch_size = 50
[grid]
learning_rate = [0.001, 0.002, 0.004]
hidden_size = [64, 96]
END

# timed JOBS: the seconds that a sweep takes.
timed() {
    local begin=$EPOCHREALTIME
    "${first[@]}" "$program" sweep speed.toml --out "jobs-$1" --jobs "$1" --threads 1 --quiet >"table-$1"
    rm -r "jobs-$1"
    echo "$begin $EPOCHREALTIME" | awk '{ printf "%.2f", $2 - $1 }'
}

for ((round = 1; round <= rounds; round++)); do
    one=$(timed 1)
    two=$(timed 2)
    cmp table-1 table-2
    echo "$one $two" | awk '{ printf "1 job %s s, 2 jobs %s s: %.2f times\n", $1, $2, $1 / $2 }' | tee -a times
done
awk '{ one[NR] = $3; two[NR] = $7 } END {
    for (i in one) { if (!a || one[i] < a) a = one[i]; if (!b || two[i] < b) b = two[i] }
    printf "24 trainings, a thread each, least of %d rounds: 1 job %s s, 2 jobs %s s, %.2f times as fast\n", NR, a, b, a / b
    exit !(a / b >= 1.8)
}' times || fail "2 jobs must end at least 1.8 times as fast"

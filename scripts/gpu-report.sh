#!/usr/bin/env bash
# gpu-report.sh [SECONDS]: tests and times everything on this machine's NVIDIA card with the programs of `just gpu-build`, in
# 460 seconds at most unless it is said, and writes target/gpu/report: the output of each part, results.jsonl, and report.md,
# which sums them up. What did not fit is reported as such. Needs no network.
# CANDLE_RNN_GPU_FOLDER is another folder than target/gpu.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
total=${1:-460}
[[ $# -le 1 && $total =~ ^[1-9][0-9]*$ ]] || fail "usage: gpu-report.sh [SECONDS], a whole number of at least 1"
folder=${CANDLE_RNN_GPU_FOLDER:-$PWD/target/gpu}
about=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null | head -n 1) || about=
[ -n "$about" ] || fail "no NVIDIA GPU answers (nvidia-smi): install its driver"
IFS=, read -r card capability driver <<<"$about"
capability=${capability//[ .]/}
# Those for the latest architecture that the card has.
programs= newest=0
for tests in "$folder"/sm_*/tests; do
    arch=${tests%/tests} arch=${arch##*/sm_}
    if [ -x "$tests" ] && [[ $arch =~ ^[0-9]+$ ]] && [ "$arch" -le "$capability" ] && [ "$arch" -gt "$newest" ]; then
        programs=$folder/sm_$arch newest=$arch
    fi
done
[ -n "$programs" ] || fail "no programs for compute capability $capability in $folder: \`just gpu-build\` builds them"
if root=$(cuda_root); then
    export LD_LIBRARY_PATH=$root/lib:$root/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PATH=$root/bin:$PATH
fi
for program in tests bench; do
    lacking=$(ldd "$programs/$program" 2>/dev/null | sed -n 's/^\s*\(\S*\) => not found.*/\1/p' | paste -sd ' ') || lacking=
    [ -z "$lacking" ] || fail "$programs/$program finds no $lacking: install CUDA 13, or bring .venv-cuda (\`just cuda-compiler\`)"
done
out=$folder/report
rm -rf "$out"
mkdir -p "$out"
results=$out/results.jsonl
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
printf '{"part":"machine","card":"%s","driver":"%s","programs":"%s","commit":"%s"}\n' \
    "$card" "${driver# }" "$(basename "$programs")" "$commit" >"$results"
failed=0

# outcome NAME TEXT [SECONDS]: reports how a part ended.
outcome() {
    echo "$1: $2"
    printf '{"part":"check","name":"%s","outcome":"%s"%s}\n' "$1" "$2" "${3:+,\"seconds\":$3}" >>"$results"
}

# The seconds that are left, but for those that the report itself takes.
left() {
    echo $((total - SECONDS - 3))
}

# part NAME SECONDS COMMAND...: runs a part in so many seconds, or what is left, with its output in NAME.txt.
part() {
    local name=$1 limit=$2 status=0 begun=$SECONDS
    shift 2
    if [ "$(left)" -lt "$limit" ]; then limit=$(left); fi
    if [ "$limit" -lt 1 ]; then
        outcome "$name" "not run: no time left"
        failed=1
        return
    fi
    timeout --kill-after 5 "$limit" "$@" >"$out/$name.txt" 2>&1 || status=$?
    case $status in
        0) outcome "$name" passed $((SECONDS - begun)) ;;
        124 | 137) outcome "$name" "stopped after $limit s" ;;
        *) outcome "$name" "failed with status $status: see $name.txt" $((SECONDS - begun)) ;;
    esac
    [ "$status" = 0 ] || failed=1
}
tests=("$programs/tests" --test-threads 1 --include-ignored --skip emulated)
part latency 20 "$programs/latency"
grep '^{' "$out/latency.txt" >>"$results" 2>/dev/null || true
part tests 110 "${tests[@]}" --skip same_bits on_a_gpu
part same-bits 40 "${tests[@]}" same_bits
if command -v compute-sanitizer >/dev/null; then
    # In one block and by teams, and what would be by teams stepwise.
    for tool in memcheck racecheck; do
        part "$tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 1 "${tests[@]}" short_cases_on_a_gpu
        part "$tool-stepwise" 20 env CANDLE_RNN_TEAMS=off \
            compute-sanitizer --tool "$tool" --error-exitcode 1 "${tests[@]}" short_cases_on_a_gpu
    done
else
    outcome "memcheck, racecheck" "not run: no compute-sanitizer on the PATH"
fi
# Ours with each stage off, and others.
sides=("candle-rnn, teams off:env CANDLE_RNN_TEAMS=off $programs/bench serve"
    "candle-rnn, events:$programs/bench serve events")
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' >/dev/null 2>&1; then
    sides+=("pytorch:python3 benches/peers/pytorch_cuda.py serve")
else
    outcome pytorch "not run: no PyTorch that sees the card"
fi
# It stops by itself before it is stopped.
seconds=$(($(left) - 10))
part protocol "$(left)" "$programs/bench" protocol "$results" "$((seconds > 0 ? seconds : 1))" "${sides[@]}"
# It computes nothing, and so needs no limit of its own.
if timeout 5 "$programs/bench" check "$results" >"$out/errors.txt" 2>&1; then
    outcome "errors from f64" passed
else
    outcome "errors from f64" "failed: see errors.txt"
    failed=1
fi
"$programs/bench" table "$results" >"$out/report.md"
echo "wrote $out/report.md in $SECONDS s"
exit "$failed"

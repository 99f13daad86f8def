#!/usr/bin/env bash
# Tests and times everything on this machine's NVIDIA card with the programs of `just gpu-build`, some 8 minutes at most,
# and writes target/gpu/report: a file for each part, and report.md, which sums them up. Needs no network.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
card=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null | head -n 1) ||
    fail "no NVIDIA GPU answers (nvidia-smi): install its driver"
capability=$(cut -d, -f2 <<<"$card" | tr -d ' .')
programs=
for arch in 80 90 120; do
    if [ "$arch" -le "$capability" ] && [ -x "target/gpu/sm_$arch/tests" ]; then programs=$PWD/target/gpu/sm_$arch; fi
done
[ -n "$programs" ] || fail "no programs for compute capability $capability in target/gpu: \`just gpu-build\` builds them"
if root=$(cuda_root); then
    export LD_LIBRARY_PATH=$root/lib:$root/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PATH=$root/bin:$PATH
fi
out=target/gpu/report
rm -rf "$out"
mkdir -p "$out"
{
    echo "# $card"
    echo
    echo "Programs: $(basename "$programs"). Commit: $(git rev-parse HEAD 2>/dev/null || echo unknown)."
    echo
} >"$out/report.md"
failed=0

# part NAME SECONDS COMMAND...: runs a part, whose output is in NAME.txt.
part() {
    local name=$1 limit=$2 status=0
    shift 2
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || status=$?
    case $status in
        0) echo "- $name: passed" ;;
        124) echo "- $name: stopped after $limit s" ;;
        *) echo "- $name: failed with status $status, see $name.txt" ;;
    esac | tee -a "$out/report.md"
    [ "$status" = 0 ] || failed=1
}
tests=(--test-threads 1 --include-ignored --skip emulated)
part latency 20 "$programs/latency"
part tests 120 "$programs/tests" "${tests[@]}" on_a_gpu
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        part "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 1 "$programs/tests" "${tests[@]}" bf16_weights_on_a_gpu
    done
else
    echo "- memcheck, racecheck: skipped, no compute-sanitizer on the PATH" | tee -a "$out/report.md"
fi
part bench 90 "$programs/bench" --bench
part bench-without-teams 90 env CANDLE_RNN_TEAMS=off "$programs/bench" --bench
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    part pytorch 90 python3 benches/peers/pytorch_cuda.py
else
    echo "- pytorch: skipped, no PyTorch that sees the card" | tee -a "$out/report.md"
fi
for name in latency bench bench-without-teams pytorch; do
    [ -f "$out/$name.txt" ] || continue
    printf '\n## %s\n\n```\n' "$name"
    cat "$out/$name.txt"
    echo '```'
done >>"$out/report.md"
echo "wrote $out/report.md"
exit "$failed"

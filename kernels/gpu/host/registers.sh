#!/usr/bin/env bash
# Compiles the kernels with nvcc and prints registers per thread as a Markdown table, one column an
# architecture. Usage: registers.sh [ARCH...], 75 80 89 90 120 by default; nvcc on PATH. Exit code 1 if
# anything spills, uses a stack or static shared memory, which no plan counts, or nvcc warns.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[[ $# -gt 0 ]] || set -- 75 80 89 90 120

# compile ARCH FILE: what nvcc says of it.
compile() {
    nvcc -std=c++20 -arch="sm_$1" -cubin -Xptxas -v -Werror all-warnings -o "$work/$1.$2.cubin" "$here/../$2.cu" \
        >"$work/$1.$2" 2>&1 || { cat "$work/$1.$2" >&2 && return 1; }
}
export -f compile
export here work

files=(rnn gru lstm team mma step rows loss adam)
for arch in "$@"; do
    for file in "${files[@]}"; do
        # Tensor cores of tf32 and bf16.
        [[ $file = mma && $arch -lt 80 ]] || echo "$arch $file"
    done
done | xargs --max-procs "$(nproc)" --max-args 2 bash -c 'compile "$@"' compile || exit 1

for arch in "$@"; do
    for file in "${files[@]}"; do
        [[ ! -e $work/$arch.$file ]] || cat "$work/$arch.$file"
    done | awk -v arch="$arch" '
        /Compiling entry/ { split($0, part, "\x27"); name = part[2] }
        /stack frame/ { spills[name] = $1 + $5 + $9 }
        # Static shared memory would be beyond the plan.
        /Used .* smem/ { print "static shared memory in " name > "/dev/stderr"; spills[name] += 1 }
        /Used .* registers/ { for (i = 1; i <= NF; i++) if ($i == "Used") print name, arch, $(i + 1), spills[name] }
        /warning/ { print > "/dev/stderr" }
    '
done >"$work/all"

awk -v archs="$*" '
    { registers[$1, $2] = $3; if (!($1 in seen)) { seen[$1]; order[++count] = $1 } spilled += $4 }
    END {
        n = split(archs, arch, " ")
        head = "| kernel |"; rule = "|---|"
        for (i = 1; i <= n; i++) { head = head " sm_" arch[i] " |"; rule = rule "---|" }
        print head; print rule
        for (k = 1; k <= count; k++) {
            line = "| `" order[k] "` |"
            for (i = 1; i <= n; i++) line = line ((order[k], arch[i]) in registers ? " " registers[order[k], arch[i]] : "") " |"
            print line
        }
        print ""
        print "Bytes of stack and spills, all together: " spilled + 0 "."
        exit spilled > 0
    }
' <(sort -s -k1,1 "$work/all")

#!/usr/bin/env bash
# Checks the .metal files with clang as C++14, Metal's dialect, where every memory is an address space of
# its own; and that every pointer and reference names its memory, which Metal wants of a thread's own
# too, where clang cannot tell. Then breaks a copy in some ways, which must be noticed. Needs clang and
# perl. Exit code 1 if a file has an error, or a broken copy has none.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {
    for file in "$1"/*.metal; do
        clang -x c++ -std=c++14 -fsyntax-only -nostdinc -nostdinc++ -D__METAL_VERSION__=310 -Wall -Werror \
            -Wno-unknown-attributes -Wno-c++20-designator -isystem "$here/address_spaces" "$file" || return 1
    done
    # Left out: target.h, which has the words themselves, and tensor_cores.h, which is for CUDA alone.
    local files
    files=$(ls "$1"/*.h "$1"/*.inc | grep -v -e /target.h -e /tensor_cores.h)
    # shellcheck disable=SC2086
    perl -ne '
        s{//.*}{};
        while (/((?:GLOBAL|SHARED|LOCAL)\s+)?(?:const\s+)?(?:typename\s+)?(?:unsigned\s+)?
                [\w:]+(?:<[\w,\ ]+>)?(?:[*&](?=[\s,);>])|\s\(&)/gx) {
            next if defined $1;
            print STDERR "$ARGV: no memory is named: $_";
            $is_bad = 1;
        }
        END { $? = 1 if $is_bad }
    ' $files
}

check "$here/.."

broken() {
    cp "$here"/../*.h "$here"/../*.inc "$here"/../*.metal "$work"
    perl -0pi -e "$2" "$work/$1"
    if cmp -s "$work/$1" "$here/../$1"; then
        echo "check-msl: cannot break $1" >&2
        exit 1
    fi
    if check "$work" >/dev/null 2>&1; then
        echo "check-msl: a broken $1 is not noticed" >&2
        exit 1
    fi
}
broken cell.h 's/GLOBAL const float\* gx/const float* gx/'
broken weights.h 's/SHARED const float\* vectors/GLOBAL const float* vectors/'
broken lstm_cell.h 's/exact_tanh\(state\)/tanhf(state)/'
broken common.h 's/LOCAL const Batch& batch/const Batch& batch/'
broken rnn_cell.h 's/LOCAL const float \(&z\)/const float (&z)/'

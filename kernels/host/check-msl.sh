#!/usr/bin/env bash
# Checks the .metal files with clang as C++14, Metal's dialect, where every memory is an address space of
# its own. Then breaks a copy in two ways, which must be noticed. Needs clang. Exit code 1 if a file has
# an error, or a broken copy has none.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {
    for file in "$1"/*.metal; do
        clang -x c++ -std=c++14 -fsyntax-only -nostdinc -nostdinc++ -D__METAL_VERSION__=310 -Wall -Werror \
            -Wno-unknown-attributes -Wno-c++20-designator -isystem "$here/address_spaces" "$file" || return 1
    done
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
broken lstm.h 's/exact_tanh\(state\)/tanhf(state)/'

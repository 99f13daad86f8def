#!/usr/bin/env bash
# install-debian-packages.sh NAME...: installs those of some packages of Debian's that are missing, as root.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
missing=$(missing_packages "$@") || exit 1
mapfile -t missing <<<"$missing"
[ -n "${missing[0]}" ] || exit 0
[ "$(id -u)" = 0 ] || fail "only root may install Debian's packages ${missing[*]}: run \`just debian-packages ${missing[*]}\` as root"
echo "installing Debian's packages ${missing[*]}"
case "${missing[*]}" in *:arm64*) dpkg --add-architecture arm64 ;; esac
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null

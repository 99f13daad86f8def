#!/usr/bin/env bash
# Installs what drives a browser through the page from npm into .page, unless it is there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_command npm "installs packages of Node.js" "\`just debian-packages npm\` installs it on Debian, as root"
! cmp -s tests/page/package.json .page/package.json || exit 0
echo "installing playwright-core and axe-core into .page"
mkdir -p .page
npm install --prefix .page --no-save --no-package-lock --no-audit --no-fund --silent \
    $(node -p 'Object.entries(require("./tests/page/package.json").dependencies).map(pair => pair.join("@")).join(" ")')
cp tests/page/package.json .page

#!/usr/bin/env bash
# Installs what tests/page/package.json names from npm into .npm-web, unless it is there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_command npm "installs packages of Node.js" "\`just debian-packages npm\` installs it on Debian, as root"
folder=${web_tools%/*}
! cmp -s tests/page/package.json "$folder/package.json" || exit 0
echo "installing Binaryen, playwright-core and axe-core into $folder"
mkdir -p "$folder"
# No browser: the tests use Debian's.
npm install --prefix "$folder" --no-save --no-package-lock --no-audit --no-fund --silent --ignore-scripts \
    $(node -p 'Object.entries(require("./tests/page/package.json").dependencies).map(pair => pair.join("@")).join(" ")')
cp tests/page/package.json "$folder"

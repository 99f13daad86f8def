#!/usr/bin/env bash
# Installs Binaryen and Playwright's library from npm into .npm-web, unless they are there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_command npm "installs packages for Node.js" "install Node.js 18 or newer"
[ ! -x "$web_tools/.bin/wasm-opt" ] || [ ! -d "$web_tools/playwright-core" ] || exit 0
echo "installing Binaryen and Playwright's library into ${web_tools%/*}"
# No browser: `just check-html` uses Debian's.
npm install --prefix "${web_tools%/*}" --silent --no-fund --no-audit --no-save --ignore-scripts \
    binaryen@132.0.0 playwright-core@1.65.1

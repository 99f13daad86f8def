#!/usr/bin/env bash
# on-metal.sh COMMAND...: runs a command on a Mac with a linker, or says what is missing.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[ "$(uname -s)" = Darwin ] || fail "Metal needs a Mac, this is $(uname -s): train with \`just train-cpu\`, or with \`just train-cuda\` on an NVIDIA GPU"
xcrun --find cc >/dev/null 2>&1 || fail "no linker: \`xcode-select --install\` installs Apple's command line tools"
exec "$@"

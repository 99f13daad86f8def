#!/usr/bin/env bash
# Fetches the weights of Silero VAD (MIT) and g2p_en (Apache 2.0) from PyPI into voices/, unless they are there.
#
# pip refuses packages whose SHA-256 is not that of requirements-voices.txt.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require_python "converts the weights" 3.11
[ ! -f voices/silero_vad.safetensors ] || [ ! -f voices/g2p_en.npz ] || exit 0
echo "fetching the weights of Silero VAD and g2p_en into voices"
rm -rf voices
mkdir -p voices/packages
python3 -m venv voices/.fetch
voices/.fetch/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --requirement scripts/requirements-voices.txt --dest voices/.fetch
for wheel in voices/.fetch/*.whl; do
    python3 -m zipfile -e "$wheel" voices/packages
done
rm -rf voices/.fetch
# What says that all is there comes last.
python3 scripts/silero-weights.py voices/packages/silero_vad/data/silero_vad_16k_op15.onnx voices/silero_vad.safetensors
cp voices/packages/g2p_en/checkpoint20.npz voices/.g2p_en.npz
mv voices/.g2p_en.npz voices/g2p_en.npz

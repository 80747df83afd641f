#!/usr/bin/env bash
# Builds weft and trains a model with it; arguments go to `weft train`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-deps.sh
cmake --preset release
cmake --build --preset release --target weft
exec build/release/weft train "$@"

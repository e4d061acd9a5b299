#!/usr/bin/env bash
# Checks that python/fastserve/_core.pyi is what pybind11-stubgen makes of the built extension; --write writes it.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
PYTHONPATH=python python -m pybind11_stubgen fastserve._core -o "$out" \
  --enum-class-locations '.*:fastserve._core' >/dev/null
stub=$out/fastserve/_core.pyi
ruff format -q --no-respect-gitignore --config 'extend-exclude = []' "$stub" 2>/dev/null || true
if [[ ${1:-} == --write ]]; then
  cp "$stub" python/fastserve/_core.pyi
elif ! diff -u python/fastserve/_core.pyi "$stub"; then
  echo "python/fastserve/_core.pyi: out of date; run make stubs" >&2
  exit 1
fi

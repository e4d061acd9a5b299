#!/usr/bin/env bash
# Runs the lint gates; all of them, also after one failed. --quick leaves out those that take more than seconds.
# Usage: tools/lint/run.sh [--quick]
set -uo pipefail
quick=0
[[ ${1:-} == --quick ]] && quick=1

failed=()
gate() {
  local name=$1 start=$SECONDS
  shift
  if "$@"; then
    printf '%-14s ok  (%d s)\n' "$name" $((SECONDS - start))
  else
    printf '%-14s FAILED  (%d s)\n' "$name" $((SECONDS - start)) >&2
    failed+=("$name")
  fi
}

mapfile -t cpp < <(git ls-files -co --exclude-standard '*.cc' '*.h')
gate clang-format clang-format --dry-run -Werror "${cpp[@]}"
gate ruff ruff check -q
gate ruff-format ruff format -q --check
gate sizes python tools/lint/sizes.py
gate layers python tools/lint/layers.py
gate imports env PYTHONPATH=python lint-imports --no-logo --config pyproject.toml
gate spelling codespell
gate flags python tools/docs/flags.py --check
gate links python tools/docs/links.py
gate protos python tools/generate_protos.py --check
if [[ $quick -eq 0 ]]; then
  gate mypy mypy
  gate stubs python tools/lint/stubs.py
  gate clang-tidy python tools/lint/tidy.py build/lint
fi

if [[ ${#failed[@]} -gt 0 ]]; then
  echo "lint: failed: ${failed[*]}" >&2
  exit 1
fi

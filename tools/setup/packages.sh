#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing, or names them when it may not.
# Usage: tools/setup/packages.sh [build|ci]     ci adds what only .ci/run needs (promtool, a linker).
set -euo pipefail

build=(g++ libhiredis-dev libnghttp2-dev libprotozero-dev rapidjson-dev libboost-dev zlib1g-dev libgtest-dev
  libgmock-dev libbenchmark-dev python3-venv python3-dev ccache wrk nghttp2-client nghttp2-server
  redis-server)
ci=(prometheus mold ca-certificates git make)

packages=("${build[@]}")
[[ ${1:-build} == ci ]] && packages+=("${ci[@]}")

command -v dpkg-query >/dev/null || {
  echo "Not a Debian or Ubuntu machine. Install what these packages hold: ${packages[*]}" >&2
  exit 1
}
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

run=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing packages. As root, run:  apt-get install ${missing[*]}" >&2
    exit 1
  fi
  run=(sudo)
fi
echo "Installing ${missing[*]}"
"${run[@]}" apt-get update -q
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"

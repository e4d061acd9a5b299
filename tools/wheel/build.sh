#!/usr/bin/env bash
# Builds the wheel from the source distribution, repairs it, checks its gates and tries it in an empty environment.
# Gates: manylinux_2_35 or older, under 10 MB, licences of what it contains.
set -euo pipefail
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
rm -f dist/fastserve-*
mkdir -p dist

python -m build --sdist -o dist . >"$raw/sdist.log" 2>&1 || { tail -30 "$raw/sdist.log"; exit 1; }
mkdir "$raw/source"
tar -xf dist/fastserve-*.tar.gz -C "$raw/source" --strip-components=1
# The folder is another one each time; the compiler cache is to see the same paths.
export CCACHE_BASEDIR=$raw/source
python -m build --wheel -o "$raw" "$raw/source" >"$raw/wheel.log" 2>&1 || { tail -30 "$raw/wheel.log"; exit 1; }

for glibc in 2_28 2_31 2_34 2_35; do
  platform=manylinux_${glibc}_$(uname -m)
  if auditwheel repair --strip --plat "$platform" -w dist "$raw"/fastserve-*.whl >"$raw/repair.log" 2>&1; then
    break
  fi
done
wheel=$(ls dist/fastserve-*.whl 2>/dev/null) || {
  cat "$raw/repair.log" >&2
  echo "The wheel needs a newer system than manylinux_2_35" >&2
  exit 1
}
python tools/wheel/check.py "$wheel"
python tools/wheel/smoke.py "$wheel"
echo "$wheel"

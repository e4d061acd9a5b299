#!/usr/bin/env bash
# Makes an environment with numpy for each other CPython of this machine (pyenv's, those on PATH):
# tests run the worker in them. One that cannot be made is left out.
# Usage: tools/setup/other_pythons.sh PYTHON FOLDER     makes FOLDER/3.N, none of PYTHON's version
set -euo pipefail
own=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=$2

mkdir -p "$folder"
for minor in {8..14}; do
  version=3.$minor
  [[ $version == "$own" || -d $folder/$version ]] && continue
  for python in "$HOME/.pyenv/versions/$version."*"/bin/python$version" "$(command -v "python$version" || true)"; do
    [[ -x $python ]] || continue
    # In a folder of another name until it is complete.
    new=$folder/.making-$version
    rm -rf "$new"
    if "$python" -m venv "$new" && "$new/bin/python" -m pip install -q --disable-pip-version-check numpy; then
      mv "$new" "$folder/$version"
      break
    fi
    rm -rf "$new"
  done
done

#!/usr/bin/env bash
# Makes the virtual environment, installs the pinned requirements and puts python/ on its path.
# Usage: tools/setup/environment.sh PYTHON VENV
set -euo pipefail
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
  echo "fastserve needs Python 3.10 or newer; $python is older. Use: make PYTHON=python3.x" >&2
  exit 1
}
[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements/dev.in
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r requirements/files.in
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/python" >"$site/fastserve-dev.pth"

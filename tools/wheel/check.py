"""Checks what a built wheel must hold: size, platform tag, licences, nothing that does not belong.

Usage: check.py WHEEL
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

MAX_BYTES = 10_000_000
NEWEST_GLIBC = (2, 35)
LICENSES = {
    "LICENSE",
    "boost.txt",
    "hiredis.txt",
    "nghttp2.txt",
    "protozero.txt",
    "pybind11.txt",
    "rapidjson.txt",
}
FOREIGN = re.compile(r"(^|/)(tests|bench|csrc|__pycache__)/|\.(cc|h|onnx|a)$")


def tag_problems(wheel: Path) -> list[str]:
    glibc = [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)", wheel.name)]
    if glibc and min(glibc) <= NEWEST_GLIBC:
        return []
    return [f"not tagged manylinux_2_35 or older: {wheel.name}"]


def content_problems(names: list[str]) -> list[str]:
    found = [f"does not belong in a wheel: {name}" for name in names if FOREIGN.search(name)]
    missing = LICENSES - {Path(name).name for name in names if ".dist-info/licenses/" in name}
    if missing:
        found.append(f"licences missing: {', '.join(sorted(missing))}")
    if not any(re.search(r"^fastserve/_core\..*\.so$", name) for name in names):
        found.append("no extension module inside")
    return found


def problems(wheel: Path) -> list[str]:
    found = tag_problems(wheel) + content_problems(zipfile.ZipFile(wheel).namelist())
    size = wheel.stat().st_size
    if size >= MAX_BYTES:
        found.append(f"{size} bytes, the limit is {MAX_BYTES}")
    return found


def main() -> int:
    wheel = Path(sys.argv[1])
    found = problems(wheel)
    for problem in found:
        print(f"{wheel}: {problem}", file=sys.stderr)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Fails on an upward #include: csrc/CMakeLists.txt lists the folders, each may include those above.

Prints `file:line: message` per violation. Stricter rules for single folders stand in ONLY.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
SUBDIRECTORY = re.compile(r"^\s*add_subdirectory\((\w+)\)", re.MULTILINE)

# Folders that may not use everything above them: the front ends do not know each other, and the
# load generator measures servers, so it must not contain one.
ONLY = {
    "protocol": {"base", "memory", "inference"},
    "http": {"base", "concurrency", "memory", "metrics", "inference", "protocol", "engine"},
    "grpc": {"base", "concurrency", "memory", "metrics", "inference", "protocol", "engine"},
    "perf": {"base", "concurrency", "memory", "metrics", "inference", "protocol"},
}


def layer_order() -> list[str]:
    return SUBDIRECTORY.findall((ROOT / "csrc/CMakeLists.txt").read_text())


def allowed_layers(layer: str, order: list[str]) -> set[str]:
    below = set(order[: order.index(layer)])
    return ONLY.get(layer, below) & below | {layer}


def violations(path: Path, order: list[str]) -> list[str]:
    layer = path.relative_to(ROOT / "csrc").parts[0]
    if layer not in order:
        return [f"{path.relative_to(ROOT)}:1: folder '{layer}' is not in csrc/CMakeLists.txt"]
    allowed = allowed_layers(layer, order)
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        match = INCLUDE.match(line)
        if match is None:
            continue
        target = match[1].split("/")[0]
        if target not in allowed:
            found.append(
                f"{path.relative_to(ROOT)}:{number}: '{layer}' may not include '{match[1]}'"
            )
    return found


def main() -> int:
    order = layer_order()
    files = sorted([*(ROOT / "csrc").rglob("*.h"), *(ROOT / "csrc").rglob("*.cc")])
    found = [message for path in files for message in violations(path, order)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

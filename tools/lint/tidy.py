"""Runs clang-tidy on every C++ file of ours, in parallel, and remembers the clean ones.

The build puts several sources into one unity file each, so that what they include is read once.
One is checked again only when its preprocessed text, .clang-tidy or clang-tidy changed.
Usage: tidy.py BUILD_FOLDER [FILE...]    BUILD_FOLDER holds compile_commands.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/clang-tidy"
OURS = ("csrc", "tests/cpp", "bench/cpp")


INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


@dataclass(frozen=True)
class Unit:
    path: Path
    directory: str
    arguments: list[str]

    def sources(self) -> set[Path]:
        """The files of ours that it compiles: itself, or those of a unity file."""
        if self.path.parent.name != "Unity":
            return {self.path}
        return {Path(name) for name in INCLUDE.findall(self.path.read_text())}

    def is_ours(self) -> bool:
        return any(path.is_relative_to(ROOT / top) for path in self.sources() for top in OURS)


def load_units(build: Path) -> list[Unit]:
    entries = json.loads((build / "compile_commands.json").read_text())
    units = [
        Unit(Path(entry["file"]), entry["directory"], shlex.split(entry["command"]))
        for entry in entries
    ]
    return [unit for unit in units if unit.is_ours()]


def salt() -> bytes:
    version = subprocess.run(["clang-tidy", "--version"], check=True, capture_output=True).stdout
    return version + (ROOT / ".clang-tidy").read_bytes()


def fingerprint(unit: Unit, salt_bytes: bytes) -> str | None:
    """Hash of the preprocessed text with comments (NOLINT is one); None when that fails."""
    command = [part for part in unit.arguments if part != "-c" and not part.endswith("ccache")]
    output = command.index("-o")
    command[output : output + 2] = []
    done = subprocess.run([*command, "-E", "-CC"], cwd=unit.directory, capture_output=True)
    return hashlib.sha256(salt_bytes + done.stdout).hexdigest() if done.returncode == 0 else None


def check(unit: Unit, build: Path, salt_bytes: bytes) -> str:
    """Empty when clean, else what clang-tidy said."""
    key = fingerprint(unit, salt_bytes)
    mark = CACHE / (key or "none")
    if key and mark.exists():
        return ""
    command = ["clang-tidy", "--quiet", "-p", str(build), str(unit.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0 and key:
        mark.touch()
    return "" if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    build = Path(sys.argv[1]).resolve()
    wanted = {Path(name).resolve() for name in sys.argv[2:]}
    CACHE.mkdir(parents=True, exist_ok=True)
    units = [unit for unit in load_units(build) if not wanted or unit.sources() & wanted]
    salt_bytes = salt()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = list(pool.map(lambda unit: check(unit, build, salt_bytes), units))
    for report in filter(None, reports):
        print(report)
    return 1 if any(reports) else 0


if __name__ == "__main__":
    sys.exit(main())

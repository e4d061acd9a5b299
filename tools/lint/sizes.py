"""Fails on functions and files that are too long, too complex or take too many parameters.

Prints `file:line: message` per violation. lizard does the counting; a switch counts once, however
many cases it has.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lizard

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Limits:
    function_lines: int
    complexity: int
    parameters: int
    file_lines: int


CPP = Limits(function_lines=60, complexity=12, parameters=5, file_lines=500)
PYTHON = Limits(function_lines=50, complexity=10, parameters=6, file_lines=400)
TEST = Limits(function_lines=80, complexity=15, parameters=10, file_lines=700)
ANALYZER = lizard.FileAnalyzer(lizard.get_extensions(["modified"]))
# The signature of a callback with a user pointer is a C library's choice.
C_CALLBACK = re.compile(r",( void)? \*( \w+)? ?\)$")
# Constructors whose parameters are those of Triton's Python interface.
GIVEN_SIGNATURES = {("messages.py", "__init__")}
SUFFIXES = {".cc": CPP, ".h": CPP, ".py": PYTHON}


def source_files() -> list[Path]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", "*.cc", "*.h", "*.py"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def limits_of(path: Path) -> Limits | None:
    if path.name.endswith("_pb2.py"):
        return None
    if path.relative_to(ROOT).parts[0] == "tests":
        return TEST
    return SUFFIXES[path.suffix]


def exceeded(function: lizard.FunctionInfo, limits: Limits, python: bool) -> list[str]:
    lines = function.end_line - function.start_line + 1
    given = (Path(function.filename).name, function.name) in GIVEN_SIGNATURES
    if given or C_CALLBACK.search(function.long_name):
        parameters: list[str] = []
    else:
        own = {"self", "cls"} if python else set()
        parameters = [name for name in function.parameters if name not in own]
    checks = [
        (lines, limits.function_lines, "lines"),
        (function.cyclomatic_complexity, limits.complexity, "complexity"),
        (len(parameters), limits.parameters, "parameters"),
    ]
    return [f"{unit} {value} > {limit}" for value, limit, unit in checks if value > limit]


def violations(path: Path) -> list[str]:
    limits = limits_of(path)
    if limits is None:
        return []
    name = path.relative_to(ROOT)
    found = []
    lines = len(path.read_text().splitlines())
    if lines > limits.file_lines:
        found.append(f"{name}:1: file has {lines} lines > {limits.file_lines}")
    for function in ANALYZER(str(path)).function_list:
        excess = exceeded(function, limits, python=path.suffix == ".py")
        if excess:
            found.append(f"{name}:{function.start_line}: {function.name}: {', '.join(excess)}")
    return found


def main() -> int:
    found = [message for path in sorted(source_files()) for message in violations(path)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Checks that python/fastserve/_core.pyi says what the built extension says; `--write` writes it.

pybind11-stubgen makes the stub. A type written against the C API has no signatures, so its methods
become methods that take anything.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "python/fastserve/_core.pyi"
ANY_ARGUMENTS = "*args: typing.Any, **kwargs: typing.Any"


def with_methods(text: str) -> str:
    text = re.sub(
        r"@staticmethod\n( *)def (?!__new__)(\w+)\(\*args, \*\*kwargs\):",
        rf"def \2(self, {ANY_ARGUMENTS}) -> typing.Any:",
        text,
    )
    return re.sub(
        r"@staticmethod\n( *)def __new__\(type, \*args, \*\*kwargs\):",
        rf"def __new__(cls, {ANY_ARGUMENTS}) -> typing_extensions.Self:",
        text,
    )


def generate() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "fastserve._core", "-o", folder]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        stub = Path(folder) / "fastserve/_core.pyi"
        stub.write_text(with_methods(stub.read_text()))
        ruff = ["ruff", "format", "-q", "--isolated", "--line-length=100", str(stub)]
        subprocess.run(ruff, check=True)
        return stub.read_text()


def main() -> int:
    made = generate()
    if "--write" in sys.argv:
        STUB.write_text(made)
        return 0
    here = STUB.read_text() if STUB.exists() else ""
    if here == made:
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(here.splitlines(True), made.splitlines(True), STUB.name, "made now")
    )
    print("python/fastserve/_core.pyi:1: not what the extension says; run make stubs")
    return 1


if __name__ == "__main__":
    sys.exit(main())

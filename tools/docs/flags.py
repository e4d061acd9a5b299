"""Writes docs/flags.md from the options table; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))


def main() -> int:
    from fastserve.cli import docs_page

    page = ROOT / "docs/flags.md"
    text = docs_page()
    if "--check" not in sys.argv:
        page.write_text(text)
        return 0
    if page.exists() and page.read_text() == text:
        return 0
    print("docs/flags.md:1: not what python/fastserve/options.py says; run make docs")
    return 1


if __name__ == "__main__":
    sys.exit(main())

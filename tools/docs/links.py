"""Fails on a link between our Markdown pages that leads nowhere. Prints `file:line: message`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def pages() -> list[Path]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def anchors(page: Path) -> set[str]:
    """GitHub's names of the headings."""
    headings = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def problem(page: Path, target: str) -> str | None:
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    linked = (page.parent / name).resolve() if name else page
    if not linked.exists():
        return f"'{target}' does not exist"
    if anchor and linked.suffix == ".md" and anchor not in anchors(linked):
        return f"'{target}' names no heading"
    return None


def main() -> int:
    found = []
    for page in pages():
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            for target in LINK.findall(line):
                message = problem(page, target)
                if message:
                    found.append(f"{page.relative_to(ROOT)}:{number}: {message}")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

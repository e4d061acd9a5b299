"""Runs every comparison and writes the tables into docs/performance.md.

A table takes the place of the one with the same title, so --only runs some of them anew. With
--smoke each runs for a few seconds to see that it works; the document is left alone.
The options of the peers (--triton, --perf-analyzer) are handed on.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from harness import ROOT, Report, Row

SCRIPTS = (
    "grpc_tiny",
    "http_tiny",
    "ensemble",
    "triton_peer",
    "python_backend",
    "models",
    "self_tuning",
    "overload",
    "cache",
    "streaming",
    "idle",
    "copies",
    "micro",
    "stress",
    "soak",
)
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
SCRIPT_TIMEOUT_S = 3600


def run(name: str, directory: Path, options: argparse.Namespace) -> int:
    """Runs one script; its exit status."""
    result = directory / f"{name}.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py"))]
    command += ["--json-out", str(result), "--rounds", str(options.rounds)]
    command += ["--seconds", str(options.seconds)]
    if options.smoke:
        command.append("--smoke")
    if name in ("triton_peer", "python_backend"):
        command += [f"--triton={options.triton}"] if options.triton else []
    if name == "triton_peer":
        command += [f"--perf-analyzer={options.perf_analyzer}"] if options.perf_analyzer else []
    print(f"== {name}", flush=True)
    try:
        return subprocess.run(command, timeout=SCRIPT_TIMEOUT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{name} took longer than {SCRIPT_TIMEOUT_S} s", file=sys.stderr)
        return 1


def report_of(result: Path) -> Report:
    loaded = json.loads(result.read_text())
    rows = [Row(**row) for row in loaded.pop("rows")]
    return Report(**loaded, rows=rows)


def write_document(reports: list[Report], path: Path = DOCUMENT) -> None:
    """Puts tables between the marks: in the place of those with their titles, or behind them."""
    before, begin, rest = path.read_text().partition(BEGIN)
    old, end, after = rest.partition(END)
    tables = {
        table.partition("\n")[0]: table.rstrip() + "\n"
        for table in re.split(r"^(?=### )", old, flags=re.MULTILINE)
        if table.strip()
    }
    tables |= {f"### {report.title}": report.markdown() for report in reports}
    path.write_text(before + begin + "\n" + "\n".join(tables.values()) + end + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--triton", help="command that starts Triton, see triton_peer.py")
    parser.add_argument("--perf-analyzer", help="command of perf_analyzer")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument("--no-document", action="store_true", help="leave docs/performance.md")
    options = parser.parse_args()
    directory = ROOT / "build" / "bench" / ("smoke" if options.smoke else "results")
    directory.mkdir(parents=True, exist_ok=True)
    failed = [name for name in options.only if run(name, directory, options) != 0]
    if not options.smoke and not options.no_document:
        results = (directory / f"{name}.json" for name in options.only)
        write_document([report_of(result) for result in results if result.exists()])
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

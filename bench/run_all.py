"""Runs every comparison and writes the tables into docs/performance.md.

The document holds the last result of each script, so --only runs one of them anew. With --smoke
each runs for a few seconds to see that it works; the document is left alone.
The options of the peers (--triton, --perf-analyzer) are handed on.
"""

import argparse
import json
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


def last_results(directory: Path) -> list[Report]:
    reports = []
    for result in (directory / f"{name}.json" for name in SCRIPTS):
        if result.exists():
            loaded = json.loads(result.read_text())
            rows = [Row(**row) for row in loaded.pop("rows")]
            reports.append(Report(**loaded, rows=rows))
    return reports


def write_document(reports: list[Report], path: Path = DOCUMENT) -> None:
    """Replaces the tables between the marks."""
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n".join(report.markdown() for report in reports)
    path.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")


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
        write_document(last_results(directory))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

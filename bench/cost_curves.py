"""Measures what a batch costs by its size, for the simulation of self-tuning batching.

The server runs in this process and executes batches of one size after the other, first on one
instance, then on two at once; the figures are its own statistics of input, execution and output.
Writes bench/data/cost_curves.txt, which tests and benchmarks read: run it on a quiet machine.
"""

import json
import os
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, arguments, parse
from models import BATCHING, Subject, batch_of, subjects, write_repository

# isort: split
from fastserve import InferenceServer

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
INSTANCES = 2
WINDOWS = 100
DATA = ROOT / "bench" / "data" / "cost_curves.txt"
HEADER = """# What a batch costs by its size, in microseconds: on one instance alone, and while
# another runs batches of the same size. Taken with bench/cost_curves.py on
# {cores} cores ({machine}), ONNX
# Runtime {runtime} with its default threads, the least disturbed of {windows} short windows.
# model batch_size alone_us shared_us
"""


def tuned_subjects(directory: Path, config: str) -> list[Subject]:
    """tiny, MiniLM and magika: a flat, a slightly falling and a rising cost per row."""
    from tests.models.catalog import model_bytes

    tiny = directory / "tiny.onnx"
    tiny.write_bytes(model_bytes("tiny"))
    row = {"INPUT0": np.zeros((1, 16), np.float32)}
    real = [subject for subject in subjects(directory) if subject.name != "conv"]
    chosen = [Subject("tiny", tiny, row, ""), *real]
    return [Subject(s.name, s.model, s.row, config) for s in chosen]


def executed(server: Any, name: str, size: int) -> tuple[int, int]:
    """How many batches of a size the server has executed, and their nanoseconds."""
    answer = json.loads(server.model_statistics(name))["model_stats"][0]
    for entry in answer.get("batch_stats", []):
        if entry["batch_size"] == size:
            phases = ("compute_input", "compute_infer", "compute_output")
            spent = sum(entry[phase]["ns"] for phase in phases)
            return entry["compute_infer"]["count"], spent
    return 0, 0


def cost_us(server: Any, subject: Subject, size: int, callers: int, seconds: float) -> float:
    """The mean cost of a batch in the least disturbed window, with so many callers at once."""
    batch = batch_of(subject.row, size)
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            server.infer(subject.name, batch)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / WINDOWS)
    windows: list[float] = []
    before = executed(server, subject.name, size)
    while len(windows) < WINDOWS:
        time.sleep(seconds / WINDOWS)
        after = executed(server, subject.name, size)
        if after[0] > before[0]:
            windows.append((after[1] - before[1]) / (after[0] - before[0]) / 1000)
            before = after
    ended.set()
    for thread in threads:
        thread.join()
    return min(windows)


def main() -> None:
    import onnxruntime

    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=DATA)
    options = parse(parser)
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        chosen = tuned_subjects(root, BATCHING.format(batch=BATCH_SIZES[-1], instances=INSTANCES))
        with InferenceServer(write_repository(root / "repository", chosen)) as server:
            for subject in chosen:
                for size in BATCH_SIZES:
                    costs = [
                        cost_us(server, subject, size, callers, options.seconds)
                        for callers in (1, INSTANCES)
                    ]
                    lines.append(f"{subject.name} {size} {costs[0]:.1f} {costs[1]:.1f}")
                    print(lines[-1], flush=True)
    if options.smoke:
        sys.exit(0)
    header = HEADER.format(
        cores=len(os.sched_getaffinity(0)),
        machine=platform.machine(),
        runtime=onnxruntime.__version__,
        windows=WINDOWS,
    )
    options.out.write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

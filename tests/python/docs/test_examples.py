"""What the demo prints, what the pages show and what examples/ holds works as pasted."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastserve import InferenceServer
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import parse_config
from fastserve.config.validate import refuse_unoffered, validate_config

ROOT = Path(__file__).resolve().parents[3]
DEMO = runpy.run_path(str(ROOT / "tools/demo.py"))


def run_program(program: str, *arguments: str) -> str:
    command = [sys.executable, "-", *arguments]
    done = subprocess.run(
        command, input=program, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_curl(line: str) -> dict[str, object]:
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def shell_blocks(page: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples and the demo's models in one repository."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(["cp", "-r", f"{ROOT}/examples/models/.", str(folder)], check=True)
    command = [sys.executable, str(ROOT / "examples/write_models.py"), str(folder)]
    subprocess.run(command, check=True)
    DEMO["write"](folder)
    return folder


@pytest.fixture
def ports(repository: Path, start_server: Callable[..., object]) -> Iterator[Callable[[str], str]]:
    """Replaces the default ports in a text by those of a running server."""
    server = start_server(f"--model-repository={repository}").wait_started()

    def replace(text: str) -> str:
        text = text.replace("localhost:8000", server.url("http"))
        return text.replace("localhost:8001", server.url("grpc"))

    yield replace
    assert server.stop() == 0


def test_lines_of_the_demo_work_as_pasted(ports: Callable[[str], str]) -> None:
    answer = run_curl(ports(DEMO["CURL"]))
    assert [output["data"] for output in answer["outputs"]] == [
        [11, 22, 33, 44],
        [-9, -18, -27, -36],
    ]
    program = ports(DEMO["CLIENT"])
    assert len(program.splitlines()) == 5
    assert "markdown" in run_program(program, "README.md").split()[0]


def test_texts_of_the_demo_become_vectors(ports: Callable[[str], str]) -> None:
    """Of MiniLM: 384 wide, of length 1, and close for a cat and a kitten."""
    (output,) = run_curl(ports(DEMO["EMBEDDINGS"]))["outputs"]
    vectors = np.array(output["data"]).reshape(output["shape"])
    assert vectors.shape == (2, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-3)
    assert vectors[0] @ vectors[1] > 0.5


def test_curl_lines_of_the_pages_work(ports: Callable[[str], str]) -> None:
    curls = [
        block for page in ("docs/http.md", "examples/README.md") for block in shell_blocks(page)
    ]
    curls = [block for block in curls if block.startswith("curl")]
    assert len(curls) == 3
    for block in curls:
        assert "outputs" in run_curl(ports(block)), block


def test_grpc_program_of_the_page_works(ports: Callable[[str], str]) -> None:
    (program,) = python_blocks("docs/grpc.md")
    assert run_program(ports(program)).split() == ["[[2.", "2.]]"]


def test_ragged_program_of_the_page_works(ports: Callable[[str], str]) -> None:
    (program,) = python_blocks("docs/ragged_batching.md")
    assert run_program(ports(program)).strip() == "[6.0, 10.0, 20.0]"


def test_ensemble_program_of_the_page_works(ports: Callable[[str], str]) -> None:
    (program,) = python_blocks("docs/ensembles.md")
    assert run_program(ports(program)).split() == ["CLASS_OF_SUM", "0", "CLASS_OF_DIFFERENCE", "1"]


def test_stream_of_the_ensembles_page_works(ports: Callable[[str], str]) -> None:
    (line,) = (block for block in shell_blocks("docs/ensembles.md") if block.startswith("curl"))
    done = subprocess.run(ports(line), shell=True, capture_output=True, text=True, check=True)
    events = [json.loads(event.removeprefix("data: ")) for event in done.stdout.split("\n\n")[:-1]]
    assert [event["NUMBER"] for event in events] == [3, 2, 1]


def test_ragged_example_on_the_page_is_the_one_that_runs() -> None:
    """But for layout and comments."""
    page = (ROOT / "docs/ragged_batching.md").read_text()
    (shown,) = re.findall(r"(?<=\n\n)```\n(.*?)```", page, re.DOTALL)
    example = (ROOT / "examples/models/ragged_sum/config.pbtxt").read_text()
    example = re.sub(r"^#.*\n", "", example, flags=re.MULTILINE)
    assert "".join(shown.split()) in "".join(example.split())


def test_sequence_program_of_the_page_works(ports: Callable[[str], str]) -> None:
    (program,) = python_blocks("docs/sequence_batching.md")
    assert run_program(ports(program)).split() == ["[[1.]]", "[[11.]]", "[[111.]]"]


@pytest.mark.parametrize(
    ("page", "count"),
    [("sequence_batching", 3), ("dynamic_batching", 1), ("rate_limiter", 1), ("response_cache", 1)],
)
def test_configurations_of_the_pages_are_valid(page: str, count: int) -> None:
    """What a page leaves out is added: it shows the fields that it is about."""
    text = (ROOT / f"docs/{page}.md").read_text()
    blocks = [
        block for kind, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL) if not kind
    ]
    configurations = [block for block in blocks if re.match(r"[a-z_]+(: \d+\n| \[? ?\{)", block)]
    assert len(configurations) == count
    for block in configurations:
        head = 'name: "m"\nbackend: "identity"\n'
        if "\ninput" not in f"\n{block}":
            head += 'input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
            head += 'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
        head += "" if block.startswith(("max_batch_size", "input")) else "max_batch_size: 8\n"
        config = parse_config(head + block, page)
        normalize_config(config)
        validate_config(config)
        refuse_unoffered(config)


def test_rate_limiter_program_of_the_page_waits_for_the_licences(
    repository: Path, start_server: Callable[..., Any]
) -> None:
    (program,) = python_blocks("docs/rate_limiter.md")
    _, command = shell_blocks("docs/rate_limiter.md")
    flags = re.findall(r"--rate-limit\S+", command)
    assert len(flags) == 2
    server = start_server(f"--model-repository={repository}", *flags).wait_started()
    spent_s = float(run_program(program.replace("localhost:8001", server.url("grpc"))))
    assert spent_s >= 0.3, "two at a time; without the flags it is 0.2"
    assert server.stop() == 0


@pytest.mark.parametrize("page", ["README.md", "docs/in_process.md"])
def test_in_process_program_of_the_page_works(repository: Path, page: str) -> None:
    (program,) = python_blocks(page)
    assert "OUTPUT0" in program
    run_program(program.replace("examples/models", str(repository)))


def test_the_cached_example_answers_the_second_time_from_the_cache(repository: Path) -> None:
    (line,) = re.findall(
        r"--cache-config=(\S+)", (ROOT / "examples/models/cached/config.pbtxt").read_text()
    )
    row = np.array([[1, 2]], np.float32)
    with InferenceServer(repository, cache_config=[line]) as server:
        for _ in range(2):
            assert server.infer("cached", {"INPUT0": row})["OUTPUT0"].tolist() == row.tolist()
        (stats,) = json.loads(server.model_statistics("cached"))["model_stats"]
    assert (stats["execution_count"], stats["inference_stats"]["cache_hit"]["count"]) == (1, 1)


def test_examples_answer_what_their_comments_say(repository: Path) -> None:
    with InferenceServer(repository) as server:
        row = np.ones((1, 4), np.float32)
        assert server.infer("versions", {"INPUT": row}).model_version == 3
        assert server.infer("versions", {"INPUT": row}, model_version=2)["OUTPUT"][0, 0] == 2
        assert not server.model_ready("versions", "1")
        single = server.infer("single", {"INPUT": np.ones((3, 5), np.float32)})["OUTPUT"]
        assert single.shape == (3, 5)
        assert server.infer("pinned", {"INPUT0": row})["OUTPUT0"].tolist() == [[1.0] * 4]
        assert single[0, 0] == 0.5
        words = np.array([[b"one", b"two"]], object)
        echoed = server.infer("slow_identity", {"INPUT0": words})["OUTPUT0"]
        assert echoed.tolist() == [[b"one", b"two"]]
        batched = server.infer("batched", {"INPUT": np.ones((2, 16), np.float32)})["OUTPUT"]
        assert batched.tolist() == [[2.0] * 16] * 2
        ragged = server.infer("ragged_sum", {"VALUES": np.array([[1, 2, 4]], np.float32)})
        assert ragged["SUM"].tolist() == [[7]]
        assert ragged["DOUBLED"].tolist() == [[2, 4, 8]]
        row = np.array([[1, 2]], np.float32)
        urgent = server.infer("priorities", {"INPUT0": row}, priority=1)["OUTPUT0"]
        assert urgent.tolist() == row.tolist()
        pipeline = server.infer("pipeline", {"LEFT": row, "RIGHT": row})
        assert pipeline["CLASS_OF_SUM"].argmax() == 1
        assert pipeline["CLASS_OF_DIFFERENCE"].tolist() == [[np.float32(1 / 3)] * 3]

"""`response_cache`, and the fingerprint by which servers share responses."""

from pathlib import Path

import pytest
from fastserve.config.fingerprint import model_fingerprint
from fastserve.config.parse import parse_config
from fastserve.config.resolve import ConfigSettings, resolve_model
from fastserve.config.validate import _validate_response_cache
from fastserve.errors import InvalidArgumentError

CONFIG = """
backend: "identity"
max_batch_size: 8
input [ { name: "A" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "B" data_type: TYPE_FP32 dims: [ 1 ] label_filename: "labels.txt" } ]
"""


def write(directory: Path, text: str = CONFIG) -> Path:
    (directory / "1" / "assets").mkdir(parents=True, exist_ok=True)
    (directory / "1" / "assets" / "words").write_text("a")
    (directory / "labels.txt").write_text("x\n")
    (directory / "config.pbtxt").write_text(text)
    return directory


def fingerprint(directory: Path, text: str = CONFIG) -> str:
    return model_fingerprint(parse_config(text, "m"), 1, directory)


def resolve(directory: Path, *, shared: bool) -> dict:
    settings = ConfigSettings(fingerprint_cached_models=shared)
    return resolve_model("m", directory, settings, lambda _: {}).specs[0]


@pytest.mark.parametrize(
    "text",
    ["sequence_batching { }", "model_transaction_policy { decoupled: true }"],
)
def test_response_that_depends_on_more_than_its_request_cannot_be_cached(text):
    config = parse_config(CONFIG + text + " response_cache { enable: true }", "m")
    with pytest.raises(InvalidArgumentError, match="remove response_cache"):
        _validate_response_cache(config)
    _validate_response_cache(parse_config(CONFIG + text, "m"))


def test_the_core_is_told_whose_responses_to_cache(tmp_path):
    directory = write(tmp_path, CONFIG + "response_cache { enable: true }")
    assert resolve(directory, shared=False)["response_cache"] is True
    assert "cache_fingerprint" not in resolve(directory, shared=False)
    assert len(resolve(directory, shared=True)["cache_fingerprint"]) == 64
    assert "cache_fingerprint" not in resolve(write(tmp_path), shared=True)


def test_same_files_have_one_fingerprint_on_every_machine(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    assert fingerprint(one) == fingerprint(other)


def test_every_file_and_the_configuration_count(tmp_path):
    directory = write(tmp_path)
    seen = {fingerprint(directory), fingerprint(directory, CONFIG + "response_cache { }")}
    (directory / "1" / "assets" / "words").write_text("b")
    seen.add(fingerprint(directory))
    (directory / "1" / "assets" / "words").rename(directory / "1" / "words")
    seen.add(fingerprint(directory))
    (directory / "labels.txt").write_text("y\n")
    seen.add(fingerprint(directory))
    assert len(seen) == 5
    (directory / "2").mkdir()
    (directory / "2" / "other").write_text("of another version")
    assert fingerprint(directory) in seen

"""Model names, paths inside a model's directory, version directories, backend resolution."""

from pathlib import Path

import pytest
from fastserve.config.backends import resolve_backend
from fastserve.config.parse import parse_config
from fastserve.config.paths import check_model_name, inside_directory
from fastserve.config.versions import list_versions, select_versions
from fastserve.errors import InvalidArgumentError, UnsupportedError


@pytest.mark.parametrize(
    "name", ["", " ", "\t\n", ".", "..", "a/b", "../x", "/abs", "a\\b", "a\0b"]
)
def test_a_name_that_is_no_directory_name_is_refused(name):
    with pytest.raises(InvalidArgumentError):
        check_model_name(name)


@pytest.mark.parametrize("name", ["m", "..my_model", "...", "a b", "ünïcode", "a.b-c_1"])
def test_unusual_names_are_names(name):
    check_model_name(name)


def test_a_path_may_not_leave_the_directory(tmp_path):
    model = tmp_path / "m"
    model.mkdir()
    (tmp_path / "secret").write_text("x")
    (model / "link").symlink_to(tmp_path / "secret")
    (model / "inner").write_text("x")
    (model / "good").symlink_to("inner")
    assert inside_directory(model, "good", "f") == model / "good"
    for name in ("../secret", "/etc/passwd", "link", "a/../../secret", "x\0y"):
        with pytest.raises(InvalidArgumentError, match="f '"):
            inside_directory(model, name, "f")


def test_only_positive_numbers_are_versions(tmp_path):
    for name in ("1", "3", "10", "0", "01", "-1", "x", "1x", "٣", "9" * 30):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert list_versions(tmp_path) == [1, 3, 10]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", [4]),
        ("version_policy { latest { num_versions: 2 } }", [3, 4]),
        ("version_policy { all { } }", [1, 3, 4]),
        ("version_policy { specific { versions: [ 3, 1 ] } }", [1, 3]),
    ],
)
def test_the_policy_selects_versions(policy, expected):
    config = parse_config('name: "m" ' + policy, "c")
    assert select_versions(config, [1, 3, 4]) == (expected, [])


def test_a_specific_version_that_does_not_exist_earns_a_warning():
    config = parse_config('name: "m" version_policy { specific { versions: [ 2, 3 ] } }', "c")
    versions, warnings = select_versions(config, [3])
    assert versions == [3]
    assert "version 2 is specified for model 'm'" in warnings[0]


def test_no_version_at_all_is_refused():
    with pytest.raises(InvalidArgumentError, match="at least one version must be available"):
        select_versions(parse_config('name: "m"', "c"), [])


def resolve(text: str, directory: Path | None = None):
    config = parse_config('name: "m" ' + text, "c")
    resolve_backend(config, directory)
    return config.backend, config.platform, config.default_model_filename


@pytest.mark.parametrize(
    "text",
    [
        'platform: "onnxruntime_onnx"',
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        'backend: "onnxruntime" platform: "onnxruntime_onnx"',
    ],
)
def test_each_way_to_say_onnx_means_the_same(text):
    assert resolve(text) == ("onnxruntime", "onnxruntime_onnx", "model.onnx")


def test_an_onnx_file_is_recognised_without_a_configuration(tmp_path):
    (tmp_path / "model.onnx").touch()
    assert resolve("", tmp_path)[0] == "onnxruntime"


def test_the_only_onnx_file_is_the_model_under_any_name(tmp_path):
    (tmp_path / "resnet.onnx").touch()
    assert resolve("", tmp_path) == ("onnxruntime", "onnxruntime_onnx", "resnet.onnx")


@pytest.mark.parametrize(
    "text",
    [
        'platform: "tensorrt_plan"',
        'backend: "openvino"',
        'platform: "tensorflow_graphdef"',
    ],
)
def test_a_known_backend_that_is_not_offered_is_unsupported(text):
    with pytest.raises(UnsupportedError, match="not offered yet"):
        resolve(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('backend: "nope"', "unable to find backend 'nope' for model 'm'; write one of"),
        ('platform: "nope"', "unexpected platform type 'nope' for m"),
        (
            'platform: "tensorrt_plan" backend: "onnxruntime"',
            "unexpected 'platform' and 'backend' pair, got:tensorrt_plan, onnxruntime for m; "
            "remove platform, or write platform: 'onnxruntime_onnx'",
        ),
        ("", "Could not determine backend for model 'm'"),
    ],
)
def test_what_cannot_be_resolved_is_refused(text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        resolve(text)

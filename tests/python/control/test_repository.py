"""Which models a repository holds, and when a model's files count as changed."""

import os

import pytest
from fastserve.control.repository import ModelRepository, fingerprint
from fastserve.errors import InternalError


def test_directories_are_models_and_files_and_hidden_directories_are_not(tmp_path):
    for name in ("a", "b b", "..my_model", "...", ".git", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert ModelRepository([str(tmp_path)]).list_models() == ["...", "..my_model", "a", "b b"]


def test_several_repositories_are_one(tmp_path):
    for name in ("x/a", "y/b"):
        (tmp_path / name).mkdir(parents=True)
    repository = ModelRepository([str(tmp_path / "x"), str(tmp_path / "y")])
    assert repository.list_models() == ["a", "b"]
    assert repository.find("b") == tmp_path / "y" / "b"
    with pytest.raises(InternalError, match="failed to load 'c', failed to poll"):
        repository.find("c")


def test_every_change_of_a_file_changes_the_fingerprint(tmp_path):
    (tmp_path / "1").mkdir()
    file = tmp_path / "1" / "model.onnx"
    file.write_bytes(b"a")
    seen = [fingerprint(tmp_path)]
    file.write_bytes(b"ab")
    seen.append(fingerprint(tmp_path))
    os.utime(file, ns=(1, 1))
    seen.append(fingerprint(tmp_path))
    (tmp_path / "labels.txt").touch()
    seen.append(fingerprint(tmp_path))
    file.unlink()
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == 5
    assert fingerprint(tmp_path) == seen[-1]


def test_files_behind_a_link_count_and_a_loop_ends(tmp_path):
    outside, model = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    model.mkdir()
    (outside / "model.onnx").write_bytes(b"a")
    (model / "1").symlink_to(outside)
    (outside / "up").symlink_to(model)
    before = fingerprint(model)
    (outside / "model.onnx").write_bytes(b"ab")
    assert fingerprint(model) != before


def test_a_directory_that_no_client_could_name_is_left_out_with_a_warning(tmp_path, capfd):
    (tmp_path / "good").mkdir()
    (tmp_path / "bad\nname").mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/latin-\xe9")
    assert ModelRepository([str(tmp_path)]).list_models() == ["good"]
    error = capfd.readouterr().err
    assert r"bad\\nname' is left out" in error
    assert r"latin-\\udce9' is left out" in error

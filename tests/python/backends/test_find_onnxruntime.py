"""Finding libonnxruntime in the user's environment without importing the package."""

import subprocess
import sys
from pathlib import Path

import pytest
from fastserve.backends import find_onnxruntime_library
from fastserve.errors import UnavailableError


def package(root: Path, *files: str) -> Path:
    """A package `onnxruntime` under root that cannot be imported, with these files in capi/."""
    capi = root / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (root / "onnxruntime" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    for name in files:
        (capi / name).touch()
    return root


def only_path(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "path", [str(root)])


def test_finds_the_library_of_the_installed_wheel() -> None:
    library = find_onnxruntime_library()
    assert library.is_file()
    assert library.name.startswith("libonnxruntime.so.1.")


def test_takes_the_newest_of_several_without_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = package(
        tmp_path,
        "libonnxruntime.so.1.9.2",
        "libonnxruntime.so.1.32.0",
        "libonnxruntime_providers_shared.so",
        "libonnxruntime.so.1.32.0.sig",
    )
    only_path(monkeypatch, root)
    assert find_onnxruntime_library().name == "libonnxruntime.so.1.32.0"


def test_says_what_to_install_when_there_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_path(monkeypatch, tmp_path)
    with pytest.raises(UnavailableError, match=r"pip install fastserve\[onnx\]"):
        find_onnxruntime_library()


def test_names_the_folder_of_a_package_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_path(monkeypatch, package(tmp_path))
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        find_onnxruntime_library()


def test_leaves_onnxruntime_unimported() -> None:
    code = (
        "import sys; from fastserve.backends import find_onnxruntime_library as find; find(); "
        "sys.exit('onnxruntime' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

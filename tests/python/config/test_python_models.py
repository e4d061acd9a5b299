"""Python models in a configuration: their file, environment, limits and completion."""

import json
import sys
import tarfile
from pathlib import Path

import pytest
from fastserve.config.resolve import ConfigSettings, resolve_model
from fastserve.errors import InvalidArgumentError

TENSORS = """
input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


def no_signature(spec):
    raise AssertionError("a Python model has no signature")


def write(folder: Path, config: str, files: tuple[str, ...] = ("1/model.py",)) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("class TritonPythonModel: pass\n")
    (folder / "config.pbtxt").write_text(config)
    return folder


def resolve(folder: Path, complete=None, **settings):
    return resolve_model(folder.name, folder, ConfigSettings(**settings), no_signature, complete)


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'


def test_a_model_py_is_a_python_model(tmp_path):
    folder = write(tmp_path / "m", TENSORS)
    (spec,) = resolve(folder).specs
    assert spec["backend"] == "python"
    assert spec["path"] == str(folder / "1" / "model.py")
    assert spec["worker"]["interpreter"] == sys.executable
    assert spec["worker"]["environment"] == {}
    assert spec["model_directory"] == str(folder)


def test_the_worker_gets_the_whole_configuration(tmp_path):
    (spec,) = resolve(write(tmp_path / "m", TENSORS + parameter("key", "value"))).specs
    config = json.loads(spec["config_json"])
    assert config["output"][0]["data_type"] == "TYPE_FP32"
    assert config["parameters"] == {"key": {"string_value": "value"}}
    assert config["instance_group"][0]["count"] == 1


def test_a_missing_file_is_named(tmp_path):
    folder = write(tmp_path / "m", 'backend: "python"' + TENSORS, ("1/other.py",))
    with pytest.raises(InvalidArgumentError, match=r"failed to find the model file .*model\.py"):
        resolve(folder)


def test_the_file_may_have_another_name_inside_the_folder(tmp_path):
    config = 'backend: "python" default_model_filename: "main.py"' + TENSORS
    folder = write(tmp_path / "m", config, ("1/main.py",))
    assert resolve(folder).specs[0]["path"] == str(folder / "1" / "main.py")
    write(folder, config.replace("main.py", "../../evil.py"))
    with pytest.raises(InvalidArgumentError, match="leaves the model's directory"):
        resolve(folder)


def test_decoupled_python_models_are_offered(tmp_path):
    config = TENSORS + "model_transaction_policy { decoupled: true }"
    assert resolve(write(tmp_path / "m", config)).specs[0]["decoupled"] is True


class TestPythonBasedBackends:
    def test_the_backend_directory_has_the_code(self, tmp_path):
        backends = tmp_path / "backends"
        write(backends / "mine", "", ("model.py",))
        folder = write(tmp_path / "m", 'backend: "mine"' + TENSORS, ("1/weights",))
        (spec,) = resolve(folder, backend_directory=str(backends)).specs
        assert spec["backend"] == "mine"
        assert spec["path"] == str(backends / "mine" / "model.py")
        assert spec["model_directory"] == str(folder)

    def test_an_unknown_one_says_where_it_would_be(self, tmp_path):
        folder = write(tmp_path / "m", 'backend: "mine"' + TENSORS)
        with pytest.raises(InvalidArgumentError, match=r"put its model\.py into /opt/b/mine"):
            resolve(folder, backend_directory="/opt/b")

    def test_native_backends_are_not_replaced(self, tmp_path):
        write(tmp_path / "backends" / "identity", "", ("model.py",))
        folder = write(tmp_path / "m", 'backend: "identity"' + TENSORS, ("1/x",))
        (spec,) = resolve(folder, backend_directory=str(tmp_path / "backends")).specs
        assert "worker" not in spec


class TestLimits:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("EXECUTION_TIMEOUT_SECONDS", "soon"),
            ("EXECUTION_TIMEOUT_SECONDS", "nan"),
            ("EXECUTION_TIMEOUT_SECONDS", "-1"),
            ("MEMORY_LIMIT_BYTES", "1.5"),
            ("MAX_REQUESTS_BEFORE_RESTART", str(1 << 70)),
        ],
    )
    def test_what_is_no_limit_is_refused(self, tmp_path, key, value):
        with pytest.raises(InvalidArgumentError, match=f"parameter {key} is '{value}'"):
            resolve(write(tmp_path / "m", TENSORS + parameter(key, value)))

    def test_limits_pass(self, tmp_path):
        config = TENSORS + parameter("EXECUTION_TIMEOUT_SECONDS", "0.5")
        (spec,) = resolve(write(tmp_path / "m", config)).specs
        assert spec["parameters"]["EXECUTION_TIMEOUT_SECONDS"] == "0.5"


class TestExecutionEnvironment:
    def interpreter(self, folder: Path) -> Path:
        path = folder / "bin" / "python3"
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    @pytest.mark.parametrize("text", ["$$TRITON_MODEL_DIRECTORY/env", "env"])
    def test_a_folder_of_the_model(self, tmp_path, text):
        folder = write(tmp_path / "m", TENSORS + parameter("EXECUTION_ENV_PATH", text))
        path = self.interpreter(folder / "env")
        worker = resolve(folder).specs[0]["worker"]
        assert worker["interpreter"] == str(path)
        assert worker["environment"]["PATH"].startswith(f"{folder}/env/bin:")
        assert worker["environment"]["VIRTUAL_ENV"] == f"{folder}/env"

    def test_a_conda_environment_brings_its_libraries(self, tmp_path):
        folder = write(tmp_path / "m", TENSORS + parameter("EXECUTION_ENV_PATH", "env"))
        self.interpreter(folder / "env")
        (folder / "env" / "conda-meta").mkdir()
        environment = resolve(folder).specs[0]["worker"]["environment"]
        assert environment["LD_LIBRARY_PATH"].startswith(f"{folder}/env/lib")

    @pytest.mark.parametrize("suffix", ["tbz2", "txz"])
    def test_a_conda_pack_archive_is_a_conda_environment(self, tmp_path, monkeypatch, suffix):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        folder = write(tmp_path / "m", TENSORS + parameter("EXECUTION_ENV_PATH", f"env.{suffix}"))
        self.interpreter(tmp_path / "env")
        for name in ("bin/activate", "bin/conda-unpack", "conda-meta/history", "lib/libz.so.1"):
            path = tmp_path / "env" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(name)
        with tarfile.open(folder / f"env.{suffix}", f"w:{suffix[1:]}") as archive:
            for name in ("conda-meta", "lib", "bin"):
                archive.add(tmp_path / "env" / name, name)
        worker = resolve(folder).specs[0]["worker"]
        unpacked = Path(worker["interpreter"]).parents[1]
        assert unpacked.is_relative_to(tmp_path / "cache")
        assert worker["environment"]["CONDA_PREFIX"] == str(unpacked)
        assert worker["environment"]["LD_LIBRARY_PATH"].startswith(f"{unpacked}/lib")
        assert (unpacked / "bin/activate").read_text() == "bin/activate"

    def test_an_archive_beside_the_model(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        text = "$$TRITON_MODEL_DIRECTORY/env.tar.gz"
        folder = write(tmp_path / "m", TENSORS + parameter("EXECUTION_ENV_PATH", text))
        self.interpreter(tmp_path / "env")
        with tarfile.open(folder / "env.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "env", ".")
        path = Path(resolve(folder).specs[0]["worker"]["interpreter"])
        assert path.is_relative_to(tmp_path / "cache" / "fastserve" / "environments")
        assert path.read_text() == "#!/bin/sh\n"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("../env", "leaves the model's directory"),
            ("$$TRITON_MODEL_DIRECTORY/../env", "leaves the model's directory"),
            ("x/$$TRITON_MODEL_DIRECTORY/env", "may only begin with"),
            ("missing.tar.gz", "there is no file or folder"),
            ("config.pbtxt", "is no archive"),
            ("1", "has no executable bin/python3"),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, tmp_path, text, reason):
        folder = write(tmp_path / "m", TENSORS + parameter("EXECUTION_ENV_PATH", text))
        (tmp_path / "env").mkdir()
        with pytest.raises(InvalidArgumentError, match=reason):
            resolve(folder)


class TestCompletion:
    ANSWER = json.dumps(
        {
            "max_batch_size": 4,
            "input": [{"name": "A", "data_type": "TYPE_STRING", "dims": [1]}],
            "output": [{"name": "B", "data_type": "TYPE_FP32", "dims": ["-1"]}],
            "dynamic_batching": {},
            "model_transaction_policy": {"decoupled": True},
        }
    )

    def test_what_the_model_says_is_taken_over(self, tmp_path):
        folder = write(tmp_path / "m", "")
        resolved = resolve(folder, lambda _: self.ANSWER)
        (spec,) = resolved.specs
        assert spec["max_batch_size"] == 4
        assert [(t["name"], t["type"], t["dims"]) for t in spec["inputs"]] == [("A", "BYTES", [1])]
        assert spec["decoupled"] is True
        assert spec["dynamic_batching"]["self_tuning"] is True

    def test_a_complete_configuration_starts_no_process_for_it(self, tmp_path):
        def never(spec):
            raise AssertionError("not needed")

        assert resolve(write(tmp_path / "m", TENSORS), never).specs

    def test_a_model_with_the_method_is_asked(self, tmp_path):
        folder = write(tmp_path / "m", TENSORS)
        (folder / "1" / "model.py").write_text("def auto_complete_config(config): ...")
        assert resolve(folder, lambda _: self.ANSWER).specs[0]["max_batch_size"] == 4

    @pytest.mark.parametrize(
        "source",
        [
            "from base import TritonPythonModel",
            "from base import Base as TritonPythonModel",
            "from base import *",
            "class TritonPythonModel: pass\nfrom base import *",
            "from base import Base\nclass TritonPythonModel(Base): pass",
            "import base\nclass TritonPythonModel(base.Base): pass",
            "import base\nclass Own(base.Base): pass\nclass TritonPythonModel(Own): pass",
            "from base import mend\n@mend\nclass TritonPythonModel: pass",
            "from base import Meta\nclass TritonPythonModel(metaclass=Meta): pass",
            "from base import mend\nclass TritonPythonModel: pass\nmend(TritonPythonModel)",
            "class TritonPythonModel(",
        ],
    )
    def test_a_model_that_may_inherit_the_method_is_asked(self, tmp_path, source):
        folder = write(tmp_path / "m", TENSORS)
        (folder / "1" / "model.py").write_text(source)
        assert resolve(folder, lambda _: self.ANSWER).specs[0]["max_batch_size"] == 4

    @pytest.mark.parametrize("bases", ["", "()", "(object)", "(Own)"])
    def test_a_model_that_cannot_have_the_method_is_not_asked(self, tmp_path, bases):
        def never(spec):
            raise AssertionError("not needed")

        folder = write(tmp_path / "m", TENSORS)
        source = f"import base\nclass Own: pass\nclass TritonPythonModel{bases}: pass\n"
        (folder / "1" / "model.py").write_text(source)
        assert resolve(folder, never).specs

    def test_nobody_is_asked_when_completion_is_off(self, tmp_path):
        folder = write(tmp_path / "m", 'name: "m"')
        with pytest.raises(InvalidArgumentError, match=r"at least one input"):
            resolve(folder, lambda _: self.ANSWER, auto_complete=False)

    def test_an_answer_that_is_no_configuration_is_refused(self, tmp_path):
        folder = write(tmp_path / "m", "")
        with pytest.raises(InvalidArgumentError, match="made no valid configuration"):
            resolve(folder, lambda _: '{"input": 3}')

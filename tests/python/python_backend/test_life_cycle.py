"""Start, configuration, readiness, log and end of a worker."""

import json
import os
import select
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.python.python_backend.conftest import write_python_model
from tests.python.python_backend.worker_peer import ROOT, TIMEOUT_S, WORKER, Request


def test_initialize_is_given_strings(run_model):
    peer = run_model("""
    import json
    class TritonPythonModel:
        def initialize(self, args):
            assert all(type(value) is str for value in args.values())
            json.loads(args["model_config"])
            self.args = {**args, "model_config": "", "dir": pb_utils.get_model_dir()}
        def execute(self, requests):
            return [pb_utils.InferenceResponse(parameters=self.args)]
    """)
    arguments = json.loads(peer.execute(Request())[0].parameters)
    folder = arguments["model_repository"]
    assert arguments == {
        "model_config": "",
        "model_instance_kind": "CPU",
        "model_instance_name": "model_0_0",
        "model_instance_device_id": "0",
        "model_repository": folder,
        "model_version": "1",
        "model_name": "model",
        "dir": folder + "/1",
    }


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ({"name": "model_0", "kind": "KIND_MODEL"}, "MODEL"),
        ({"name": "model_0", "kind": "KIND_CPU"}, "CPU"),
        ({"name": "model_1", "kind": "KIND_MODEL"}, "CPU"),
    ],
)
def test_the_kind_of_an_instance_is_its_groups(tmp_path, new_peer, group, kind):
    model = write_python_model(
        tmp_path,
        """
        class TritonPythonModel:
            def initialize(self, args):
                assert args["model_instance_kind"] == "never", args["model_instance_kind"]
            def execute(self, requests):
                pass
        """,
    )
    error = new_peer().initialize(model, {"instance_group": [group]})["error"]
    assert error.startswith(f"AssertionError: {kind}\n")


def test_the_native_module_has_its_enumerations(run_execute):
    peer = run_execute("""
        import c_python_backend_utils as c
        assert c.MetricKind.HISTOGRAM == pb_utils.MetricFamily.HISTOGRAM == 2
        assert c.MemoryType.TRITONSERVER_MEMORY_GPU == pb_utils.TRITONSERVER_MEMORY_GPU == 1
        assert pb_utils.Logger.LogLevel.WARNING == pb_utils.Logger.WARNING == 1
        pb_utils.Logger.log("told", pb_utils.Logger.LogLevel.ERROR)
        assert requests[0].trace().get_context() is None
        assert requests[1].trace().get_context() == "context"
        return [pb_utils.InferenceResponse() for _ in requests]
    """)
    (answer, _) = peer.execute(Request(), Request(trace="context"))
    assert answer.kind == 1, answer.message
    assert peer.log == [(0, "told")]


def test_a_model_imports_its_neighbours(tmp_path, new_peer):
    model = write_python_model(
        tmp_path,
        """
        from . import beside
        import beside as also_beside, above, before
        class TritonPythonModel:
            def execute(self, requests):
                names = [__name__, beside.__name__, above.x + before.x + also_beside.x]
                output = pb_utils.Tensor("OUT", np.array(names, object))
                return [pb_utils.InferenceResponse([output])]
        """,
    )
    (model / "1/beside.py").write_text("x = 1")
    (model / "above.py").write_text("x = 2")
    (model / "1/before.py").write_text("raise RuntimeError('python_path comes first')")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/before.py").write_text("x = 3")
    peer = new_peer()
    assert peer.initialize(model, python_path=[str(tmp_path / "site")])["error"] is None
    assert peer.execute(Request())[0]["OUT"].tolist() == [b"1.model", b"1.beside", b"6"]


def test_modules_of_the_worker_do_not_shadow_the_models(tmp_path, new_peer):
    model = write_python_model(
        tmp_path,
        "import worker, channel, process, tensor, messages, log\n"
        "import c_python_backend_utils as c\n"
        "assert c.Tensor is pb_utils.Tensor and c.shared_memory.free_memory() >= 0\n"
        "class TritonPythonModel:\n    def execute(self, requests): pass",
    )
    for name in ("worker", "channel", "process", "tensor", "messages", "log"):
        (model / f"1/{name}.py").write_text("")
    assert new_peer().initialize(model)["error"] is None


def test_auto_complete_fills_the_configuration(tmp_path, new_peer):
    model = write_python_model(
        tmp_path,
        """
        class TritonPythonModel:
            @staticmethod
            def auto_complete_config(config):
                config.add_input({"name": "IN", "data_type": "TYPE_FP32", "dims": [4]})
                config.add_input({"name": "MORE", "data_type": "TYPE_FP32", "dims": [1],
                                  "optional": True})
                config.add_output({"name": "OUT", "data_type": "TYPE_STRING", "dims": [-1]})
                config.set_max_batch_size(8)
                config.set_dynamic_batching()
                config.set_model_transaction_policy({"decoupled": True})
                return config
            def execute(self, requests): pass
        """,
    )
    given = {"input": [{"name": "IN", "data_type": "TYPE_INVALID", "dims": []}]}
    answer = new_peer().initialize(model, given, auto_complete=True)
    assert answer["error"] is None
    assert answer["config"] == {
        "name": "model",
        "max_batch_size": 8,
        "dynamic_batching": {},
        "model_transaction_policy": {"decoupled": True},
        "input": [
            {"name": "IN", "data_type": "TYPE_FP32", "dims": [4]},
            {"name": "MORE", "data_type": "TYPE_FP32", "dims": [1], "optional": True},
        ],
        "output": [{"name": "OUT", "data_type": "TYPE_STRING", "dims": [-1]}],
    }


@pytest.mark.parametrize("configured", [0, 4, 8])
def test_the_model_may_raise_the_batch_size_of_the_configuration(tmp_path, new_peer, configured):
    model = write_python_model(
        tmp_path,
        """
        class TritonPythonModel:
            @staticmethod
            def auto_complete_config(config):
                config.set_max_batch_size(8)
                return config
        """,
    )
    answer = new_peer().initialize(model, {"max_batch_size": configured}, auto_complete=True)
    assert answer["config"]["max_batch_size"] == 8


@pytest.mark.parametrize(
    ("given", "call", "text"),
    [
        ({"max_batch_size": 9}, "set_max_batch_size(8)", "configured as 9"),
        ({"sequence_batching": {}}, "set_dynamic_batching()", "beside sequence_batching"),
        ({}, "add_input({'name': 'a'})", "lacks ['data_type', 'dims']"),
        ({}, "add_output({'name': 'a', 'x': 1})", "unknown properties ['x']"),
        (
            {"output": [{"name": "a", "data_type": "TYPE_FP32", "dims": [1]}]},
            "add_output({'name': 'a', 'data_type': 'TYPE_INT8', 'dims': [1]})",
            "has data_type TYPE_FP32 in its configuration",
        ),
        (
            {"model_transaction_policy": {"decoupled": False}},
            "set_model_transaction_policy({'decoupled': True})",
            "decoupled is configured as False",
        ),
        ({}, "set_model_transaction_policy({'x': True})", "no property ['x']"),
    ],
)
def test_a_contradiction_of_the_configuration_is_an_error(tmp_path, new_peer, given, call, text):
    model = write_python_model(
        tmp_path,
        f"""
        class TritonPythonModel:
            @staticmethod
            def auto_complete_config(config):
                config.{call}
                return config
        """,
    )
    answer = new_peer().initialize(model, given, auto_complete=True)
    assert answer["config"] is None
    assert text in answer["error"]


def test_a_model_without_auto_complete_leaves_the_configuration(tmp_path, new_peer):
    model = write_python_model(tmp_path, "class TritonPythonModel: pass")
    answer = new_peer().initialize(model, auto_complete=True)
    assert (answer["error"], answer["config"]) == (None, None)


@pytest.mark.parametrize(
    ("is_ready", "expected"),
    [
        ("def is_ready(self): return True", (True, "")),
        ("def is_ready(self): return False", (False, "")),
        ("async def is_ready(self): return True", (True, "")),
        ("def is_ready(self): return 'x'", (False, "is_ready returned str, expected bool")),
    ],
)
@pytest.mark.parametrize("execute", ["def execute", "async def execute"])
def test_is_ready_is_asked(run_model, is_ready, expected, execute):
    peer = run_model(f"""
    class TritonPythonModel:
        {is_ready}
        {execute}(self, requests): return [pb_utils.InferenceResponse()]
    """)
    assert peer.check_ready() == expected
    peer.execute(Request())
    assert peer.check_ready() == expected


def test_is_ready_that_raises_is_not_ready(run_model):
    peer = run_model("""
    class TritonPythonModel:
        def is_ready(self): raise OSError("no database")
        def execute(self, requests): pass
    """)
    ready, error = peer.check_ready()
    assert not ready
    assert error.startswith("OSError: no database\n\nAt:\n  ")


def test_is_ready_that_awaits_too_long_is_not_ready(run_model):
    peer = run_model("""
    import asyncio, fastserve_worker.user_model
    fastserve_worker.user_model.READY_LIMIT_S = 0.01
    class TritonPythonModel:
        async def is_ready(self): await asyncio.Event().wait()
        def execute(self, requests): pass
    """)
    assert peer.check_ready() == (False, "is_ready took more than 0.01 s")


def test_is_ready_is_asked_while_execute_runs(run_model):
    peer = run_model("""
    import threading
    class TritonPythonModel:
        asked = threading.Event()
        def is_ready(self):
            self.asked.set()
            return True
        def execute(self, requests):
            print("executing")
            assert self.asked.wait(30)
            return [pb_utils.InferenceResponse()]
    """)
    execution = peer.start([Request()])
    assert peer.process.stdout.readline() == b"executing\n"
    assert peer.check_ready() == (True, "")
    assert peer.responses(execution)[0].kind == 1


def test_short_and_long_executions_take_turns(run_model):
    peer = run_model("""
    import time
    class TritonPythonModel:
        def execute(self, requests):
            until = time.monotonic() + float(requests[0].request_id())
            while time.monotonic() < until:
                requests[0].is_cancelled()
            return [pb_utils.InferenceResponse(parameters={"id": requests[0].request_id()})]
    """)
    for seconds in ("0", "0.03", "0", "0", "0.02", "0.001", "0.03", "0") * 3:
        (answer,) = peer.execute(Request(id=seconds))
        assert json.loads(answer.parameters) == {"id": seconds}


def test_the_log_has_what_its_level_lets_through(run_model):
    peer = run_model("""
    class TritonPythonModel:
        def execute(self, requests):
            log = pb_utils.Logger
            log.log("plain")
            log.log("as error", log.ERROR)
            log.log_info("info\\0é\\ud800")
            log.log_warn("warn")
            log.log_error("error")
            log.log_verbose("verbose")
            return [pb_utils.InferenceResponse()]
    """)
    peer.execute(Request())
    assert peer.log == [
        (2, "plain"), (0, "as error"), (2, "info\0é\\ud800"), (1, "warn"), (0, "error"),
    ]  # fmt: skip
    peer.log.clear()
    peer.send("LOG_SETTINGS", b'{"level": 0}')
    peer.execute(Request())
    assert peer.log == [(0, "as error"), (0, "error")]
    peer.log.clear()
    peer.send("LOG_SETTINGS", b'{"level": 3}')
    peer.execute(Request())
    assert (3, "verbose") in peer.log


@pytest.mark.parametrize("head", ["def execute", "async def execute"])
def test_finalize_is_the_last_thing(run_model, head):
    peer = run_model(f"""
    import atexit
    atexit.register(print, "at exit")
    class TritonPythonModel:
        {head}(self, requests):
            print("é\\ud800 executed")
            return [pb_utils.InferenceResponse() for _ in requests]
        def finalize(self):
            print("finalized", end="")
    """)
    peer.execute(Request())
    assert peer.finalize() == 0
    assert peer.stdout() == "é\\ud800 executed\nfinalizedat exit\n"


def test_finalize_that_raises_ends_with_status_1(run_model):
    peer = run_model("""
    class TritonPythonModel:
        def execute(self, requests): pass
        def finalize(self): raise RuntimeError("disk")
    """)
    assert peer.finalize() == 1
    assert "RuntimeError: disk" in peer.stderr()


def test_finalize_waits_for_coroutines(run_model):
    peer = run_model(
        """
        import asyncio
        class TritonPythonModel:
            async def execute(self, requests):
                sender = requests[0].get_response_sender()
                sender.send(pb_utils.InferenceResponse())
                while not sender.is_cancelled():
                    await asyncio.sleep(0)
                sender.send(flags=1)
        """,
        True,
    )
    request = Request()
    peer.start([request])
    peer.response()
    peer.send("FINALIZE")
    peer.cancel(request.handle)
    assert peer.response().flags == 1
    assert peer.process.wait(TIMEOUT_S) == 0


def test_a_worker_of_another_parent_does_not_start():
    process = subprocess.run(
        [sys.executable, str(WORKER), "0", "1"], timeout=TIMEOUT_S, check=False
    )
    assert process.returncode == 1


def test_a_worker_dies_with_its_server(tmp_path):
    model = write_python_model(
        tmp_path, "class TritonPythonModel:\n    def execute(self, requests): pass"
    )
    code = f"""
import sys
from pathlib import Path
from tests.python.python_backend.worker_peer import WorkerPeer
peer = WorkerPeer()
assert peer.initialize(Path({str(model)!r}))["error"] is None
print(peer.process.pid, flush=True)
sys.stdin.read()
"""
    server = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    worker = os.pidfd_open(int(server.stdout.readline()))
    server.send_signal(signal.SIGKILL)
    server.communicate()
    assert select.select([worker], [], [], TIMEOUT_S)[0] == [worker]
    os.close(worker)


def test_the_functions_about_types_and_configurations(run_execute):
    peer = run_execute("""
        config = {"input": [{"name": "IN"}], "output": [{"name": "OUT"}]}
        assert pb_utils.get_input_config_by_name(config, "IN") == {"name": "IN"}
        assert pb_utils.get_output_config_by_name(config, "OUT") == {"name": "OUT"}
        assert pb_utils.get_input_config_by_name(config, "OUT") is None
        assert pb_utils.get_input_tensor_by_name(requests[0], "no") is None
        assert not pb_utils.using_decoupled_model_transaction_policy(config)
        config["model_transaction_policy"] = {"decoupled": True}
        assert pb_utils.using_decoupled_model_transaction_policy(config)
        assert pb_utils.triton_string_to_numpy("TYPE_FP16") is np.float16
        assert pb_utils.TRITON_STRING_TO_NUMPY["TYPE_STRING"] is np.object_
        for number in range(1, 14):
            kind = pb_utils.triton_to_numpy_type(number)
            assert pb_utils.numpy_to_triton_type(kind) == number
        data = pb_utils.serialize_byte_tensor(np.array([["a", b"\\0"]], object))
        assert data == b"\\1\\0\\0\\0a\\1\\0\\0\\0\\0"
        assert pb_utils.deserialize_bytes_tensor(data).tolist() == [b"a", b"\\0"]
        assert pb_utils.deserialize_bytes_tensor(b"").tolist() == []
        tensor = requests[0].inputs()[0]
        assert (tensor.name(), tensor.triton_dtype(), tensor.shape()) == ("IN", 11, [2, 1])
        assert tensor.is_cpu() and tensor.as_numpy() is tensor.as_numpy()
        return [pb_utils.InferenceResponse()]
    """)
    (answer,) = peer.execute(Request({"IN": np.ones((2, 1), np.float32)}))
    assert answer.kind == 1, answer.message

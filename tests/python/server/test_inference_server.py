"""fastserve.InferenceServer: numpy and DLPack in and out, synchronous and asynchronous."""

import asyncio
import gc
import os
import threading
from collections.abc import Iterator

import fastserve
import numpy as np
import pytest
from fastserve.errors import CancelledError, InvalidArgumentError, NotFoundError, UnavailableError
from fastserve.tensors import to_core

from tests.models.repository import write_repository
from tests.python.conftest import IDENTITY_CONFIG, write_model

ARRAYS = {
    "bool": np.array([[True, False]]),
    "uint8": np.array([[255, 0]], np.uint8),
    "int64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "uint64": np.array([[2**64 - 1]], np.uint64),
    "fp16": np.array([[1.5, -0.5]], np.float16),
    "fp32": np.array([[1.5, np.inf]], np.float32),
    "fp64": np.array([[0.1]], np.float64),
    "bytes": np.array([[b"", b"a\0b", b"\xff"]], np.object_),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[fastserve.InferenceServer]:
    directory = tmp_path_factory.mktemp("models")
    write_repository(directory, [f"identity_{name}" for name in ARRAYS])
    write_repository(directory, ["scalar", "nonzero", "add_sub_fp32"])
    write_model(directory, "echo")
    slow = IDENTITY_CONFIG + 'parameters { key: "execute_delay_ms" value { string_value: "400" } }'
    write_model(directory, "slow", slow)
    with fastserve.InferenceServer(directory) as started:
        yield started


@pytest.mark.parametrize("name", list(ARRAYS))
def test_every_type_comes_back_as_it_went(server, name):
    value = ARRAYS[name]
    got = server.infer(f"identity_{name}", {"INPUT0": value})["OUTPUT0"]
    assert got.dtype == value.dtype
    assert got.tolist() == value.tolist()


def test_scalars_and_empty_results_have_their_shapes(server):
    assert server.infer("scalar", {"INPUT0": np.full(1, 2, np.float32)})["OUTPUT0"].tolist() == [4]
    found = server.infer("nonzero", {"INPUT0": np.zeros(4, np.float32)})["OUTPUT0"]
    assert found.shape == (1, 0)


def test_a_contiguous_array_is_used_where_it_lies(server):
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    output = server.infer("echo", {"INPUT0": value})["OUTPUT0"]
    assert np.shares_memory(output, value)
    assert not output.flags.writeable


def test_strided_and_foreign_byte_order_arrays_are_converted(server):
    strided = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    assert server.infer("echo", {"INPUT0": strided})["OUTPUT0"].tolist() == strided.tolist()
    swapped = np.arange(4, dtype=">f4").reshape(1, 4)
    assert server.infer("echo", {"INPUT0": swapped})["OUTPUT0"].tolist() == swapped.tolist()


def test_a_dlpack_object_is_an_input(server):
    class Foreign:
        def __init__(self, array: np.ndarray) -> None:
            self._array = array

        def __dlpack__(self, **options):
            return self._array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()

    value = np.arange(4, dtype=np.float32).reshape(1, 4)
    output = server.infer("echo", {"INPUT0": Foreign(value)})["OUTPUT0"]
    assert np.shares_memory(output, value)


def test_outputs_stay_valid_when_everything_else_is_gone(server):
    kept = [
        server.infer(
            "add_sub_fp32",
            {"INPUT0": np.full((1, 16), n, np.float32), "INPUT1": np.zeros((1, 16), np.float32)},
        )["OUTPUT0"]
        for n in range(50)
    ]
    gc.collect()
    assert [int(array[0, 0]) for array in kept] == list(range(50))


def test_inputs_are_let_go_after_the_answer(server):
    class Owned(np.ndarray):
        pass

    value = np.ones((1, 4), np.float32).view(Owned)
    gone = threading.Event()
    import weakref

    weakref.finalize(value, gone.set)
    output = server.infer(
        "add_sub_fp32",
        {"INPUT0": np.ones((1, 16), np.float32), "INPUT1": np.ones((1, 16), np.float32)},
    )
    server.infer("echo", {"INPUT0": value})
    del value
    server.infer("echo", {"INPUT0": np.ones((1, 1), np.float32)})
    gc.collect()
    assert gone.wait(10)
    assert output["OUTPUT0"].shape == (1, 16)


def test_the_result_carries_id_version_and_name(server):
    result = server.infer("echo", {"INPUT0": np.ones((1, 1), np.float32)}, request_id="r1")
    assert (result.model_name, result.model_version, result.request_id) == ("echo", 1, "r1")
    assert list(result) == ["OUTPUT0"]
    assert len(result) == 1


def test_only_requested_outputs_are_returned(server):
    inputs = {name: np.ones((1, 16), np.float32) for name in ("INPUT0", "INPUT1")}
    assert list(server.infer("add_sub_fp32", inputs, outputs=["OUTPUT1"])) == ["OUTPUT1"]


async def test_a_thousand_asynchronous_requests_get_their_own_answers(server):
    values = [np.full((1, 4), n, np.float32) for n in range(1000)]
    results = await asyncio.gather(*(server.infer_async("echo", {"INPUT0": v}) for v in values))
    assert [int(r["OUTPUT0"][0, 0]) for r in results] == list(range(1000))


async def test_asynchronous_errors_are_raised(server):
    with pytest.raises(NotFoundError, match="'no_such' is not found"):
        await server.infer_async("no_such", {"INPUT0": np.ones((1, 1), np.float32)})


async def test_cancelling_the_task_cancels_the_request(server):
    blocker = asyncio.create_task(
        server.infer_async("slow", {"INPUT0": np.ones((1, 1), np.float32)})
    )
    waiting = asyncio.create_task(
        server.infer_async("slow", {"INPUT0": np.ones((1, 1), np.float32)})
    )
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await blocker)["OUTPUT0"].shape == (1, 1)


def test_event_loops_that_come_and_go_leave_no_descriptor_behind(server):
    async def ask() -> None:
        await server.infer_async("echo", {"INPUT0": np.ones((1, 1), np.float32)})

    asyncio.run(ask())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        asyncio.run(ask())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_threads_share_one_server(server):
    failures = []

    def ask(number: int) -> None:
        value = np.full((1, 8), number, np.float32)
        for _ in range(50):
            if (
                server.infer(
                    "add_sub_fp32",
                    {
                        "INPUT0": np.full((1, 16), number, np.float32),
                        "INPUT1": np.zeros((1, 16), np.float32),
                    },
                )["OUTPUT0"][0, 0]
                != number
            ):
                failures.append(number)
            if server.infer("echo", {"INPUT0": value})["OUTPUT0"][0, 0] != number:
                failures.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected 1 inputs but got 0 inputs for model 'echo'"),
        ({"INPUT0": np.ones((1, 1), np.int32)}, "INT32"),
        ({"INPUT0": np.ones((9, 1), np.float32)}, "batch-size must be <= 8"),
        ({"INPUT0": np.ones((1, 1), np.complex64)}, "complex64 is no tensor of the protocol"),
    ],
)
def test_a_wrong_input_is_an_invalid_argument(server, inputs, message):
    with pytest.raises(InvalidArgumentError, match=message):
        server.infer("echo", inputs)


def test_an_unknown_argument_is_a_type_error(server, tmp_path):
    with pytest.raises(TypeError, match="'wrong'"):
        server.infer("echo", {}, wrong=1)
    with pytest.raises(TypeError, match="'wrong_flag'"):
        fastserve.InferenceServer(tmp_path, wrong_flag=1)
    with pytest.raises(ValueError, match="model_control_mode: Unsupported: polling"):
        fastserve.InferenceServer(tmp_path, model_control_mode="poll")


def test_a_closed_server_refuses_requests(tmp_path):
    write_model(tmp_path, "echo")
    server = fastserve.InferenceServer(tmp_path).start()
    server.close()
    with pytest.raises(UnavailableError):
        server.infer("echo", {"INPUT0": np.ones((1, 1), np.float32)})


def test_two_servers_live_in_one_process(tmp_path):
    for name in ("a", "b"):
        write_model(tmp_path / name, name)
    value = {"INPUT0": np.ones((1, 1), np.float32)}
    with (
        fastserve.InferenceServer(tmp_path / "a") as a,
        fastserve.InferenceServer(tmp_path / "b") as b,
    ):
        assert a.infer("a", value)["OUTPUT0"].shape == (1, 1)
        assert b.infer("b", value)["OUTPUT0"].shape == (1, 1)
        with pytest.raises(NotFoundError):
            a.infer("b", value)


def test_the_metrics_text_takes_collectors_of_the_program(server):
    from prometheus_client import Gauge

    gauge = Gauge("my_gauge", "mine", registry=None)
    gauge.set(7)
    server.add_collector(gauge)
    assert "my_gauge 7.0" in server.metrics_text()
    assert 'nv_inference_count{model="echo",version="1"}' in server.metrics_text()


def test_bytes_accept_str_and_fixed_width_arrays():
    assert to_core(np.array(["ü", "b"], np.object_))[2] == to_core(np.array([b"\xc3\xbc", b"b"]))[2]
    assert issubclass(CancelledError, Exception)

"""The rate limiter's flags, and a server that limits."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastserve.control.rate_limit import rate_limit_resources
from fastserve.errors import FastserveError, InvalidArgumentError
from fastserve.inference_server import InferenceServer
from fastserve.options import Options

from tests.python.conftest import IDENTITY_CONFIG, write_model


def resources(*settings: str, mode: str = "execution_count") -> dict[str, int] | None:
    return rate_limit_resources(
        Options(model_repository=["x"], rate_limit=mode, rate_limit_resource=list(settings))
    )


def test_counts_are_of_the_host_and_names_without_case():
    assert resources("R1:4", "r2:8:0", "R3:2:global", "r4:9:1") == {"r1": 4, "r2": 8, "r3": 2}
    assert resources("R1:4", mode="off") is None


@pytest.mark.parametrize("setting", ["R1", "R1:", ":4", "R1:x", "R1:-1", "R1:4294967296", "R:1:x"])
def test_a_setting_of_another_form_is_refused(setting):
    with pytest.raises(InvalidArgumentError, match="<name>:<count>"):
        resources(setting)


LIMITED = (
    IDENTITY_CONFIG
    + """
    parameters { key: "execute_delay_ms" value { string_value: "100" } }
    instance_group { kind: KIND_CPU count: 3 }
    rate_limiter { resources { name: "slot" count: 1 } }
    """
)


@pytest.mark.parametrize(("slots", "at_least_s"), [(1, 0.3), (3, 0.1)])
def test_instances_of_two_models_share_a_resource(tmp_path, slots, at_least_s):
    for name in ("a", "b"):
        write_model(tmp_path, name, LIMITED)
    value = {"INPUT0": np.zeros((1, 2), np.float32)}
    with (
        InferenceServer(
            tmp_path, rate_limit="execution_count", rate_limit_resource=[f"SLOT:{slots}"]
        ) as server,
        ThreadPoolExecutor(3) as pool,
    ):
        begin = time.monotonic()
        list(pool.map(lambda name: server.infer(name, value), ["a", "b", "a"]))
        spent = time.monotonic() - begin
    assert spent >= at_least_s, "no more executions at once than there are slots"


def test_a_model_that_could_never_run_does_not_load(tmp_path):
    config = LIMITED.replace("count: 1 } }", "count: 5 } }")
    write_model(tmp_path, "greedy", config)
    server = InferenceServer(tmp_path, rate_limit="execution_count", rate_limit_resource=["slot:2"])
    with pytest.raises(FastserveError, match="minimum required count is 5"):
        server.start()
    server.close()

"""--host-policy: what it takes, and on which cores the threads of a real server run."""

import os
import time
from pathlib import Path

import pytest
from fastserve.cli import BadOptionError, parse
from fastserve.host_policy import _list_text, _usable_nodes, host_policies
from fastserve.inference_server import InferenceServer

from tests.models.repository import write_repository
from tests.python.conftest import IDENTITY_CONFIG, write_model

CORES = sorted(os.sched_getaffinity(0))
FIRST, LAST = CORES[0], CORES[-1]
EVERYWHERE = _list_text(CORES)


def policies(*settings: str) -> dict:
    flags = [f"--host-policy={setting}" for setting in settings]
    return host_policies(parse(["--model-repository=r", *flags]))


def test_settings_of_a_policy_add_up_and_the_last_of_a_kind_counts():
    assert policies(
        f"cpu,cpu-cores={FIRST}", "cpu,numa-node=0", f"cpu,cpu-cores={LAST},{LAST}", "b,numa-node=0"
    ) == {"cpu": {"cpu_cores": [LAST], "numa_node": 0}, "b": {"numa_node": 0}}


def test_cores_are_a_list_of_numbers_and_ranges():
    assert policies(f"cpu,cpu-cores={EVERYWHERE}")["cpu"]["cpu_cores"] == CORES


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cpu", "'cpu' is not <policy>,<setting>=<value>; write for example cpu,cpu-cores=0-3"),
        ("cpu,cpu-cores=", "is not <policy>,<setting>=<value>"),
        (",cpu-cores=0", "is not <policy>,<setting>=<value>"),
        ("cpu,cores=0", "'cores' is no setting of a host policy; use cpu-cores or numa-node"),
        ("cpu,cpu-cores=a", "cpu-cores is 'a', expected numbers and ranges like 0-3,8"),
        ("cpu,cpu-cores=3-1", "cpu-cores is '3-1', expected numbers and ranges"),
        ("cpu,cpu-cores=-1", "expected numbers and ranges"),
        ("cpu,cpu-cores=1,,2", "expected numbers and ranges"),
        ("cpu,cpu-cores=99999999999", "expected numbers and ranges"),
        ("cpu,cpu-cores=9999", f"core 9999 is not one .* may use; it may use {EVERYWHERE}"),
        ("cpu,cpu-cores=0-999999", f"is not one that this .*; it may use {EVERYWHERE}"),
        ("cpu,numa-node=9999", "NUMA node 9999 is not one that this process may use; it may use 0"),
        ("cpu,numa-node=0-0", "numa-node is '0-0', expected a number"),
    ],
)
def test_a_wrong_setting_is_told_with_what_is_possible(setting, message):
    with pytest.raises(BadOptionError, match=message) as failure:
        policies(setting)
    assert str(failure.value).startswith('Bad option: "--host-policy".\n')


def test_a_policy_of_a_gpu_is_accepted_without_effect():
    options = parse(["--model-repository=r", "--host-policy=gpu_0,numa-node=0"])
    assert options.warnings == ["--host-policy=gpu_0 has no effect: there is no GPU"]


def test_nodes_are_those_of_the_kernel_or_only_the_first(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nMems_allowed_list:\t0-1,4\n")
    assert _usable_nodes(str(status)) == {0, 1, 4}
    status.write_text("Name:\tx\n")
    assert _usable_nodes(str(status)) == {0}


def test_the_in_process_server_refuses_it_too(tmp_path):
    write_model(tmp_path, "m")
    with pytest.raises(Exception, match=r"--host-policy: .*core 9999"):
        InferenceServer(tmp_path, host_policy=["cpu,cpu-cores=9999"])


def cores_by_thread(pid: int) -> list[tuple[str, str]]:
    """(name, Cpus_allowed_list) of every thread."""
    threads = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        threads.append((fields["Name"], fields["Cpus_allowed_list"]))
    return threads


def assert_instances_run_on(server, *expected: str) -> None:
    """Soon: a thread names and places itself after the server has said that it started."""
    end = time.monotonic() + 30
    cores: list[str] = []
    while cores != sorted(expected):
        assert time.monotonic() < end, (cores, expected)
        threads = cores_by_thread(server.process.pid)
        cores = sorted(cores for name, cores in threads if name == "fs-instance")


def write_groups(directory: Path, name: str, *groups: str) -> None:
    text = ", ".join(f"{{ kind: KIND_CPU {group} }}" for group in groups)
    write_model(directory, name, IDENTITY_CONFIG + f"instance_group [ {text} ]")


needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="one core")


@needs_two_cores
def test_each_group_runs_on_the_cores_of_its_policy(start_server, tmp_path):
    write_groups(tmp_path, "m", 'count: 2 host_policy: "a"', 'host_policy: "b"', "count: 1")
    server = start_server(
        f"--model-repository={tmp_path}",
        f"--host-policy=a,cpu-cores={FIRST}",
        f"--host-policy=b,cpu-cores={LAST}",
    ).wait_started()
    assert_instances_run_on(server, str(FIRST), str(FIRST), str(LAST), EVERYWHERE)
    threads = cores_by_thread(server.process.pid)
    others = {cores for name, cores in threads if name != "fs-instance"}
    assert others == {EVERYWHERE}, "threads that loaded the model are back where they were"


@needs_two_cores
@pytest.mark.parametrize(("kind", "policy"), [("KIND_CPU", "cpu"), ("KIND_MODEL", "model")])
def test_a_group_without_a_policy_has_that_of_its_kind(start_server, tmp_path, kind, policy):
    config = IDENTITY_CONFIG + f"instance_group [ {{ kind: {kind} }} ]"
    write_model(tmp_path, "m", config)
    server = start_server(
        f"--model-repository={tmp_path}", f"--host-policy={policy},cpu-cores={LAST}"
    ).wait_started()
    assert_instances_run_on(server, str(LAST))


@needs_two_cores
def test_a_pool_of_its_own_runs_on_the_cores_and_the_shared_one_anywhere(start_server, tmp_path):
    write_repository(tmp_path, ["add_sub_fp32", "dynamic"])
    own = tmp_path / "add_sub_fp32" / "config.pbtxt"
    own.write_text(
        (own.read_text() if own.exists() else "")
        + 'instance_group [ { kind: KIND_CPU count: 1 host_policy: "last" } ]\n'
        + 'parameters { key: "intra_op_thread_count" value { string_value: "3" } }\n'
    )
    server = start_server(
        f"--model-repository={tmp_path}", f"--host-policy=last,cpu-cores={LAST}"
    ).wait_started()
    assert_instances_run_on(server, str(LAST), *[EVERYWHERE] * 2)
    threads = cores_by_thread(server.process.pid)
    on_last = [name for name, cores in threads if cores == str(LAST)]
    assert len(on_last) == 3, threads  # the instance, and the two that help it
    assert on_last.count("fs-instance") == 1


def test_memory_is_bound_where_the_kernel_allows(start_server, tmp_path):
    write_model(tmp_path, "m")
    server = start_server(
        f"--model-repository={tmp_path}", "--host-policy=cpu,numa-node=0"
    ).wait_started()
    refused = [line for line in server.lines if "set_mempolicy" in line]
    task = next(
        task
        for task in Path(f"/proc/{server.process.pid}/task").iterdir()
        if (task / "comm").read_text().strip() == "fs-instance"
    )
    maps = task / "numa_maps"
    if not maps.exists():
        pytest.skip("this kernel has no numa_maps")
    assert ("bind:0" in maps.read_text()) != bool(refused)


def test_a_group_with_an_unknown_policy_runs_anywhere_with_a_warning(start_server, tmp_path):
    write_groups(tmp_path, "m", 'host_policy: "nowhere"')
    server = start_server(f"--model-repository={tmp_path}").wait_started()
    assert_instances_run_on(server, EVERYWHERE)
    line = server.wait_line("has host_policy 'nowhere', which is not defined")
    assert "--host-policy=nowhere,cpu-cores=0-3" in line

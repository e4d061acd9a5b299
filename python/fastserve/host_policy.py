"""--host-policy -> the cores and the NUMA node of each policy, if this process may use them."""

import os
import re
from collections.abc import Iterable
from typing import Any

from fastserve.options import Options

# {"cpu_cores": [0, 1], "numa_node": 0}; a key that was not given is absent.
HostPolicy = dict[str, Any]

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def host_policies(options: Options) -> dict[str, HostPolicy]:
    """The policies by name; the last setting of a kind counts.

    ValueError says what is wrong, and what this process may use.
    """
    policies: dict[str, HostPolicy] = {}
    for text in options.host_policy:
        name, comma, setting = text.partition(",")
        key, equals, value = setting.partition("=")
        if not (name and comma and key and equals and value):
            raise ValueError(
                f"'{text}' is not <policy>,<setting>=<value>; write for example cpu,cpu-cores=0-3"
            )
        policy = policies.setdefault(name, {})
        if key == "cpu-cores":
            policy["cpu_cores"] = _cores(value, os.sched_getaffinity(0))
        elif key == "numa-node":
            policy["numa_node"] = _node(value, _usable_nodes())
        else:
            raise ValueError(f"'{key}' is no setting of a host policy; use cpu-cores or numa-node")
    return policies


def host_policy_warnings(options: Options) -> list[str]:
    """What to log about policies that no instance can have on this machine."""
    names = {text.partition(",")[0] for text in options.host_policy}
    return [
        f"--host-policy={name} has no effect: there is no GPU"
        for name in sorted(names)
        if re.fullmatch(r"gpu_\d+", name)
    ]


def _cores(text: str, usable: Iterable[int]) -> list[int]:
    return sorted(_numbers("cpu-cores", text, frozenset(usable), "core"))


def _node(text: str, usable: frozenset[int]) -> int:
    if not text.isdecimal():
        raise ValueError(f"numa-node is '{text}', expected a number")
    (node,) = _numbers("numa-node", text, usable, "NUMA node")
    return node


def _numbers(key: str, text: str, usable: frozenset[int], what: str) -> set[int]:
    """The numbers of a list like 0-3,8, all of them usable."""
    numbers: set[int] = set()
    for item in text.split(","):
        parts = _RANGE.fullmatch(item)
        first = int(parts[1]) if parts else 0
        last = int(parts[2] or parts[1]) if parts else -1
        if first > last:
            raise ValueError(f"{key} is '{text}', expected numbers and ranges like 0-3,8")
        for number in range(first, last + 1):
            if number not in usable:
                raise ValueError(
                    f"{key} is '{text}': {what} {number} is not one that this process may use; it "
                    f"may use {_list_text(usable)}"
                )
            numbers.add(number)
    return numbers


def _list_text(numbers: Iterable[int]) -> str:
    """{0, 1, 2, 5} -> 0-2,5"""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def _usable_nodes(status: str = "/proc/self/status") -> frozenset[int]:
    """The NUMA nodes whose memory this process may use; only 0 where the kernel does not tell."""
    with open(status, encoding="ascii", errors="replace") as file:
        lines = [line for line in file if line.startswith("Mems_allowed_list:")]
    nodes: set[int] = set()
    for item in lines[0].partition(":")[2].split(",") if lines else ["0"]:
        first, _, last = item.strip().partition("-")
        nodes |= set(range(int(first), int(last or first) + 1))
    return frozenset(nodes)

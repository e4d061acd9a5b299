"""What of a configuration the core is told about queues, ordering and instance groups."""

from pathlib import Path
from typing import Any

import pytest
from fastserve.config.normalize import normalize_config
from fastserve.config.parse import parse_config
from fastserve.config.spec import model_spec
from fastserve.config.validate import validate_config

BASE = """name: "m" backend: "identity" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: 4 } output { name: "Y" data_type: TYPE_FP32 dims: 4 }
"""
NO_POLICY = {
    "delay": False,
    "default_timeout_us": 0,
    "allow_timeout_override": False,
    "max_queue_size": 0,
}


def spec_of(text: str) -> dict[str, Any]:
    config = parse_config(BASE + text, "c")
    normalize_config(config)
    assert validate_config(config) == []
    return model_spec(config, 1, Path("/none"), {})


def test_the_core_is_told_every_option_of_dynamic_batching():
    spec = spec_of("""dynamic_batching {
        preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 11
        priority_levels: 5 default_priority_level: 3
        default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 12
                               allow_timeout_override: true max_queue_size: 13 }
        priority_queue_policy { key: 2 value { default_timeout_microseconds: 14 } }
        priority_queue_policy { key: 4 value { timeout_action: DELAY max_queue_size: 15 } } }""")
    assert spec["dynamic_batching"] == {
        "preferred_batch_sizes": [2, 4],
        "max_queue_delay_us": 11,
        "preserve_ordering": False,
        "priority_levels": 5,
        "default_priority_level": 3,
        "default_queue_policy": {
            "delay": True,
            "default_timeout_us": 12,
            "allow_timeout_override": True,
            "max_queue_size": 13,
        },
        "priority_queue_policy": {
            2: NO_POLICY | {"default_timeout_us": 14},
            4: NO_POLICY | {"delay": True, "max_queue_size": 15},
        },
    }


def test_ordering_is_passed_on_and_nothing_else_is_made_up():
    spec = spec_of("dynamic_batching { preserve_ordering: true preferred_batch_size: 8 }")
    assert spec["dynamic_batching"] == {
        "preferred_batch_sizes": [8],
        "max_queue_delay_us": 0,
        "preserve_ordering": True,
        "priority_levels": 0,
        "default_priority_level": 0,
        "default_queue_policy": NO_POLICY,
        "priority_queue_policy": {},
    }
    assert "dynamic_batching" not in spec_of("")


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("timeout_action: DELAY allow_timeout_override: true", False),
        ("timeout_action: REJECT allow_timeout_override: true", True),
    ],
)
def test_no_timeout_of_a_request_delays_it_where_the_order_is_preserved(policy, allowed):
    spec = spec_of(f"""dynamic_batching {{ preserve_ordering: true priority_levels: 1
        default_priority_level: 1 default_queue_policy {{ {policy} }}
        priority_queue_policy {{ key: 1 value {{ {policy} }} }} }}""")
    batching = spec["dynamic_batching"]
    for told in (batching["default_queue_policy"], batching["priority_queue_policy"][1]):
        assert told["allow_timeout_override"] is allowed


def test_instance_groups_are_passed_with_their_part_of_the_rate_limiter():
    spec = spec_of("""instance_group [
        { name: "a" kind: KIND_CPU count: 2 rate_limiter {
            resources [ { name: "R" count: 4 }, { name: "S" global: true count: 5 } ]
            priority: 3 } },
        { name: "b" kind: KIND_CPU passive: true } ]""")
    assert spec["instance_groups"] == [
        {
            "name": "a",
            "count": 2,
            "passive": False,
            "resources": [("R", False, 4), ("S", True, 5)],
            "rate_limiter_priority": 3,
        },
        {
            "name": "b",
            "count": 1,
            "passive": True,
            "resources": [],
            "rate_limiter_priority": 1,
        },
    ]

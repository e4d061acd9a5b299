"""Which host policy each instance group has: `host_policy`, else that of its kind."""

from typing import Any

from fastserve.config.normalize import KIND_CPU, KIND_MODEL
from fastserve.config.parse import ModelConfig

# Triton's names of the policies that groups without a host_policy have.
_NAMES_BY_KIND = {KIND_CPU: "cpu", KIND_MODEL: "model"}


def add_host_policies(
    config: ModelConfig, specs: list[dict[str, Any]], policies: dict[str, dict[str, Any]]
) -> list[str]:
    """Writes the policies of --host-policy into the instance groups of the specs.

    Returns a warning for each group that names a policy that is not there.
    """
    warnings = []
    for index, group in enumerate(config.instance_group):
        policy = policies.get(group.host_policy or _NAMES_BY_KIND.get(group.kind, ""))
        if policy is not None:
            for spec in specs:
                spec["instance_groups"][index]["host_policy"] = policy
        elif group.host_policy:
            warnings.append(
                f"instance group {group.name} of model {config.name} has host_policy "
                f"'{group.host_policy}', which is not defined; its instances run anywhere. Define "
                f"it: --host-policy={group.host_policy},cpu-cores=0-3"
            )
    return warnings
